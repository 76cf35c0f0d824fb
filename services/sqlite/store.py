"""The `Store` port on the same SQLite file as the log: state, positions and outputs become durable together."""

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

import apsw
import orjson

from schemas.ports import NOWHERE, Attendance, Commit, Event, Fenced, Lease
from schemas.topics import TOPICS, partition_of
from services import statements as sql
from services.sqlite.file import SqliteFile, one
from services.sqlite.log import SqliteLog
from services.sqlite.tail import Place

SHARDS_MAX = 1 << 16
KEY_BYTES = 32
EVERYTHING = 1 << 40
"""Beyond every offset."""
LAST_KEY = "\U0010ffff"
"""Beyond every character that a key has."""


class SqliteStore:
    """States of all processors in one table; one transaction per commit, shared with whatever else is waiting."""

    def __init__(self, file: SqliteFile, log: SqliteLog, clock: Callable[[], float]) -> None:
        self._file = file
        self._log = log
        self._clock = clock
        file.script(sql.SCHEMA)
        self._numbers: dict[str, int] = {}
        file.on_failure(self._forget)
        self._forget()

    async def installation_key(self) -> bytes:
        """See `Store.installation_key`."""

        def job(connection: apsw.Connection) -> bytes:
            connection.execute(sql.INSTALLATION_KEY_MAKE, (secrets.token_bytes(KEY_BYTES),))
            return cast("bytes", one(connection, sql.INSTALLATION_KEY))

        return cast("bytes", await self._file.write(job))

    # --- leases

    async def acquire(self, processor: str, shard: int, owner: str, ttl_s: float) -> Lease | None:
        """See `Store.acquire`."""
        now = self._clock()

        def job(connection: apsw.Connection) -> Lease | None:
            slot = self._slot(processor, shard, connection)
            held = connection.execute(sql.LEASE, (slot,)).fetchone()
            if held and held[0] != owner and held[2] > now:
                return None
            epoch = held[1] + 1 if held else 1
            connection.execute(sql.LEASE_TAKE, (slot, owner, epoch, now + ttl_s))
            return Lease(processor, shard, owner, epoch)

        return cast("Lease | None", await self._file.write(job))

    async def renew(self, lease: Lease, ttl_s: float) -> None:
        """See `Store.renew`."""
        expires = self._clock() + ttl_s

        def job(connection: apsw.Connection) -> None:
            slot = self._fence(connection, lease)
            connection.execute(sql.LEASE_TAKE, (slot, lease.owner, lease.epoch, expires))

        await self._file.write(job)

    async def release(self, lease: Lease) -> None:
        """See `Store.release`."""

        def job(connection: apsw.Connection) -> None:
            slot = self._slot(lease.processor, lease.shard)
            connection.execute(sql.LEASE_GIVE_BACK, (slot, lease.owner, lease.epoch))

        await self._file.write(job)

    async def attend(self, processor: str, owner: str, ttl_s: float) -> Attendance:
        """See `Store.attend`. The file's lock says that nobody else works here, so half the time is renewed at once."""
        first = self._slot(processor, 0)
        span, now = (first, first + SHARDS_MAX), self._clock()
        found = self._file.reading.execute(sql.LEASES_HELD, span).fetchall() if first >= 0 else []
        rows = cast("list[tuple[int, str, int, float]]", found)
        held = {slot - first: epoch for slot, holder, epoch, _ in rows if holder == owner}
        if any(holder == owner and expires_at < now + ttl_s / 2 for _, holder, _, expires_at in rows):
            renewal = (now + ttl_s, *span, owner)
            await self._file.write(lambda connection: connection.execute(sql.LEASES_RENEW, renewal).fetchall())
        taken = {slot - first for slot, holder, _, expires_at in rows if holder != owner and expires_at > now}
        return Attendance((owner,), held, frozenset(taken))

    async def depart(self, processor: str, owner: str) -> None:
        """See `Store.depart`. Nobody else works here."""

    def _fence(self, connection: apsw.Connection, lease: Lease) -> int:
        slot = self._slot(lease.processor, lease.shard)
        held = connection.execute(sql.LEASE, (slot,)).fetchone()
        if held is None or held[0] != lease.owner or held[1] != lease.epoch:
            raise Fenced(f"{lease.processor} shard {lease.shard} has another owner")
        return slot

    # --- reading

    async def positions(self, processor: str, shard: int) -> dict[str, int]:
        """See `Store.positions`."""
        return _pairs(self._file, sql.POSITIONS, (self._slot(processor, shard),))

    async def load(self, processor: str, shard: int, keys: Iterable[str]) -> dict[str, bytes]:
        """See `Store.load`. One statement for all keys: each statement locks the file, which costs more than a row."""
        wanted = orjson.dumps(list(keys)).decode()
        found = self._file.reading.execute(sql.STATES, (wanted, self._slot(processor, shard))).fetchall()
        return dict(cast("list[tuple[str, bytes]]", found))

    async def due(self, processor: str, shard: int, until: float, limit: int) -> list[str]:
        """See `Store.due`."""
        slot = self._slot(processor, shard)
        return [row[0] for row in self._file.reading.execute(sql.DUE, (slot, until, limit))]

    async def next_wake(self, processor: str, shard: int) -> float | None:
        """See `Store.next_wake`."""
        found = one(self._file.reading, sql.NEXT_WAKE, (self._slot(processor, shard),))
        return cast("float | None", found)

    async def heads(
        self, processor: str, shard: int, line: str, until: float, limit: int, after: float = NOWHERE
    ) -> list[tuple[str, bytes]]:
        """See `Store.heads`."""
        slot = self._slot(processor, shard)
        return list(self._file.reading.execute(sql.HEADS, (slot, line, after, until, limit)))

    async def sequence(self, topic: str, key: str) -> int:
        """See `Store.sequence`."""
        return cast("int", one(self._file.reading, sql.SEQUENCE, (topic, key)) or 0)

    async def scan(self, processor: str, shard: int, prefix: str, after: str, limit: int) -> list[tuple[str, bytes]]:
        """See `Store.scan`."""
        span = (self._slot(processor, shard), max(after, prefix), prefix + LAST_KEY, limit)
        return list(self._file.reading.execute(sql.STATES_AFTER, span))

    def read_by_all(self, inputs: Mapping[str, Sequence[str]], topic: str, partition: int) -> int:
        """Up to which offset a partition was read by everybody who ever read it: what lies below nobody waits for.

        `inputs`: the topics of the processors that run. One of them that has not read yet holds everything back.
        """
        rows = self._file.reading.execute(sql.READ_BY, (topic, SHARDS_MAX, partition)).fetchall()
        read = dict(cast("list[tuple[int, int]]", rows))
        for processor, topics in inputs.items():
            if topic in topics:
                read.setdefault(self._slot(processor, partition), 0)
        return min(read.values(), default=EVERYTHING)

    async def count(self, processor: str, shard: int, prefix: str) -> int:
        """See `Store.count`."""
        span = (self._slot(processor, shard), prefix, prefix + "\uffff")
        return cast("int", one(self._file.reading, sql.COUNT, span))

    # --- committing

    async def commit(self, commit: Commit) -> None:
        """See `Store.commit`. Outputs become rows of the log in the same transaction."""
        touched = await self._file.write(lambda connection: self._apply(connection, commit))
        self._log.committed(touched)

    def _apply(self, connection: apsw.Connection, commit: Commit) -> dict[Place, int]:
        slot = self._fence(connection, commit.lease)
        for topic, position in commit.positions.items():
            connection.execute(sql.POSITION_MOVE, (slot, topic, position))
        removed = [(slot, key) for key, row in commit.rows.items() if row is None]
        if removed:
            connection.executemany(sql.STATE_REMOVE, removed)
        connection.executemany(
            sql.STATE_PUT,
            (
                (slot, key, row.value, row.wake_at, row.line, row.place)
                for key, row in commit.rows.items()
                if row is not None
            ),
        )
        return self._publish(connection, commit.outputs)

    def _publish(self, connection: apsw.Connection, outputs: list[tuple[str, Event]]) -> dict[Place, int]:
        if not outputs:
            return {}
        batches: dict[Place, list[Event]] = {}
        last: dict[tuple[str, str], int] = {}
        for topic, event in outputs:
            placed = event
            if TOPICS[topic].sequenced:
                counter = (topic, event.number)
                if counter not in last:
                    last[counter] = one(connection, sql.SEQUENCE, counter) or 0
                last[counter] += 1
                placed = sequenced(event, last[counter])
            place = (topic, partition_of(event.number, self._log.partitions))
            batches.setdefault(place, []).append(placed)
        connection.executemany(sql.SEQUENCE_PUT, ((*counter, seq) for counter, seq in last.items()))
        return self._log.insert(connection, batches)

    def _forget(self) -> None:
        self._numbers = _pairs(self._file, "SELECT processor, number FROM processors")

    def _slot(self, processor: str, shard: int, connection: apsw.Connection | None = None) -> int:
        number = self._numbers.get(processor)
        if number is None and connection is not None:
            number = len(self._numbers)
            connection.execute("INSERT INTO processors VALUES (?, ?)", (processor, number))
            self._numbers[processor] = number
        return -1 if number is None else number * SHARDS_MAX + shard


def _pairs(file: SqliteFile, statement: str, parameters: tuple[Any, ...] = ()) -> dict[str, int]:
    rows = cast("list[tuple[str, int]]", file.reading.execute(statement, parameters).fetchall())
    return dict(rows)


def sequenced(event: Event, seq: int) -> Event:
    """The event with its place in the order of its key."""
    return Event(
        event.id,
        event.type,
        event.number,
        event.data,
        event.at,
        event.recorded_at,
        event.subject,
        event.key,
        seq,
        event.cause,
        event.trace,
    )


def scan(file: SqliteFile, processor: str, prefix: str) -> list[tuple[int, str, Any]]:
    """Every (shard, key, value) of a processor whose key starts with `prefix`, for audits and pages."""
    return list(file.reading.execute(sql.SCAN, (processor, SHARDS_MAX, SHARDS_MAX, prefix, prefix + "\uffff")))
