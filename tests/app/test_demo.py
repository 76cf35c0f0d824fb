"""`coexist demo`: the first thing anybody runs, as they run it."""

import json
import re
import shutil
import tempfile
from pathlib import Path

from services import console
from tests.processes import COEXIST, Process, busy, coexist, environment

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
