"""Bodies of requests while they are read: bounded each, and bounded together."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from ingest.deadlines import Deadline

BODY_BYTES_MAX = 4 * 1024 * 1024
"""Meta sends 3 MB at most (Meta contract 1.5)."""

HELD_BYTES_MAX = 256 * 1024 * 1024
"""Of all bodies that have begun and not ended: 64 of the largest at once. Meta's are whole within milliseconds."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]


class TooLarge(Exception):
    """A body is over its limit; what came of it has been dropped."""


class Gone(Exception):
    """The client left before its body had come."""


class Bodies:
    """Reads bodies. Where all that are under way grow too large together, the one that began first is given up.

    So thousands of connections that each send almost a whole body cannot fill the memory, and whoever sends at once is
    not the one that is cut.
    """

    def __init__(self, held_bytes_max: int = HELD_BYTES_MAX) -> None:
        self._most = held_bytes_max
        self._held: dict[Deadline, int] = {}
        self._bytes = 0

    async def read(self, receive: Receive, deadline: Deadline) -> bytes:
        """The whole body, read no further than its limit.

        Raises TooLarge or Gone; and when it came too slowly or was given up, `deadline` raises TimeoutError.
        """
        message = await receive()
        body: bytes = message.get("body", b"")
        if message["type"] == "http.request" and not message.get("more_body", False) and len(body) <= BODY_BYTES_MAX:
            return body
        try:
            return await self._rest(message, receive, deadline)
        finally:
            self._drop(deadline)

    async def _rest(self, message: Message, receive: Receive, deadline: Deadline) -> bytes:
        pieces, size = [], 0
        while True:
            if message["type"] == "http.disconnect":
                raise Gone
            pieces.append(message.get("body", b""))
            size += len(pieces[-1])
            if size > BODY_BYTES_MAX:
                raise TooLarge
            if not message.get("more_body", False):
                return b"".join(pieces)
            self._hold(deadline, len(pieces[-1]))
            message = await receive()

    def _hold(self, deadline: Deadline, size: int) -> None:
        self._held[deadline] = self._held.get(deadline, 0) + size
        self._bytes += size
        while self._bytes > self._most:
            oldest = next(iter(self._held))
            self._drop(oldest)
            oldest.cut()

    def _drop(self, deadline: Deadline) -> None:
        self._bytes -= self._held.pop(deadline, 0)
