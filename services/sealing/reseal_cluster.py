"""The rows of a cluster's database for `coexist reseal`: states, and what waits in the outbox."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import asyncpg

from schemas.ports import LogUnavailable
from services.commands.failure import at_work
from services.postgres.pool import AWAY, CONNECT_S, numbered, schema
from services.postgres.statements import AT_WORK
from services.sealing.content import MARK_MAKE, MARKS_DROP, MARKS_READ, Seals, about_outbox, seals_of
from services.sealing.reseal import PAGE_BATCHES, Anew, StateRow, Value
from services.settings import Settings

STATES = "SELECT id, slot, key, value FROM states WHERE id > $1 ORDER BY id LIMIT $2"
WAITING = """
SELECT slot, topic, part, last, batch FROM outbox
WHERE (slot, topic, part, last) > ($1, $2, $3, $4) ORDER BY slot, topic, part, last LIMIT $5
"""
STATES_PUT = """
UPDATE states SET value = anew.value
FROM unnest($1::bytea[], $2::bigint[], $3::bytea[]) AS anew (value, id, was)
WHERE states.id = anew.id AND states.value = anew.was RETURNING 1
"""
WAITING_PUT = """
UPDATE outbox SET batch = anew.batch
FROM unnest($1::bytea[], $2::bytea[], $3::bigint[], $4::text[], $5::bigint[], $6::bigint[])
  AS anew (batch, was, slot, topic, part, last)
WHERE (outbox.slot, outbox.topic, outbox.part, outbox.last) = (anew.slot, anew.topic, anew.part, anew.last)
  AND outbox.batch = anew.was RETURNING 1
"""
FIRST = (-1, "", -1, -1)

Place = tuple[int, str, int, int]


class ClusterRows:
    """See `Rows`, on a connection of its own."""

    def __init__(self, database: asyncpg.Connection) -> None:
        self._database = database
        self._places: list[Place] = []

    async def processors(self) -> dict[int, str]:
        """See `Rows.processors`."""
        return {row[0]: row[1] for row in await self._database.fetch("SELECT number, processor FROM processors")}

    async def states(self, after: int, limit: int) -> Sequence[StateRow]:
        """See `Rows.states`."""
        return [(row[0], row[1], row[2].decode(), row[3]) for row in await self._database.fetch(STATES, after, limit)]

    async def put_states(self, values: Sequence[Anew]) -> int:
        """See `Rows.put_states`."""
        return len(values) - len(await self._database.fetch(STATES_PUT, *zip(*values, strict=True)))

    async def batches(self) -> AsyncIterator[Sequence[Value]]:
        """See `Rows.batches`: what waits to be published. What is on Kafka was never sealed."""
        after: Place = FIRST
        while page := await self._database.fetch(WAITING, *after, PAGE_BATCHES):
            self._places = [(row[0], row[1], row[2], row[3]) for row in page]
            yield [(at, about_outbox(row[1], row[2]), row[4]) for at, row in enumerate(page)]
            after = self._places[-1]

    async def put_batches(self, values: Sequence[Anew]) -> int:
        """See `Rows.put_batches`."""
        rows = [(batch, was, *self._places[at]) for batch, at, was in values]
        return len(values) - len(await self._database.fetch(WAITING_PUT, *zip(*rows, strict=True)))

    async def mark(self, name: str, value: bytes) -> None:
        """See `Rows.mark`."""
        await self._database.execute(numbered(MARK_MAKE), name, value)

    async def drop_marks(self, but: str) -> None:
        """See `Rows.drop_marks`."""
        await self._database.execute(numbered(MARKS_DROP), but)

    async def scrub(self) -> None:
        """See `Rows.scrub`: the tables are written anew; what the write-ahead log and backups have ages out there."""
        await self._database.execute("VACUUM FULL states")
        await self._database.execute("VACUUM FULL outbox")


@asynccontextmanager
async def cluster_rows(settings: Settings) -> AsyncIterator[tuple[ClusterRows, Seals | None]]:
    """The rows of the database that the settings name. Raises Failure while processes work, or LogUnavailable."""
    url = settings.database_url.get_secret_value() if settings.database_url else ""
    try:
        database = await asyncpg.connect(url, timeout=CONNECT_S, server_settings={"application_name": "coexist reseal"})
        try:
            await database.execute("SET client_min_messages = warning")
            await database.execute(schema())
            if held := await database.fetchval(AT_WORK):
                raise at_work(f"{held} shards are held")
            marks = {row[0]: row[1] for row in await database.fetch(MARKS_READ)}
            yield ClusterRows(database), seals_of(settings, marks, shared=True)
        finally:
            database.terminate()
    except AWAY as problem:
        raise LogUnavailable(f"Postgres did not answer: {type(problem).__name__}") from None
