"""The HTTP server: uvicorn on httptools, with the limits that it lacks.

httptools reads a request several times faster than the alternative, but uvicorn bounds neither its head nor the time a
client takes (measured: 30 MB of headers on one connection, half a request held open for ever). Here both are bounded
without a timer per request: a sweep once a second looks at every connection. It serves the public and the admin
listener.
"""

import asyncio
import contextlib
import errno
import heapq
import os
import resource
import socket
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, cast

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from ingest.problem import PROBLEM_JSON, PROBLEMS
from ingest.refusals import Refusals
from ingest.webhook import SIGNED

SWEEP_S = 1.0
BACKLOG = 2048
SHED_AT_ONCE = 64
"""Connections closed in one go over the limit, so that a flood does not look at all of them each time."""

SPARE_FILES = 128
"""File descriptors that are not for connections: the log, the store, the way out."""

CANCEL_S = 1.0
"""What a task gets to end after its connection was cut, before it is cancelled."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client may take.

    head_bytes_max: the line and headers of a request; Meta's are under 2 KiB.
    connections_max: each holds a few KiB and a file descriptor; over it, the one that has been idle longest goes.
    strangers_max: connections from one address that was refused often, as long as they carried nothing signed; over
        it, those that have waited longest go. Whoever sends whole requests at once is answered before that.
    request_s: from connecting, or from the first byte of a request, to the last byte of its body.
    idle_s: a kept connection without a request; longer than the 60 s of most balancers, so that they close first.
    """

    head_bytes_max: int = 64 * 1024
    connections_max: int = 4096
    strangers_max: int = 64
    request_s: float = 10.0
    idle_s: int = 75


class CannotListen(Exception):
    """Nobody can listen at this address. The message says why, and what to choose instead."""

    def __init__(self, host: str, port: int, says: str) -> None:
        super().__init__(says)
        self.host = host
        self.port = port


class PortInUse(CannotListen):
    """Another program listens there already."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(host, port, f"Port {port} on {host} is in use. Choose another one, or 0 for any free one.")


class _Config(uvicorn.Config):
    limits: Limits
    refusals: Refusals | None
    strangers: Counter[str]


class _Refused(Exception):
    """Raised inside the parser's callbacks, so that it stops there."""


