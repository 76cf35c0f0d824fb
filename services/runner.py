"""The only loop: poll, load, decide, one commit, act.

"Later" is the column `wake_at`; "in the middle when it crashed" is a state. A batch is decided over the states as
committed plus what its own earlier events decided, and becomes durable as one commit that also moves the positions
and compares the lease's epoch. Calls to the outside are made only after that commit.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, Protocol

import msgspec
import structlog

from schemas.cloudevents import UNREADABLE, NotAnEvent
from schemas.ports import (
    Commit,
    Decision,
    Event,
    EventLog,
    Fenced,
    Lease,
    LogUnavailable,
    Processor,
    Reader,
    Record,
    Store,
    Timer,
    Unreadable,
)
from schemas.topics import HISTORY
from services.dead_letters import dead_letter
from services.hearing import Hearing
from services.privacy.bars import Bars
from services.privacy.sweep import Sweep
from services.shard import Foreign, Shard

BATCH_RECORDS_MAX = 256
"""Records decided together: large enough to share an fsync, small enough to hold the writer under 5 ms."""
PATIENT = frozenset({HISTORY})
"""Topics that give way to live ones: an import of months may take minutes, an answer may not."""
BEHIND_S = 20.0
"""A shard whose records are older has a backlog, no burst, and gives way to the shards that have none."""
PATIENT_RECORDS_MAX = 32
"""Of these so many at a time: what a live record of the same shard may have to wait for."""
LATELY_S = 1.0
"""While something live was read so lately, patient work rests for as long as it works; and so long an import lasts."""
BEHIND_RESTS = 0.25
"""A shard that is behind rests this part of that time, so that it catches up with whatever it can keep up with."""
REST_S_MAX = 0.1
"""No rest is longer: a batch that stood because the broker or the disk did is not work to rest from."""
STRETCH_S = 0.002
"""How long decisions hold the event loop before others may have a turn."""
BATCHES_PASSED_MAX = 64
"""Batches from which nothing follows wait for the next commit, so many at the most: each commit costs an fsync."""
TIMERS_MAX = 256
IDLE_S_MAX = 1.0
"""The longest wait of an idle shard before it looks at its timers again."""
RETRY_S = 1.0
EVIDENCE = frozenset({"webhook.message", "webhook.status", "webhook.echo"})
"""Records that show that webhooks come."""

log = structlog.get_logger()

Perform = Callable[[Any, Lease], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Batch:
    """Records that were decided together and are durable: what was read, what was published, and the commit.

    `seconds`: how long the commit took; `at`: when it was done, in seconds since 1970.
    """

    processor: str
    records: Sequence[Record]
    outputs: Sequence[tuple[str, Event]]
    seconds: float
    at: float


class Observer(Protocol):
    """What the runner tells those who measure."""

    def committed(self, batch: Batch) -> None:
        """A batch is durable."""

    def noted(self, processor: str, notes: Sequence[str]) -> None:
        """What the deciders of a durable batch noted."""

    def dead_lettered(self, processor: str, reason: str) -> None:
        """A record could not be decided and was set aside."""


@dataclass(frozen=True, slots=True)
class Seen:
    """How far a shard has read a topic.

    `read_until`: what was appended up to then, in seconds since 1970, has been read; 0 while nobody knows.
    """

    position: int
    read_until: float


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
        bars: Bars | None = None,
        hearing: Hearing | None = None,
    ) -> None:
        self.processor = processor
        self._log = log_
        self._store = store
        self.clock = clock
        self._observer = observer
        self._foreign = foreign
        self._perform = perform
        self._bars = bars
        self._hearing = hearing
        self._calls: dict[asyncio.Task[None], Lease] = {}
        self._kept: dict[int, int] = {}
        self.seen: dict[tuple[str, int], Seen] = {}
        self.live_at = 0.0

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
        shard = Shard(self.processor, self._store, lease, self._foreign, self._kept)
        for topic, position in reader.positions().items():
            self.seen[topic, lease.shard] = Seen(position, 0.0)
        try:
            sweep = Sweep(self.processor, self._store, lease, reader, self._bars, self.clock) if self._bars else None
            await _Loop(self, shard, reader, lease, sweep).run()
        finally:
            self._kept.pop(lease.shard, None)
            for topic in self.processor.inputs:
                self.seen.pop((topic, lease.shard), None)
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
        commit = asyncio.ensure_future(self._store.commit(Commit(lease, positions, shard.rows(), outputs)))
        try:
            await asyncio.shield(commit)
        except asyncio.CancelledError:
            await commit
            self.act(calls, lease)
            raise
        wake = shard.settle()
        now = self.clock()
        self._observer.committed(Batch(self.processor.name, records, outputs, now - started, now))
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
                if self._hearing is not None and record.event.type in EVIDENCE:
                    self._hearing.read(record.appended_at)
                parsed.append((record, self.processor.parse(record.event, record.topic)))
            except (msgspec.DecodeError, msgspec.ValidationError, ValueError) as problem:
                self._set_aside(shard, record, problem)
        wanted = [(record, item) for record, item in parsed if item is not None]
        await shard.prefetch((record.event, item) for record, item in wanted)
        now, turn_ends = self.clock(), monotonic() + STRETCH_S
        for record, item in wanted:
            if monotonic() > turn_ends:
                await asyncio.sleep(0)
                turn_ends = monotonic() + STRETCH_S
            try:
                await shard.decide(record.event, item, now)
            except (Fenced, LogUnavailable, Unreadable, asyncio.CancelledError):
                raise
            except Exception as problem:  # noqa: BLE001 - a poison record must not stop its partition
                self._set_aside(shard, record, problem)

    async def admitted(self, lease: Lease, records: Sequence[Record]) -> Sequence[Record]:
        """The records that do not name anybody who was erased."""
        if self._bars is None:
            return records
        wanted = await self._bars.admitted(lease.shard, records)
        self._observer.noted(self.processor.name, ["duplicate:erased"] * (len(records) - len(wanted)))
        return wanted

    async def fire(self, shard: Shard, lease: Lease, until: float) -> bool:
        """Decide the timers due by `until`. True when there were any."""
        keys = await self._store.due(lease.processor, lease.shard, until, TIMERS_MAX)
        hearing = self._hearing is None or self._hearing()
        for key in keys:
            await shard.decide(Timer(key, hearing), None, until)
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

    def __init__(self, runner: Runner, shard: Shard, reader: Reader, lease: Lease, sweep: Sweep | None) -> None:
        self._sweep = sweep
        self._runner = runner
        self._shard = shard
        self._reader = reader
        self._lease = lease
        self._wake: float | None = None
        self._evidence: tuple[float, int] | None = None
        self._stored = dict(reader.positions())
        self._batches_passed = 0
        self._patient_at = self._rest_until = 0.0
        self._resting = False
        self._leaving = PATIENT

    async def run(self) -> None:
        self._wake = await self._runner.next_wake(self._lease)
        while True:
            records = await self._next()
            if records:
                now, began = self._runner.clock(), monotonic()
                await self._batch(records)
                self._give_way(records, now, monotonic() - began)
            elif not self._resting and self._passed():
                await self._commit(())
            await self._timers()
            if self._sweep is not None:
                if await self._sweep.turn(self._shard):
                    await self._commit(())
                elif self._sweep.busy:  # neither a full reader nor the embedded store waits for anything
                    await asyncio.sleep(0)

    async def _batch(self, records: Sequence[Record]) -> None:
        await self._runner.decide_batch(self._shard, await self._runner.admitted(self._lease, records))
        self._batches_passed += 1
        if self._shard.is_clean() and self._batches_passed < BATCHES_PASSED_MAX:
            self._shard.settle()
        else:
            await self._commit(records)
        self._look(records)

    def _look(self, records: Sequence[Record]) -> None:
        """Note how far the shard has read. Where that ends nobody asks here: it is a question to the broker."""
        newest = {record.topic: record.appended_at for record in records}
        for topic, position in self._reader.positions().items():
            place = topic, self._lease.shard
            known = self._runner.seen[place].read_until
            self._runner.seen[place] = Seen(position, max(known, newest.get(topic, known)))

    async def _next(self) -> Sequence[Record]:
        """The next batch: little while there is an import, and nothing of that while it rests."""
        now, patience_s = monotonic(), self._patience_s()
        self._resting = now < self._rest_until
        if self._resting:
            return await self._reader.poll(BATCH_RECORDS_MAX, min(patience_s, self._rest_until - now), self._leaving)
        importing = now - self._patient_at < LATELY_S
        return await self._reader.poll(PATIENT_RECORDS_MAX if importing else BATCH_RECORDS_MAX, patience_s)

    def _give_way(self, records: Sequence[Record], now: float, took_s: float) -> None:
        """After something patient or old, rest from its topics while there is live work, on whichever shard."""
        newest = {record.topic: record.appended_at for record in records}
        patient = newest.keys() & PATIENT
        behind = {topic for topic in newest.keys() - PATIENT if newest[topic] < now - BEHIND_S}
        at = monotonic()
        if len(patient) + len(behind) < len(newest):
            self._runner.live_at = at
        if patient:
            self._patient_at = at
        if (patient or behind) and at - self._runner.live_at < LATELY_S:
            self._leaving = PATIENT | behind
            self._rest_until = at + min(took_s if patient else took_s * BEHIND_RESTS, REST_S_MAX)

    async def _commit(self, records: Sequence[Record]) -> None:
        positions, self._batches_passed = self._passed(), 0
        self._note(await self._runner.commit(self._shard, records, self._lease, positions))
        self._stored |= positions

    def _passed(self) -> dict[str, int]:
        """How far the shard has read and not said so; the reader may have passed records that it handed to nobody."""
        return {
            topic: position for topic, position in self._reader.positions().items() if position != self._stored[topic]
        }

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
        if self._sweep is not None and self._sweep.busy:
            return 0.0
        if self._evidence is not None or self._wake is None:  # evidence is there to be read: it ends the wait
            return IDLE_S_MAX
        return min(IDLE_S_MAX, max(0.0, self._wake - self._runner.clock()))
