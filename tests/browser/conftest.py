"""One browser per module: while it is open its library's loop runs on this thread, where asyncio tests want theirs."""

import os
import shutil

import pytest

from tests.browser.rig import CHROMIUM_FLAGS, World

NAMES = ("chromium", "chromium-browser", "google-chrome")
_said = []


def _missing(request, reason):
    """Say it loudly, once, whatever is captured; with COEXIST_REQUIRE_BROWSER it is a failure."""
    if os.environ.get("COEXIST_REQUIRE_BROWSER"):
        pytest.fail(reason)
    if not _said:
        _said.append(reason)
        reporter = request.config.pluginmanager.get_plugin("terminalreporter")
        reporter.ensure_newline()
        reporter.write_line(f"*** NO BROWSER TESTS: {reason} ***", red=True, bold=True)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def browser(request):
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _missing(request, "playwright is not installed; install tests/requirements.txt")
    chromium = next(filter(None, map(shutil.which, NAMES)), None)
    if chromium is None:
        _missing(request, "there is no chromium on this machine; install Debian's package chromium")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=list(CHROMIUM_FLAGS))
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def world(browser, tmp_path_factory):
    with World(tmp_path_factory.mktemp("world")) as opened:
        yield opened
