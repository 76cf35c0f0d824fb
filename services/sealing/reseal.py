"""`coexist reseal`: everything that is stored becomes as it would be written now, with the service stopped.

So a key that came second is needed by nothing any more, what was written before sealing was turned on is sealed, and
where it was turned off everything is plain again. A mark of the first key comes before the first value, and the marks
of the others go after the last one: whatever cuts it off, it is begun again.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

from services.commands.failure import UNREACHABLE, USAGE, Failure
from services.edition import FILE_NAME
from services.media.sealed import SealedMedia
from services.media.store import open_store
from services.sealing.content import MARK_MAKE, MARKS_DROP, Seals, about_state, seals_for
from services.sealing.keys import Sealer, sealer_of
from services.sealing.secrets import sealed_anew
from services.settings import Settings
from services.sqlite.file import SqliteFile, usable
from services.sqlite.store import SHARDS_MAX

PAGE_ROWS = 500
PAGE_BATCHES = 8
"""A batch may hold hundreds of records, and a record a whole webhook."""
NOTHING = "No content is sealed, and COEXIST_ENCRYPTION_KEYS is not set: there is nothing to do."
MOVED = "A process wrote {} of the values meanwhile; they stay as it wrote them. Stop every process and run it again."

Value = tuple[int, str, bytes]
"""A row's id, what its value is about, and the value."""
StateRow = tuple[int, int, str, bytes]
"""A row's id, its slot, its key and its value."""
Anew = tuple[bytes, int, bytes]
"""What is to be written, the row's id, and the value that was read there."""


class Rows(Protocol):
    """The rows of one installation that hold values. Everything may raise LogUnavailable."""

    async def processors(self) -> dict[int, str]:
        """The processors by their numbers."""

    async def states(self, after: int, limit: int) -> Sequence[StateRow]:
        """States beyond an id, in the order of their ids."""

    async def put_states(self, values: Sequence[Anew]) -> int:
        """Put other values in their places where what was read stands there still; in how many it did not."""

    async def batches(self) -> AsyncIterator[Sequence[Value]]:
        """Every batch of records, page by page; a page is put before the next one is asked for."""
        yield ()

    async def put_batches(self, values: Sequence[Anew]) -> int:
        """The same for some of the last page."""

    async def mark(self, name: str, value: bytes) -> None:
        """Say that a key seals."""

    async def drop_marks(self, but: str) -> None:
        """Say that no other key is needed."""

    async def scrub(self) -> None:
        """Let nothing of what was there remain, as far as that is in our hands."""


@dataclass(slots=True)
class Resealed:
    """How many values were written anew: batches of records, states, files of media; and how many were looked at.

    `moved`: how many a process wrote meanwhile, and were left to it.
    """

    batches: int = 0
    states: int = 0
    media: int = 0
    seen: int = field(default=0)
    moved: int = 0


async def reseal(settings: Settings, vfs: str = "") -> Resealed:
    """Write everything anew that is not as it would be written now. Raises Failure, SettingsError or LogUnavailable.

    Tests name the SQLite VFS on which a folder's file stands.
    """
    opening = _cluster(settings) if settings.kafka_bootstrap_servers else _folder(settings, vfs)
    async with opening as (rows, seals):
        done, mark = Resealed(), ""
        if seals.wanted:
            mark, value = seals.mark()
            await rows.mark(mark, value)
        await _batches(rows, seals, done)
        await _states(rows, seals, sealer_of(settings.encryption_keys), done)
        await _media(settings, seals, done)
        if done.moved:
            raise Failure(MOVED.format(done.moved), UNREACHABLE)
        await rows.drop_marks(mark)
        await rows.scrub()
    return done


async def _batches(rows: Rows, seals: Seals, done: Resealed) -> None:
    async for page in rows.batches():
        anew = [(_anew(seals, value, about), at, value) for at, about, value in page if not seals.is_current(value)]
        if anew:
            done.moved += await rows.put_batches(anew)
        done.batches += len(anew)
        done.seen += len(page)


