"""P10 and P11: how soon it is ready, what memory it keeps, and how it comes back after it was killed."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from services.app import ROLES
from services.bench.bodies import Workload
from services.bench.line import Line, Say, median
from services.bench.load import Plan
from services.bench.rig import RUN, BenchFailed, Service, cores, load, plain_environment, result, service, start, stop

ROUNDS = 3
READY_S, HELP_S, IDLE_MIB, GROWTH_MIB = 2.0, 0.3, 120.0, 20.0
SETTLE_S = 1.0
FULL_EVENTS = 1_000_000
STEPS = 4
FLAT_MIB = 2.0
PER_WEBHOOK = 100
CAUGHT_UP_S = 120.0

RESTART_READY_S, RESTART_CAUGHT_UP_S = 2.0, 5.0
LOG_EVENTS, UNREAD_EVENTS = 1_000_000, 5_000
POLL_S = 0.01


def start_and_memory(say: Say, events: int) -> Iterator[Line]:
    """P10: `coexist run` until ready, `coexist --help`, memory idle, and what a million events add to it.

    `events`: how many are really sent; when the last half of them adds nothing, a million would not either.
    """
    say("starting")
    readies = [_ready_s() for _ in range(ROUNDS)]
    yield _within("P10", "ready after coexist run", READY_S, median(readies), "s")
    say("--help")
    yield _within("P10", "coexist --help", HELP_S, median([_help_s() for _ in range(ROUNDS)]), "s")
    yield from _memory(say, events)


def _within(goal: str, what: str, limit: float, found: float, unit: str) -> Line:
    figure = f"{found:.2f} {unit}" if unit == "s" else f"{found:.0f} {unit}"
    return Line(goal, what, f"≤ {limit:g} {unit}", "", figure, f"{found / limit:.2f}", met=found <= limit)


def _ready_s() -> float:
    with tempfile.TemporaryDirectory(prefix="coexist-bench-") as folder:
        started = time.perf_counter()
        with service(Path(folder), ",".join(ROLES)):
            return time.perf_counter() - started


def _help_s() -> float:
    started = time.perf_counter()
    subprocess.run(  # noqa: S603 - ourselves
        [sys.executable, "-c", RUN, "--help"], env=plain_environment(), stdout=subprocess.DEVNULL, check=True
    )
    return time.perf_counter() - started


def _memory(say: Say, events: int) -> Iterator[Line]:
    workload = Workload(messages=PER_WEBHOOK, echo_every=3)
    with (
        tempfile.TemporaryDirectory(prefix="coexist-bench-") as folder,
        service(Path(folder), ",".join(ROLES)) as running,
    ):
        time.sleep(SETTLE_S)
        sizes = [running.rss_mib]
        yield _within("P10", "memory idle", IDLE_MIB, sizes[0], "MiB")
        webhooks = events // STEPS // PER_WEBHOOK
        for step in range(STEPS):
            say(f"memory, {events * (step + 1) // STEPS:,} of {events:,} events")
            load(Plan(running.port, workload, 8, 0.0, CAUGHT_UP_S, requests_max=webhooks, first=step * webhooks))
            _await_caught_up(running)
            sizes.append(running.rss_mib)
    yield _growth_line(sizes, events)


def _growth_line(sizes: list[float], events: int) -> Line:
    grown, late = sizes[-1] - sizes[0], sizes[-1] - sizes[STEPS // 2]
    if late <= FLAT_MIB:
        how = f"flat from {events // 2:,} to {events:,}"
    elif events >= FULL_EVENTS:
        how = f"after {events:,}"
    else:
        grown += late * 2 * (FULL_EVENTS - events) / events
        how = f"as it grew from {events // 2:,} to {events:,}"
    figure = f"+{grown:.0f} MiB, {how}"
    what = f"memory after {FULL_EVENTS:,} events"
    return Line("P10", what, f"≤ +{GROWTH_MIB:.0f} MiB", "", figure, f"{grown / GROWTH_MIB:.2f}", grown <= GROWTH_MIB)


def _await_caught_up(running: Service) -> None:
    """Wait until no processor has anything left to read."""
    give_up = time.monotonic() + CAUGHT_UP_S
    quiet = 0
    while quiet < 3:  # the lag of a processor is known once it has looked at what another has just written
        if time.monotonic() > give_up:
            raise BenchFailed("the service did not catch up")
        time.sleep(POLL_S)
        quiet = quiet + 1 if running.metric("coexist_lag_events") == 0 else 0


def restart(say: Say) -> Iterator[Line]:
    """P11: killed over a log of a million events, how soon it is ready and has read what it had not."""
    with tempfile.TemporaryDirectory(prefix="coexist-bench-") as name:
        folder = Path(name)
        say(f"writing a log of {LOG_EVENTS:,} events")
        result(["services.bench.service", "long-log", name, str(LOG_EVENTS), str(UNREAD_EVENTS)], cores()[0])
        say("killing and starting again")
        start(folder, ",".join(ROLES)).kill()
        started = time.perf_counter()
        running = start(folder, ",".join(ROLES))
        ready_s = time.perf_counter() - started
        try:
            _await_caught_up(running)
            caught_up_s = time.perf_counter() - started
        finally:
            stop(running.process)
    yield _within("P11", "restart after SIGKILL, ready", RESTART_READY_S, ready_s, "s")
    yield _within("P11", "restart after SIGKILL, caught up", RESTART_CAUGHT_UP_S, caught_up_s, "s")
