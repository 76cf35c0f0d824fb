"""`coexist restored` on the cluster: Postgres was put back from a backup, and Kafka stands where it stood.

What the database has forgotten since, its processors read again from `inbound` and decide anew. They must not do so
under numbers that Kafka has already: readers would drop new facts as repeats. So every `seq` goes on behind the newest
one on its topic, the outbox begins a new life, and leases are far from those that a process of before may still hold.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from time import monotonic

import msgspec

from schemas.ports import Commit, Lease, Row, Store
from schemas.states import CONVERSATIONS, Conversation, conversation_key
from schemas.topics import CONVERSATIONS as CONVERSATIONS_TOPIC
from schemas.topics import TIMELINE, TOPICS
from services.backup import MARK, MARK_PUT, Mark, stored
from services.cluster import LEASE_TTL_S, seals_in
from services.commands.failure import at_work
from services.edition import sealed
from services.kafka.client import kafka_of
from services.kafka.log import KafkaLog
from services.postgres.pool import Postgres, numbered
from services.postgres.statements import AT_WORK
from services.postgres.store import PostgresStore
from services.settings import Settings
from services.shard import decode_state

PAGE_RECORDS = 2_000
EPOCHS = 1_000_000
"""Far more than a shard changes hands between two backups."""

LEASE_S = 60.0
LOOK_S = 0.5

FREE = "UPDATE leases SET epoch = epoch + $1, expires_at = 0"
COUNT_ON = """
INSERT INTO sequences (topic, key, seq) SELECT $1, n.key, n.seq FROM unnest($2::bytea[], $3::bigint[]) AS n (key, seq)
ON CONFLICT (topic, key) DO UPDATE SET seq = greatest(sequences.seq, excluded.seq)
"""


async def put_back(settings: Settings, now: float) -> None:
    """Say that the database was put back, and that work on it begins now. Raises Failure while processes work.

    May be repeated. Raises LogUnavailable when Kafka or Postgres does not answer.
    """
    async with _both(settings) as (database, log):
        await _at_rest(database)
        for topic in TOPICS.values():
            if topic.sequenced:
                newest = await _newest(log, topic.name)
                keys = [number.encode() for number in newest]
                await database.rows(COUNT_ON, topic.name, keys, list(newest.values()))
        seals = await seals_in(settings, database)
        store = sealed(PostgresStore(database, settings.partitions, seals), seals)
        for shard in range(settings.partitions):
            await _versions(store, log, shard)
        await database.rows(FREE, EPOCHS)
        told_until = [await log.end(TIMELINE, shard) for shard in range(settings.partitions)]
        await database.rows(numbered(MARK_PUT), MARK, stored(Mark(since=now, told_until=tuple(told_until))))


class _Told(msgspec.Struct):
    """What a record on `conversations` says that matters here."""

    conversation_id: str = ""
    version: int = 0


_decoder = msgspec.json.Decoder(_Told)


async def _at_rest(database: Postgres) -> None:
    """Leases that were copied run out by themselves, those of a process at work do not."""
    end = monotonic() + LEASE_TTL_S + 1
    while held := await database.one(AT_WORK):
        if monotonic() > end:
            raise at_work(f"{held} shards are held")
        await asyncio.sleep(LOOK_S)


@asynccontextmanager
async def _both(settings: Settings) -> AsyncIterator[tuple[Postgres, KafkaLog]]:
    database = Postgres(settings.database_url.get_secret_value() if settings.database_url else "")
    log = KafkaLog(kafka_of(settings), settings.partitions)
    try:
        await database.start()
        await log.start()
        yield database, log
    finally:
        await log.close()
        await database.close()


async def _versions(store: Store, log: KafkaLog, shard: int) -> None:
    """Let conversations that were told of since go on behind the newest version; their next fact tells them anew."""
    told: dict[str, Conversation] = {}
    offset, end = 0, await log.end(CONVERSATIONS_TOPIC, shard)
    while offset < end and (records := await log.read(CONVERSATIONS_TOPIC, shard, offset, PAGE_RECORDS)):
        offset = records[-1].offset + 1
        for event in (record.event for record in records):
            if event.data is None:
                told.pop(conversation_key(event.key), None)
                continue
            found = _decoder.decode(event.data)
            found.conversation_id = found.conversation_id or event.key
            told[conversation_key(found.conversation_id)] = Conversation(
                number=event.number, conversation_id=found.conversation_id, version=found.version
            )
    lease = await store.acquire(CONVERSATIONS, shard, "restored", LEASE_S)
    if lease is None:
        raise at_work("a shard was taken meanwhile")
    try:
        await _go_on_behind(store, lease, told)
    finally:
        await store.release(lease)


async def _go_on_behind(store: Store, lease: Lease, told: Mapping[str, Conversation]) -> None:
    for first in range(0, len(told), PAGE_RECORDS):
        keys = list(told)[first : first + PAGE_RECORDS]
        known = await store.load(CONVERSATIONS, lease.shard, keys)
        rows: dict[str, Row | None] = {
            key: row for key in keys if (row := _ahead(known.get(key), told[key])) is not None
        }
        await store.commit(Commit(lease, rows=rows))


def _ahead(value: bytes | None, told: Conversation) -> Row | None:
    """The state with the version that was told last; None where it knows that version."""
    state = told if value is None else decode_state(Conversation, value)
    if value is not None and state.version >= told.version:
        return None
    state.version, state.told = told.version, b""
    return Row(msgspec.msgpack.encode(state), state.wake_at, state.line, state.place)


async def _newest(log: KafkaLog, topic: str) -> dict[str, int]:
    """The newest `seq` of each number on a topic."""
    found: dict[str, int] = {}
    for seqs in await asyncio.gather(*(_of_partition(log, topic, partition) for partition in range(log.partitions))):
        found.update(seqs)
    return found


async def _of_partition(log: KafkaLog, topic: str, partition: int) -> dict[str, int]:
    found: dict[str, int] = {}
    begin, end = await log.begin(topic, partition), await log.end(topic, partition)
    while end > begin:
        for headers in await log.headers_before(topic, partition, end, PAGE_RECORDS):
            number = headers.get("ce_number", b"").decode()
            found[number] = max(found.get(number, 0), int(headers.get("ce_seq", b"0")))
        end -= PAGE_RECORDS
    found.pop("", None)
    return found
