"""What the house promises of itself: who may import whom, how long files and functions are, what pure files leave."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from schemas.events import DATA, ON
from schemas.topics import TOPICS
from tests.simulation.line import LAIA, Line
from tests.simulation.scripts import plain, write
from tests.simulation.test_confluence import run

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("schemas", "ingest", "echo_sync", "sender", "services")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
PURE = sorted(
    [*(ROOT / "echo_sync").glob("*.py")]
    + [ROOT / "sender" / name for name in ("command.py", "conditions.py", "delivery.py", "errors.py", "lanes.py")]
    + [ROOT / "sender" / name for name in ("looks.py", "pace.py", "pacing.py", "pauses.py", "permission.py")]
    + [ROOT / "sender" / name for name in ("reading.py", "refusals.py", "turn.py")]
    + [ROOT / "ingest" / name for name in ("signature.py", "normalize.py")]
)
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 50
CLOCKS = {"time", "datetime", "random", "secrets", "os", "asyncio", "logging", "structlog", "socket", "threading"}


def name_of(path):
    return str(path.relative_to(ROOT))


def functions(path):
    tree = ast.parse(path.read_text())
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def test_the_import_contracts_hold():
    lint = Path(sys.executable).with_name("lint-imports")
    command = str(lint) if lint.exists() else shutil.which("lint-imports")
    assert command, "import-linter is missing; `make test` installs it"
    done = subprocess.run([command, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_file_can_be_read_in_one_sitting(path):
    assert len(path.read_text().splitlines()) <= FILE_LINES_MAX


def test_no_function_is_longer_than_a_screen():
    long = [
        f"{name_of(path)}:{node.name}"
        for path in FILES
        for node in functions(path)
        if node.end_lineno - node.lineno >= FUNCTION_LINES_MAX
    ]
    assert long == []


@pytest.mark.parametrize("path", PURE, ids=name_of)
def test_a_pure_file_asks_no_clock_and_says_nothing(path):
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            assert getattr(node.func, "id", "") not in {"print", "sleep", "open", "input"}
            assert getattr(node.func, "attr", "") not in {"sleep", "read_text", "write_text", "connect"}
        if isinstance(node, ast.Import):
            assert not CLOCKS & {alias.name.split(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert (node.module or "").split(".")[0] not in CLOCKS
        assert not isinstance(node, ast.AsyncFunctionDef | ast.Await)


def test_every_type_that_a_simulation_emits_is_published():
    seen = set()
    for seed in range(60):
        memory = run(plain(write(seed)), seed)
        seen |= {(topic, event.type) for topic, events in memory.log.items() for event in events}
    line = Line()
    line.ask("c1", policy="at_most_once")
    line.answer("ambiguous")
    line.later(200)
    line.ask("c2", LAIA.wa_id)
    line.answer("accepted")
    seen |= {(topic, event.type) for topic, events in line.log.items() for event in events}
    assert len(seen) > 15
    for topic, kind in seen:
        assert kind in ON[topic]
        assert kind in DATA


def test_every_topic_says_what_it_carries():
    assert set(ON) == set(TOPICS)
