"""One browser per module: while it is open its library's loop runs on this thread, where asyncio tests want theirs."""

import os
import shutil

import pytest

from tests.browser.rig import CHROMIUM_FLAGS, World

NAMES = ("chromium", "chromium-browser", "google-chrome")
_said = []


def _missing(reason):
    """Skip, to be said loudly at the end; with COEXIST_REQUIRE_BROWSER it is a failure."""
    if os.environ.get("COEXIST_REQUIRE_BROWSER"):
        pytest.fail(reason)
    _said.append(reason)
    pytest.skip(reason)


def pytest_terminal_summary(terminalreporter):
    """One loud line, whatever is captured."""
    if _said:
        terminalreporter.write_line(f"*** NO BROWSER TESTS WERE RUN: {_said[0]} ***", red=True, bold=True)


@pytest.fixture(scope="module")
def browser():
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _missing("playwright is not installed; install tests/requirements.txt")
    chromium = next(filter(None, map(shutil.which, NAMES)), None)
    if chromium is None:
        _missing("there is no chromium on this machine; install Debian's package chromium")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=list(CHROMIUM_FLAGS))
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def world(browser, tmp_path_factory):
    with World(tmp_path_factory.mktemp("world")) as opened:
        yield opened
