"""P1, P2 and P3: signed webhooks made durable, beside a server that only reads them, and beside a client library."""

import importlib.util
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from services.app import ROLES
from services.bench.bodies import Workload
from services.bench.line import Line, Say, median
from services.bench.load import Load, Plan
from services.bench.rig import cores, listening, load, service

ROUNDS = 3
CONNECTIONS = 64
SECONDS = 2.0
P1_RATIO, P1_P99_MS = 0.50, 15.0
P2_RATIOS = {10: 0.20, 100: 0.12}
PYWA_RATIO = 2.5
BUSY_MAX = 0.95
"""A load client that needs more of its core than this has measured itself."""


@dataclass(frozen=True, slots=True)
class Edge:
    """Medians over rounds in which floor and service took turns: webhooks a second, their ratio, and our p99."""

    floor_per_s: float
    per_s: float
    ratio: float
    p99_ms: float
    busy: float


def one_message(say: Say) -> Iterator[Line]:
    """P1: one message per webhook; then, told only, with the other roles in the same process."""
    found = _compare(1, "ingest", ROUNDS, say)
    met = found.ratio >= P1_RATIO and found.p99_ms <= P1_P99_MS and found.busy < BUSY_MAX
    wanted = f"≥ {P1_RATIO:.2f}, p99 ≤ {P1_P99_MS:.0f} ms"
    yield _line("P1", "durable ingest, 1 message", wanted, found, 1, met)
    yield _line("P1", "the same with all roles", "", _compare(1, ",".join(ROLES), 1, say), 1, None)


def many_messages(say: Say) -> Iterator[Line]:
    """P2: 10 and 100 messages per webhook."""
    for messages, ratio in P2_RATIOS.items():
        found = _compare(messages, "ingest", ROUNDS, say)
        met = found.ratio >= ratio and found.busy < BUSY_MAX
        yield _line("P2", f"durable ingest, {messages} messages", f"≥ {ratio:.2f}", found, messages, met)
        everything = _compare(messages, ",".join(ROLES), 1, say)
        yield _line("P2", "the same with all roles", "", everything, messages, None)


def against_pywa(say: Say) -> Iterator[Line]:
    """P3: the requests a second of pywa, which stores nothing, on the same load."""
    what = "durable ingest against pywa"
    if importlib.util.find_spec("pywa") is None:
        yield Line("P3", what, f"≥ {PYWA_RATIO}", "not installed: pip install pywa to measure", "", "")
        return
    ratios, floors, figures = [], [], []
    for turn in range(ROUNDS):
        say(f"pywa, round {turn + 1} of {ROUNDS}")
        floors.append(_floor("pywa", 1).per_s)
        figures.append(_service("ingest", 1).per_s)
        ratios.append(figures[-1] / floors[-1])
    ratio = median(ratios)
    floor, figure = f"{median(floors):,.0f}/s", f"{median(figures):,.0f}/s"
    yield Line("P3", what, f"≥ {PYWA_RATIO}", floor, figure, f"{ratio:.2f}", met=ratio >= PYWA_RATIO)


def _compare(messages: int, roles: str, rounds: int, say: Say) -> Edge:
    floors, loads = [], []
    for turn in range(rounds):
        say(f"{messages} per webhook, {roles}, round {turn + 1} of {rounds}")
        floors.append(_floor("http", messages))
        loads.append(_service(roles, messages))
    return Edge(
        median([floor.per_s for floor in floors]),
        median([found.per_s for found in loads]),
        median([found.per_s / floor.per_s for floor, found in zip(floors, loads, strict=True)]),
        median([found.p99_ms for found in loads]),
        median([found.busy for found in (*floors, *loads)]),
    )


def _floor(name: str, messages: int) -> Load:
    with listening("services.bench.floors", name, cores()[0]) as port:
        return load(Plan(port, Workload(messages), CONNECTIONS, seconds=SECONDS))


def _service(roles: str, messages: int) -> Load:
    with tempfile.TemporaryDirectory(prefix="coexist-bench-") as folder, service(Path(folder), roles) as running:
        return load(Plan(running.port, Workload(messages), CONNECTIONS, seconds=SECONDS))


def _line(goal: str, what: str, wanted: str, found: Edge, messages: int, met: bool | None) -> Line:  # noqa: FBT001
    per_message = f" ({found.per_s * messages:,.0f} msg/s)" if messages > 1 else ""
    figure = f"{found.per_s:,.0f}/s{per_message}, p99 {found.p99_ms:.1f} ms"
    return Line(goal, what, wanted, f"{found.floor_per_s:,.0f}/s", figure, f"{found.ratio:.2f}", met)
