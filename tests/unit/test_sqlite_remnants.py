"""What was deleted is in no byte of the file, and the file is as sound as before."""

import random

import apsw
import pytest

from services.sqlite.file import SqliteFile
from services.sqlite.remnants import gap


def filled(start, cells, end, kind=13, size=4096, header=0):
    page = bytearray(b"\xaa" * size)
    page[header : header + 8] = (
        bytes([kind, 0, 0]) + cells.to_bytes(2, "big") + (end % 65536).to_bytes(2, "big") + b"\0"
    )
    return bytes(page)


def test_the_gap_lies_between_pointers_and_cells():
    assert gap(filled(0, 3, 4000), 0) == (8 + 6, 4000)
    assert gap(filled(0, 3, 4000, kind=5), 0) == (12 + 6, 4000)
    assert gap(filled(0, 3, 4000, header=100), 100) == (100 + 8 + 6, 4000)


@pytest.mark.parametrize("kind", [0, 1, 3, 7, 255])
def test_a_page_without_cells_has_no_gap(kind):
    assert gap(filled(0, 3, 4000, kind=kind), 0) == (0, 0)


def test_a_page_that_makes_no_sense_is_left_alone():
    assert gap(filled(0, 3000, 40), 0) == (0, 0)
    assert gap(filled(0, 1, 65536), 0) == (0, 0)


async def test_rows_that_were_deleted_or_moved_are_in_no_byte_of_the_file(tmp_path):
    pick = random.Random(7)
    file = SqliteFile(tmp_path / "c.db")
    file.script("CREATE TABLE t (id INTEGER PRIMARY KEY, k TEXT UNIQUE, v BLOB)")
    file.start()
    ids = list(range(600))
    pick.shuffle(ids)
    for n in ids:
        row = (n, f"key-{n:05}-{'gone' if n % 3 == 0 else 'kept'}", f"value-{n:05}".encode() * pick.randint(1, 700))
        await file.write(
            lambda connection, row=row: connection.execute("INSERT INTO t VALUES (?, ?, ?)", row).fetchall()
        )
    gone = [n for n in ids if n % 3 == 0]
    for n in gone:
        await file.write(lambda connection, n=n: connection.execute("DELETE FROM t WHERE id = ?", (n,)).fetchall())
    await file.scrub()
    await file.write(lambda connection: connection.execute("INSERT INTO t VALUES (9999, 'k', x'00')").fetchall())
    await file.scrub()
    bytes_ = (tmp_path / "c.db").read_bytes() + (tmp_path / "c.db-wal").read_bytes()
    assert [n for n in gone if f"key-{n:05}".encode() in bytes_ or f"value-{n:05}".encode() in bytes_] == []
    await file.close()
    with apsw.Connection(str(tmp_path / "c.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (len(ids) - len(gone) + 1,)


async def test_writes_go_on_while_it_scrubs(tmp_path):
    file = SqliteFile(tmp_path / "c.db")
    file.script("CREATE TABLE t (v BLOB)")
    file.start()

    async def write():
        await file.write(lambda connection: connection.execute("INSERT INTO t VALUES (zeroblob(20000))").fetchall())

    for _ in range(300):
        await write()
    import asyncio

    scrub = asyncio.create_task(file.scrub())
    written = 0
    while not scrub.done():
        await write()
        written += 1
    await scrub
    assert written > 1
    await file.close()
