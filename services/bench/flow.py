"""P4, P5 and P9: from `inbound` to the timeline: how many a second, how soon, and whether growth makes it dearer."""

import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from services.app import ROLES
from services.bench.bodies import Workload
from services.bench.line import Line, Say, median
from services.bench.load import Plan
from services.bench.rig import BenchFailed, cores, load, result, service, stop

ROUNDS = 3
EVENTS = 30_000
P4_RATIO = 0.20

LATENCIES = {100: 10.0, 500: 10.0, 2_000: 25.0}
"""Events a second, and the p99 in milliseconds that is wanted."""
P50_MS = 3.0
COMMITS_P99_MAX = 4.0
LATENCY_S = 8.0
COMMIT_S = 3.0
CONNECTIONS = 16

GROWTH_RATIO = 1.2
GROWTH_EVENTS = 16_000
NUMBERS, NUMBERS_MANY = 2, 2_000
HISTORY, HISTORY_LONG = 2_000, 200_000


def catching_up(say: Say) -> Iterator[Line]:
    """P4: both processors of echo_sync over a filled `inbound`, beside a bare batch upsert."""
    floors, figures = [], []
    for turn in range(ROUNDS):
        say(f"round {turn + 1} of {ROUNDS}")
        floors.append(float(result(["services.bench.floors", "upsert"], cores()[0])["per_s"]))
        phase = _phases(Workload(echo_every=3), [EVENTS])[0]
        figures.append(phase["events"] / phase["wall_s"])
    ratio = median([figure / floor for figure, floor in zip(figures, floors, strict=True)])
    floor, figure = f"{median(floors):,.0f}/s", f"{median(figures):,.0f} ev/s"
    met = ratio >= P4_RATIO
    yield Line("P4", "inbound → timeline, conversations", f"≥ {P4_RATIO:.2f}", floor, figure, f"{ratio:.2f}", met)


def echo_latency(say: Say) -> Iterator[Line]:
    """P5: webhook received → a subscriber has it from the timeline, at three rates; all roles in one process."""
    for rate, p99_ms in LATENCIES.items():
        say(f"{rate} events a second")
        floor = result(["services.bench.floors", "commit", str(rate), str(COMMIT_S)], cores()[0])
        found = _latency(rate)
        by_time = found["p99_ms"] <= p99_ms and found["p50_ms"] <= P50_MS
        ratio = found["p99_ms"] / floor["p99_ms"]
        yield Line(
            "P5",
            f"echo latency at {rate:,}/s, p50 / p99",
            f"≤ {P50_MS:.0f} / {p99_ms:.0f} ms, or p99 ≤ {COMMITS_P99_MAX:.0f} floors",
            f"{floor['p50_ms']:.1f} / {floor['p99_ms']:.1f} ms",
            f"{found['p50_ms']:.1f} / {found['p99_ms']:.1f} ms",
            f"{ratio:.1f}",
            met=by_time or ratio <= COMMITS_P99_MAX,
        )


def _latency(rate: int) -> dict[str, float]:
    roles = ",".join(ROLES)
    with (
        tempfile.TemporaryDirectory(prefix="coexist-bench-") as folder,
        service(Path(folder), roles, watch=True) as running,
    ):
        sent = load(Plan(running.port, Workload(echo_every=2), CONNECTIONS, 0.0, LATENCY_S, rate)).sent
        found: dict[str, float] = json.loads(stop(running.process))
    if found["count"] < sent:
        raise BenchFailed(f"of {sent} messages {found['count']:.0f} came to the timeline")
    return found


def growth(say: Say) -> Iterator[Line]:
    """P9: seconds of the processor per event, which neighbours on the machine disturb less than the clock."""
    few = Workload(numbers=NUMBERS, contacts=NUMBERS_MANY, echo_every=3)
    many = Workload(numbers=NUMBERS_MANY, contacts=NUMBERS_MANY, echo_every=3)
    say(f"{NUMBERS} numbers, then {HISTORY_LONG:,} messages of history")
    small = _phases(few, [HISTORY, GROWTH_EVENTS, HISTORY_LONG - HISTORY - GROWTH_EVENTS, GROWTH_EVENTS])
    say(f"{NUMBERS_MANY:,} numbers")
    wide = _phases(many, [HISTORY, GROWTH_EVENTS])
    base, long, numbers = (_cost_us(phase) for phase in (small[1], small[3], wide[1]))
    yield _growth_line(f"{NUMBERS_MANY // NUMBERS:,} times more numbers", base, numbers)
    yield _growth_line(f"{HISTORY_LONG // HISTORY} times more history", base, long)


def _growth_line(what: str, base_us: float, figure_us: float) -> Line:
    ratio = figure_us / base_us
    return Line(
        "P9",
        f"cost per event, {what}",
        f"≤ {GROWTH_RATIO}",
        f"{base_us:.0f} µs",
        f"{figure_us:.0f} µs",
        f"{ratio:.2f}",
        met=ratio <= GROWTH_RATIO,
    )


def _cost_us(phase: dict[str, float]) -> float:
    return phase["cpu_s"] / phase["events"] * 1e6


def _phases(workload: Workload, counts: Sequence[int]) -> Any:
    with tempfile.TemporaryDirectory(prefix="coexist-bench-") as folder:
        wanted = {"folder": folder, "workload": asdict(workload), "counts": list(counts)}
        return result(["services.bench.service", "phases", json.dumps(wanted)], cores()[0])