async def _states(rows: Rows, seals: Seals, sealer: Sealer, done: Resealed) -> None:
    names, after = await rows.processors(), -1
    while page := await rows.states(after, PAGE_ROWS):
        anew: list[Anew] = []
        for row, slot, key, value in page:
            processor = names[slot // SHARDS_MAX]
            about = about_state(processor, slot % SHARDS_MAX, key)
            plain = seals.open(value, about)
            kept = sealed_anew(sealer, processor, key, plain)
            if kept != plain or not seals.is_current(value):
                anew.append((seals.seal(kept, about), row, value))
        if anew:
            done.moved += await rows.put_states(anew)
        done.states += len(anew)
        done.seen += len(page)
        after = page[-1][0]


async def _media(settings: Settings, seals: Seals, done: Resealed) -> None:
    media = SealedMedia(open_store(settings.media_url, settings.data_dir), seals)
    try:
        for left_behind in media.incoming.iterdir():  # by a process that was killed; it may be plain
            left_behind.unlink(missing_ok=True)
        async for ref in media.refs():
            done.media += await media.seal_anew(ref)
            done.seen += 1
    except OSError as problem:
        raise Failure(f"A file of media cannot be used: {problem}. Run it again once that is mended.") from None


def _anew(seals: Seals, value: bytes, about: str) -> bytes:
    return seals.seal(seals.open(value, about), about)


# --- the embedded edition


class FolderRows:
    """The rows of a data folder, under its lock: what was read stands there still."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file

    async def processors(self) -> dict[int, str]:
        """See `Rows.processors`."""
        rows = self._file.reading.execute("SELECT number, processor FROM processors").fetchall()
        return {int(str(number)): str(name) for number, name in rows}

    async def states(self, after: int, limit: int) -> Sequence[StateRow]:
        """See `Rows.states`."""
        asked = "SELECT id, slot, key, value FROM states WHERE id > ? ORDER BY id LIMIT ?"
        return self._file.reading.execute(asked, (after, limit)).fetchall()  # type: ignore[return-value]

    async def put_states(self, values: Sequence[Anew]) -> int:
        """See `Rows.put_states`."""
        return await self._put("UPDATE states SET value = ? WHERE id = ?", values)

    async def batches(self) -> AsyncIterator[Sequence[Value]]:
        """See `Rows.batches`: the rows of the log."""
        after, asked = -1, "SELECT id, 'log/' || id, batch FROM log WHERE id > ? ORDER BY id LIMIT ?"
        while page := self._file.reading.execute(asked, (after, PAGE_BATCHES)).fetchall():
            yield page  # type: ignore[misc]
            after = page[-1][0]  # type: ignore[assignment]

    async def put_batches(self, values: Sequence[Anew]) -> int:
        """See `Rows.put_batches`."""
        return await self._put("UPDATE log SET batch = ? WHERE id = ?", values)

    async def _put(self, statement: str, values: Sequence[Anew]) -> int:
        rows = [(value, at) for value, at, _ in values]
        await self._file.write(lambda connection: connection.executemany(statement, rows).fetchall())
        return 0

    async def mark(self, name: str, value: bytes) -> None:
        """See `Rows.mark`."""
        await self._file.write(lambda connection: connection.execute(MARK_MAKE, (name, value)).fetchall())

    async def drop_marks(self, but: str) -> None:
        """See `Rows.drop_marks`."""
        await self._file.write(lambda connection: connection.execute(MARKS_DROP, (but,)).fetchall())

    async def scrub(self) -> None:
        """See `Rows.scrub`."""
        await self._file.scrub()


@asynccontextmanager
async def _folder(settings: Settings, vfs: str) -> AsyncIterator[tuple[Rows, Seals]]:
    path = settings.data_dir / FILE_NAME
    if not path.exists():
        raise Failure(f"{path} does not exist. Set COEXIST_DATA_DIR.", USAGE)
    with usable(path):
        seals = seals_for(settings, path, shared=True)
        if seals is None:
            raise Failure(NOTHING, USAGE)
        file = SqliteFile(path, vfs)
    try:
        file.start()
        yield FolderRows(file), seals
    finally:
        await file.close()


@asynccontextmanager
async def _cluster(settings: Settings) -> AsyncIterator[tuple[Rows, Seals]]:
    from services.sealing.reseal_cluster import cluster_rows  # noqa: PLC0415 - needs the extra postgres

    async with cluster_rows(settings) as (rows, seals):
        if seals is None:
            raise Failure(NOTHING, USAGE)
        yield rows, seals
