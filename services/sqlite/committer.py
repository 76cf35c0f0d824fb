"""The thread in which a COMMIT, a checkpoint or a scrub waits for the disk: one hand-over there, one back.

A thread pool of the library takes two locks and two futures for each of the thousands of commits a second.
"""

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue

Asked = tuple[asyncio.AbstractEventLoop, "asyncio.Future[None]"]


class Committer:
    """Runs `commit` in a thread of its own, one at a time."""

    def __init__(self, commit: Callable[[], None]) -> None:
        self._commit = commit
        self._asked: SimpleQueue[Asked | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="sqlite-commit", daemon=True)
        self._thread.start()

    async def commit(self) -> None:
        """Commit. Raises what the commit raised."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._asked.put((loop, done))
        await done

    def stop(self) -> None:
        """End the thread once what was asked for is done."""
        self._asked.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (asked := self._asked.get()) is not None:
            loop, done = asked
            try:
                self._commit()
            except Exception as problem:  # noqa: BLE001 - handed to the one who waits
                loop.call_soon_threadsafe(_settle, done, problem)
            else:
                loop.call_soon_threadsafe(_settle, done, None)


def _settle(done: "asyncio.Future[None]", problem: Exception | None) -> None:
    if done.done():
        return
    if problem is None:
        done.set_result(None)
    else:
        done.set_exception(problem)
