"""`coexist demo`: Meta in a box, every role and the page, on an empty temporary data folder, with people talking.

The sandbox is a process of its own and speaks real HTTP, so what is shown is what a real installation does.
"""

import asyncio
import contextlib
import os
import shutil
import sys
import tempfile
import time
import webbrowser
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from services.app import open_app
from services.dead_letters import VERSION
from services.demo.audit import REPEATS, Audit, audit, known_already
from services.demo.meta import MetaInABox, free_or_any, sandbox
from services.running import App
from services.sandbox.config import DEFAULT_SECRET, DEFAULT_TOKEN, DEFAULT_VERIFY_TOKEN
from services.serve import SWITCH_S, on_signals, write_address
from services.settings import Settings
from services.sqlite.file import owner_of

FOLDER = "coexist-demo-"
SETTLE_S = 15.0
STATUS_EVERY_S = 0.25
PLAIN_STATUS_EVERY_S = 5.0
SEND_EVERY_S = 0.4
CUSTOMERS = 14
PAUSE_MINUTES = 0.15
"""In the demo a person's answer holds the bot back for nine seconds, so that both are seen at work."""

AUTOMATIC_WITHIN_S = 0
"""The people of the demo answer faster than any greeting, so there speed tells nothing."""


class Demo:
    """One showing. `balanced` says afterwards whether the sandbox's ledger and our timeline agree."""

    def __init__(self, *, seconds: float | None, browser: bool, seed: int, rate: float) -> None:
        self.seconds = seconds
        self.browser = browser
        self.seed = seed
        self.rate = rate
        self.balanced = True
        self._console = Console(stderr=True)
        self._out = Console()

    async def run(self) -> None:
        """Show until Ctrl-C, or for `seconds` and then the summary."""
        sys.setswitchinterval(SWITCH_S)
        started = time.monotonic()
        sweep(Path(tempfile.gettempdir()))
        with tempfile.TemporaryDirectory(prefix=FOLDER) as folder:
            async with sandbox(self.seed) as meta:
                settings = demo_settings(Path(folder), meta.url)
                async with open_app(settings) as app:
                    on_signals(app.stopping.set)
                    write_address(app)
                    app.sandbox_url = meta.url
                    await meta.point_to(app)
                    self._welcome(app, meta, folder, time.monotonic() - started)
                    await self._show(app, meta)

    async def _show(self, app: App, meta: MetaInABox) -> None:
        await meta.call("POST", "/traffic", {"messages_per_s": self.rate, "echoes_ratio": 0.25, "customers": CUSTOMERS})
        talking = asyncio.create_task(self._bot(app))
        showing = asyncio.create_task(self._status(app))
        working = asyncio.create_task(app.run())
        ending = asyncio.create_task(asyncio.sleep(self.seconds if self.seconds is not None else 10**9))
        await asyncio.wait([working, ending], return_when=asyncio.FIRST_COMPLETED)
        for task in (talking, showing, ending):
            task.cancel()
        await asyncio.gather(talking, showing, ending, return_exceptions=True)
        if self.seconds is not None and not working.done():
            await self._summary(app, meta)
        app.stopping.set()
        await working

    async def _bot(self, app: App) -> None:
        """A bot that answers whoever wrote last, over the same API as everybody's bot."""
        url = f"http://127.0.0.1:{app.admin.port if app.admin else 0}"
        async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
            turn = 0
            while True:
                await asyncio.sleep(SEND_EVERY_S)
                turn += 1
                numbers = (await client.get("/v1/numbers")).json()["numbers"]
                for number in numbers:
                    answer = await client.get("/v1/conversations", params={"number": number["number"], "limit": 20})
                    await _answer_one(client, number["number"], answer.json()["conversations"], turn)

    def _welcome(self, app: App, meta: MetaInABox, folder: str, took_s: float) -> None:
        admin = f"http://127.0.0.1:{app.admin.port if app.admin else 0}"
        public = f"http://127.0.0.1:{app.public.port if app.public else 0}"
        say = self._console.print
        say(
            f"[bold]Coexist {VERSION}[/]  demo: everything here, Meta included. Data in {folder}, deleted at the end.\n"
        )
        say(f"  Sandbox    [bold]{admin}/sandbox[/]    type as the customer, type as the Business App")
        say(f"  Operator   [bold]{admin}/[/]")
        say(f"  Webhook    {public}/webhooks/meta")
        say(f"  Metrics    {admin}/metrics")
        say(f"  Meta       {meta.url}    Graph and signed webhooks, seed {self.seed}")
        say(f"\n  ready in {took_s:.1f} s\n\n  In another terminal, with COEXIST_DATA_DIR={folder}:")
        say(f"    {program()} tail timeline")
        say(f"    {program()} send --number 106540352242922 --to 34600100001 --text hola --wait 5")
        say("  Ctrl-C stops.\n")
        if self.browser and sys.stdin.isatty() and (os.environ.get("DISPLAY") or sys.platform == "darwin"):
            webbrowser.open(f"{admin}/sandbox")

    async def _status(self, app: App) -> None:
        started = time.monotonic()
        if not self._console.is_terminal:
            while True:
                await asyncio.sleep(PLAIN_STATUS_EVERY_S)
                self._console.print(line(app, time.monotonic() - started, self.seconds))
        with self._console.status("") as status:
            while True:
                status.update(line(app, time.monotonic() - started, self.seconds))
                await asyncio.sleep(STATUS_EVERY_S)

    async def _summary(self, app: App, meta: MetaInABox) -> None:
        self._console.print("Meta falls silent; waiting until everything has arrived ...")
        await meta.call("DELETE", "/traffic")
        found = await settled(app, meta)
        self.balanced = found.balanced
        table = Table("what", "count", "check", box=None)
        for row in found.rows:
            table.add_row(row.what, str(row.count), row.check)
        self._out.print(table)
        verdict = "ledger balances" if found.balanced else f"ledger does NOT balance: {found.first_problem}"
        self._out.print(f"{verdict}. {self.seconds:g} s", highlight=False)


