"""A service with Meta in a box on a thread of its own, and a browser's page that is watched while a test uses it."""

import asyncio
import contextlib
import threading
import time
from functools import cache
from importlib.resources import files
from pathlib import Path
from urllib.parse import urlsplit

from tests.app.rig import together

try:
    from playwright.sync_api import expect
except ImportError:  # the fixture `browser` says so, and every test here wants it
    expect = None

START_S = 60
WAIT_MS = 20_000
"""So long for what must come at all; a test that promises a time measures it."""
CHROMIUM_FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
ARTEFACTS = Path(__file__).parents[2] / "test-artefacts" / "browser"
DESK = {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light"}
PHONE = {"viewport": {"width": 375, "height": 740}, "color_scheme": "dark", "has_touch": True}


class World:
    """`run(coroutine)` works on the service's own loop, whoever asks; `rig` is what the tests of the app use."""

    def __init__(self, folder, about=None, *, opener=together, token=""):
        self._folder, self._about, self._opener = folder, about, opener
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._ready = threading.Event()
        self._problem = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._live()), name="world")

    def __enter__(self):
        self._thread.start()
        assert self._ready.wait(START_S), "the service did not start"
        if self._problem:
            raise self._problem
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(START_S)
        if self._problem:
            raise self._problem

    async def _live(self):
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        try:
            async with self._opener(self._folder, about=self._about) as self.rig:
                self.rig.admin.headers.update(self._headers)
                if self.rig.meta is not None:
                    self.rig.app.sandbox_url = str(self.rig.meta.base_url).rstrip("/")
                self.url = f"http://127.0.0.1:{self.rig.app.admin.port}"
                self._ready.set()
                await self._end.wait()
        except Exception as problem:  # noqa: BLE001 - raised where somebody waits for this thread
            self._problem = problem
            self._ready.set()

    def run(self, coroutine):
        """What a coroutine returned."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(START_S)


@contextlib.contextmanager
def watched(browser, url, **look):
    """A page in a context of its own. Errors on its console and requests to another host fail the test that used it."""
    context = browser.new_context(base_url=url, locale="en-GB", **look)
    context.set_default_timeout(WAIT_MS)
    expect.set_options(timeout=WAIT_MS)
    page = context.new_page()
    page.problems = []
    host = urlsplit(url).netloc
    page.on("console", lambda m: page.problems.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.on("request", lambda r: page.problems.append(r.url) if urlsplit(r.url).netloc != host else None)
    try:
        yield page
        assert page.problems == []
    finally:
        context.close()


class Held:
    """The answer to the first request for `pattern`, kept back as a busy machine may keep it, until it is let go."""

    def __init__(self, page, pattern):
        self._page, self._kept = page, None
        page.route(pattern, self._keep)

    def _keep(self, route):
        if self._kept is None:
            self._kept = route, route.fetch()
        else:
            route.continue_()

    def wait(self):
        """Return once there is one."""
        end = time.monotonic() + WAIT_MS / 1000
        while self._kept is None:
            assert time.monotonic() < end, "nobody asked"
            self._page.wait_for_timeout(10)

    def let_go(self):
        """Return once the page has the answer."""
        route, answer = self._kept
        with self._page.expect_event("requestfinished", lambda request: request == route.request):
            route.fulfill(response=answer)
        self._page.evaluate("new Promise(requestAnimationFrame)")


def fits(page):
    """Nothing stands out to the right."""
    wide, seen = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    return wide <= seen


@cache
def _axe():
    return files("axe_playwright_python").joinpath("axe.min.js").read_text()


def violations(page):
    """What axe-core finds wrong with the page as it stands, as it looks now: the rule, and what breaks it."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(_axe())
    page.emulate_media(reduced_motion="reduce")
    report = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [(one["id"], one["impact"], [node["html"] for node in one["nodes"]]) for one in report["violations"]]


def measured(what):
    """A sentence with figures, kept among the artefacts."""
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    with (ARTEFACTS / "measured.txt").open("a") as file:
        file.write(f"{what}\n")


def keep_picture(page, name):
    """A screenshot of the whole page among the artefacts."""
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=ARTEFACTS / f"{name}.png", full_page=True)
