"""P12: what a history import costs the live echoes beside it, and whether it wakes anybody.

Both come as signed webhooks over HTTP: live ones at a steady rate, first alone, then while the import runs.
"""

import json
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from services.app import ROLES
from services.bench.bodies import Workload
from services.bench.line import Line, Say, median
from services.bench.load import Plan
from services.bench.rig import BenchFailed, Service, load, service, stop

ROUNDS = 5
RATE_PER_S = 100
"""Five coexistence numbers at the most that Meta lets one of them do."""
ALONE_S, SLICE_S, POLL_S, GIVE_UP_S = 8.0, 4.0, 0.5, 600.0
CONNECTIONS = 16
CHUNK, CHUNKS_AT_ONCE, PEOPLE = 500, 2, 2_000
LIVE = Workload(echo_every=2)
P99_RATIO, P99_MS = 2.0, 25.0


def beside_an_import(say: Say, messages: int) -> Iterator[Line]:
    """P12: p99 of live messages while `messages` are imported, beside that of the same service just before."""
    alone, beside, rates, woken = [], [], [], 0.0
    for turn in range(ROUNDS):
        say(f"round {turn + 1} of {ROUNDS}: {messages:,} messages of history")
        found = _round(messages)
        alone.append(found["p99_ms"])
        beside.append(found["import_p99_ms"])
        rates.append(found["imported"] / found["import_s"])
        woken += found["woken"]
    limit = max(P99_RATIO * median(alone), P99_MS)
    yield Line(
        "P12",
        f"echo latency at {RATE_PER_S}/s beside an import of {messages:,}, p99",
        f"≤ {limit:.0f} ms",
        f"{median(alone):.1f} ms",
        f"{median(beside):.1f} ms",
        f"{median(beside) / median(alone):.1f}",
        met=median(beside) <= limit,
    )
    yield Line("P12", "conversations woken by it", "0", "", f"{woken:.0f}", "", met=not woken)
    yield Line("P12", "imported", "", "", f"{median(rates):,.0f} messages/s", "")


def _round(messages: int) -> dict[str, float]:
    with (
        tempfile.TemporaryDirectory(prefix="coexist-bench-") as folder,
        service(Path(folder), ",".join(ROLES), watch=True) as running,
    ):
        sent = load(Plan(running.port, LIVE, CONNECTIONS, 0.0, ALONE_S, RATE_PER_S)).sent
        with ThreadPoolExecutor(1) as beside:
            history = Workload(messages=CHUNK, contacts=PEOPLE, imported=True)
            chunks = -(-messages // CHUNK)
            plan = Plan(running.port, history, CHUNKS_AT_ONCE, 0.0, GIVE_UP_S, requests_max=chunks)
            importing = beside.submit(load, plan)
            give_up = time.monotonic() + GIVE_UP_S
            while not importing.done() or not _is_idle(running):
                if time.monotonic() > give_up:
                    raise BenchFailed("the import did not end")
                sent += load(Plan(running.port, LIVE, CONNECTIONS, 0.0, SLICE_S, RATE_PER_S, first=sent)).sent
            importing.result()
        found: dict[str, float] = json.loads(stop(running.process))
    if found["imported"] < messages:
        raise BenchFailed(f"of {messages} imported messages {found['imported']:.0f} came to the timeline")
    return found


def _is_idle(running: Service) -> bool:
    """Whether every processor has read what there was; live traffic has just paused."""
    time.sleep(POLL_S)
    return running.metric("coexist_lag_events") == 0
