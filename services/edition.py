"""The two editions of one program: what the log and the store stand on. Everything else is the same code.

The cluster's modules are imported only when the cluster is used.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from schemas.ports import EventLog, Lease, Store
from services import backup
from services.extras import CLUSTER, install
from services.move import mark as move_mark
from services.sealing.content import MARK_MAKE, Seals, marks_in, seals_of
from services.sealing.secrets import refuse_unopened
from services.sealing.store import SealedStore
from services.settings import Settings, SettingsError
from services.sqlite.file import SqliteFile, one, usable
from services.sqlite.log import SqliteLog
from services.sqlite.store import SqliteStore

FILE_NAME = "coexist.db"
LEASE_TTL_S = 3600.0
"""Embedded: the file's lock says who owns it, so a lease need not be renewed often."""
OWNER = "embedded"

Clock = Callable[[], float]
Work = Callable[[Lease], Awaitable[None]]
Holds = Callable[[Lease, float], bool]
ReadByAll = Callable[[Mapping[str, Sequence[str]], str, int], int]


@dataclass(slots=True)
class Edition:
    """A log, a store, and how shards are owned. `around` adds to a shard's work what the edition needs beside it.

    `unpublished`: how many committed events wait in memory to be published. `read_by_all`: up to which offset everybody
    has read a partition of the embedded log. `seals`: what opens and seals content at rest, where any is sealed.
    `restored_at`: since when work is done on a backup, 0 where it is none.
    """

    name: str
    log: EventLog
    store: Store
    owner: str = OWNER
    lease_ttl_s: float = LEASE_TTL_S
    file: SqliteFile | None = None
    around: Callable[[Work, Holds], Work] = field(default=lambda work, _: work)
    unpublished: Callable[[], int] = field(default=lambda: 0)
    read_by_all: ReadByAll | None = None
    seals: Seals | None = None
    restored_at: float = 0


async def open_edition(settings: Settings, clock: Clock, stack: AsyncExitStack, vfs: str = "") -> Edition:
    """Open the edition that the settings name.

    Raises SettingsError when they name half of one, FileInUse or FolderUnusable.
    """
    kafka, database = settings.kafka_bootstrap_servers, settings.database_url
    if not kafka and database is None:
        with usable(settings.data_dir / FILE_NAME):
            file = SqliteFile(settings.data_dir / FILE_NAME, vfs)
            stack.push_async_callback(file.close)
            seals = seals_of(settings, marks_in(file.reading))
            log = SqliteLog(file, settings.partitions, clock, seals)
            store = SqliteStore(file, log, clock)
        _refuse_moved(settings, file)
        await refuse_unopened(settings, sealed(store, seals))
        if seals is not None and seals.wanted:
            file.script(MARK_MAKE, seals.mark())
        since = backup.restored_at(file, clock())
        wrapped, read_by_all = sealed(store, seals), store.read_by_all
        return Edition("embedded", log, wrapped, file=file, read_by_all=read_by_all, seals=seals, restored_at=since)
    if not kafka:
        raise SettingsError("COEXIST_DATABASE_URL is set, so COEXIST_KAFKA_BOOTSTRAP_SERVERS must be set as well.")
    if database is None or not database.get_secret_value().startswith(("postgresql://", "postgres://")):
        raise SettingsError(
            "COEXIST_KAFKA_BOOTSTRAP_SERVERS is set, so COEXIST_DATABASE_URL must be postgresql://user:password@host/name."
        )
    try:
        from services.cluster import open_cluster  # noqa: PLC0415 - needs the extras kafka and postgres
    except ModuleNotFoundError as problem:
        raise SettingsError(f"{problem.name} is not installed. {install(CLUSTER)}") from None
    return await open_cluster(settings, stack)


def sealed(store: Store, seals: Seals | None) -> Store:
    """The store, with its values sealed where that is wanted or was once."""
    return store if seals is None else SealedStore(store, seals)


def _refuse_moved(settings: Settings, file: SqliteFile) -> None:
    """What a folder holds that was moved to a cluster goes on there: nobody may run on it any more."""
    mark = move_mark.read(one(file.reading, move_mark.MARK_READ))
    if mark is not None:
        raise SettingsError(move_mark.moved(settings.data_dir, mark))
