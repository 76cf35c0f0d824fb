"""`coexist run`: open the app, say where it is, work until a signal asks for the end."""

import asyncio
import gc
import resource
import signal
import sys
from collections.abc import Callable, Sequence

import orjson

from services.app import open_app
from services.running import App
from services.settings import Settings
from services.sqlite.file import usable

COLLECT_EVERY = (20_000, 20, 20)
"""Allocations until the youngest are looked at, and how often each older generation is: Python's are 700, 10, 10."""
SWITCH_S = 0.001
"""How long one thread may hold the interpreter while the commit thread waits for it."""


def loop_factory() -> asyncio.AbstractEventLoop:
    """The event loop of the service: uvloop."""
    import uvloop  # noqa: PLC0415 - tools that only read do without it

    return uvloop.new_event_loop()


async def serve(settings: Settings, roles: Sequence[str], announce: Callable[[App], None]) -> None:
    """Run the roles until SIGINT or SIGTERM. `announce` is told when everything listens."""
    sys.setswitchinterval(SWITCH_S)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would hold what people wrote
    async with open_app(settings, roles) as app:
        on_signals(app.stopping.set)
        write_address(app)
        calm_collector()
        announce(app)
        await app.run()


def calm_collector() -> None:
    """Let the garbage collector leave alone what lives for ever, and look less often at what lives for one batch.

    Events, items and states are no cycles and are not tracked at all; what remains is small.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_EVERY)


def on_signals(stop: Callable[[], None]) -> None:
    """Call `stop` on SIGINT and SIGTERM."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)


def write_address(app: App) -> None:
    """Leave the listeners' addresses in the data folder, for the commands that need them."""
    if app.admin is None:
        return
    host = app.settings.admin_host
    body = {"url": f"http://{f'[{host}]' if ':' in host else host}:{app.admin.port}"}
    if app.public is not None:
        public = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(app.settings.host, app.settings.host)  # noqa: S104 - read
        body["webhook"] = f"http://{public}:{app.public.port}/webhooks/meta"
    path = app.settings.data_dir / "admin.json"
    with usable(path):
        path.touch(mode=0o600)
        path.write_bytes(orjson.dumps(body))