class BoundedProtocol(HttpToolsProtocol):
    """One connection, bounded in the bytes of a head and in time.

    `reading_since`: when the request began that is still being read; None while there is none.
    `is_stranger`: it has carried nothing signed so far.
    """

    def __init__(
        self, config: _Config, server_state: ServerState, app_state: dict[str, Any], _loop: Any = None
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.limits = config.limits
        self.refusals = config.refusals
        self.strangers = config.strangers
        self.address = ""
        self.is_stranger = True
        self.access_log = False  # whatever the program's logging is: a path may hold what nobody should read
        self.reading_since: float | None = None
        self.idle_since = 0.0
        self._in_head = True
        self._head_bytes = 0
        self._refusal = 400

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the time of the first request; make room when there are too many connections."""
        super().connection_made(transport)
        self.reading_since = self.idle_since = time.monotonic()
        self.address = self.client[0] if self.client else ""
        self.strangers[self.address] += 1
        everybody = cast("set[BoundedProtocol]", self.connections)
        if len(everybody) > self.limits.connections_max:
            shed(everybody, SHED_AT_ONCE)
        elif self.strangers[self.address] > self.limits.strangers_max and self._is_refused():
            alike = (other for other in everybody if other.is_stranger and other.address == self.address)
            shed(alike, max(1, self.limits.strangers_max // 2))

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        super().connection_lost(exc)
        self._no_stranger()

    def data_received(self, data: bytes) -> None:
        """Feed the parser, unless the head has grown too long."""
        self._unset_keepalive_if_required()
        if self.reading_since is None:
            self.reading_since = time.monotonic()
        if self._in_head:
            self._head_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self._refuse(self._refusal)
        except httptools.HttpParserUpgrade:
            pass  # another protocol was offered: answered as if it had not been
        else:
            if self._in_head and self._head_bytes > self.limits.head_bytes_max:
                self._refuse(431)

    def on_headers_complete(self) -> None:
        """Judge the head before anything acts on it."""
        self._in_head = False
        if self._head_bytes > self.limits.head_bytes_max and self._head_size() > self.limits.head_bytes_max:
            self._refusal = 431
            raise _Refused
        names = [name for name, _ in self.headers]
        if b"transfer-encoding" in names and b"content-length" in names:  # two lengths: request smuggling
            raise _Refused
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The request has been read: its answer may take its time."""
        self._in_head = True
        self._head_bytes = 0
        self.reading_since = None
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Count as idle from now on."""
        self.idle_since = time.monotonic()
        if SIGNED in self.scope:
            self._no_stranger()
        super().on_response_complete()

    def is_idle(self) -> bool:
        """Whether nothing is being read or answered."""
        return self.reading_since is None and (self.cycle is None or self.cycle.response_complete)

    def is_late(self, now: float) -> bool:
        """Whether the client has taken too long over its request."""
        return self.reading_since is not None and now - self.reading_since > self.limits.request_s

    def cut(self) -> None:
        """End it because its client took too long, and remember that."""
        self._count()
        self.transport.close()

    def _is_refused(self) -> bool:
        return self.refusals is not None and self.refusals.often(self.address, time.monotonic())

    def _count(self) -> None:
        if self.refusals is not None:
            self.refusals.add(self.address, time.monotonic())

    def _no_stranger(self) -> None:
        if self.is_stranger:
            self.is_stranger = False
            self.strangers[self.address] -= 1
            if not self.strangers[self.address]:
                del self.strangers[self.address]

    def _head_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _refuse(self, status: int) -> None:
        """End the connection, with one static answer where no other answer is under way."""
        self._count()
        if not self.transport.is_closing() and not self._is_answering():
            self.transport.write(_REFUSALS[status])
        self.transport.close()

    def _is_answering(self) -> bool:
        """Whether the next answer on this connection belongs to a request that was read whole."""
        if self.cycle is None or self.cycle.response_complete:
            return False
        return self._in_head or bool(self.pipeline) or self.cycle.response_started


def _refusal(status: int, phrase: bytes) -> bytes:
    body = PROBLEMS[status]
    head = b"HTTP/1.1 %d %s\r\ncontent-type: %s\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
    return head % (status, phrase, PROBLEM_JSON, len(body)) + body


_REFUSALS = {400: _refusal(400, b"Bad Request"), 431: _refusal(431, b"Request Header Fields Too Large")}


def shed(connections: Iterable[BoundedProtocol], count: int) -> None:
    """Close the connections that have been idle longest, then those that have been reading longest; answers go on."""
    waiting = [c for c in connections if c.is_idle() or c.reading_since is not None]
    idle = heapq.nsmallest(count, (c for c in waiting if c.is_idle()), key=lambda c: c.idle_since)
    for connection in idle or heapq.nsmallest(count, waiting, key=lambda c: c.idle_since):
        connection.transport.close()


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 means any free one. Raises PortInUse or CannotListen."""
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError:
        raise CannotListen(host, port, f"{host} is no address of this machine. Choose 127.0.0.1 or 0.0.0.0.") from None
    family, kind, protocol, _, address = min(found, key=lambda info: info[0] != socket.AF_INET)
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(host, port) from None
        fix = "Choose a port above 1023." if error.errno == errno.EACCES else "Choose 127.0.0.1 or 0.0.0.0."
        says = f"Port {port} on {host} cannot be had: {os.strerror(error.errno or 0).lower()}. {fix}"
        raise CannotListen(host, port, says) from None
    listener.setblocking(False)
    return listener


class Edge:
    """An ASGI application on a port.

    It listens from construction on (raises CannotListen), so its real `port` is known before anything else starts, and
    serves from `start` to `stop`, on the loop that runs. It handles no signals and prints nothing. `refusals`: who was
    refused too often, by the address that connects; without it every address may have as many connections as it likes.
    """

    def __init__(
        self, app: Any, host: str, port: int, limits: Limits | None = None, refusals: Refusals | None = None
    ) -> None:
        self._listener = listen(host, port)
        self.host = host
        self.port: int = self._listener.getsockname()[1]
        config = _Config(
            app,
            http=BoundedProtocol,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=BACKLOG,
        )
        config.limits = _affordable(limits or Limits())
        config.refusals, config.strangers = refusals, Counter()
        config.timeout_keep_alive = config.limits.idle_s
        self._server = uvicorn.Server(config)
        self._sweeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Serve. Returns once requests are taken."""
        config = self._server.config
        config.load()
        self._server.lifespan = config.lifespan_class(config)
        await self._server.on_tick(0)
        await self._server.startup(sockets=[self._listener])
        self._sweeping = asyncio.create_task(self._sweep(), name=f"edge {self.port}")

    async def stop(self, grace_s: float) -> None:
        """Take no more connections; give open requests `grace_s` to be answered, then cut them."""
        if self._sweeping is None:
            self._listener.close()
            return
        self._sweeping.cancel()
        for server in self._server.servers:
            server.close()
        self._listener.close()
        state = self._server.server_state
        for connection in list(state.connections):
            connection.shutdown()
        if state.tasks:
            await asyncio.wait(state.tasks, timeout=grace_s)
        for connection in list(state.connections):
            connection.transport.abort()
        if state.tasks:
            await asyncio.wait(state.tasks, timeout=CANCEL_S)
        for task in state.tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._sweeping

    async def _sweep(self) -> None:
        """Once a second: set the Date header, and close what is late."""
        while True:
            await asyncio.sleep(SWEEP_S)
            await self._server.on_tick(0)
            now = time.monotonic()
            for connection in cast("list[BoundedProtocol]", list(self._server.server_state.connections)):
                if connection.is_late(now):
                    connection.cut()


def _affordable(limits: Limits) -> Limits:
    """No more connections than the process may have open files: past that, accepting fails for everybody."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    affordable = files if files == resource.RLIM_INFINITY else max(files - SPARE_FILES, files // 2)
    connections_max = limits.connections_max if affordable < 0 else min(limits.connections_max, affordable)
    return replace(limits, connections_max=connections_max)
