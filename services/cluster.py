"""The cluster edition: Kafka as the log, Postgres as the store, an outbox between them, leases of seconds."""

import asyncio
from contextlib import AsyncExitStack

from echo_sync.conversations import Conversations
from echo_sync.erasures import Erasures
from echo_sync.messages import Messages
from schemas.marks import PRIVACY
from schemas.ports import Lease, LogUnavailable
from schemas.states import CONVERSATIONS, DELIVERY, MESSAGES
from sender.delivery import Delivery
from services import backup
from services.edition import Edition, Holds, Work, sealed
from services.kafka import topics as kafka_topics
from services.kafka.client import Kafka, kafka_of
from services.kafka.log import KafkaLog
from services.move import mark as move_mark
from services.outbox import Outbox
from services.owner import own_name
from services.postgres.pool import Postgres, numbered
from services.postgres.store import PostgresStore
from services.sealing.content import MARK_MAKE, MARKS_READ, Seals, seals_of
from services.sealing.secrets import refuse_unopened
from services.settings import Settings, SettingsError
from services.sqlite.file import usable

LEASE_TTL_S = 7.0
"""Long enough to open a connection and write a request within it (`services.sending`), short enough that the shards of
a process that died are at work again within ten seconds."""
FLUSH_S = 1.0
"""What a shard that is given back gets to publish what it has committed; the next owner publishes the rest."""


async def open_cluster(settings: Settings, stack: AsyncExitStack) -> Edition:
    """Connect to both and check the topics. Raises SettingsError with what is wrong and what to do."""
    kafka = kafka_of(settings)
    try:
        await _check_topics(kafka, settings.partitions)
        database = Postgres(settings.database_url.get_secret_value() if settings.database_url else "")
        stack.push_async_callback(database.close)
        await database.start()
        await _refuse_half_moved(database)
        seals = await _seals(settings, database)
        await refuse_unopened(settings, sealed(PostgresStore(database, settings.partitions, seals), seals))
        await _mark(database, seals)
        log = KafkaLog(kafka, settings.partitions, groups_of(settings.topic_prefix))
        stack.push_async_callback(log.close)
        await log.start()
    except LogUnavailable as problem:
        raise SettingsError(f"The cluster cannot be used: {problem}.") from None
    with usable(settings.data_dir / "admin.json"):
        settings.data_dir.mkdir(parents=True, exist_ok=True)
    store = PostgresStore(database, settings.partitions, seals)
    mark = backup.read(await database.one(backup.MARK_READ))
    since = mark.since if mark is not None else 0
    publishing = _Publishing(store, kafka, log, f".{since:.0f}" if since else "")
    stack.push_async_callback(publishing.outbox.close)
    owner = own_name(settings.data_dir, stack)
    around, unpublished = publishing.around, publishing.outbox.unpublished
    kept = sealed(store, seals)
    return Edition("cluster", log, kept, owner, LEASE_TTL_S, None, around, unpublished, seals=seals, restored_at=since)


async def seals_in(settings: Settings, database: Postgres) -> Seals | None:
    """What opens and seals the states. Raises SettingsError when a key is missing."""
    seals = await _seals(settings, database)
    await _mark(database, seals)
    return seals


async def _seals(settings: Settings, database: Postgres) -> Seals | None:
    rows = await database.rows(MARKS_READ)
    return seals_of(settings, {row[0]: row[1] for row in rows}, shared=True)


async def _mark(database: Postgres, seals: Seals | None) -> None:
    if seals is not None and seals.wanted:
        await database.rows(numbered(MARK_MAKE), *seals.mark())


def groups_of(prefix: str) -> dict[tuple[str, ...], str]:
    """The consumer group under which lag tools find each processor's positions."""
    inputs = {
        MESSAGES: Messages.inputs,
        CONVERSATIONS: Conversations.inputs,
        PRIVACY: Erasures.inputs,
        DELIVERY: Delivery.inputs,
    }
    return {topics: f"{prefix}.{processor}" for processor, topics in inputs.items()}


async def _check_topics(kafka: Kafka, partitions: int) -> None:
    wrong = await kafka_topics.problems(kafka, partitions)
    if wrong:
        raise SettingsError(" ".join(wrong))


async def _refuse_half_moved(database: Postgres) -> None:
    mark = move_mark.read(await database.one(move_mark.MARK_READ))
    if mark is not None and not mark.done:
        raise SettingsError(move_mark.HALF_MOVED)


def _nobody_yet(lease: Lease, for_s: float) -> bool:
    return False


class _Publishing:
    """Puts an outbox beside the work of every shard."""

    def __init__(self, store: PostgresStore, kafka: Kafka, log: KafkaLog, life: str) -> None:
        self._holds: Holds = _nobody_yet
        self.outbox = Outbox(store, kafka, log, self._held, life)
        store.told = self.outbox.told

    def _held(self, lease: Lease, for_s: float) -> bool:
        return self._holds(lease, for_s)

    def around(self, work: Work, holds: Holds) -> Work:
        """The work of a shard with its publishing; when one of them ends, so does the other."""
        self._holds = holds

        async def both(lease: Lease) -> None:
            publishing = asyncio.create_task(self.outbox.serve(lease))
            working = asyncio.ensure_future(work(lease))
            try:
                done, _ = await asyncio.wait([publishing, working], return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            finally:
                working.cancel()
                await asyncio.wait([working])
                await self.outbox.flush(lease, FLUSH_S)
                publishing.cancel()
                await asyncio.wait([publishing])

        return both
