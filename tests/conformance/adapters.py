"""The adapters that the conformance suites are run against. Another one is one more line in `LOGS` or `STORES`.

A place is an async context manager made from an empty folder: inside it, `log`, `store` and `clock` stand open, and
`await reopen()` closes and opens them again, as a restart of the process would.
"""

import pytest

from services.edition import sealed
from services.sealing.content import Seals
from services.sqlite.file import SqliteFile
from services.sqlite.log import SqliteLog
from services.sqlite.store import SqliteStore
from tests.conformance.adapters_cluster import ClusterPlace, SealedClusterPlace
from tests.harness import Clock

PARTITIONS = 3


class SqlitePlace:
    """The embedded edition: log and store on one SQLite file."""

    def _seals(self):
        return None

    def __init__(self, folder):
        self._path = folder / "coexist.db"
        self.clock = Clock()

    async def __aenter__(self):
        self._open()
        return self

    def _open(self):
        self._file = SqliteFile(self._path)
        seals = self._seals()
        self.log = SqliteLog(self._file, PARTITIONS, self.clock, seals)
        self.store = sealed(SqliteStore(self._file, self.log, self.clock), seals)
        self._file.start()

    async def reopen(self):
        await self._file.close()
        self._open()

    async def __aexit__(self, *_):
        await self._file.close()


class SealedSqlitePlace(SqlitePlace):
    """The same with its content sealed, under another first key after each restart."""

    _keys = (b"1" * 32, b"2" * 32)

    def _seals(self):
        self._keys = self._keys[::-1]
        return Seals(self._keys, wanted=True)


LOGS = {"sqlite": SqlitePlace, "sqlite_sealed": SealedSqlitePlace, "kafka": ClusterPlace}
STORES = {
    "sqlite": SqlitePlace,
    "sqlite_sealed": SealedSqlitePlace,
    "postgres": ClusterPlace,
    "postgres_sealed": SealedClusterPlace,
}
SLOW = {"postgres_sealed"}
"""Run with the fault tests: what is new in them is the layer, which the sealed file shows as well."""


def each(places):
    """A suite's parameters."""
    return [pytest.param(name, marks=pytest.mark.faults if name in SLOW else ()) for name in places]
