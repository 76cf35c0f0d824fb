"""What the tests of the cluster share: topics and a database of their own, and reading what was published."""

import asyncio
import contextlib
import time

from aiokafka.admin import AIOKafkaAdminClient

from schemas.reader import is_new
from schemas.topics import TOPICS
from services.kafka import topics as kafka_topics
from services.kafka.client import kafka_of
from services.kafka.log import KafkaLog
from services.settings import Settings
from tests.kafka.broker import drop_database, kafka, new_database

SOON_S = 20.0


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
        await kafka_topics.create(self.kafka, self.partitions)
        return self

    async def __aexit__(self, *_):
        drop_database(self.url)
        admin = AIOKafkaAdminClient(**self.kafka.options)
        await admin.start()
        await admin.delete_topics([self.kafka.topic(name) for name in TOPICS])
        await admin.close()

    @contextlib.asynccontextmanager
    async def log(self):
        """A log to read and append with, beside the processes."""
        log = KafkaLog(self.kafka, self.partitions)
        await log.start()
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
