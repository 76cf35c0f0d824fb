"""`coexist run`: open the app, say where it is, work until a signal asks for the end."""

import asyncio
import gc
import signal
import sys
from collections.abc import Callable, Sequence

import orjson

from services.app import open_app
from services.running import App
from services.settings import Settings

SWITCH_S = 0.001
"""How long one thread may hold the interpreter while the commit thread waits for it."""


def loop_factory() -> asyncio.AbstractEventLoop:
    """The event loop of the service: uvloop."""
    import uvloop  # noqa: PLC0415 - tools that only read do without it

    return uvloop.new_event_loop()


async def serve(settings: Settings, roles: Sequence[str], announce: Callable[[App], None]) -> None:
    """Run the roles until SIGINT or SIGTERM. `announce` is told when everything listens."""
    sys.setswitchinterval(SWITCH_S)
    async with open_app(settings, roles) as app:
        on_signals(app.stopping.set)
        write_address(app)
        gc.collect()
        gc.freeze()
        announce(app)
        await app.run()


def on_signals(stop: Callable[[], None]) -> None:
    """Call `stop` on SIGINT and SIGTERM."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)


def write_address(app: App) -> None:
    """Leave the admin listener's address in the data folder, for the commands that need it."""
    if app.admin is None:
        return
    host = app.settings.admin_host
    body = {"url": f"http://{f'[{host}]' if ':' in host else host}:{app.admin.port}"}
    (app.settings.data_dir / "admin.json").write_bytes(orjson.dumps(body))
