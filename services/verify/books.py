"""What is retained and what is stored, as `coexist verify` reads it: of a data folder, or of a cluster.

Nobody may work on either meanwhile: what is compared would move.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Protocol, cast

from schemas.ports import Record
from schemas.topics import TOPICS
from services.commands.failure import USAGE, Failure
from services.edition import FILE_NAME
from services.sealing.content import Seals, about_state, seals_for
from services.settings import Settings
from services.sqlite.file import SqliteFile, one, usable
from services.sqlite.log import LogFile, PartitionsChanged, partitions_of
from services.sqlite.store import SHARDS_MAX

READ_RECORDS = 2_000


class Books(Protocol):
    """One installation, standing still. Everything may raise LogUnavailable."""

    partitions: int
    repeats_allowed: bool
    """Whether a record of a sequenced topic may come again: readers drop it."""
    told_until: Sequence[int]
    """Where the partitions of `timeline` ended when the database was put back behind them; empty where it never was.

    What lies before comes again. Places tell that for certain; times are those of several hosts' clocks.
    """

    async def begin(self, topic: str, partition: int) -> int:
        """The offset of the first record that is retained."""

    def records(self, topic: str, partition: int) -> AsyncIterator[Sequence[Record]]:
        """Every retained record, in order, and what is committed but not published yet."""

    async def states(self, processor: str, shard: int) -> dict[str, bytes]:
        """Every state of a shard, under its key as it is stored."""

    async def positions(self, processor: str, shard: int) -> dict[str, int]:
        """How far a processor has read."""

    async def sequences(self) -> dict[tuple[str, str], int]:
        """The last `seq` that was given, by topic and key."""

    async def installation_key(self) -> bytes:
        """The installation's own key."""

    def stored_key(self, key: str) -> str:
        """A state's key as it is stored."""


class FolderBooks:
    """The books of an embedded data folder, under its lock. Raises FileInUse, FolderUnusable or PartitionsChanged."""

    repeats_allowed = False
    told_until: Sequence[int] = ()

    def __init__(self, settings: Settings) -> None:
        path: Path = settings.data_dir / FILE_NAME
        if not path.exists():
            raise Failure(f"{path} does not exist. Set COEXIST_DATA_DIR.", USAGE)
        with usable(path):
            self._seals = seals_for(settings, path)
            self._file = SqliteFile(path)
            made_with = partitions_of(self._file.reading)
            self._log = LogFile(self._file.reading, settings.partitions, self._seals)
        if made_with != settings.partitions:
            raise PartitionsChanged(made_with or 0, settings.partitions)
        self.partitions = settings.partitions

    async def close(self) -> None:
        """Let go of the folder."""
        await self._file.close()

    async def begin(self, topic: str, partition: int) -> int:
        """See `Books.begin`."""
        first = self._log.read(topic, partition, 0, 1)
        return first[0].offset if first else self._log.end(topic, partition)

    async def records(self, topic: str, partition: int) -> AsyncIterator[Sequence[Record]]:
        """See `Books.records`."""
        offset = 0
        while found := self._log.read(topic, partition, offset, READ_RECORDS):
            yield found
            offset = found[-1].offset + 1

    async def states(self, processor: str, shard: int) -> dict[str, bytes]:
        """See `Books.states`."""
        asked = "SELECT key, value FROM states WHERE slot = ?"
        rows = cast("list[tuple[str, bytes]]", self._file.reading.execute(asked, self._slot(processor, shard)))
        return opened(self._seals, processor, shard, rows)

    async def positions(self, processor: str, shard: int) -> dict[str, int]:
        """See `Books.positions`."""
        asked = "SELECT topic, position FROM positions WHERE slot = ?"
        return dict(cast("list[tuple[str, int]]", self._file.reading.execute(asked, self._slot(processor, shard))))

    def _slot(self, processor: str, shard: int) -> tuple[int]:
        number = one(self._file.reading, "SELECT number FROM processors WHERE processor = ?", (processor,))
        return (-1 if number is None else number * SHARDS_MAX + shard,)

    async def sequences(self) -> dict[tuple[str, str], int]:
        """See `Books.sequences`."""
        rows = cast("list[tuple[str, str, int]]", self._file.reading.execute("SELECT topic, key, seq FROM sequences"))
        return {(topic, key): seq for topic, key, seq in rows if topic in TOPICS}

    async def installation_key(self) -> bytes:
        """See `Books.installation_key`."""
        return cast("bytes", one(self._file.reading, "SELECT value FROM installation WHERE name = 'key'") or b"")

    def stored_key(self, key: str) -> str:
        """See `Books.stored_key`."""
        return key


def opened(seals: Seals | None, processor: str, shard: int, rows: Iterable[tuple[str, bytes]]) -> dict[str, bytes]:
    """The states of a shard, unsealed where they are sealed. Raises CannotUnseal."""
    if seals is None:
        return dict(rows)
    return {key: seals.open(value, about_state(processor, shard, key)) for key, value in rows}