def sweep(inside: Path) -> None:
    """Remove the folders of our own demos that were killed: each had an owner, who holds its lock no more."""
    for lock in inside.glob(f"{FOLDER}*/lock"):
        folder = lock.parent
        with contextlib.suppress(OSError):
            if folder.lstat().st_uid == os.getuid() and lock.stat().st_size and not owner_of(folder):
                shutil.rmtree(folder)


async def settled(app: App, meta: MetaInABox) -> Audit:
    """The audit once nothing moves any more: Meta has delivered everything and every lag is zero."""
    deadline = time.monotonic() + SETTLE_S
    await meta.call("POST", "/flush", {"timeout_s": SETTLE_S})
    found = await audit(app, meta)
    while not found.balanced and time.monotonic() < deadline:
        await asyncio.sleep(0.2)
        found = await audit(app, meta)
    return found


def line(app: App, elapsed_s: float, seconds: float | None) -> str:
    """The figures of the moment in one line."""
    value = app.metrics.registry.get_sample_value
    total = sum(value("coexist_ingest_items_total", {"kind": kind}) or 0 for kind in ("message", "echo", "status"))
    echoes = value("coexist_ingest_items_total", {"kind": "echo"}) or 0
    own, repeats = known_already(app)
    sent = value("coexist_sends_total", {"outcome": "accepted"}) or 0
    left = f" · {max(0, seconds - elapsed_s):.0f} s left" if seconds is not None else ""
    return (
        f"  items {total:.0f} · echoes {echoes:.0f} · {REPEATS} {repeats} · own echoes matched {own}"
        f" · sends {sent:.0f}{left}"
    )


def demo_settings(folder: Path, graph_url: str) -> Settings:
    """Settings of a showing: the usual ports where they are free, else any."""
    return Settings.model_validate(
        {
            "data_dir": folder,
            "host": "127.0.0.1",
            "port": free_or_any(8080),
            "admin_port": free_or_any(8081),
            "meta_app_secrets": DEFAULT_SECRET,
            "meta_verify_token": DEFAULT_VERIFY_TOKEN,
            "meta_access_token": DEFAULT_TOKEN,
            "meta_graph_url": graph_url,
            "pause_minutes": PAUSE_MINUTES,
            "automatic_within_s": AUTOMATIC_WITHIN_S,
        }
    )


def program() -> str:
    """How to call this program in a terminal: by its name where that leads to it, else by its path from here."""
    own = Path(sys.argv[0])
    if shutil.which(own.name):
        return own.name
    return os.path.relpath(own) if own.is_file() else own.name


async def _answer_one(client: httpx.AsyncClient, number: str, found: list[dict[str, Any]], turn: int) -> None:
    waiting = [one for one in found if one["unread"] and one["owner"] != "person_app" and "wa_id" in one["contact"]]
    if not waiting:
        return
    chosen = waiting[turn % len(waiting)]
    text = {"body": f"Gràcies! Ara ho miro. ({turn})"}
    body = {"number": number, "to": chosen["contact"]["wa_id"], "type": "text", "text": text, "origin": "bot"}
    await client.post("/v1/messages", json=body)
