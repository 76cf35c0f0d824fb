"""What the tests of the cluster share: topics and a database of their own, and reading what was published."""

import asyncio
import contextlib
import time

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from schemas.ports import LogUnavailable
from schemas.reader import is_new
from schemas.topics import TOPICS
from services.kafka import topics as kafka_topics
from services.kafka.client import kafka_of
from services.kafka.log import KafkaLog
from services.postgres.pool import Postgres
from services.settings import Settings
from tests.kafka.broker import drop_database, kafka, new_database

SOON_S = 60.0
"""For what must come at all, however slow broker, database and machine are."""


class PatientLog(KafkaLog):
    """The log for tests to read and append with: who looks on waits for a slow broker, where a service would refuse."""

    def __init__(self, kafka, partitions):
        super().__init__(kafka, partitions, confirm_s=SOON_S)

    async def read(self, topic, partition, offset, limit):
        return await patiently(lambda: KafkaLog.read(self, topic, partition, offset, limit))

    async def headers_before(self, topic, partition, end, count):
        return await patiently(lambda: KafkaLog.headers_before(self, topic, partition, end, count))

    async def end(self, topic, partition):
        return await patiently(lambda: KafkaLog.end(self, topic, partition))


class PatientDatabase(Postgres):
    """The database for tests to look into, with the same patience."""

    async def start(self):
        async def once():
            await self.close()  # what a start that was cut short has opened
            await Postgres.start(self)

        await patiently(once)

    async def rows(self, statement, *values):
        return await patiently(lambda: Postgres.rows(self, statement, *values))


async def patiently(ask):
    """What `ask` answers, once Kafka and Postgres do."""
    async with asyncio.timeout(SOON_S):
        while True:
            try:
                return await ask()
            except LogUnavailable:
                await asyncio.sleep(0.1)


async def forget(kafka):
    """Delete the topics of a cluster, where the broker is there to be asked: they end with it anyway."""
    admin = AIOKafkaAdminClient(**kafka.options)
    with contextlib.suppress(KafkaError, OSError, TimeoutError, AttributeError):  # the last: no controller was told
        await admin.start()
        await admin.delete_topics([kafka.topic(name) for name in TOPICS])
    await admin.close()


class Cluster:
    """Where a cluster of this test alone has its topics and its tables."""

    def __init__(self, partitions=4, bootstrap=""):
        self.partitions = partitions
        self.bootstrap = bootstrap or kafka()
        self.prefix = f"c{time.time_ns()}"
        self.url = new_database()
        self.kafka = kafka_of(Settings(kafka_bootstrap_servers=self.bootstrap, topic_prefix=self.prefix))

    @property
    def settings(self):
        """What every process of the cluster is told."""
        return {
            "kafka_bootstrap_servers": self.bootstrap,
            "topic_prefix": self.prefix,
            "database_url": self.url,
            "partitions": self.partitions,
        }

    async def __aenter__(self):
        await patiently(lambda: kafka_topics.create(self.kafka, self.partitions))
        return self

    async def __aexit__(self, *_):
        drop_database(self.url)
        await forget(self.kafka)

    @contextlib.asynccontextmanager
    async def log(self, make=PatientLog):
        """A log to read and append with, beside the processes; `make` KafkaLog for one that refuses as a service's."""
        log = make(self.kafka, self.partitions)
        await patiently(log.start)
        try:
            yield log
        finally:
            await log.close()


async def until(check, deadline_s=SOON_S):
    """Wait until `check()` is true."""
    async with asyncio.timeout(deadline_s):
        while True:
            if await check():
                return
            await asyncio.sleep(0.1)


async def drained(reader, count):
    """The next `count` records of a reader, at least."""
    found = []
    async with asyncio.timeout(SOON_S):
        while len(found) < count:
            found.extend(await reader.poll(100, 1.0))
    return found


async def everything(log, topic):
    """Every record of a topic, partition by partition."""
    found = []
    for partition in range(log.partitions):
        offset = 0
        while records := await log.read(topic, partition, offset, 2_000):
            found.extend(records)
            offset = records[-1].offset + 1
    return found


async def told(log, topic):
    """The events of a topic as a subscriber sees them: repeats dropped, and no gap in `seq`."""
    seen = {}
    return [
        record.event
        for record in await everything(log, topic)
        if is_new(seen, topic, record.event.number, record.event.seq)
    ]
