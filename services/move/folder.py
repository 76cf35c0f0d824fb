"""The data folder that is moved: what it holds, read by nobody else meanwhile, and its mark.

Offsets are kept as they are, for positions, dead letters and relays name them. Where the folder has no record at an
offset any more, because it was too old or somebody was erased, a record that says so and no more stands in for it.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, cast

import apsw

from schemas.ports import Event
from schemas.topics import TOPICS, partition_of
from services import statements as sql
from services.edition import FILE_NAME
from services.move.mark import MARK, MARK_READ, Mark, read, stored
from services.sealing.content import seals_for
from services.settings import Settings
from services.sqlite import log as log_sqlite
from services.sqlite.file import SqliteFile, one, usable
from services.sqlite.log import LogFile, PartitionsChanged
from services.sqlite.store import SHARDS_MAX

READ_RECORDS = 2_000
GONE = "record.gone"
"""The type of a record that stands in for one that was too old, or was erased. Nobody reads it as anything."""
MARK_PUT = "INSERT INTO installation VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"

Columns = Mapping[str, Sequence[str]]
"""The columns of tables, by the table's name."""


class Refused(Exception):
    """The move cannot be made; one sentence says why and what to do. Nothing was changed by it."""


@dataclass(frozen=True, slots=True)
class Part:
    """A partition of a topic as the folder holds it: `begin` is the first offset that is kept, `end` the next one.

    `unread_from`: the least position of those processors that read it.
    """

    topic: str
    partition: int
    begin: int
    end: int
    unread_from: int


class Folder:
    """An embedded data folder under our lock. Raises Refused, FileInUse, FolderUnusable or SettingsError."""

    def __init__(self, settings: Settings) -> None:
        self.path: Path = settings.data_dir
        path = self.path / FILE_NAME
        if not path.exists():
            raise Refused(f"{path} does not exist, so there is nothing to move. Set COEXIST_DATA_DIR.")
        self.partitions = settings.partitions
        self.now = time.time()
        with usable(path):
            self._seals = seals_for(settings, path)
            self._file = SqliteFile(path)

    async def close(self) -> None:
        """Let go of the folder."""
        await self._file.close()

    def check(self) -> None:
        """Raise when this version cannot read all of it, or the settings do not fit it."""
        made_of = self.columns()
        known = columns_of(log_sqlite.SCHEMA + sql.SCHEMA)
        if made_of != known:
            raise Refused(
                f"{self.path} was written by another version of Coexist. Run `coexist migrate` with this version once, "
                "or the move with the version that wrote it."
            )
        topics = {str(row[0]) for row in self._rows("SELECT topic FROM topics")}
        if topics != TOPICS.keys():
            raise Refused(f"{self.path} has other topics than this version. Run `coexist migrate` once.")
        made_with = one(self._file.reading, "SELECT count FROM partitions")
        if made_with != self.partitions:
            raise PartitionsChanged(made_with, self.partitions)

    def columns(self) -> Columns:
        """The tables that the folder's file has."""
        return columns_of("", self._file.reading)

    def _rows(self, statement: str, parameters: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
        return cast("Iterator[tuple[Any, ...]]", self._file.reading.execute(statement, parameters))

    # --- the mark

    @property
    def mark(self) -> Mark | None:
        """The mark of a move that was begun, or is done."""
        return read(one(self._file.reading, MARK_READ))

    def put_mark(self, mark: Mark | None) -> None:
        """Set the mark, or take it away; durable when this returns."""
        if mark is None:
            self._file.script(f"DELETE FROM installation WHERE name = '{MARK}'")  # noqa: S608 - a constant
        else:
            self._file.script(MARK_PUT, (MARK, stored(mark)))

    # --- the log

    def parts(self) -> list[Part]:
        """All partitions of all topics."""
        rows = LogFile(self._file.reading, self.partitions, self._seals)
        read_to: dict[tuple[str, int], int] = {}
        for slot, topic, position in self._rows("SELECT slot, topic, position FROM positions"):
            place = topic, slot % SHARDS_MAX
            read_to[place] = min(position, read_to.get(place, position))
        has_readers = {topic for topic, _ in read_to}
        found = []
        for topic in TOPICS:
            for partition in range(self.partitions):
                end = rows.end(topic, partition)
                first = rows.read(topic, partition, 0, 1)
                begin = first[0].offset if first else end
                unread_from = read_to.get((topic, partition), 0 if topic in has_readers else end)
                found.append(Part(topic, partition, begin, end, unread_from))
        return found

    def events(self, part: Part, offset: int) -> Iterator[list[tuple[Event, float]]]:
        """Every offset's event from `offset` on, with when it was appended, in pieces."""
        rows = LogFile(self._file.reading, self.partitions, self._seals)
        stand_in = self._stand_in(part)
        while offset < part.end:
            records = rows.read(part.topic, part.partition, offset, READ_RECORDS)
            if not records:
                raise Refused(f"{part.topic}/{part.partition} ends at {part.end}, but nothing stands at {offset}.")
            while offset < records[0].offset:
                missing = min(records[0].offset - offset, READ_RECORDS)
                yield [(stand_in, records[0].appended_at)] * missing
                offset += missing
            found: list[tuple[Event, float]] = []
            for record in records:
                found.extend([(stand_in, record.appended_at)] * (record.offset - offset))
                found.append((record.event, record.appended_at))
                offset = record.offset + 1
            yield found

    def _stand_in(self, part: Part) -> Event:
        """A record of no content. Its key lies on the partition, so that nobody moves it to another one."""
        key = next(key for key in map(str, count()) if partition_of(key, self.partitions) == part.partition)
        data = None if TOPICS[part.topic].retention_s is None else b"{}"
        return Event(GONE, GONE, key, data, 0, 0)

    # --- the store

    def size(self) -> int:
        """How many states there are."""
        return cast("int", one(self._file.reading, "SELECT count(*) FROM states"))

    def rows(self, table: str, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        """The rows of a table of the store, in the order in which they came; the mark is none of them."""
        where = f" WHERE name <> '{MARK}'" if table == "installation" else ""
        order = " ORDER BY id" if table == "states" else ""
        return self._rows(f"SELECT {', '.join(columns)} FROM {table}{where}{order}")  # noqa: S608 - names of ours


def columns_of(schema: str, connection: apsw.Connection | None = None) -> Columns:
    """The columns of the tables that a schema makes, or that stand in a file."""
    if connection is None:
        connection = apsw.Connection(":memory:")
        connection.execute(schema)
    tables = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    names = [str(row[0]) for row in connection.execute(tables)]
    return {
        name: [str(row[0]) for row in connection.execute("SELECT name FROM pragma_table_info(?)", (name,))]
        for name in names
    }
