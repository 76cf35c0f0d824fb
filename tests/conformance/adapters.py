"""The adapters that the conformance suites are run against. Another one is one more line in `LOGS` or `STORES`.

A place is an async context manager made from an empty folder: inside it, `log`, `store` and `clock` stand open, and
`await reopen()` closes and opens them again, as a restart of the process would.
"""

from services.log_sqlite import SqliteLog
from services.sqlite_file import SqliteFile
from services.store_sqlite import SqliteStore
from tests.conformance.adapters_cluster import ClusterPlace
from tests.harness import Clock

PARTITIONS = 3


class SqlitePlace:
    """The embedded edition: log and store on one SQLite file."""

    def __init__(self, folder):
        self._path = folder / "coexist.db"
        self.clock = Clock()

    async def __aenter__(self):
        self._open()
        return self

    def _open(self):
        self._file = SqliteFile(self._path)
        self.log = SqliteLog(self._file, PARTITIONS, self.clock)
        self.store = SqliteStore(self._file, self.log, self.clock)
        self._file.start()

    async def reopen(self):
        await self._file.close()
        self._open()

    async def __aexit__(self, *_):
        await self._file.close()


LOGS = {"sqlite": SqlitePlace, "kafka": ClusterPlace}
STORES = {"sqlite": SqlitePlace, "postgres": ClusterPlace}
