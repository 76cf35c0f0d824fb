"""`coexist demo`: the first thing anybody runs, as they run it."""

import fcntl
import json
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path

import httpx

from services import console
from services.demo.meta import free_or_any
from services.demo.run import sweep
from tests.processes import COEXIST, LOOK_S, STOP_S, Process, busy, coexist, environment, free_port

SECONDS = 8
ROWS = (
    "webhook items acknowledged",
    "messages on timeline",
    "shown twice",
    "gaps in seq",
    "sends accepted",
    "echoes received",
    "repeats dropped",
    "own echoes matched",
    "echo latency p50 / p99",
)


DEMO = """
import asyncio
from services.demo.meta import sandbox

async def show():
    async with sandbox(7, {port}) as meta:
        await asyncio.Event().wait()

asyncio.run(show())
"""


def folders():
    return set(Path(tempfile.gettempdir()).glob("coexist-demo-*"))


def test_the_demo_ends_by_itself_with_a_ledger_that_balances(tmp_path):
    result = coexist("demo", "--seconds", SECONDS, "--no-browser", "--seed", 7, cwd=tmp_path, timeout_s=120)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "ledger balances" in result.stdout
    assert all(row in result.stdout for row in ROWS)
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_two_figures_of_the_page_and_the_terminal_have_two_names():
    texts = json.loads((Path(console.__file__).parent / "i18n" / "en.json").read_text())
    assert "repeats dropped" not in texts.values()
    assert not any("duplicates" in one.lower() for one in (*texts.values(), *ROWS))


def test_the_demo_ends_with_0_when_it_is_interrupted_and_leaves_nothing_behind(tmp_path):
    with Process([*COEXIST, "demo", "--no-browser"], tmp_path, "demo", environment()) as process:
        process.until(lambda: "Ctrl-C stops." in process.err.read_text())
        told = process.err.read_text().replace("\n", "")
        (folder,) = (one for one in folders() if one.name in told)
        printed = re.search(r":\s+(\S+)\s+tail timeline", told)[1]
        assert shutil.which(printed) or Path(printed).is_file(), "the command that is shown leads nowhere"
        code, took_s = process.stop()
        assert code == 0
        assert took_s < 3 or busy()
        assert not folder.exists()


def test_the_sandbox_of_a_demo_that_was_killed_ends_too_and_its_port_is_free_again(tmp_path):
    url = f"http://127.0.0.1:{(port := free_port())}/healthz"
    with Process([sys.executable, "-c", DEMO.format(port=port)], tmp_path, "demo", environment()) as process:
        process.until(lambda: httpx.get(url).status_code == 200)
        process.kill()
    end = time.monotonic() + STOP_S
    while free_or_any(port) == 0:
        assert time.monotonic() < end, "the sandbox lives on"
        time.sleep(LOOK_S)


def test_the_folder_of_a_demo_that_was_killed_is_removed_and_nobody_else_s(tmp_path):
    for name, lock in (("coexist-demo-dead", "1"), ("coexist-demo-at-work", "2"), ("coexist-demo-new", ""), ("x", "3")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "lock").write_text(lock)
        (tmp_path / name / "coexist.db").write_text("what people wrote")
    (tmp_path / "coexist-demo-newest").mkdir()
    (tmp_path / "coexist-demo-elsewhere").symlink_to(tmp_path / "x")
    with (tmp_path / "coexist-demo-at-work" / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        sweep(tmp_path)
    left = sorted(one.name.removeprefix("coexist-demo-") for one in tmp_path.iterdir())
    assert left == ["at-work", "elsewhere", "new", "newest", "x"]
    assert (tmp_path / "x" / "coexist.db").exists()
