"""The books of a cluster for `coexist verify`: Kafka, Postgres, and what waits in the outbox between them."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from schemas.ports import LogUnavailable, Record
from schemas.topics import TOPICS
from services import statements as sql
from services.backup import MARK_READ
from services.backup import read as read_mark
from services.commands.failure import at_work
from services.kafka.client import Kafka, kafka_of
from services.kafka.log import KafkaLog
from services.kafka.reader import FETCH_BYTES_MAX, FETCH_WAIT_MS, dismantle_consumer, record_of
from services.postgres.pool import AWAY, CONNECT_S, numbered
from services.postgres.statements import AT_WORK
from services.postgres.store import decoded_batch, key_bytes
from services.sealing.content import MARKS_READ, Seals, seals_of
from services.settings import Settings
from services.sqlite.store import SHARDS_MAX
from services.verify.books import opened

POLL_MS = 200
STATES = "SELECT key, value FROM states WHERE slot = $1"
SEQUENCES = "SELECT topic, key, seq FROM sequences"
WAITING = "SELECT batch FROM outbox WHERE topic = $1 AND part = $2 ORDER BY slot, last"


class ClusterBooks:
    """See `Books`."""

    repeats_allowed = True

    def __init__(
        self,
        kafka: Kafka,
        consumer: AIOKafkaConsumer,
        database: asyncpg.Connection,
        partitions: int,
        seals: Seals | None,
        *,
        told_until: Sequence[int] = (),
    ) -> None:
        self.partitions = partitions
        self.told_until = told_until
        self._seals = seals
        self._kafka = kafka
        self._consumer = consumer
        self._database = database

    def _place(self, topic: str, partition: int) -> TopicPartition:
        return TopicPartition(self._kafka.topic(topic), partition)

    async def begin(self, topic: str, partition: int) -> int:
        """See `Books.begin`."""
        place = self._place(topic, partition)
        return int((await self._consumer.beginning_offsets([place]))[place])

    async def records(self, topic: str, partition: int) -> AsyncIterator[Sequence[Record]]:
        """See `Books.records`. What waits in the outbox comes behind what is published; some of it may be a repeat."""
        place = self._place(topic, partition)
        offset = await self.begin(topic, partition)
        end = (await self._consumer.end_offsets([place]))[place]
        self._consumer.assign([place])
        self._consumer.seek(place, offset)
        while offset < end:
            batches = await self._consumer.getmany(timeout_ms=POLL_MS)
            if raws := batches.get(place):
                yield [record_of(topic, raw) for raw in raws]
            offset = await self._consumer.position(place)
        for (batch,) in await self._database.fetch(WAITING, topic, partition):
            events = decoded_batch(batch, (topic, partition), self._seals)
            yield [Record(topic, partition, end + count, event, event.at) for count, event in enumerate(events)]
            end += len(events)

    async def states(self, processor: str, shard: int) -> dict[str, bytes]:
        """See `Books.states`."""
        rows = await self._database.fetch(STATES, await self._slot(processor, shard))
        return opened(self._seals, processor, shard, ((row[0].decode(), row[1]) for row in rows))

    async def positions(self, processor: str, shard: int) -> dict[str, int]:
        """See `Books.positions`."""
        rows = await self._database.fetch(numbered(sql.POSITIONS), await self._slot(processor, shard))
        return {row[0]: row[1] for row in rows}

    async def _slot(self, processor: str, shard: int) -> int:
        number = await self._database.fetchval("SELECT number FROM processors WHERE processor = $1", processor)
        return -1 if number is None else number * SHARDS_MAX + shard

    async def sequences(self) -> dict[tuple[str, str], int]:
        """See `Books.sequences`."""
        rows = await self._database.fetch(SEQUENCES)
        return {(row[0], row[1].decode()): row[2] for row in rows if row[0] in TOPICS}

    async def installation_key(self) -> bytes:
        """See `Books.installation_key`."""
        found: bytes | None = await self._database.fetchval(sql.INSTALLATION_KEY)
        return found or b""

    def stored_key(self, key: str) -> str:
        """See `Books.stored_key`."""
        return key_bytes(key).decode()


@asynccontextmanager
async def cluster_books(settings: Settings) -> AsyncIterator[ClusterBooks]:
    """The books of the cluster that the settings name. Raises Failure while processes work, or LogUnavailable."""
    url = settings.database_url.get_secret_value() if settings.database_url else ""
    kafka = kafka_of(settings)
    await _reach(kafka, settings.partitions)
    consumer = kafka.consumer(FETCH_WAIT_MS, FETCH_BYTES_MAX)
    database: Any = None
    try:
        database = await asyncpg.connect(url, timeout=CONNECT_S, server_settings={"application_name": "coexist verify"})
        if held := await database.fetchval(AT_WORK):
            raise at_work(f"{held} shards are held")
        await consumer.start()
        seals = seals_of(settings, {row[0]: row[1] for row in await database.fetch(MARKS_READ)})
        mark = read_mark(await database.fetchval(MARK_READ))
        until = mark.told_until if mark is not None else ()
        yield ClusterBooks(kafka, consumer, database, settings.partitions, seals, told_until=until)
    except (KafkaError, *AWAY) as problem:
        raise LogUnavailable(f"The cluster did not answer: {type(problem).__name__}") from None
    finally:
        if database is not None:
            database.terminate()
        await dismantle_consumer(consumer)


async def _reach(kafka: Kafka, partitions: int) -> None:
    """Say in time when Kafka is not there."""
    log = KafkaLog(kafka, partitions)
    try:
        await log.end(next(iter(TOPICS)), 0)
    finally:
        await log.close()
