"""How things stand, for the metrics: what the store must be asked for, at each scrape, at most once a second.

Every figure is of the shards that this process holds, so that a sum over all processes counts nothing twice.
"""

import asyncio
import contextlib
import shutil
from time import monotonic
from typing import Any

from echo_sync import imports
from echo_sync.imports import Import, import_key
from echo_sync.media import JOB_PREFIX
from echo_sync.media import NAME as FETCHING
from schemas.ports import LogUnavailable
from schemas.states import DELIVERY, MESSAGES, Number
from sender.command import AMBIGUOUS, SLOT_PREFIX, Command, Queue, queue_key
from services.dead_letters import VERSION
from services.running import App
from services.shard import decode_state
from services.telemetry.catalogue import gauge
from services.telemetry.lag import lag

LOOK_S = 1.0
"""A second scraper gets what the first one got."""
STORE_S = 2.0
"""What the store gets to answer: a scrape must succeed most of all when the store does not."""
NUMBERS_MAX = 2_000
"""Numbers of a shard that are looked at."""
AMBIGUOUS_MAX = 1_000
DOUBT_S_MAX = 3_600.0
"""No command stays in doubt for longer, so its timer lies within."""


class Standing:
    """The gauges of one process that are not counted as things happen."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._looking = asyncio.Lock()
        self._looked_at = float("-inf")
        registry = app.metrics.registry
        self._ready = gauge(registry, "coexist_ready")
        self._store_up = gauge(registry, "coexist_store_up")
        self._unconfirmed = gauge(registry, "coexist_ingest_unconfirmed_age_seconds")
        self._held = gauge(registry, "coexist_shards_held")
        self._outbox = gauge(registry, "coexist_outbox_events")
        self._numbers = gauge(registry, "coexist_numbers")
        self._history = gauge(registry, "coexist_history_incomplete")
        self._sending = gauge(registry, "coexist_number_sending")
        self._headroom = gauge(registry, "coexist_rate_headroom_ratio")
        self._number_headroom = gauge(registry, "coexist_number_headroom_ratio")
        self._ambiguous = gauge(registry, "coexist_sends_ambiguous")
        self._ambiguous_oldest = gauge(registry, "coexist_sends_ambiguous_oldest_seconds")
        self._queues = {
            DELIVERY: (gauge(registry, "coexist_sends_queue_depth"), SLOT_PREFIX),
            FETCHING: (gauge(registry, "coexist_media_queue_depth"), JOB_PREFIX),
        }
        self._lag_events = gauge(registry, "coexist_lag_events")
        self._lag_seconds = gauge(registry, "coexist_lag_seconds")
        self._free = gauge(registry, "coexist_data_dir_free_bytes")
        self._size = gauge(registry, "coexist_data_dir_size_bytes")
        gauge(registry, "coexist_build_info").labels(VERSION, app.edition.name).set(1)

    async def look(self) -> None:
        """Set the gauges anew. Never raises for a store that does not answer: `coexist_store_up` says so."""
        async with self._looking:
            with contextlib.suppress(LogUnavailable, TimeoutError):  # then they stand as they stood
                async with asyncio.timeout(STORE_S):
                    await self._look_into_the_log()
            if monotonic() - self._looked_at < LOOK_S:
                return
            self._look_here()
            try:
                async with asyncio.timeout(STORE_S):
                    await self._look_into_the_store()
            except (LogUnavailable, TimeoutError):
                self._store_up.set(0)
            else:
                self._store_up.set(1)
            self._looked_at = monotonic()

    def _look_here(self) -> None:
        app = self._app
        self._ready.set(app.ready())
        self._unconfirmed.set(app.metrics.unconfirmed_s(app.clock()))
        self._outbox.set(app.edition.unpublished())
        for processor, keeper in app.keepers.items():
            self._held.labels(processor).set(len(keeper.held))
        disk = shutil.disk_usage(app.settings.data_dir)
        self._free.set(disk.free)
        self._size.set(disk.total)

    async def _look_into_the_store(self) -> None:
        known = await self._known(MESSAGES)
        paused = [state for state in known if state.paused_because]
        self._numbers.labels("on").set(len(known) - len(paused))
        self._numbers.labels("paused").set(len(paused))
        self._history.set(await self._incomplete(known))
        self._sending.clear()
        self._number_headroom.clear()
        for state in known:
            self._show(self._sending, state.number, 0.0 if state.paused_because else 1.0)
        headrooms = await self._headrooms()
        self._headroom.set(min(headrooms.values(), default=1.0))
        for number, left in headrooms.items():
            self._show(self._number_headroom, number, left)
        opened = await self._doubtful()
        self._ambiguous.set(len(opened))
        self._ambiguous_oldest.set(max(0.0, self._app.clock() - min(opened)) if opened else 0)

        for processor, (depth, prefix) in self._queues.items():
            depth.set(sum([await self._app.store.count(processor, shard, prefix) for shard in self._shards(processor)]))

    async def _look_into_the_log(self) -> None:
        for processor, runner in self._app.runners.items():
            found = await lag(runner, self._app.log, self._app.clock())
            for topic, events in found.events.items():
                self._lag_events.labels(processor, topic).set(events)
            self._lag_seconds.labels(processor).set(found.seconds)

    def _show(self, found: Any, number: str, value: float) -> None:
        """Set the number's own series, where it has one."""
        if (shown := self._app.metrics.number(number)) == number:
            found.labels(shown).set(value)

    def _shards(self, processor: str) -> list[int]:
        keeper = self._app.keepers.get(processor)
        return sorted(keeper.held) if keeper is not None else []

    async def _known(self, processor: str) -> list[Number]:
        """The numbers on the shards that are held for a processor."""
        store, found = self._app.store, []
        for shard in self._shards(processor):
            for _, value in await store.heads(MESSAGES, shard, "numbers", float("inf"), NUMBERS_MAX):
                found.append(decode_state(Number, value))
        return found

    async def _states(self, processor: str, shard: int, keys: list[str], kind: Any) -> list[Any]:
        found = await self._app.store.load(processor, shard, keys) if keys else {}
        return [decode_state(kind, found[key]) for key in keys if key in found]

    async def _incomplete(self, known: list[Number]) -> int:
        found = 0
        for shard, numbers in self._by_shard(known).items():
            states = await self._states(MESSAGES, shard, [import_key(number) for number in numbers], Import)
            found += sum(state.stalled or bool(imports.missing(state)) for state in states)
        return found

    async def _headrooms(self) -> dict[str, float]:
        """The unspent share of the next second of each number that may send."""
        found: dict[str, float] = {}
        now = self._app.clock()
        may_send = [state for state in await self._known(DELIVERY) if not state.paused_because]
        for shard, numbers in self._by_shard(may_send).items():
            found |= dict.fromkeys(numbers, 1.0)
            for queue in await self._states(DELIVERY, shard, [queue_key(number) for number in numbers], Queue):
                found[queue.number] = headroom(queue, now)
        return found

    async def _doubtful(self) -> list[float]:
        """When each ambiguous command was opened."""
        store, found = self._app.store, []
        until = self._app.clock() + DOUBT_S_MAX
        for shard in self._shards(DELIVERY):
            timed = await store.due(DELIVERY, shard, until, AMBIGUOUS_MAX)
            commands = await self._states(DELIVERY, shard, [key for key in timed if key.startswith("k/")], Command)
            found += [command.opened_at for command in commands if command.state == AMBIGUOUS]
        return found

    def _by_shard(self, known: list[Number]) -> dict[int, list[str]]:
        found: dict[int, list[str]] = {}
        for state in known:
            found.setdefault(self._app.shard_of(state.number), []).append(state.number)
        return found


def headroom(queue: Queue, now: float) -> float:
    """How much of the next second a number has not spent: 1 all, 0 nothing."""
    return 1 - min(1.0, max(0.0, queue.tat - now))
