"""A small keep-alive HTTP/1.1 client for one URL: the way webhooks leave the sandbox.

Thousands of tiny POSTs a second share the machine with the service under test, so this does only what they
need: write one request, read status, headers and a body of known length, keep the connection if it is sound.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

IDLE_CONNECTIONS_MAX = 64
HEADER_BYTES_MAX = 64 * 1024


class NoAnswer(ConnectionError):
    """The receiver could not be reached or went away before its answer was complete."""


@dataclass(slots=True)
class _Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


class Poster:
    """POSTs to one URL over a pool of connections. `post` raises NoAnswer or TimeoutError."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("The webhook URL must start with http:// or https:// and name a host.")
        self.url = url
        self._host = parts.hostname
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._ssl = ssl.create_default_context() if parts.scheme == "https" else None
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._start = f"POST {path} HTTP/1.1\r\nHost: {parts.netloc.rpartition('@')[2]}\r\n".encode("ascii")
        self._idle: list[_Connection] = []
        self._closed = False

    async def post(self, body: bytes, headers: Mapping[str, str], timeout_s: float) -> int:
        """Send one body and return the status of the answer."""
        async with asyncio.timeout(timeout_s):
            try:
                connection = await self._connect()
                return await self._exchange(connection, body, headers)
            except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as error:
                if isinstance(error, TimeoutError):
                    raise
                raise NoAnswer(type(error).__name__) from error

    def close(self) -> None:
        """Close idle connections now and busy ones after their answer."""
        self._closed = True
        while self._idle:
            self._idle.pop().writer.close()

    async def _connect(self) -> _Connection:
        while self._idle:
            connection = self._idle.pop()
            if not connection.reader.at_eof() and not connection.writer.is_closing():
                return connection
            connection.writer.close()
        reader, writer = await asyncio.open_connection(self._host, self._port, ssl=self._ssl, limit=HEADER_BYTES_MAX)
        return _Connection(reader, writer)

    async def _exchange(self, connection: _Connection, body: bytes, headers: Mapping[str, str]) -> int:
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = self._start + f"{lines}Content-Length: {len(body)}\r\n\r\n".encode("latin-1")
        kept = False
        try:
            connection.writer.write(head + body)
            answer = await connection.reader.readuntil(b"\r\n\r\n")
            status, length = _parse(answer)
            if length is not None:
                await connection.reader.readexactly(length)
                kept = len(self._idle) < IDLE_CONNECTIONS_MAX and not self._closed
            return status
        finally:
            if kept:
                self._idle.append(connection)
            else:
                connection.writer.close()


def _parse(answer: bytes) -> tuple[int, int | None]:
    """Return the status and the length of the body, None if the connection must not be used again."""
    lines = answer.decode("latin-1").split("\r\n")
    status = int(lines[0].split(" ", 2)[1])
    fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    if "transfer-encoding" in fields or fields.get("connection", "").lower() == "close":
        return status, None
    if status in {204, 304}:
        return status, 0
    return status, int(fields["content-length"]) if "content-length" in fields else None
