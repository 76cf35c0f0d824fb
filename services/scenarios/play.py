"""Running a scenario: a sandbox, the whole service on an empty folder, and the story between them."""

import asyncio
import tempfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import httpx

from services.app import open_app
from services.demo.meta import sandbox
from services.demo.run import demo_settings
from services.running import App
from services.sandbox.config import Number
from services.scenarios.stage import DEADLINE_S, Stage, StoryBroke
from services.settings import Settings

PATIENT = {"pause_minutes": 30.0, "automatic_within_s": 5.0}
"""The story's people take their time, so the usual settings hold, and not the demo's."""


async def run(name: str, seed: int, say: Callable[[str], object]) -> bool:
    """Play a scenario from an empty folder to its end. True when everything it promises held."""
    with tempfile.TemporaryDirectory(prefix="coexist-scenario-") as folder:
        async with sandbox(seed) as meta:
            settings = Settings.model_validate(demo_settings(Path(folder), meta.url).model_dump() | PATIENT)
            async with open_app(settings) as app:
                await meta.point_to(app)
                working = asyncio.create_task(app.run())
                held = await told(name, app, meta.url, say)
                app.stopping.set()
                await working
    return held


async def told(
    name: str, app: App, sandbox_url: str, say: Callable[[str], object], deadline_s: float = DEADLINE_S
) -> bool:
    """Play a scenario on a running service and a sandbox that know each other. True when all it promises held."""
    story = import_module(f"services.scenarios.{name}")
    admin = f"http://127.0.0.1:{app.admin.port if app.admin else 0}"
    async with (
        httpx.AsyncClient(base_url=sandbox_url, timeout=DEADLINE_S, trust_env=False) as meta,
        httpx.AsyncClient(base_url=admin, timeout=DEADLINE_S, trust_env=False) as service,
    ):
        try:
            stage = Stage(meta, service, say, Number().phone_number_id, deadline_s)
            await stage.open()
            await story.play(stage)
        except StoryBroke as broken:
            say(f"    ✗ {broken}")
            return False
    say("\nEverything the story promises held.")
    return True
