"""The composition root: the only place that knows everything. The tests boot exactly this.

Open, run, close: the exit stack closes in reverse order, first the listeners (so that Meta is told to try again),
then the processors and the calls under way, last the file.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import httpx
import structlog

from echo_sync.automatic import Signs
from echo_sync.conversations import Conversations
from echo_sync.erasures import Erasures
from echo_sync.media import NAME as FETCHING
from echo_sync.media import Fetching
from echo_sync.messages import Messages
from ingest.app import create_app as create_public_app
from ingest.refusals import Clients
from ingest.webhook import Append, Webhook
from schemas.marks import PRIVACY
from schemas.ports import Event, EventLog, Lease, LogUnavailable, Processor
from schemas.states import CONVERSATIONS, DELIVERY, MESSAGES
from sender import graph
from sender.delivery import Delivery
from services import backup
from services.access_tokens import AccessTokens
from services.confirming import Confirming
from services.dead_letters import VERSION
from services.edge import Edge
from services.edition import Edition, open_edition
from services.foreign_states import foreign_type
from services.hearing import Hearing
from services.leases import LeaseKeeper
from services.media.address import resolver
from services.media.fetch import Fetcher
from services.media.sealed import SealedMedia
from services.media.store import MediaStore, open_store
from services.media.worker import MediaWorker
from services.privacy.bars import Bars, GuardedLog
from services.privacy.erasing import carry_out_again
from services.privacy.ledger import writable
from services.privacy.private_contacts import PrivateContacts
from services.privacy.purge import Purging
from services.relays.courier import client as relay_client
from services.relays.registry import Registry
from services.relays.role import Relaying
from services.retention import LogKeeper, state_retention_s, topics_kept_s
from services.runner import Perform, Runner
from services.running import App, Clock, figures
from services.sealing.keys import Sealer, sealer_of
from services.sending import Sending
from services.settings import Settings, guarded, secrets, short_secrets
from services.sqlite.log import SqliteLog
from services.telemetry.metrics import Metrics
from services.telemetry.tracing import tracing_of

ROLES = ("ingest", "echo-sync", "sender", "media", "relay")
STOP_LISTENING_S = 1.0
"""What open requests get to be answered once a stop was asked for."""
STOP_CALLING_S = 1.5
"""What requests to Graph get; one that is cut is ambiguous, and known as such at the next start."""
DURABLE_S = 10.0
"""After so long a commit that was begun is durable; what then still looks used is looked at in the next round."""
SWEPT = (MESSAGES, CONVERSATIONS, DELIVERY, FETCHING, PRIVACY)
"""The processors whose states name people: an erasure is done when each has found nothing left."""

log = structlog.get_logger()


@asynccontextmanager
async def open_app(
    settings: Settings,
    roles: Sequence[str] = ROLES,
    *,
    clock: Clock = time.time,
    graph_transport: httpx.AsyncBaseTransport | None = None,
    wrap_log: Callable[[EventLog], EventLog] | None = None,
    vfs: str = "",
) -> AsyncIterator[App]:
    """Open everything that `roles` need and start it; close it in reverse order.

    Tests pass a clock, a transport in Graph's place, a log wrapped around the real one, and an SQLite VFS.
    Raises SettingsError, FileInUse, FolderUnusable or CannotListen with what to do about it.
    """
    guarded(settings)
    async with AsyncExitStack() as stack:
        secrets_given, sealer = (secrets(settings) if "ingest" in roles else []), sealer_of(settings.encryption_keys)
        if secrets_given and (fix := short_secrets(settings)):
            log.warning("app_secret_short", fix=fix)
        edition = await open_edition(settings, clock, stack, vfs)
        writable(settings)
        backup.tell(edition.restored_at, clock())
        log_ = wrap_log(edition.log) if wrap_log else edition.log
        tokens, metrics = _tokens(settings, edition, sealer, clock), Metrics(settings.metrics_numbers)
        app = App(settings, tuple(roles), edition, log_, edition.store, metrics, clock, tokens)
        app.tracing = tracing_of(os.environ, "sqlite" if edition.file else "kafka", settings.topic_prefix)
        stack.push_async_callback(app.tracing.close)
        if edition.file is not None:
            app.tasks.append(edition.file.start())
        key = await app.store.installation_key()
        app.bars = Bars(
            app.store,
            key,
            clock,
            partial(_kept_out, app),
            kept_s=state_retention_s(settings),
            unused=partial(_unused, app),
        )
        app.log = GuardedLog(log_, app.bars)
        app.metrics.watch(lambda: figures(app))
        _start_processors(app, stack, key, graph_transport)
        _start_relaying(app, stack)
        await _start_listeners(app, stack, secrets_given)
        if "echo-sync" in roles:
            await _erase_again(app)
        yield app
        app.stopping.set()


async def _erase_again(app: App) -> None:
    """The erasures that the store does not know, such as those since a backup that was put back."""
    if again := await carry_out_again(app):
        log.warning("erased_again", count=again, reason="noted in the ledger, and not known to the store")


def _kept_out(app: App, events: Sequence[Event]) -> None:
    """Items of somebody who was erased came again: they were acknowledged and not stored."""
    app.metrics.duplicates.labels("erased").inc(len(events))
    if app.purging is not None and any(event.type == "media.stored" for event in events):
        app.keep(asyncio.create_task(app.purging.remove_strays(events)))


def _unused(app: App, refs: set[str]) -> None:
    """Messages were let go: the files that nobody refers to any more follow, once that is durable."""
    purging = app.purging
    if purging is not None:
        app.keep(asyncio.create_task(_later(purging.remove_unused, refs)))


async def _later(remove: Callable[[set[str]], Awaitable[None]], refs: set[str]) -> None:
    await asyncio.sleep(DURABLE_S)
    await remove(refs)


def _start_processors(app: App, stack: AsyncExitStack, key: bytes, transport: httpx.AsyncBaseTransport | None) -> None:
    if "echo-sync" in app.roles:
        _start(app, stack, messages_of(app.settings, key), _confirming(app, stack, transport))
        _start(app, stack, Conversations(app.settings.pause_minutes * 60), None)
        _start_privacy(app, stack)
    if "sender" in app.roles:
        url, version = app.settings.meta_graph_url.rstrip("/"), app.settings.meta_graph_version
        api = graph.Graph(partial(graph.client, transport), url, version)
        stack.push_async_callback(api.aclose)
        pause_s = app.settings.pause_minutes * 60
        sending = Sending(
            app.log,
            app.store,
            api,
            app.tokens,
            lambda lease, for_s: app.keepers[DELIVERY].holds(lease, for_s),  # noqa: PLW0108 - made just below
            app.clock,
            lambda outcome, seconds: app.metrics.graph.labels(outcome).observe(seconds),
            app.tracing,
            pause_s,
        )
        app.hearing = Hearing(app.clock, listens="ingest" in app.roles)
        asked, restored_at = app.settings.opt_in_required, app.edition.restored_at
        delivery = Delivery(key, opt_in_required=asked, restored_at=restored_at, pause_s=pause_s)
        _start(app, stack, delivery, sending, app.hearing)
    if "media" in app.roles:
        _start_media(app, stack, transport)


def messages_of(settings: Settings, key: bytes) -> Messages:
    """The processor `echo_sync.messages` as the settings want it."""
    return Messages(
        key,
        timeline_raw=settings.timeline_raw,
        registration=settings.registration,
        signs=Signs(
            settings.automatic_within_s, settings.automatic_quiet_days * 86_400, settings.automatic_conversations
        ),
        opt_out_words=settings.opt_out_words,
        opt_in_words=settings.opt_in_words,
    )


def _confirming(app: App, stack: AsyncExitStack, transport: httpx.AsyncBaseTransport | None) -> Confirming:
    client = graph.client(transport)
    stack.push_async_callback(client.aclose)
    root = f"{app.settings.meta_graph_url.rstrip('/')}/{app.settings.meta_graph_version}"
    return Confirming(app.log, client, root, app.tokens.of, app.clock)


def _start_privacy(app: App, stack: AsyncExitStack) -> None:
    file, log_ = app.file, app.edition.log
    app.purging = Purging(
        app.log,
        app.store,
        app.known_bars,
        app.clock,
        file_log=log_ if isinstance(log_, SqliteLog) else None,
        scrub=file.scrub if file is not None else None,
        media=_media_store(app),
    )
    _start(app, stack, Erasures(SWEPT), app.purging)
    if isinstance(log_, SqliteLog) and app.edition.read_by_all is not None:
        read_up_to = partial(app.edition.read_by_all, app.inputs())
        keeper = LogKeeper(log_, topics_kept_s(app.settings), read_up_to, app.clock)
        _begin(app, stack, keeper.run(), "retention")


def _start_media(app: App, stack: AsyncExitStack, transport: httpx.AsyncBaseTransport | None) -> None:
    store = _media_store(app)
    client = graph.client(transport)
    stack.push_async_callback(client.aclose)
    url, version = app.settings.meta_graph_url.rstrip("/"), app.settings.meta_graph_version
    fetcher = Fetcher(client, url, version, resolve=resolver())
    kept = app.metrics.media_kept
    app.media = MediaWorker(app.log, store, fetcher, client, f"{url}/{version}", app.tokens.of, app.clock, kept)
    _start(app, stack, Fetching(VERSION), app.media)
    stack.push_async_callback(app.media.close)


def _media_store(app: App) -> MediaStore:
    store, seals = open_store(app.settings.media_url, app.settings.data_dir), app.edition.seals
    return store if seals is None else SealedMedia(store, seals)


def _start_relaying(app: App, stack: AsyncExitStack) -> None:
    """Couriers are made for the API as well, which sends the test event; only the role delivers."""
    edition, client = app.edition, relay_client()
    stack.push_async_callback(client.aclose)
    registry = Registry(app.store, app.log, app.clock, sealer_of(app.settings.encryption_keys))
    app.relaying = Relaying(
        registry,
        app.log,
        app.store,
        edition.owner,
        edition.lease_ttl_s,
        client,
        app.settings.relay_hosts,
        resolver(),
        app.clock,
        app.metrics,
    )
    if "relay" in app.roles:
        _begin(app, stack, app.relaying.run(), "relay")


def _tokens(settings: Settings, edition: Edition, sealer: Sealer, clock: Clock) -> AccessTokens:
    token = settings.meta_access_token
    default = token.get_secret_value() if token is not None else None
    return AccessTokens(edition.store, sealer, default, edition.log.partitions, edition.owner, clock)


def _start(
    app: App, stack: AsyncExitStack, processor: Processor, perform: Perform | None, hearing: Hearing | None = None
) -> None:
    runner = Runner(
        processor,
        app.log,
        app.store,
        app.clock,
        app.tracing.observing(app.notices),
        foreign=foreign_type,
        perform=perform,
        hearing=hearing,
        bars=app.bars,
    )
    edition = app.edition
    serve = edition.around(runner.serve, lambda lease, for_s: app.keepers[lease.processor].holds(lease, for_s))
    drain = partial(_drain, runner)
    keeper = LeaseKeeper(processor.name, app.store, edition.owner, edition.lease_ttl_s, serve, drain)
    app.runners[processor.name], app.keepers[processor.name] = runner, keeper
    _begin(app, stack, keeper.run(app.log.partitions), processor.name)


def _begin(app: App, stack: AsyncExitStack, work: Coroutine[Any, Any, None], name: str) -> None:
    """Let this go on beside everything else; should it end, the process ends, and it is stopped with the stack."""
    task = asyncio.create_task(work, name=name)
    app.tasks.append(task)
    stack.push_async_callback(_stop, task)


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _drain(runner: Runner, lease: Lease) -> None:
    """Before a shard is given back: let its requests to Graph end, so that nobody else sends beside them."""
    try:
        async with asyncio.timeout(STOP_CALLING_S):
            await runner.drain(lease)
    except TimeoutError:
        log.warning("calls_cut", processor=runner.processor.name)


async def _start_listeners(app: App, stack: AsyncExitStack, app_secrets: list[bytes]) -> None:
    from services.api.listener import create_admin_app  # noqa: PLC0415 - FastAPI is slow to import; tools do without it

    settings = app.settings
    app.admin = Edge(create_admin_app(app), settings.admin_host, settings.admin_port)
    stack.push_async_callback(app.admin.stop, STOP_LISTENING_S)
    for close in app.closing:
        stack.push_async_callback(close)
    await app.admin.start()
    if "ingest" in app.roles:
        token = settings.meta_verify_token
        clients = Clients(settings.trusted_proxies)
        webhook = Webhook(
            app.tracing.appending(_observed_append(app)),
            app_secrets,
            token.get_secret_value().encode() if token else b"",
            app.clock,
            app.notices,
            clients,
        )
        refusals = None if clients.proxies else clients.unsigned
        app.public = Edge(app.tracing.door(create_public_app(webhook)), settings.host, settings.port, refusals=refusals)
        stack.push_async_callback(app.public.stop, STOP_LISTENING_S)
        await app.public.start()


def _observed_append(app: App) -> Append:
    book = PrivateContacts(app.settings.contacts, app.store, app.log.partitions)

    async def append(entries: Sequence[tuple[str, Event]]) -> None:
        started = app.clock()
        under_way = app.metrics.appending(started)
        try:
            entries = await book.wanted(entries)
            await app.log.append(entries)
        except (LogUnavailable, asyncio.CancelledError):
            if app.hearing is not None:
                app.hearing.failed()
            raise
        finally:
            app.metrics.append_ended(under_way)
        now = app.clock()
        app.notices.appended(entries, now, now - started)

    return append
