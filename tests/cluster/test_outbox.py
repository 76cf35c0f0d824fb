"""The outbox on a real Kafka and a real Postgres: in order, found again after a crash, and shut to a zombie."""

import asyncio
import random
from collections import Counter

import pytest

from schemas.ports import Commit, Event, Fenced
from schemas.reader import is_new
from schemas.topics import CONVERSATIONS, TIMELINE, partition_of
from services.kafka.client import Line, Writer
from services.outbox import HEADER, Outbox
from services.postgres.pool import Postgres
from services.postgres.store import PostgresStore
from tests.cluster.rig import SOON_S, Cluster, everything, told

pytestmark = pytest.mark.kafka

ONE = "106540352242922"
NAME = "echo_sync.messages"
PARTITIONS = 4
SHARD = partition_of(ONE, PARTITIONS)
TTL_S = 60.0


class Owner:
    """A process that commits, and publishes when it is told to."""

    def __init__(self, cluster, log, name):
        self._cluster, self._log, self.name = cluster, log, name
        self.holding = True
        self.count = 0

    async def __aenter__(self):
        self._database = Postgres(self._cluster.url)
        await self._database.start()
        self.store = PostgresStore(self._database, PARTITIONS)
        self._outbox = Outbox(self.store, self._cluster.kafka, self._log, lambda *_: self.holding)
        self.store.told = self._outbox.told
        self._task = None
        return self

    async def __aexit__(self, *_):
        await self.die()
        await self._outbox.close()
        await self._database.close()

    async def take(self):
        self.lease = await self.store.acquire(NAME, SHARD, self.name, TTL_S)

    def publish(self):
        self._task = asyncio.create_task(self._outbox.serve(self.lease))
        return self._task

    async def die(self):
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def commit(self, *ids, topic=TIMELINE):
        outputs = [(topic, Event(name, "message.added", ONE, b"{}", 1.0, 1.0, name)) for name in ids]
        await self.store.commit(Commit(self.lease, {}, {}, outputs))


@pytest.fixture
async def cluster():
    async with Cluster(PARTITIONS) as cluster:
        yield cluster


@pytest.fixture
async def log(cluster):
    async with cluster.log() as log:
        yield log


async def published(log, count, topic=TIMELINE):
    async with asyncio.timeout(SOON_S):
        while True:
            found = await everything(log, topic)
            if len(found) >= count:
                return [record.event.id for record in found]
            await asyncio.sleep(0.02)


def names(first, last):
    return [f"m{n}" for n in range(first, last)]


async def test_what_a_dead_owner_left_is_published_by_the_next_in_order(cluster, log):
    async with Owner(cluster, log, "a") as a, Owner(cluster, log, "b") as b:
        await a.take()
        a.publish()
        await a.commit(*names(0, 3))
        await published(log, 3)
        await a.die()
        await a.commit(*names(3, 6))
        await a.commit(*names(6, 9))
        await a.store.release(a.lease)
        await b.take()
        b.publish()
        await b.commit(*names(9, 12))
        assert await published(log, 12) == names(0, 12)
        assert [event.seq for event in await told(log, TIMELINE)] == list(range(1, 13))


async def test_a_crash_between_publishing_and_forgetting_repeats_nothing(cluster, log):
    async with Owner(cluster, log, "a") as a, Owner(cluster, log, "b") as b:
        await a.take()
        a.store.outbox_drop = forget_nothing
        a.publish()
        await a.commit(*names(0, 5))
        await published(log, 5)
        await a.die()
        assert sum(len(batch.events) for batch in await a.store.outbox(a.lease, (TIMELINE, SHARD), 0, 100)) == 5
        await a.store.release(a.lease)
        await b.take()
        b.publish()
        await b.commit("last")
        assert await published(log, 6) == [*names(0, 5), "last"]


async def forget_nothing(lease, published):
    """A process that dies before it deletes what it has published."""


async def test_an_owner_that_may_have_lost_its_lease_publishes_nothing(cluster, log):
    async with Owner(cluster, log, "a") as a:
        await a.take()
        a.holding = False
        publishing = a.publish()
        await asyncio.sleep(0)
        await a.commit("late")
        with pytest.raises(Fenced):
            await publishing
        assert await everything(log, TIMELINE) == []


async def test_a_zombie_commits_nothing_and_its_batch_leaves_no_trace(cluster, log):
    async with Owner(cluster, log, "a") as a, Owner(cluster, log, "b") as b:
        await a.take()
        await a.store.release(a.lease)
        await b.take()
        b.publish()
        with pytest.raises(Fenced):
            await a.commit("zombie")
        await b.commit("good")
        assert await published(log, 1) == ["good"]
        assert await b.store.positions(NAME, SHARD) == {}


async def test_every_record_carries_the_running_number_of_its_outbox(cluster, log):
    async with Owner(cluster, log, "a") as a:
        await a.take()
        a.publish()
        await a.commit(*names(0, 4))
        await published(log, 4)
        slot = await a.store.slot(a.lease)
        headers = await log.headers_before(TIMELINE, SHARD, 4, 4)
        assert [found[HEADER] for found in headers] == [b"%d:%d" % (slot, n) for n in (4, 3, 2, 1)]


async def test_a_backlog_that_memory_does_not_hold_is_published_from_the_database_in_order(cluster, log):
    async with Owner(cluster, log, "a") as a:
        await a.take()
        for first in range(0, 2_000, 10):
            await a.commit(*names(first, first + 10))
        a.publish()
        await a.commit("last")
        assert await published(log, 2_001) == [*names(0, 2_000), "last"]


async def test_a_batch_that_comes_again_is_dropped_by_its_seq(cluster, log):
    async with Owner(cluster, log, "a") as a:
        await a.take()
        a.publish()
        await a.commit(*names(0, 3))
        await published(log, 3)
        again = [(TIMELINE, record.event) for record in await everything(log, TIMELINE)]
        await log.append(again)
        await a.commit("m3")
        await published(log, 7)
        seen = {}
        kept = [
            record.event.id
            for record in await everything(log, TIMELINE)
            if is_new(seen, TIMELINE, ONE, record.event.seq)
        ]
        assert kept == names(0, 4)


async def test_a_topic_with_keys_of_its_own_is_published_too(cluster, log):
    async with Owner(cluster, log, "a") as a:
        await a.take()
        a.publish()
        await a.commit("v1", topic=CONVERSATIONS)
        assert await published(log, 1, CONVERSATIONS) == ["v1"]


async def test_a_batch_whose_owner_is_stopped_in_the_middle_stands_in_the_log_by_then_or_never(cluster, log):
    dice, writer = random.Random(1), Writer(cluster.kafka)
    lines = [Line(b"k", b"{}" * 200, [])] * 50
    topic, there = cluster.kafka.topic(TIMELINE), Counter()
    await writer.start()
    for _ in range(60):
        publishing = asyncio.create_task(writer.append_batch(topic, SHARD, lines))
        await asyncio.sleep(dice.uniform(0, 0.004))
        there[publishing.done()] += 1
        publishing.cancel()
        await asyncio.wait([publishing])
        stopped = await log.end(TIMELINE, SHARD)
        await asyncio.sleep(0.02)
        assert await log.end(TIMELINE, SHARD) == stopped
    await writer.close()
    assert there[False] > 5, "hardly any was stopped in the middle"
