"""The thread in which a COMMIT, a checkpoint or a scrub waits for the disk: one hand-over there, one back.

A thread pool of the library takes two locks and two futures for each of the thousands of commits a second.
"""

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue

Asked = tuple[Callable[[], None], asyncio.AbstractEventLoop, "asyncio.Future[None]"]


class Committer:
    """Does what waits for the disk in a thread of its own, one thing after the other."""

    def __init__(self) -> None:
        self._asked: SimpleQueue[Asked | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="sqlite-commit", daemon=True)
        self._thread.start()

    async def do(self, work: Callable[[], None]) -> None:
        """Return once it is done. Raises what it raised."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._asked.put((work, loop, done))
        await done

    def stop(self) -> None:
        """End the thread once what was asked for is done."""
        self._asked.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (asked := self._asked.get()) is not None:
            work, loop, done = asked
            try:
                work()
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
