"""What happens in the world, told live to anybody who listens (server-sent events of the control API)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson

BACKLOG_MAX = 2000  # a listener this far behind is let go; a page reloads its state when it comes back
BEAT_S = 15.0  # a comment line this often keeps proxies from closing a quiet stream


class Feed:
    """Fans events out to listeners. Without listeners an event costs nothing."""

    def __init__(self) -> None:
        self._listeners: set[asyncio.Queue[bytes | None]] = set()
        self._count = 0

    @property
    def heard(self) -> bool:
        """Return whether anybody listens, so that callers need not build events for nobody."""
        return bool(self._listeners)

    def tell(self, kind: str, **data: Any) -> None:
        """Send an event `{"type": kind, ...}` to every listener."""
        if not self._listeners:
            return
        self._count += 1
        line = b"id: %d\ndata: %s\n\n" % (self._count, orjson.dumps({"type": kind, **data}))
        for queue in list(self._listeners):
            try:
                queue.put_nowait(line)
            except asyncio.QueueFull:
                self._listeners.discard(queue)

    def close(self) -> None:
        """End every stream."""
        for queue in self._listeners:
            while queue.full():
                queue.get_nowait()
            queue.put_nowait(None)
        self._listeners.clear()

    def listen(self) -> AsyncIterator[bytes]:
        """The stream of one listener, from this call on, until it leaves, falls too far behind or the sandbox stops."""
        queue: asyncio.Queue[bytes | None] = asyncio.Queue(BACKLOG_MAX)
        self._listeners.add(queue)
        return self._lines(queue)

    async def _lines(self, queue: asyncio.Queue[bytes | None]) -> AsyncIterator[bytes]:
        yield b": the sandbox is listening\n\n"
        try:
            while True:
                try:
                    line = await asyncio.wait_for(queue.get(), BEAT_S)
                except TimeoutError:
                    line = b": beat\n\n"
                if line is None:
                    return
                yield line
                if queue not in self._listeners and queue.empty():
                    return
        finally:
            self._listeners.discard(queue)
