"""A pool of connections to Postgres, with a deadline on everything, and the schema in its dialect."""

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from schemas.ports import LogUnavailable
from services import statements as sql

CONNECTIONS_MAX = 8
STATEMENT_S = 5.0
"""After it a statement counts as lost; whether a commit was applied is then found out by reading anew."""
CONNECT_S = 3.0
SETTINGS = {
    "application_name": "coexist",
    "statement_timeout": "10000",
    "lock_timeout": "4000",
    "idle_in_transaction_session_timeout": "5000",
    "synchronous_commit": "on",
}
"""Ends, on the server, what a stopped process left open: a zombie must not keep a row locked."""
MIGRATION_LOCK = 0x636F6578
"""The advisory lock under which one process at a time brings the schema up to date."""

_PLACEHOLDER = re.compile(r"\?")
_DIALECT = (
    (r"id INTEGER PRIMARY KEY", "id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY"),
    (r" WITHOUT ROWID", ""),
    (r"\bINTEGER\b", "BIGINT"),
    (r"\bREAL\b", "DOUBLE PRECISION"),
    (r"\bBLOB\b", "BYTEA"),
    (r"\b(key|line) TEXT", r"\1 BYTEA"),
)
"""Keys and lines are bytes: they come from webhooks, and Postgres takes no NUL in a text."""

LOST = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
    asyncpg.LockNotAvailableError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.IdleInTransactionSessionTimeoutError,
)
"""What a database does that is away, full, restarting, or no longer the primary."""
AWAY = (*LOST, asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError)
"""The same for a command that has only just connected: there may be no such user or database, either."""


def numbered(statement: str) -> str:
    """The statement with `$1`, `$2` … in place of each `?`."""
    count = 0

    def next_one(_: re.Match[str]) -> str:
        nonlocal count
        count += 1
        return f"${count}"

    return _PLACEHOLDER.sub(next_one, statement)


def schema() -> str:
    """The schema of both editions and of the cluster alone, as Postgres says it."""
    text = sql.SCHEMA + sql.SCHEMA_CLUSTER
    for seen, said in _DIALECT:
        text = re.sub(seen, said, text)
    return text


async def reach(url: str) -> None:
    """Connect once and let go. Raises LogUnavailable with what Postgres or the way to it said, never with the URL."""
    try:
        connection = await asyncpg.connect(url, timeout=CONNECT_S)
    except (*LOST, asyncpg.PostgresError, ValueError) as problem:
        raise LogUnavailable(f"Postgres did not let us in: {type(problem).__name__}") from None
    await connection.close(timeout=CONNECT_S)


class Postgres:
    """A pool. Every method raises LogUnavailable when the database does not answer in time."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None

    async def start(self) -> None:
        """Connect, and bring the schema up to date."""
        async with self._answers():
            self._pool = await asyncpg.create_pool(
                self._url,
                min_size=1,
                max_size=CONNECTIONS_MAX,
                command_timeout=STATEMENT_S,
                timeout=CONNECT_S,
                server_settings=SETTINGS,
            )
        async with self._answers(), self._pool.acquire(timeout=CONNECT_S) as connection, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", MIGRATION_LOCK)
            await connection.execute("SET LOCAL client_min_messages = warning")
            await connection.execute(schema())

    async def close(self) -> None:
        """Let go of the connections. Never hangs."""
        if self._pool is not None:
            self._pool.terminate()
            self._pool = None

    async def rows(self, statement: str, *values: Any) -> Sequence[asyncpg.Record]:
        """All rows of a statement that is a transaction of its own."""
        if self._pool is None:
            raise LogUnavailable("the database is closed")
        async with self._answers(), self._pool.acquire(timeout=CONNECT_S) as connection:
            rows: Sequence[asyncpg.Record] = await connection.fetch(statement, *values)
            return rows

    async def one(self, statement: str, *values: Any) -> Any:
        """The first column of the first row, or None."""
        rows = await self.rows(statement, *values)
        return rows[0][0] if rows else None

    @asynccontextmanager
    async def _answers(self) -> AsyncIterator[None]:
        try:
            yield
        except LOST as problem:
            raise LogUnavailable(f"Postgres did not answer: {type(problem).__name__}") from None
