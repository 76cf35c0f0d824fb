"""Deadlines for many waits at once, with one timer for all of them.

`asyncio.timeout` arms and disarms a timer per wait, which on the path of a webhook costs as much as its signature.
Here a wait is an entry in a set, and a tick a few times a second cuts those that are late.
"""

import asyncio
from types import TracebackType
from typing import Self

TICK_S = 0.25
"""A wait is cut at most this much after its deadline."""


class Deadlines:
    """Cuts waits that take too long. Belongs to one event loop."""

    def __init__(self) -> None:
        self._waits: set[Deadline] = set()
        self._is_ticking = False

    def within(self, seconds: float) -> "Deadline":
        """`with deadlines.within(3):` raises TimeoutError when its body awaits past the deadline."""
        return Deadline(self, seconds)

    def add(self, wait: "Deadline", loop: asyncio.AbstractEventLoop) -> None:
        """Watch a wait until it is discarded."""
        self._waits.add(wait)
        if not self._is_ticking:
            self._is_ticking = True
            loop.call_later(TICK_S, self._tick, loop)

    def discard(self, wait: "Deadline") -> None:
        """Forget a wait."""
        self._waits.discard(wait)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for wait in [wait for wait in self._waits if wait.until <= now]:
            wait.cut()
        self._is_ticking = bool(self._waits)
        if self._is_ticking:
            loop.call_later(TICK_S, self._tick, loop)


class Deadline:
    """One wait of the task that entered it. `until` is in the time of the loop."""

    __slots__ = ("_deadlines", "_is_cut", "_loop", "_seconds", "_task", "until")

    def __init__(self, deadlines: Deadlines, seconds: float) -> None:
        self._deadlines = deadlines
        self._seconds = seconds
        self._is_cut = False
        self.until = 0.0

    def extend(self, seconds: float) -> None:
        """Count anew from now."""
        self.until = self._loop.time() + seconds

    def cut(self) -> None:
        """End the wait with a TimeoutError."""
        self._deadlines.discard(self)
        self._is_cut = True
        self._task.cancel()

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a deadline needs a task that it can cut")
        self._task = task
        self._loop = asyncio.get_running_loop()
        self.until = self._loop.time() + self._seconds
        self._deadlines.add(self, self._loop)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._deadlines.discard(self)
        # Somebody else's cancellation counts on top of ours and stays what it is.
        if self._is_cut and self._task.uncancel() == 0 and kind is asyncio.CancelledError:
            raise TimeoutError from _error
