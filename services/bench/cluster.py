"""P6 and P7: the same way on Kafka and Postgres, beside the least that must happen there and the embedded edition.

COEXIST_KAFKA_BOOTSTRAP_SERVERS and COEXIST_DATABASE_URL say where they are; `make bench-cluster` starts both. The
bench makes topics and a schema of its own and removes them.
"""

import asyncio
import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from services.app import ROLES
from services.bench.bodies import Workload
from services.bench.line import Line, Say, median
from services.bench.load import Plan
from services.bench.rig import BenchFailed, Service, cores, load, result, service, stop
from services.settings import Settings, SettingsError
from services.settings import load as load_settings

RATE_PER_S = 500
P6_RATIO, P7_RATIO = 3.0, 0.25
ROUNDS = 3
LATENCY_S, FLOOR_S = 8.0, 4.0
CONNECTIONS, BUSY_CONNECTIONS = 16, 64
EVENTS = 20_000
LIMIT_S = 120.0
POLL_S = 0.02
PARTITIONS = 12
WAY = "ingest,echo-sync"
"""The roles between a webhook and the timeline."""


def latency(say: Say) -> Iterator[Line]:
    """P6: webhook received → a subscriber has it from `timeline` on Kafka; all roles in one process."""
    what = f"cluster: webhook → timeline at {RATE_PER_S}/s, p50 / p99"
    wanted = f"p99 ≤ {P6_RATIO:.0f} floors (produce → consume, commit)"
    missing = _missing()
    if missing:
        yield Line("P6", what, wanted, "", f"not measured: {missing}", "")
        return
    floors, found = [], []
    for turn in range(ROUNDS):
        say(f"round {turn + 1} of {ROUNDS}")
        with _place() as given:
            floors.append(_floor(given))
            found.append(_latency(given))
    floor_p50, floor_p99 = (median([floor[name] for floor in floors]) for name in ("p50_ms", "p99_ms"))
    p50, p99 = (median([one[name] for one in found]) for name in ("p50_ms", "p99_ms"))
    ratio = median([one["p99_ms"] / floor["p99_ms"] for one, floor in zip(found, floors, strict=True)])
    figures = f"{floor_p50:.1f} / {floor_p99:.1f} ms", f"{p50:.1f} / {p99:.1f} ms"
    yield Line("P6", what, wanted, *figures, f"{ratio:.1f}", met=ratio <= P6_RATIO)


def throughput(say: Say) -> Iterator[Line]:
    """P7: events a second that a core brings from webhook to `timeline`, beside the embedded edition's P1."""
    what = "cluster: webhook → timeline per core"
    missing = _missing()
    if missing:
        yield Line("P7", what, f"≥ {P7_RATIO:.2f} of embedded P1", "", f"not measured: {missing}", "")
        return
    embedded, per_core, per_s = [], [], []
    for turn in range(ROUNDS):
        say(f"round {turn + 1} of {ROUNDS}")
        embedded.append(_embedded())
        with _place() as given:
            took_s, worked_s = _drained(given)
        per_core.append(EVENTS / worked_s)
        per_s.append(EVENTS / took_s)
    ratio = median([one / floor for one, floor in zip(per_core, embedded, strict=True)])
    figure = f"{median(per_core):,.0f} ev/s of its core ({median(per_s):,.0f}/s by the clock)"
    floor = f"{median(embedded):,.0f}/s"
    yield Line("P7", what, f"≥ {P7_RATIO:.2f} of embedded P1", floor, figure, f"{ratio:.2f}", met=ratio >= P7_RATIO)


def _floor(given: dict[str, str]) -> dict[str, float]:
    """A bare produce → consume loop and a bare commit at the same rate; their times added."""
    arguments = ["services.bench.cluster_floors", json.dumps(given), str(RATE_PER_S), str(FLOOR_S)]
    found: dict[str, float] = result(arguments, cores()[0])
    return found


def _latency(given: dict[str, str]) -> dict[str, float]:
    with _service(given, ",".join(ROLES)) as running:
        sent = load(Plan(running.port, Workload(echo_every=2), CONNECTIONS, 0.0, LATENCY_S, RATE_PER_S)).sent
        _await_told(running)
        found: dict[str, float] = json.loads(stop(running.process))
    if found["count"] < sent:
        raise BenchFailed(f"of {sent} messages {found['count']:.0f} came to the timeline")
    return found


