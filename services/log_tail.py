"""The newest rows of the embedded log, kept in memory: live readers ask for nothing else.

Each question to SQLite locks the file, which costs more than the rows it answers with, and every processor asks for
the same ones. A row is decoded from the bytes that were stored, by its first reader, so nobody can tell the difference.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from schemas.ports import Record

RECORDS_MAX = 2_048
"""Records kept, of all topics and partitions together: some seconds of a busy day, a few MiB."""

Row = tuple[int, int, float, bytes]
Place = tuple[str, int]


class Tail:
    """The newest rows by the place and offset of their first record. `decode` makes records of a row."""

    def __init__(self, decode: Callable[[Row, str, int], list[Record]]) -> None:
        self._decode = decode
        self._rows: OrderedDict[tuple[Place, int], Any] = OrderedDict()
        self._records = 0

    def add(self, place: Place, first: int, row: Row) -> None:
        """Keep a row, and let go of the oldest ones beyond the limit."""
        self._rows[place, first] = row
        self._records += row[1]
        while self._records > RECORDS_MAX:
            _, oldest = self._rows.popitem(last=False)
            self._records -= len(oldest) if isinstance(oldest, list) else oldest[1]

    def read(self, place: Place, offset: int, end: int, limit: int) -> list[Record]:
        """Whole rows from a row's first offset on, until `limit` records or `end`; nothing where that row is gone."""
        found: list[Record] = []
        while offset < end and len(found) < limit:
            row = self._rows.get((place, offset))
            if row is None:
                break
            if not isinstance(row, list):
                row = self._rows[place, offset] = self._decode(row, *place)
            found.extend(row)
            offset += len(row)
        return found

    def clear(self) -> None:
        """Forget all: what is stored has changed."""
        self._rows.clear()
        self._records = 0
