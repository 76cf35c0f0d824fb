"""A running Coexist: what its parts are. `services.app` makes one; the admin listener and the demo look at it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from schemas.ports import EventLog, Store
from schemas.states import MESSAGES, number_key
from schemas.topics import partition_of
from services.access_tokens import AccessTokens
from services.audit import Audit
from services.edge import Edge
from services.edition import Edition
from services.hearing import Hearing
from services.leases import LeaseKeeper
from services.media.worker import MediaWorker
from services.privacy.bars import Bars
from services.privacy.purge import Purging
from services.relays.role import Relaying
from services.runner import Runner
from services.settings import Settings
from services.sqlite.file import SqliteFile
from services.telemetry.metrics import Figures, Metrics
from services.telemetry.notices import Notices
from services.telemetry.tracing import Tracing

Clock = Callable[[], float]


@dataclass
class App:
    """A running Coexist: what its parts are, and how to wait for its end."""

    settings: Settings
    roles: tuple[str, ...]
    edition: Edition
    log: EventLog
    store: Store
    metrics: Metrics
    clock: Clock
    tokens: AccessTokens
    runners: dict[str, Runner] = field(default_factory=dict)
    keepers: dict[str, LeaseKeeper] = field(default_factory=dict)
    public: Edge | None = None
    admin: Edge | None = None
    media: MediaWorker | None = None
    relaying: Relaying | None = None
    bars: Bars | None = None
    book: Audit | None = None
    purging: Purging | None = None
    hearing: Hearing | None = None
    tracing: Tracing = field(default_factory=Tracing)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    aside: set[asyncio.Task[None]] = field(default_factory=set)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    closing: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    sandbox_url: str = ""
    met: set[str] = field(default_factory=set)
    notices: Notices = field(init=False)

    def __post_init__(self) -> None:
        self.notices = Notices(self.metrics, self.clock)

    @property
    def known_bars(self) -> Bars:
        """What keeps out who was erased; there as soon as the store is open."""
        assert self.bars is not None  # noqa: S101 - made before anything that asks
        return self.bars

    def inputs(self) -> Mapping[str, Sequence[str]]:
        """The topics that each of this process's processors reads."""
        return {name: runner.processor.inputs for name, runner in self.runners.items()}

    @property
    def audit(self) -> Audit:
        """Where it is recorded who did what to whose data."""
        if self.book is None:
            self.book = Audit(self.log, self.clock)
        return self.book

    def keep(self, task: asyncio.Task[None]) -> None:
        """Hold a task until it is done."""
        self.aside.add(task)
        task.add_done_callback(self.aside.discard)

    @property
    def file(self) -> SqliteFile | None:
        """The embedded edition's file."""
        return self.edition.file

    async def run(self) -> None:
        """Work until a stop is asked for. Raises what ended a part that must not end."""
        stop = asyncio.create_task(self.stopping.wait())
        done, _ = await asyncio.wait([stop, *self.tasks], return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        for task in done - {stop}:
            task.result()
            raise RuntimeError(f"{task.get_name()} ended")

    def shard_of(self, number: str) -> int:
        """The shard on which a number lies."""
        return partition_of(number, self.log.partitions)

    async def knows(self, number: str) -> bool:
        """Whether a business number is known; one that was, stays so. Raises LogUnavailable."""
        if number not in self.met:
            key = number_key(number)
            if not await self.store.load(MESSAGES, self.shard_of(number), [key]):
                return False
            self.met.add(number)
        return True

    def ready(self) -> bool:
        """Every listener listens and this process holds its share of the shards of every role."""
        return not self.stopping.is_set() and all(keeper.settled() for keeper in self.keepers.values())


def figures(app: App) -> Figures:
    """The gauges that are looked up when somebody asks."""
    found: dict[str, Sequence[tuple[Mapping[str, str], float]]] = {}
    if app.relaying is not None:
        backlog = app.relaying.backlog()
        found["coexist_relay_backlog_records"] = [({"relay": relay}, float(count)) for relay, count in backlog.items()]
    if app.file is not None:
        wal = float(app.file.wal_bytes())
        found["coexist_sqlite_wal_bytes"] = [({}, wal)]
    return found
