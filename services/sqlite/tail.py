"""The newest rows of the embedded log, kept in memory: live readers ask for nothing else.

Each question to SQLite locks the file, which costs more than the rows it answers with, and every processor asks for
the same ones. A row is decoded from the bytes that were stored, by its first reader, so nobody can tell the difference.
"""

from collections import OrderedDict
from collections.abc import Callable

from schemas.ports import Record

RECORDS_MAX = 2_048
BYTES_MAX = 8 << 20
"""What is kept of all topics and partitions together: some seconds of a busy day. The newest row always is."""

Row = tuple[int, int, float, bytes]
Place = tuple[str, int]


class Tail:
    """The newest rows by the place and offset of their first record. `decode` makes records of a row."""

    def __init__(self, decode: Callable[[Row, str, int], list[Record]]) -> None:
        self._decode = decode
        self._rows: OrderedDict[tuple[Place, int], tuple[Row, list[Record] | None]] = OrderedDict()
        self._records = self._bytes = 0

    def add(self, place: Place, first: int, row: Row) -> None:
        """Keep a row, and let go of the oldest ones beyond the limit."""
        self._rows[place, first] = row, None
        self._records += row[1]
        self._bytes += len(row[3])
        while (self._records > RECORDS_MAX or self._bytes > BYTES_MAX) and len(self._rows) > 1:
            _, (oldest, _) = self._rows.popitem(last=False)
            self._records -= oldest[1]
            self._bytes -= len(oldest[3])

    def read(self, place: Place, offset: int, end: int, limit: int) -> list[Record]:
        """Whole rows from a row's first offset on, until `limit` records or `end`; nothing where that row is gone."""
        found: list[Record] = []
        while offset < end and len(found) < limit:
            known = self._rows.get((place, offset))
            if known is None:
                break
            row, records = known
            if records is None:
                records = self._decode(row, *place)
                self._rows[place, offset] = row, records
            found.extend(records)
            offset += len(records)
        return found

    def clear(self) -> None:
        """Forget all: what is stored has changed."""
        self._rows.clear()
        self._records = self._bytes = 0
