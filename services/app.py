"""The composition root: the only place that knows everything. The tests boot exactly this.

Open, run, close: the exit stack closes in reverse order, first the listeners (so that Meta is told to try again),
then the processors and the calls under way, last the file.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import structlog

from echo_sync.conversations import Conversations
from echo_sync.messages import Messages
from ingest.app import create_app as create_public_app
from ingest.webhook import Append, Webhook
from schemas.ports import Event, EventLog, Processor, State
from schemas.states import CONVERSATIONS, DELIVERY, MESSAGES, Alias, Conversation, Number
from sender import graph
from sender.delivery import Delivery
from services.edge import Edge
from services.leases import LeaseKeeper
from services.log_sqlite import SqliteLog
from services.metrics import Metrics
from services.runner import Perform, Runner
from services.running import App, Clock, figures
from services.sending import Sending
from services.settings import Settings, SettingsError, secrets
from services.sqlite_file import SqliteFile
from services.store_sqlite import SqliteStore

ROLES = ("ingest", "echo-sync", "sender")
FILE_NAME = "coexist.db"
LEASE_TTL_S = 3600.0
"""Embedded: the file's lock says who owns it, so a lease need not be renewed often."""
OWNER = "embedded"
STOP_LISTENING_S = 1.0
"""What open requests get to be answered once a stop was asked for."""
STOP_CALLING_S = 1.5
"""What requests to Graph get; one that is cut is ambiguous, and known as such at the next start."""

log = structlog.get_logger()


FOREIGN_TYPES: dict[tuple[str, str], type[State]] = {
    (MESSAGES, "i"): Alias,
    (MESSAGES, "n"): Number,
    (CONVERSATIONS, "v"): Conversation,
}


def foreign_type(key: str) -> type[State]:
    """The kind of a state that another processor owns, by its foreign key."""
    processor, _, inner = key[1:].partition("|")
    return FOREIGN_TYPES[processor, inner[0]]


@asynccontextmanager
async def open_app(
    settings: Settings,
    roles: Sequence[str] = ROLES,
    *,
    clock: Clock = time.time,
    graph_transport: httpx.AsyncBaseTransport | None = None,
    wrap_log: Callable[[EventLog], EventLog] | None = None,
) -> AsyncIterator[App]:
    """Open everything that `roles` need and start it; close it in reverse order.

    Tests pass a clock, a transport in Graph's place, and a log wrapped around the real one.
    Raises SettingsError, PortInUse or FileInUse before anything has an effect.
    """
    async with AsyncExitStack() as stack:
        secrets_given = secrets(settings) if "ingest" in roles else []
        file = SqliteFile(settings.data_dir / FILE_NAME)
        stack.push_async_callback(file.close)
        embedded = SqliteLog(file, settings.partitions, clock)
        store = SqliteStore(file, embedded, clock)
        log_ = wrap_log(embedded) if wrap_log else embedded
        app = App(settings, tuple(roles), file, log_, store, Metrics(), clock)
        app.tasks.append(file.start())
        key = await store.installation_key()
        app.metrics.watch(lambda: figures(app))
        _start_processors(app, stack, key, graph_transport)
        await _start_listeners(app, stack, secrets_given)
        yield app
        app.stopping.set()


def _start_processors(app: App, stack: AsyncExitStack, key: bytes, transport: httpx.AsyncBaseTransport | None) -> None:
    if "echo-sync" in app.roles:
        _start(
            app,
            stack,
            Messages(key, timeline_raw=app.settings.timeline_raw, registration=app.settings.registration),
            None,
        )
        _start(app, stack, Conversations(app.settings.pause_minutes * 60), None)
    if "sender" in app.roles:
        client = graph.client(transport)
        stack.push_async_callback(client.aclose)
        token = app.settings.meta_access_token
        sending = Sending(
            app.log,
            app.store,
            graph.Graph(client, app.settings.meta_graph_url.rstrip("/"), app.settings.meta_graph_version),
            lambda _: token.get_secret_value() if token is not None else None,
            lambda lease, for_s: app.keepers[DELIVERY].holds(lease, for_s),  # noqa: PLW0108 - made just below
            app.clock,
            lambda outcome, seconds: app.metrics.graph.labels(outcome).observe(seconds),
        )
        _start(app, stack, Delivery(key), sending)


def _start(app: App, stack: AsyncExitStack, processor: Processor, perform: Perform | None) -> None:
    runner = Runner(processor, app.log, app.store, app.clock, app.metrics, foreign=foreign_type, perform=perform)
    keeper = LeaseKeeper(processor.name, app.store, OWNER, LEASE_TTL_S, runner.serve)
    app.runners[processor.name], app.keepers[processor.name] = runner, keeper
    task = asyncio.create_task(keeper.run(app.log.partitions), name=processor.name)
    app.tasks.append(task)
    stack.push_async_callback(_stop_processor, task, runner)


async def _stop_processor(task: asyncio.Task[None], runner: Runner) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    try:
        async with asyncio.timeout(STOP_CALLING_S):
            await runner.drain()
    except TimeoutError:
        log.warning("calls_cut", processor=runner.processor.name)


async def _start_listeners(app: App, stack: AsyncExitStack, app_secrets: list[bytes]) -> None:
    from services.api import create_admin_app  # noqa: PLC0415 - FastAPI is slow to import; tools do without it

    settings = app.settings
    if settings.admin_token is None and settings.admin_host not in ("127.0.0.1", "::1", "localhost"):
        raise SettingsError("COEXIST_ADMIN_TOKEN must be set when COEXIST_ADMIN_HOST is not loopback.")
    app.admin = Edge(create_admin_app(app), settings.admin_host, settings.admin_port)
    stack.push_async_callback(app.admin.stop, STOP_LISTENING_S)
    for close in app.closing:
        stack.push_async_callback(close)
    await app.admin.start()
    if "ingest" in app.roles:
        token = settings.meta_verify_token
        webhook = Webhook(
            _observed_append(app),
            app_secrets,
            token.get_secret_value().encode() if token else b"",
            app.clock,
            app.metrics,
        )
        app.public = Edge(create_public_app(webhook), settings.host, settings.port)
        stack.push_async_callback(app.public.stop, STOP_LISTENING_S)
        await app.public.start()


def _observed_append(app: App) -> Append:
    async def append(entries: Sequence[tuple[str, Event]]) -> None:
        started = app.clock()
        await app.log.append(entries)
        now = app.clock()
        app.metrics.appended(entries, now, now - started)

    return append
