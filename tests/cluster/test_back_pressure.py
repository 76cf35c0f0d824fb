"""No broker for a minute, and a consumer that was away: memory stays flat, and who is honest is served in time."""

import asyncio
import os
import time

import httpx
import pytest

from schemas.topics import TIMELINE, partition_of
from services.kafka.client import CONFIRM_S
from tests.cluster.books import ClusterBooks
from tests.cluster.fleet import Fleet
from tests.cluster.rig import Cluster, told, until
from tests.cluster.webhooks import Arrivals, Door, Memory, Webhooks, many, percentile, resident_mib
from tests.kafka.broker import jars
from tests.kafka.cluster import KafkaCluster
from tests.processes import busy

pytestmark = [pytest.mark.kafka, pytest.mark.crash, pytest.mark.faults]

LONG = bool(os.environ.get("COEXIST_TEST_LONG"))
PARTITIONS = 4
NUMBERS = [f"10654035224{n:04}" for n in range(16)]
OUTAGE_S = 60.0
WEBHOOKS_PER_S = 100
GROWTH_MIB_MAX = 32.0
BACK_S = 8.0
"""From the broker's return to the first 200."""
SOON_S = 0.25
"""A refusal that is known beforehand takes no longer."""
BACKLOG = 200_000 if LONG else 40_000
A_WEBHOOK = 100
HONEST_PER_S = 40
LATENCY_S = 0.5
"""From the webhook to the timeline on Kafka, p99, while another shard's backlog drains on the same process."""
DRAINED_S = BACKLOG / 200


@pytest.fixture
def broker(tmp_path):
    cluster = KafkaCluster(jars(), tmp_path / "kafka")
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


async def test_a_minute_without_a_broker_is_answered_503_in_time_and_leaves_memory_flat(broker, tmp_path, tell):
    async with (
        Cluster(PARTITIONS, broker.bootstrap) as cluster,
        cluster.log() as log,
        ClusterBooks(cluster, log) as books,
    ):
        with (
            httpx.Client(trust_env=False) as client,
            Fleet(cluster, tmp_path, "http://127.0.0.1:9", client, ("all",)) as fleet,
        ):
            pid = fleet["all"].popen.pid
            async with Webhooks(fleet["all"].webhook, NUMBERS, WEBHOOKS_PER_S) as webhooks:
                await asyncio.sleep(10)
                before = resident_mib(pid)
                broker.freeze(1)
                frozen_at = time.monotonic()
                async with Memory(pid) as memory:
                    await asyncio.sleep(OUTAGE_S)
                    broker.thaw(1)
                    thawed_at = time.monotonic()
                    await until(lambda: _taken_since(webhooks, thawed_at))
                    await asyncio.sleep(5)
            await until(lambda: _read(books), 180)
        events = await told(log, TIMELINE)
    refused = webhooks.between(frozen_at, thawed_at - CONFIRM_S - 1)
    waits = sorted(post.answered_s for post in refused)
    back_s = min(post.at + post.answered_s for post in webhooks.posts if post.at > thawed_at and post.status == 200)
    back_s -= thawed_at
    growth = max(memory.samples) - before
    acknowledged = [post.wamid for post in webhooks.posts if post.status == 200]
    added = [event.subject for event in events if event.type == "message.added"]
    waited = f"p50 {ms(waits, 0.5):.0f}, max {ms(waits, 1):.0f} ms"
    lost = len(set(acknowledged) - set(added))
    tell(
        f"no broker for {OUTAGE_S:.0f} s at {WEBHOOKS_PER_S} webhooks/s: {len(refused)} refused after {waited}; "
        f"200 again {back_s:.1f} s after its return; memory {before:.0f} MiB, at most {growth:+.0f} MiB; "
        f"{len(acknowledged)} acknowledged, {lost} lost"
    )
    assert {post.status for post in webhooks.posts} == {200, 503}
    assert {post.status for post in refused} == {503}
    assert percentile(waits, 0.5) < SOON_S or busy()
    assert waits[-1] < CONFIRM_S + 1 or busy()
    assert back_s < BACK_S or busy()
    assert growth < GROWTH_MIB_MAX
    assert set(acknowledged) <= set(added)
    assert len(added) == len(set(added))


def ms(seconds, share):
    return percentile(seconds, share) * 1000


async def _taken_since(webhooks, at):
    return any(post.at > at and post.status == 200 for post in webhooks.posts)


async def _read(books):
    return await books.behind() == 0


async def test_a_backlog_drains_with_memory_flat_while_others_are_served_in_time(tmp_path, tell):
    crowded = NUMBERS[0]
    honest = [one for one in NUMBERS if partition_of(one, PARTITIONS) != partition_of(crowded, PARTITIONS)]
    async with Cluster(PARTITIONS) as cluster, cluster.log() as log:
        with (
            httpx.Client(trust_env=False) as client,
            Fleet(cluster, tmp_path, "http://127.0.0.1:9", client, ("ingest", "echo")) as fleet,
        ):
            async with (
                Arrivals(log, honest) as arrivals,
                Webhooks(fleet["ingest"].webhook, honest, HONEST_PER_S) as webhooks,
            ):
                await asyncio.sleep(8)
                quiet = webhooks.between(time.monotonic() - 5, time.monotonic() - 1)
            fleet["echo"].kill()
            await _fill(fleet["ingest"].webhook, crowded)
            await asyncio.to_thread(fleet.start("echo").ready)
            began = time.monotonic()
            async with (
                Arrivals(log, honest) as later,
                Webhooks(fleet["ingest"].webhook, honest, HONEST_PER_S, 2) as more,
                Memory(fleet["echo"].popen.pid) as memory,
            ):
                await until(lambda: _drained(log, crowded), DRAINED_S)
                drained_s = time.monotonic() - began
                await asyncio.sleep(2)
                busy_posts = more.between(began, began + drained_s)
    calm, crowd = arrivals.latencies(quiet), later.latencies(busy_posts)
    acks = [sorted(post.answered_s for post in posts) for posts in (quiet, busy_posts)]
    first, rest = max(memory.samples[:8]), max(memory.samples)
    tell(
        f"backlog of {BACKLOG} drained in {drained_s:.0f} s ({BACKLOG / drained_s:.0f}/s), memory {first:.0f} MiB, "
        f"at most {rest - first:+.0f} MiB; others meanwhile (alone): webhook to timeline "
        f"p50 {ms(crowd, 0.5):.0f} ({ms(calm, 0.5):.0f}), p99 {ms(crowd, 0.99):.0f} ({ms(calm, 0.99):.0f}) ms, "
        f"200 after p99 {ms(acks[1], 0.99):.0f} ({ms(acks[0], 0.99):.0f}) ms"
    )
    assert rest - first < GROWTH_MIB_MAX
    assert {post.status for post in more.posts} == {200}
    assert percentile(crowd, 0.99) < LATENCY_S or busy()


async def _fill(url, number):
    """Put the backlog on `inbound`: many messages to one number, through the front door."""
    async with Door(url) as door:
        for first in range(0, BACKLOG, A_WEBHOOK * 8):
            bodies = [many(number, f"34600{first + n:06}", A_WEBHOOK, f"{first}.{n}") for n in range(8)]
            await asyncio.gather(*(_taken(door, body) for body in bodies))


async def _taken(door, body):
    """Post until it is taken, as Meta does."""

    async def once():
        return await door.post(body) == 200

    await until(once)


async def _drained(log, number):
    return await log.end(TIMELINE, partition_of(number, PARTITIONS)) >= BACKLOG
