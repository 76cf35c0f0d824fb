"""The store's way to Postgres: every table by COPY in one transaction, so that all of it is there or nothing.

Leases come without an owner but with their epochs, which go on rising. The outbox begins empty: what the embedded
edition has committed stands in its log already, so the running numbers begin with the first commit on the cluster.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from schemas.ports import LogUnavailable
from services import statements as sql
from services.move.folder import Columns, Folder, Refused, columns_of
from services.move.mark import MARK, MARK_READ, Mark, read, stored
from services.postgres.pool import AWAY, CONNECT_S, MIGRATION_LOCK, schema
from services.postgres.store import key_bytes

MARK_PUT = "INSERT INTO installation VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
COLUMNS = """
SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = current_schema()
ORDER BY table_name, ordinal_position
"""
MADE_THERE = frozenset({("states", "id")})
"""Columns that the database fills itself."""
PIECE_ROWS = 500

Passed = Callable[[int], None]
"""Told how many states were passed."""


class PostgresTarget:
    """The database that is moved to, by a connection of its own, as long statements end at no deadline."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def check(self) -> None:
        """Raise Refused when there are tables of another version."""
        there, known = await self._there(), columns_of(sql.SCHEMA + sql.SCHEMA_CLUSTER)
        other = [name for name in known if name in there and there[name] != known[name]]
        if other:
            raise Refused(f"The database has tables of another version: {', '.join(other)}. Use an empty database.")

    async def mark(self) -> Mark | None:
        """The mark of a move to this database."""
        if "installation" not in await self._there():
            return None
        return read(await self._connection.fetchval(MARK_READ))

    async def is_empty(self) -> bool:
        """Is there nothing of an installation in it?"""
        there = await self._there()
        for name in columns_of(sql.SCHEMA + sql.SCHEMA_CLUSTER):
            but_mark = f" WHERE name <> '{MARK}'" if name == "installation" else ""
            asked = f"SELECT EXISTS (SELECT FROM {name}{but_mark})"  # noqa: S608 - names of ours
            if name in there and await self._connection.fetchval(asked):
                return False
        return True

    async def prepare(self, mark: Mark) -> None:
        """Make the tables and set the mark: from now on no cluster runs on them until the move is done."""
        async with self._connection.transaction():
            await self._connection.execute("SELECT pg_advisory_xact_lock($1)", MIGRATION_LOCK)
            await self._connection.execute("SET LOCAL client_min_messages = warning")
            await self._connection.execute(schema())
            await self._connection.execute(MARK_PUT, MARK, stored(mark))

    @asynccontextmanager
    async def copied(self, folder: Folder, mark: Mark, passed: Passed) -> AsyncIterator[None]:
        """Copy everything and set the mark; durable once the block has ended without an exception."""
        async with self._connection.transaction():
            for table, columns in columns_of(sql.SCHEMA).items():
                kept = [column for column in columns if (table, column) not in MADE_THERE]
                rows = (_row(table, kept, row) for row in folder.rows(table, kept))
                paced = _paced(rows, passed if table == "states" else _untold)
                await self._connection.copy_records_to_table(table, records=paced, columns=kept)
            await self._connection.execute(MARK_PUT, MARK, stored(mark))
            yield

    async def _there(self) -> Columns:
        found: dict[str, list[str]] = {}
        for table, column in await self._connection.fetch(COLUMNS):
            found.setdefault(table, []).append(column)
        return found


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[PostgresTarget]:
    """A target. Raises LogUnavailable when the database does not answer, or no longer."""
    try:
        connection = await asyncpg.connect(url, timeout=CONNECT_S, server_settings={"application_name": "coexist move"})
        try:
            yield PostgresTarget(connection)
        finally:
            connection.terminate()
    except AWAY as problem:
        raise LogUnavailable(f"Postgres did not answer: {type(problem).__name__}") from None


def _row(table: str, columns: Sequence[str], row: tuple[Any, ...]) -> tuple[Any, ...]:
    """A row of the folder's as the database has it: keys are bytes there, and nobody holds a lease."""
    changed = list(row)
    for place, column in enumerate(columns):
        if column in ("key", "line") and row[place] is not None:
            changed[place] = key_bytes(row[place]) if table == "states" else row[place].encode()
        elif (table, column) == ("leases", "expires_at"):
            changed[place] = 0.0
    return tuple(changed)


async def _paced(rows: Iterator[tuple[Any, ...]], passed: Passed) -> AsyncIterator[tuple[Any, ...]]:
    """The rows, with a turn for the others after each piece."""
    count = 0
    for row in rows:
        yield row
        count += 1
        if count == PIECE_ROWS:
            passed(count)
            count = 0
            await asyncio.sleep(0)
    passed(count)


def _untold(count: int) -> None:
    """Rows of small tables are no progress."""
