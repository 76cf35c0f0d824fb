"""The cluster edition's adapters for the conformance suites: real Kafka, real Postgres, and the outbox between them.

Leases expire by the database's clock. Where a test lets time pass, every lease is moved into the past instead.
"""

import asyncio
import time

from services.edition import sealed
from services.kafka import topics as kafka_topics
from services.kafka.client import kafka_of
from services.outbox import Outbox
from services.postgres.pool import Postgres
from services.postgres.store import PostgresStore
from services.sealing.content import Seals
from services.settings import Settings
from tests.cluster.rig import PatientDatabase, PatientLog, forget, patiently
from tests.harness import Clock
from tests.kafka.broker import drop_database, execute, kafka, new_database

AGE = "UPDATE leases SET expires_at = expires_at - {0} WHERE expires_at > 0"
FLUSH_S = 30.0


class DatabaseClock(Clock):
    """The clock of the processors; when it is moved, so much of every lease has passed as well."""

    def __init__(self, url):
        self._url = url
        self._now = Clock().now

    @property
    def now(self):
        return self._now

    @now.setter
    def now(self, value):
        passed, self._now = value - self._now, value
        execute(self._url, AGE.format(float(passed)))


class PatientStart(Postgres):
    """Connects once the database answers; from then on it is as patient as a service."""

    start = PatientDatabase.start


class Publishing(PostgresStore):
    """The store with the outbox at work for every lease that is taken, as the lease keeper has it."""

    def __init__(self, database, partitions, outbox_of, seals=None):
        super().__init__(database, partitions, seals)
        self._outbox = outbox_of(self)
        self.told = self._outbox.told
        self.tasks = {}
        self._leases = {}

    async def acquire(self, processor, shard, owner, ttl_s):
        lease = await super().acquire(processor, shard, owner, ttl_s)
        if lease is not None:
            await self._stop((processor, shard))
            self.tasks[processor, shard] = asyncio.create_task(self._outbox.serve(lease))
            self._leases[processor, shard] = lease
            await asyncio.sleep(0)
        return lease

    async def _stop(self, slot):
        task = self.tasks.pop(slot, None)
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def close(self):
        """Let go of the connections."""
        await self._outbox.close()

    async def stop(self):
        """As a process that ends: it publishes what it has committed."""
        for slot, lease in self._leases.items():
            await self._outbox.flush(lease, FLUSH_S)
            await self._stop(slot)


class ClusterPlace:
    """The cluster edition: topics of its own on Kafka, a database of its own on Postgres."""

    partitions = 3

    def __init__(self, folder):
        self._settings = Settings(
            kafka_bootstrap_servers=kafka(), topic_prefix=f"t{time.time_ns()}", partitions=self.partitions
        )
        self._kafka = kafka_of(self._settings)
        self._url = new_database()
        self.clock = DatabaseClock(self._url)

    async def __aenter__(self):
        await patiently(lambda: kafka_topics.create(self._kafka, self.partitions))
        await self._open()
        return self

    async def _open(self):
        self._database = PatientStart(self._url)
        await self._database.start()
        self.log = PatientLog(self._kafka, self.partitions)
        await patiently(self.log.start)
        seals = self._seals()
        self._publishing = Publishing(
            self._database,
            self.partitions,
            lambda rows: Outbox(rows, self._kafka, self.log, lambda lease, for_s: True),
            seals,
        )
        self.store = sealed(self._publishing, seals)

    def _seals(self):
        return None

    async def _close(self):
        await self._publishing.stop()
        await self._publishing.close()
        await self.log.close()
        await self._database.close()

    async def reopen(self):
        await self._close()
        await self._open()

    async def __aexit__(self, *_):
        await self._close()
        drop_database(self._url)
        await forget(self._kafka)


class SealedClusterPlace(ClusterPlace):
    """The same with states and outbox sealed."""

    def _seals(self):
        return Seals([b"1" * 32], wanted=True)
