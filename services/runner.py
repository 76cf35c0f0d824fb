"""The only loop: poll, load, decide, one commit, act.

"Later" is the column `wake_at`; "in the middle when it crashed" is a state. A batch is decided over the states as
committed plus what its own earlier events decided, and becomes durable as one commit that also moves the positions
and compares the lease's epoch. Calls to the outside are made only after that commit.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import islice
from typing import Any, Protocol

import msgspec
import structlog

from schemas.cloudevents import UNREADABLE, NotAnEvent
from schemas.ports import (
    FOREIGN,
    Commit,
    Decision,
    Event,
    EventLog,
    Fenced,
    Lease,
    LogUnavailable,
    Missing,
    Processor,
    Reader,
    Record,
    Row,
    State,
    Store,
    Timer,
)
from services.dead_letters import dead_letter

BATCH_RECORDS_MAX = 256
"""Records decided together: large enough to share an fsync, small enough to hold the writer under 5 ms."""
BATCHES_PASSED_MAX = 16
"""Batches from which nothing follows wait for the next commit, so many at the most: each commit costs an fsync."""
TIMERS_MAX = 256
IDLE_S_MAX = 1.0
"""The longest wait of an idle shard before it looks at its timers again."""
RETRY_S = 1.0
CACHE_STATES_MAX = 1_024
"""Committed states kept decoded per shard; an owner alone changes them, so they cannot be stale."""
DECIDE_ROUNDS_MAX = 64

log = structlog.get_logger()
_encoder = msgspec.msgpack.Encoder()
_decoders: dict[type[State], msgspec.msgpack.Decoder[Any]] = {}

Perform = Callable[[Any, Lease], Awaitable[None]]
Foreign = Callable[[str], type[State]]


class Observer(Protocol):
    """What the runner tells those who measure."""

    def committed(
        self,
        processor: str,
        records: Sequence[Record],
        outputs: Sequence[tuple[str, Event]],
        seconds: float,
        now: float,
    ) -> None:
        """A batch is durable: what was read, what was published, how long the commit took, and when it was done."""

    def noted(self, processor: str, notes: Sequence[str]) -> None:
        """What the deciders of a durable batch noted."""

    def dead_lettered(self, processor: str, reason: str) -> None:
        """A record could not be decided and was set aside."""


def decode_state(kind: type[State], value: bytes) -> Any:
    """A stored state as a struct of its kind."""
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.msgpack.Decoder(kind)
    return decoder.decode(value)


class Shard:
    """One shard of one processor in the hands of its owner. Implements `States` for the decider."""

    def __init__(self, processor: Processor, store: Store, lease: Lease, foreign: Foreign) -> None:
        self._processor = processor
        self._store = store
        self._lease = lease
        self._foreign_type = foreign
        self._known: dict[str, Any] = {}
        self._changed: dict[str, State | None] = {}
        self._foreign: dict[str, Any] = {}
        self._heads: dict[tuple[str, float, int], list[tuple[str, Any]]] = {}
        self.outputs: list[tuple[str, Event]] = []
        self.calls: list[Any] = []
        self.notes: list[str] = []

    # --- States

    def get(self, key: str) -> Any:
        """See `States.get`."""
        for states in (self._changed, self._known, self._foreign):
            if key in states:
                return states[key]
        raise Missing([key])

    def heads(self, line: str, until: float, limit: int) -> list[tuple[str, Any]]:
        """See `States.heads`."""
        wanted = (line, until, limit)
        if wanted not in self._heads:
            raise Missing(head=wanted)
        return self._heads[wanted]

    # --- a batch

    async def prefetch(self, pairs: Iterable[tuple[Event, Any]]) -> None:
        """Load what a batch is known to touch, and what those states name, in two rounds."""
        keys = {key for event, item in pairs for key in self._processor.keys(event, item)}
        loaded = await self._load(keys)
        named = {
            key
            for found, state in loaded.items()
            if not found.startswith(FOREIGN)
            for key in self._processor.follow(found, state)
        }
        await self._load(named)

    async def decide(self, event: Event | Timer, item: Any, now: float) -> None:
        """Decide one event, loading what the decider asks for, and keep what follows for the commit."""
        for _ in range(DECIDE_ROUNDS_MAX):
            try:
                decision = self._processor.decide(self, event, item, now)
            except Missing as missing:
                await self._fetch(missing)
            else:
                self.add(decision)
                return
        raise RuntimeError("a decider asks for ever more states")

    def add(self, decision: Decision) -> None:
        """Keep what follows from one event for the commit."""
        self._changed.update(decision.states)
        self.outputs.extend(decision.emit)
        self.calls.extend(decision.calls)
        self.notes.extend(decision.notes)

    def is_clean(self) -> bool:
        """Whether nothing follows from the batch but that it was read."""
        return not (self._changed or self.outputs or self.calls or self.notes)

    def rows(self) -> dict[str, Row | None]:
        """The changed states as they are stored."""
        return {
            key: None if state is None else Row(_encoder.encode(state), state.wake_at, state.line, state.place)
            for key, state in self._changed.items()
        }

    def settle(self) -> float | None:
        """After the commit: what was changed is now known. Returns the earliest new `wake_at`."""
        wakes = [state.wake_at for state in self._changed.values() if state and state.wake_at is not None]
        self._known.update(self._changed)
        excess = len(self._known) - CACHE_STATES_MAX
        for key in list(islice(self._known, max(0, excess))):
            del self._known[key]
        self._clear()
        return min(wakes, default=None)

    def forget(self) -> None:
        """Drop everything: the batch is to be decided anew from what is stored."""
        self._known.clear()
        self._clear()

    def _clear(self) -> None:
        self._changed = {}
        self._foreign = {}
        self._heads = {}
        self.outputs = []
        self.calls = []
        self.notes = []

    async def _fetch(self, missing: Missing) -> None:
        await self._load(missing.keys)
        if missing.head is not None:
            line, until, limit = missing.head
            lease = self._lease
            found = await self._store.heads(lease.processor, lease.shard, line, until, limit)
            kind = self._processor.state_type
            self._heads[missing.head] = [(key, decode_state(kind(key), value)) for key, value in found]

    async def _load(self, keys: Iterable[str]) -> dict[str, Any]:
        own = [k for k in keys if not k.startswith(FOREIGN) and k not in self._known and k not in self._changed]
        others = [k for k in keys if k.startswith(FOREIGN) and k not in self._foreign]
        values = await self._store.load(self._lease.processor, self._lease.shard, own) if own else {}
        for key in own:
            value = values.get(key)
            self._known[key] = None if value is None else decode_state(self._processor.state_type(key), value)
        for key in others:
            self._foreign[key] = await self._load_foreign(key)
        return {key: state for key in (*own, *others) if (state := self.get(key)) is not None}

    async def _load_foreign(self, key: str) -> Any:
        processor, _, inner = key[1:].partition("|")
        value = (await self._store.load(processor, self._lease.shard, [inner])).get(inner)
        return None if value is None else decode_state(self._foreign_type(key), value)


class Runner:
    """Runs one processor over the shards that its lease keeper hands it."""

    def __init__(
        self,
        processor: Processor,
        log_: EventLog,
        store: Store,
        clock: Callable[[], float],
        observer: Observer,
        *,
        foreign: Foreign,
        perform: Perform | None = None,
    ) -> None:
        self.processor = processor
        self._log = log_
        self._store = store
        self.clock = clock
        self._observer = observer
        self._foreign = foreign
        self._perform = perform
        self._calls: dict[asyncio.Task[None], Lease] = {}
        self.lag: dict[tuple[str, int], int] = {}

    async def serve(self, lease: Lease) -> None:
        """Work for one shard until cancelled. Raises Fenced when another owner has taken it over.

        While the disk or the broker confirms nothing, the batch is dropped and decided anew from what is stored.
        """
        while True:
            try:
                await self._serve(lease)
            except LogUnavailable:
                log.warning("not_durable", processor=lease.processor, shard=lease.shard, reason="tried again")
                await asyncio.sleep(RETRY_S)

    async def _serve(self, lease: Lease) -> None:
        positions = await self._store.positions(lease.processor, lease.shard)
        reader = await self._log.reader(self.processor.inputs, lease.shard, positions)
        shard = Shard(self.processor, self._store, lease, self._foreign)
        try:
            await _Loop(self, shard, reader, lease).run()
        finally:
            await reader.close()

    async def drain(self, lease: Lease) -> None:
        """Wait for the calls that are under way for a lease."""
        while calls := [call for call, asked in self._calls.items() if asked == lease]:
            await asyncio.wait(calls)

    def act(self, calls: Sequence[Any], lease: Lease) -> None:
        """Start the calls that a durable decision asked for."""
        if self._perform is None:
            return
        for call in calls:
            task = asyncio.ensure_future(self._perform(call, lease))
            self._calls[task] = lease
            task.add_done_callback(self._call_done)

    def _call_done(self, task: asyncio.Task[None]) -> None:
        self._calls.pop(task, None)
        if not task.cancelled() and (problem := task.exception()) is not None:
            log.error("call_failed", processor=self.processor.name, error=type(problem).__name__)

    # --- what the loop needs

    async def commit(
        self, shard: Shard, records: Sequence[Record], lease: Lease, positions: dict[str, int]
    ) -> float | None:
        """Make a decided batch durable, tell the observer, act. Returns the earliest new `wake_at`."""
        started = self.clock()
        outputs, calls, notes = shard.outputs, shard.calls, shard.notes
        await self._store.commit(Commit(lease, positions, shard.rows(), outputs))
        wake = shard.settle()
        now = self.clock()
        self._observer.committed(self.processor.name, records, outputs, now - started, now)
        self._observer.noted(self.processor.name, notes)
        self.act(calls, lease)
        return wake

    async def decide_batch(self, shard: Shard, records: Sequence[Record]) -> None:
        """Decide all records of a batch in order; what cannot be decided becomes a dead letter."""
        parsed: list[tuple[Record, Any]] = []
        for record in records:
            try:
                if record.event.type == UNREADABLE:
                    raise NotAnEvent(record.event.subject)
                parsed.append((record, self.processor.parse(record.event)))
            except (msgspec.DecodeError, msgspec.ValidationError, ValueError) as problem:
                self._set_aside(shard, record, problem)
        wanted = [(record, item) for record, item in parsed if item is not None]
        await shard.prefetch((record.event, item) for record, item in wanted)
        now = self.clock()
        for record, item in wanted:
            try:
                await shard.decide(record.event, item, now)
            except (Fenced, LogUnavailable, asyncio.CancelledError):
                raise
            except Exception as problem:  # noqa: BLE001 - a poison record must not stop its partition
                self._set_aside(shard, record, problem)

    async def fire(self, shard: Shard, lease: Lease, until: float) -> bool:
        """Decide the timers due by `until`. True when there were any."""
        keys = await self._store.due(lease.processor, lease.shard, until, TIMERS_MAX)
        for key in keys:
            await shard.decide(Timer(key), None, until)
        return bool(keys)

    async def next_wake(self, lease: Lease) -> float | None:
        """The earliest timer of the shard."""
        return await self._store.next_wake(lease.processor, lease.shard)

    def _set_aside(self, shard: Shard, record: Record, problem: Exception) -> None:
        reason = type(problem).__name__
        log.error(
            "dead_lettered",
            processor=self.processor.name,
            topic=record.topic,
            offset=record.offset,
            error=reason,
        )
        shard.add(Decision(emit=[dead_letter(record, f"{self.processor.name}: {reason}", self.clock())]))
        self._observer.dead_lettered(self.processor.name, reason)


class _Loop:
    """One shard's life: records first, then timers, for which the evidence must have been read."""

    def __init__(self, runner: Runner, shard: Shard, reader: Reader, lease: Lease) -> None:
        self._runner = runner
        self._shard = shard
        self._reader = reader
        self._lease = lease
        self._wake: float | None = None
        self._evidence: tuple[float, int] | None = None
        self._passed: dict[str, int] = {}
        self._batches_passed = 0

    async def run(self) -> None:
        self._wake = await self._runner.next_wake(self._lease)
        while True:
            records = await self._reader.poll(BATCH_RECORDS_MAX, self._patience_s())
            if records:
                await self._batch(records)
            elif self._passed:
                await self._commit(())
            await self._timers()

    async def _batch(self, records: Sequence[Record]) -> None:
        await self._runner.decide_batch(self._shard, records)
        self._passed.update({record.topic: record.offset + 1 for record in records})
        self._batches_passed += 1
        if self._shard.is_clean() and self._batches_passed < BATCHES_PASSED_MAX:
            self._shard.settle()
        else:
            await self._commit(records)
        for topic, end in (await self._reader.ends()).items():
            self._runner.lag[topic, self._lease.shard] = end - self._reader.positions()[topic]

    async def _commit(self, records: Sequence[Record]) -> None:
        positions, self._passed, self._batches_passed = self._passed, {}, 0
        self._note(await self._runner.commit(self._shard, records, self._lease, positions))

    async def _timers(self) -> None:
        """A timer due at t fires once `inbound` was read up to an end that was fetched after t."""
        now = self._runner.clock()
        if self._wake is None or self._wake > now:
            return
        first = self._runner.processor.inputs[0]
        if self._evidence is None:
            self._evidence = (now, (await self._reader.ends())[first])
        until, end = self._evidence
        if self._reader.positions()[first] < end:
            return
        self._evidence = None
        if await self._runner.fire(self._shard, self._lease, until):
            await self._commit(())
        self._wake = await self._runner.next_wake(self._lease)

    def _note(self, wake: float | None) -> None:
        if wake is not None and (self._wake is None or wake < self._wake):
            self._wake = wake

    def _patience_s(self) -> float:
        if self._evidence is not None:
            return 0
        if self._wake is None:
            return IDLE_S_MAX
        return min(IDLE_S_MAX, max(0.0, self._wake - self._runner.clock()))
