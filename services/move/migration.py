"""`coexist migrate-to-cluster`: an embedded edition's data folder becomes a cluster's topics and tables.

The order makes every crash harmless. First all checks, which write nothing. Then the folder is marked, so that nobody
runs on it any more, and the database is, so that no cluster starts on half of an installation. Records are copied to
Kafka, where the ends of the partitions tell how far that is; the store is copied in one transaction, which ends only
once every record is confirmed at its offset, and which says in the same moment that the move is done. Last the folder
is marked as moved. Whoever starts it again goes on at whichever step was not done.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from secrets import token_hex

from msgspec.structs import replace

from services.kafka.client import kafka_of
from services.media.store import FOLDER_NAME
from services.move.folder import Folder, Refused
from services.move.kafka import BATCH_BYTES_MAX, KafkaTarget
from services.move.mark import Mark
from services.move.media import copy_ledger, copy_media
from services.move.postgres import PostgresTarget, connected
from services.settings import Settings, SettingsError

Told = Callable[[int, int], None]
"""Told how many records and states are there already, and of how many."""


@dataclass(frozen=True, slots=True)
class Moved:
    """What was moved. `found`: records that a run before had copied. `media`: files that went to another store."""

    records: int
    states: int
    found: int
    media: int


async def move(settings: Settings, tell: Told, batch_bytes: int = BATCH_BYTES_MAX) -> Moved | None:
    """Move the data folder to the cluster that the settings name; None when that was done before.

    Raises SettingsError, PartitionsChanged, FileInUse, Refused or LogUnavailable with what to do about it.
    """
    url = _database_url(settings)
    async with _folder(settings) as folder, connected(url) as postgres:
        folder.check()
        kafka = KafkaTarget(kafka_of(settings), settings.partitions, batch_bytes)
        mark = await _checked(settings, folder, kafka, postgres)
        if mark.done:
            _finish(folder, mark)
            return None
        folder.put_mark(Mark(mark.id, mark.at))
        await postgres.prepare(mark)
        moved = await _copy(settings, folder, kafka, postgres, mark, tell)
        _finish(folder, mark)
    return moved


async def abandon(settings: Settings) -> str:
    """Let the embedded edition run on the folder again. Raises Refused once the move is done; what it says is told."""
    async with _folder(settings) as folder:
        mark = folder.mark
        if mark is None:
            raise Refused(f"{folder.path} is not on the move.")
        if mark.done:
            raise Refused(f"The move of {folder.path} is done: the cluster has it, and may have gone on.")
        if settings.database_url is None:
            raise SettingsError("Set COEXIST_DATABASE_URL, so that it is certain that the move was not done there.")
        async with connected(_database_url(settings)) as postgres:
            there = await postgres.mark()
        if there is not None and there.id == mark.id and there.done:
            raise Refused(f"The move of {folder.path} is done: run `coexist migrate-to-cluster` to mark the folder.")
        folder.put_mark(None)
    return (
        f"{settings.data_dir} can be run again. For another move use an empty database and "
        "another COEXIST_TOPIC_PREFIX, or delete what this one has left on both."
    )


@asynccontextmanager
async def _folder(settings: Settings) -> AsyncIterator[Folder]:
    folder = Folder(settings)
    try:
        yield folder
    finally:
        await folder.close()


def _database_url(settings: Settings) -> str:
    url = settings.database_url.get_secret_value() if settings.database_url else ""
    if not settings.kafka_bootstrap_servers or not url.startswith(("postgresql://", "postgres://")):
        raise SettingsError(
            "COEXIST_KAFKA_BOOTSTRAP_SERVERS and COEXIST_DATABASE_URL (postgresql://user:password@host/name) must say "
            "where to move to."
        )
    return url


async def _checked(settings: Settings, folder: Folder, kafka: KafkaTarget, postgres: PostgresTarget) -> Mark:
    """The mark of this move, new or of a run before. Writes nothing."""
    await kafka.check()
    await postgres.check()
    ours, there = folder.mark, await postgres.mark()
    if ours is not None and there is not None and ours.id == there.id:
        if (there.kafka, there.prefix) != (await kafka.identity(), settings.topic_prefix):
            raise Refused(
                "This move was begun with another Kafka or another COEXIST_TOPIC_PREFIX. Set them as they were, or "
                "give it up with `coexist migrate-to-cluster --abandon`."
            )
        return there
    if ours is not None and ours.done:
        raise Refused(f"What {folder.path} holds was moved already, to another database.")
    if there is not None or not await postgres.is_empty():
        raise Refused("The database holds an installation already. COEXIST_DATABASE_URL must name an empty one.")
    full = [topic for (topic, _), end in (await kafka.ends()).items() if end]
    if full:
        raise Refused(
            f"{settings.topic_prefix}.{full[0]} has had records on Kafka already. Set another COEXIST_TOPIC_PREFIX, "
            "or delete the topics."
        )
    begun = (ours.id, ours.at) if ours is not None else (token_hex(8), folder.now)
    return Mark(*begun, kafka=await kafka.identity(), prefix=settings.topic_prefix)


async def _copy(
    settings: Settings, folder: Folder, kafka: KafkaTarget, postgres: PostgresTarget, mark: Mark, tell: Told
) -> Moved:
    records = sum(part.end for part in folder.parts())
    states = folder.size()
    done = 0

    def passed(count: int) -> None:
        nonlocal done
        done += count
        tell(done, records + states)

    ends = await kafka.begin(folder)
    log = asyncio.create_task(kafka.copy(folder, ends, passed))
    try:
        async with postgres.copied(folder, replace(mark, done=True), passed):
            await log
            media = await copy_media(folder.path / FOLDER_NAME, settings)
            copy_ledger(folder.path, settings)
    finally:
        log.cancel()
        await asyncio.wait([log])
    return Moved(records, states, sum(ends.values()), media)


def _finish(folder: Folder, mark: Mark) -> None:
    folder.put_mark(Mark(mark.id, mark.at, done=True))
