"""The embedded event log: record batches in an SQLite file.

As in Kafka, a row is a batch: all records that one group commit appends to one partition, encoded together, so a
webhook of a hundred messages costs one insert. The row's id is its partition and the offset of its last record.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import cast

import apsw
import msgspec

from schemas.ports import Event, LogUnavailable, Reader, Record
from schemas.topics import TOPICS, partition_of
from services.sealing.content import Seals
from services.sqlite.file import SqliteFile, one
from services.sqlite.tail import Place, Row, Tail

BATCH_RECORDS_MAX = 512
"""Records per row: a reader decodes a whole row at once."""
OFFSET_BITS = 40
_OFFSETS = (1 << OFFSET_BITS) - 1

SCHEMA = """
CREATE TABLE IF NOT EXISTS topics (topic TEXT PRIMARY KEY, number INTEGER NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS partitions (count INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS log (
  id INTEGER PRIMARY KEY, count INTEGER NOT NULL, appended_at REAL NOT NULL, batch BLOB NOT NULL
);
"""
INSERT = "INSERT INTO log (id, count, appended_at, batch) VALUES (?, ?, ?, ?)"
SELECT = "SELECT id, count, appended_at, batch FROM log WHERE id >= ? AND id < ? ORDER BY id LIMIT ?"
REWRITE = "UPDATE log SET batch = ? WHERE id = ?"
OLDEST = "SELECT id, count, appended_at FROM log WHERE id >= ? AND id < ? ORDER BY id LIMIT ?"
EXPIRE = "DELETE FROM log WHERE id = ?"
LAST = "SELECT max(id) FROM log WHERE id >= ? AND id < ?"

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[Event])


class PartitionsChanged(Exception):
    """The data folder was made with another number of partitions, which is fixed for its life."""

    def __init__(self, made_with: int, wanted: int) -> None:
        super().__init__(
            f"The data folder was made with {made_with} partitions, and COEXIST_PARTITIONS is {wanted}. "
            f"Set it to {made_with}; it is fixed for the life of an installation."
        )


class LogFile:
    """The rows of the log as a connection sees them; also for readers beside the running service.

    `seals`: what opens and seals batches, where they are sealed.
    """

    def __init__(self, connection: apsw.Connection, partitions: int, seals: Seals | None = None) -> None:
        self._connection = connection
        self._seals = seals
        rows = connection.execute("SELECT topic, number FROM topics")
        self._base = {str(topic): int(cast("int", number)) * partitions for topic, number in rows}

    def row_id(self, topic: str, partition: int, offset: int) -> int:
        """The id of the row whose last record has this offset."""
        return (self._base[topic] + partition) << OFFSET_BITS | offset

    def encoded(self, row_id: int, events: Sequence[Event]) -> bytes:
        """The batch of a row as it is stored."""
        batch = _encoder.encode(events)
        return batch if self._seals is None else self._seals.seal(batch, f"log/{row_id}")

    def decoded(self, row_id: int, batch: bytes) -> list[Event]:
        """The events of a stored batch. Raises CannotUnseal."""
        return _decoder.decode(batch if self._seals is None else self._seals.open(batch, f"log/{row_id}"))

    def end(self, topic: str, partition: int) -> int:
        """The offset after the newest committed record."""
        span = (self.row_id(topic, partition, 0), self.row_id(topic, partition, _OFFSETS))
        last = one(self._connection, LAST, span)
        return 0 if last is None else (last & _OFFSETS) + 1

    def read(self, topic: str, partition: int, offset: int, limit: int) -> list[Record]:
        """Whole rows from `offset` on, at least one when there is one, until `limit` records are reached."""
        found: list[Record] = []
        span = (self.row_id(topic, partition, offset), self.row_id(topic, partition, _OFFSETS))
        rows = self._connection.execute(SELECT, (*span, limit))
        for row in rows:
            found.extend(self.records(cast("Row", row), topic, partition, offset))
            if len(found) >= limit:
                break
        rows.close()
        return found

    def row_of(self, topic: str, partition: int, offset: int) -> list[Record]:
        """The records that share a row with the one at `offset`."""
        span = (self.row_id(topic, partition, offset), self.row_id(topic, partition, _OFFSETS))
        row = self._connection.execute(SELECT, (*span, 1)).fetchone()
        return [] if row is None else self.records(cast("Row", row), topic, partition)

    def records(self, row: Row, topic: str, partition: int, offset: int = 0) -> list[Record]:
        """The records of a stored row, from `offset` on."""
        row_id, count, appended_at, batch = row
        first = (row_id & _OFFSETS) - count + 1
        return [
            Record(topic, partition, first + index, event, appended_at)
            for index, event in enumerate(self.decoded(row_id, batch))
            if first + index >= offset
        ]


class SqliteLog:
    """The `EventLog` port on an SQLite file. Appends of one moment share one commit."""

    def __init__(
        self, file: SqliteFile, partitions: int, clock: Callable[[], float], seals: Seals | None = None
    ) -> None:
        self.partitions = partitions
        self._file = file
        self._clock = clock
        _prepare(file, partitions)
        self._rows = LogFile(file.reading, partitions, seals)
        self._tail = Tail(self._rows.records)
        self._next: dict[Place, int] = {}
        self._durable: dict[Place, int] = {}
        self._readers: dict[Place, set[asyncio.Event]] = {}
        self._pending: dict[Place, list[Event]] = {}
        self._waiters: list[asyncio.Future[None]] = []
        self._flushing: set[asyncio.Task[None]] = set()
        file.on_failure(self._forget)
        self._forget()

    # --- appending

    async def append(self, entries: Sequence[tuple[str, Event]]) -> None:
        """See `EventLog.append`. Many go in one piece after the other, so that others may append in between."""
        for start in range(0, len(entries), BATCH_RECORDS_MAX):
            await self._append(entries[start : start + BATCH_RECORDS_MAX])

    async def _append(self, entries: Sequence[tuple[str, Event]]) -> None:
        for topic, event in entries:
            place = (topic, partition_of(event.number, self.partitions))
            self._pending.setdefault(place, []).append(event)
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        if len(self._waiters) == 1:
            task = asyncio.create_task(self._flush())
            self._flushing.add(task)
            task.add_done_callback(self._flushing.discard)
        await waiter

    async def _flush(self) -> None:
        taken: list[asyncio.Future[None]] = []
        try:
            touched = await self._file.write(lambda connection: self._write(connection, taken), urgent=True)
        except LogUnavailable as problem:
            if not taken:  # the writer stopped before it came to this
                taken, self._waiters, self._pending = self._waiters, [], {}
            for waiter in taken:
                if not waiter.done():
                    waiter.set_exception(LogUnavailable(str(problem)))
            return
        self.committed(touched)
        for waiter in taken:
            if not waiter.done():
                waiter.set_result(None)

    def _write(self, connection: apsw.Connection, taken: list[asyncio.Future[None]]) -> dict[Place, int]:
        pending, self._pending = self._pending, {}
        taken.extend(self._waiters)
        self._waiters = []
        return self.insert(connection, pending)

    def insert(self, connection: apsw.Connection, batches: Mapping[Place, Sequence[Event]]) -> dict[Place, int]:
        """Write batches inside a transaction of the writer; call `committed` with the result once it is durable.

        The result is where each place ends then: the next group is written before anybody hears of this one.
        """
        now = self._clock()
        for place, events in batches.items():
            for start in range(0, len(events), BATCH_RECORDS_MAX):
                chunk = events[start : start + BATCH_RECORDS_MAX]
                first, following = self._next[place], self._next[place] + len(chunk)
                row_id = self._rows.row_id(*place, following - 1)
                row = (row_id, len(chunk), now, self._rows.encoded(row_id, chunk))
                connection.execute(INSERT, row)
                self._tail.add(place, first, row)
                self._next[place] = following
        return {place: self._next[place] for place in batches}

    async def expire(self, topic: str, partition: int, before: float, read: int, rows: int) -> int:
        """Remove up to `rows` of the oldest rows that were appended before an instant and lie below offset `read`.

        The newest row stays, for it says where the partition ends. How many records went; 0 when none is left to go.
        Whoever reads from below the oldest record goes on at the oldest.
        """
        newest = self._durable[topic, partition] - 1
        span = (self._rows.row_id(topic, partition, 0), self._rows.row_id(topic, partition, max(0, min(read, newest))))
        found = self._file.reading.execute(OLDEST, (*span, rows)).fetchall()
        old = cast("list[tuple[int, int, float]]", found)
        old = [row for row in old if row[2] < before]
        if old:
            keys = [(row[0],) for row in old]
            await self._file.write(lambda connection: connection.executemany(EXPIRE, keys).fetchall())
            self._tail.clear()
        return sum(row[1] for row in old)

    def row_of(self, topic: str, partition: int, offset: int) -> list[Record]:
        """The records that share a row with the one at `offset`."""
        return self._rows.row_of(topic, partition, offset)

    async def rewrite(self, topic: str, partition: int, records: Mapping[int, Event]) -> None:
        """Put other events in the place of some durable records, by offset; offsets and counts stay as they are."""

        def job(connection: apsw.Connection) -> None:
            left = dict(records)
            while left:
                span = (self._rows.row_id(topic, partition, min(left)), self._rows.row_id(topic, partition, _OFFSETS))
                row = cast("tuple[int, int, float, bytes] | None", connection.execute(SELECT, (*span, 1)).fetchone())
                if row is None:
                    return
                first = (row[0] & _OFFSETS) - row[1] + 1
                events = self._rows.decoded(row[0], row[3])
                changed = [left.pop(first + index, event) for index, event in enumerate(events)]
                connection.execute(REWRITE, (self._rows.encoded(row[0], changed), row[0]))
                left = {offset: event for offset, event in left.items() if offset > row[0] & _OFFSETS}

        await self._file.write(job)
        self._tail.clear()

    def committed(self, ends: Mapping[Place, int]) -> None:
        """Let readers see what became durable."""
        for place, end in ends.items():
            self._durable[place] = max(end, self._durable[place])
            for ready in self._readers.get(place, ()):
                ready.set()

    # --- reading

    async def reader(self, topics: Sequence[str], partition: int, positions: Mapping[str, int]) -> Reader:
        """See `EventLog.reader`."""
        return SqliteReader(self, topics, partition, positions)

    async def read(self, topic: str, partition: int, offset: int, limit: int) -> Sequence[Record]:
        """See `EventLog.read`."""
        return self.read_now(topic, partition, offset, limit)[:limit]

    async def end(self, topic: str, partition: int) -> int:
        """See `EventLog.end`."""
        return self._durable[topic, partition]

    def ends_now(self, topics: Sequence[str], partition: int) -> dict[str, int]:
        """The durable ends of some topics of one partition."""
        return {topic: self._durable[topic, partition] for topic in topics}

    def read_now(self, topic: str, partition: int, offset: int, limit: int) -> list[Record]:
        """Whole rows from `offset` on, at least one when there is one, until `limit` records are reached."""
        end = self._durable[topic, partition]
        if offset >= end:
            return []
        newest = self._tail.read((topic, partition), offset, end, limit)
        return newest or self._rows.read(topic, partition, offset, limit)

    def watch(self, topics: Sequence[str], partition: int, ready: asyncio.Event) -> None:
        """Set `ready` whenever something became durable on one of the topics."""
        for topic in topics:
            self._readers.setdefault((topic, partition), set()).add(ready)

    def unwatch(self, topics: Sequence[str], partition: int, ready: asyncio.Event) -> None:
        """Undo `watch`."""
        for topic in topics:
            self._readers.get((topic, partition), set()).discard(ready)

    def _forget(self) -> None:
        self._tail.clear()
        for topic in TOPICS:
            for partition in range(self.partitions):
                self._next[topic, partition] = self._rows.end(topic, partition)
        self._durable = dict(self._next)


class SqliteReader:
    """The `Reader` port: rows decoded once, handed out in pieces."""

    def __init__(self, log: SqliteLog, topics: Sequence[str], partition: int, positions: Mapping[str, int]) -> None:
        self._log = log
        self._topics = list(topics)
        self._partition = partition
        self._next = {topic: positions.get(topic, 0) for topic in topics}
        self._buffer: dict[str, list[Record]] = {topic: [] for topic in topics}
        self._ready = asyncio.Event()
        self._turn = 0
        log.watch(self._topics, partition, self._ready)

    async def poll(self, limit: int, wait_s: float, leaving: frozenset[str] = frozenset()) -> Sequence[Record]:
        """See `Reader.poll`. Every fourth poll begins with the least preferred topic, so that none starves."""
        deadline = monotonic() + wait_s
        while True:
            self._ready.clear()
            found = self._take(limit, leaving)
            left_s = deadline - monotonic()
            if found or left_s <= 0:
                return found
            wake = asyncio.get_running_loop().call_later(left_s, self._ready.set)
            try:
                await self._ready.wait()
            finally:
                wake.cancel()

    def _take(self, limit: int, leaving: frozenset[str]) -> list[Record]:
        self._turn += 1
        order = self._topics if self._turn % 4 else self._topics[::-1]
        found: list[Record] = []
        for topic in order:
            if len(found) < limit and topic not in leaving:
                found.extend(self._take_topic(topic, limit - len(found)))
        return found

    def _take_topic(self, topic: str, limit: int) -> list[Record]:
        buffer = self._buffer[topic]
        if not buffer:
            buffer = self._log.read_now(topic, self._partition, self._next[topic], limit)
        taken, self._buffer[topic] = buffer[:limit], buffer[limit:]
        if taken:
            self._next[topic] = taken[-1].offset + 1
        return taken

    async def ends(self) -> Mapping[str, int]:
        """See `Reader.ends`."""
        return self._log.ends_now(self._topics, self._partition)

    def positions(self) -> Mapping[str, int]:
        """See `Reader.positions`."""
        return self._next

    async def close(self) -> None:
        """See `Reader.close`."""
        self._log.unwatch(self._topics, self._partition, self._ready)


def partitions_of(connection: apsw.Connection) -> int | None:
    """The number of partitions that the file was made with; None where it was never used. Raises apsw.Error."""
    count: int | None = one(connection, "SELECT count FROM partitions")
    return count


def _prepare(file: SqliteFile, partitions: int) -> None:
    file.script(SCHEMA)
    made_with = partitions_of(file.reading)
    if made_with is None:
        file.script(f"INSERT INTO partitions VALUES ({int(partitions)})")  # noqa: S608 - a number
    elif made_with != partitions:
        raise PartitionsChanged(made_with, partitions)
    known = {str(row[0]) for row in file.reading.execute("SELECT topic FROM topics")}
    for topic in TOPICS:
        if topic not in known:
            file.script(f"INSERT INTO topics SELECT '{topic}', count(*) FROM topics")  # noqa: S608 - our own names