def _drained(given: dict[str, str]) -> tuple[float, float]:
    """Seconds by the clock and of the service's core until a burst of webhooks stands on `timeline`."""
    with _service(given, WAY) as running:
        started, worked = time.perf_counter(), running.cpu_s
        plan = Plan(running.port, Workload(echo_every=3), BUSY_CONNECTIONS, 0.0, LIMIT_S, requests_max=EVENTS)
        load(plan)
        _await_told(running)
        took = time.perf_counter() - started, running.cpu_s - worked
        found: dict[str, float] = json.loads(stop(running.process))
    if found["count"] < EVENTS:
        raise BenchFailed(f"of {EVENTS} messages {found['count']:.0f} came to the timeline")
    return took


def _embedded() -> float:
    """P1's webhooks a second, measured beside."""
    with tempfile.TemporaryDirectory(prefix="coexist-bench-") as folder, service(Path(folder), "ingest") as running:
        return load(Plan(running.port, Workload(), BUSY_CONNECTIONS, seconds=2.0)).per_s


@contextmanager
def _service(given: dict[str, str], roles: str) -> Iterator[Service]:
    with (
        tempfile.TemporaryDirectory(prefix="coexist-bench-") as folder,
        service(Path(folder), roles, watch=True, more=given) as running,
    ):
        yield running


def _await_told(running: Service) -> None:
    """Wait until nothing is left to be read or published."""
    give_up, quiet = time.monotonic() + LIMIT_S, 0
    while quiet < 3:  # what one processor writes is another's lag a moment later
        if time.monotonic() > give_up:
            raise BenchFailed("the cluster did not catch up")
        time.sleep(POLL_S)
        try:
            behind = running.metric("coexist_lag_events") + running.metric("coexist_outbox_events")
        except OSError:  # too busy to answer in time, or over
            if running.process.poll() is not None:
                raise BenchFailed(f"the service ended with {running.process.returncode}") from None
            behind = 1
        quiet = quiet + 1 if behind == 0 else 0


# --- topics and a schema of its own


def _settings() -> Settings | None:
    try:
        found = load_settings()
    except SettingsError:
        return None
    return found if found.kafka_bootstrap_servers and found.database_url is not None else None


def _missing() -> str:
    """Why the cluster cannot be measured here, or nothing."""
    if _settings() is None:
        return "set COEXIST_KAFKA_BOOTSTRAP_SERVERS and COEXIST_DATABASE_URL, or `make bench-cluster`"
    return ""


@contextmanager
def _place() -> Iterator[dict[str, str]]:
    """Settings of a cluster that nobody else uses; it is gone afterwards."""
    settings = _settings()
    assert settings is not None  # noqa: S101 - `_missing` was asked
    assert settings.database_url is not None  # noqa: S101 - the same
    name, url = f"bench{time.time_ns()}", settings.database_url.get_secret_value()
    given = {name_: value for name_, value in os.environ.items() if name_.startswith("COEXIST_KAFKA_")} | {
        "COEXIST_TOPIC_PREFIX": name,
        "COEXIST_PARTITIONS": str(PARTITIONS),
        "COEXIST_DATABASE_URL": f"{url}{'&' if '?' in url else '?'}search_path={name}",
    }
    with asyncio.Runner() as runner:
        made = settings.model_copy(update={"topic_prefix": name, "partitions": PARTITIONS})
        try:
            runner.run(_make(made, url, name))
            yield given
        finally:
            runner.run(_remove(made, url, name))


async def _make(settings: Settings, url: str, name: str) -> None:
    from services.kafka import topics as kafka_topics  # noqa: PLC0415 - needs the extras kafka and postgres
    from services.kafka.client import kafka_of  # noqa: PLC0415

    await _execute(url, f"CREATE SCHEMA {name}")
    await kafka_topics.create(kafka_of(settings), settings.partitions)


async def _remove(settings: Settings, url: str, name: str) -> None:
    from aiokafka.admin import AIOKafkaAdminClient  # noqa: PLC0415

    from schemas.topics import TOPICS  # noqa: PLC0415
    from services.kafka.client import kafka_of  # noqa: PLC0415

    await _execute(url, f"DROP SCHEMA {name} CASCADE")
    kafka = kafka_of(settings)
    admin: Any = AIOKafkaAdminClient(**kafka.options)
    await admin.start()
    try:
        await admin.delete_topics([kafka.topic(topic) for topic in TOPICS])
    finally:
        await admin.close()


async def _execute(url: str, statement: str) -> None:
    import asyncpg  # noqa: PLC0415

    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
