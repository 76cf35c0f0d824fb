"""Zeroes what SQLite leaves behind between the cells of its pages.

`secure_delete` zeroes a deleted cell. But whenever a page is split or balanced, copies of cells that have moved stay in
the gap between the cell pointers and the cells, and there a row outlives its deletion. Nobody reads the gap, so it may
be zeroed in the file itself, as long as no copy of the page is on its way there: the write-ahead log is empty then, and
the writer's cache is dropped afterwards. (`VACUUM` does the same by writing the whole file anew.)
"""

from pathlib import Path

import apsw

PAGES_AT_ONCE = 512
"""Pages of 4 KiB looked at while the writer waits: a few milliseconds."""
PAGES_MAX = 1 << 25
"""Beyond so many, an overflow page could begin like a page of cells."""
FILE_HEADER = 100
LEAVES, INTERIORS = frozenset({10, 13}), frozenset({2, 5})


def gap(page: bytes, header: int) -> tuple[int, int]:
    """Where the unused room between pointers and cells begins and ends; an empty span on a page without cells.

    `header`: where the page's own header begins; behind the file's on the first page. Pure.
    """
    kind = page[header]
    if kind not in LEAVES | INTERIORS:
        return 0, 0
    cells = int.from_bytes(page[header + 3 : header + 5], "big")
    end = int.from_bytes(page[header + 5 : header + 7], "big") or 65_536
    start = header + (8 if kind in LEAVES else 12) + 2 * cells
    return (start, end) if start <= end <= len(page) else (0, 0)


class Remnants:
    """The file, opened by SQLite's own hands beside its connections, so that no lock is lost when it is closed."""

    def __init__(self, path: Path, vfs: str, page_bytes: int) -> None:
        flags = [apsw.SQLITE_OPEN_MAIN_DB | apsw.SQLITE_OPEN_READWRITE, 0]
        self._file = apsw.VFSFile(vfs, str(path), flags)
        self._page_bytes = page_bytes

    def zero(self, first: int, count: int) -> int:
        """Zero the gaps of some pages, counted from 0. Returns the page to go on with, 0 at the end of the file."""
        pages = min(self._file.xFileSize() // self._page_bytes, PAGES_MAX)
        last = min(first + count, pages)
        for number in range(first, last):
            self._zero(number)
        if last < pages:
            return last
        self._file.xSync(apsw.SQLITE_SYNC_NORMAL)
        return 0

    def _zero(self, number: int) -> None:
        place = number * self._page_bytes
        page = self._file.xRead(self._page_bytes, place)
        start, end = gap(page, FILE_HEADER if number == 0 else 0)
        if any(page[start:end]):
            self._file.xWrite(bytes(end - start), place + start)

    def close(self) -> None:
        """Let go of the file."""
        self._file.xClose()
