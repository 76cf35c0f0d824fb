"""The sandbox as a program: one Starlette application, one server, a clean stop within a second."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator, MutableMapping
from typing import Any, cast

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from services.sandbox.assets import PAGE_HEADERS, page_file
from services.sandbox.config import SandboxConfig
from services.sandbox.control import Control, problem
from services.sandbox.graph import CUT, Graph
from services.sandbox.meta import Meta
from services.sandbox.platform import Platform
from services.sandbox.traffic import Plan, Traffic

STOP_S = 0.5  # requests still open after this long are cut


async def _page(request: Request) -> Response:
    found = page_file(request.path_params.get("path", "index.html"))
    if found is None:
        return problem(404, "no such file")
    return Response(found[0], media_type=found[1], headers=PAGE_HEADERS)


async def _healthz(_request: Request) -> Response:
    return PlainTextResponse("ok\n")


def create_app(config: SandboxConfig) -> Starlette:
    """Return the application; `app.state.meta` and `app.state.traffic` are open to a program that embeds it.

    Webhooks leave while its lifespan lasts.
    """
    meta = Meta(config)
    traffic = Traffic(meta)

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        delivering = asyncio.create_task(meta.delivery.run())
        if config.autoplay_per_s:
            traffic.start(Plan(config.autoplay_per_s, config.autoplay_echoes_ratio, config.autoplay_customers))
        try:
            yield
        finally:
            traffic.stop()
            meta.leave()
            delivering.cancel()
            await asyncio.gather(delivering, return_exceptions=True)

    routes = [
        Route("/healthz", _healthz),
        Route("/", _page),
        Route("/sandbox", _page),
        Route("/sandbox/static/{path:path}", _page),
        *Control(meta, traffic).routes(),
        *Platform(Graph(meta)).routes(),
    ]
    app = Starlette(routes=routes, lifespan=lifespan)
    app.state.meta, app.state.traffic = meta, traffic
    return app


class _Protocol(HttpToolsProtocol):
    """Leaves each request the means to cut its own connection."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        scope: MutableMapping[str, Any] = cast("MutableMapping[str, Any]", self.scope)
        scope[CUT] = self.transport.abort


class _Server(uvicorn.Server):
    """Says when it is ready, ends what waits before it waits itself, leaves signals to `serve`."""

    def __init__(self, config: uvicorn.Config, meta: Meta, on_ready: Callable[[], object]) -> None:
        super().__init__(config)
        self._meta = meta
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._meta.leave()
        cutting = asyncio.get_running_loop().call_later(STOP_S, self._cut)
        await super().shutdown(sockets)
        cutting.cancel()

    def _cut(self) -> None:
        for connection in list(self.server_state.connections):
            if connection.transport is not None:
                connection.transport.abort()
        for task in list(self.server_state.tasks):
            task.cancel()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(
    config: SandboxConfig,
    on_ready: Callable[[int], object] | None = None,
    stop: asyncio.Event | None = None,
    lifeline: int | None = None,
) -> None:
    """Serve until `stop` is set or, without `stop`, until SIGINT or SIGTERM; `on_ready` gets the real port.

    `lifeline`: a pipe's reading end; it also ends once nobody holds the other end any more, however they ended.
    Raises OSError if the port is taken. Signals are handled only without `stop`, and only in the main thread.
    """
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # named, or asyncio sets no TCP_NODELAY
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((config.host, config.port))
    except OSError:
        listener.close()
        raise
    port = listener.getsockname()[1]
    app = create_app(config)
    settings = uvicorn.Config(app, http=_Protocol, ws="none", lifespan="on", access_log=False, log_config=None)
    server = _Server(settings, app.state.meta, lambda: on_ready(port) if on_ready else None)
    with _signals(server) if stop is None else contextlib.nullcontext(), _held(server, lifeline):
        await _until(server, listener, stop)


async def _until(server: _Server, listener: socket.socket, stop: asyncio.Event | None) -> None:
    async def watch() -> None:
        if stop is not None:
            await stop.wait()
            server.should_exit = True

    watching = asyncio.create_task(watch())
    try:
        await server.serve(sockets=[listener])
    finally:
        watching.cancel()
        listener.close()


@contextlib.contextmanager
def _held(server: _Server, lifeline: int | None) -> Iterator[None]:
    if lifeline is None:
        yield
        return
    loop = asyncio.get_running_loop()

    def look() -> None:
        if not os.read(lifeline, 1):
            loop.remove_reader(lifeline)
            server.should_exit = True

    loop.add_reader(lifeline, look)
    try:
        yield
    finally:
        loop.remove_reader(lifeline)


@contextlib.contextmanager
def _signals(server: _Server) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()

    def leave() -> None:
        server.should_exit = True

    caught = (signal.SIGINT, signal.SIGTERM)
    for number in caught:
        loop.add_signal_handler(number, leave)
    try:
        yield
    finally:
        for number in caught:
            loop.remove_signal_handler(number)
