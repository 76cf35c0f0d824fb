"""One shard of one relay: reads its topics in order, delivers, and only then moves on.

Events of one conversation go one after the other, those of different conversations beside each other. A position is
committed once everything before it was taken; a crash before that repeats a few events, each with the same
`webhook-id`.
"""

import asyncio
from collections.abc import Iterable, Sequence

import msgspec
import structlog

from schemas.ports import Commit, EventLog, Lease, LogUnavailable, Reader, Record, Row, State, Store
from schemas.topics import partition_of
from services.relays.courier import GONE, Courier, Result
from services.relays.state import Replay
from services.shard import decode_state

BATCH_RECORDS = 64
"""What a crash may repeat of a shard, at the most."""
PASSED_MAX = 16
"""Batches of which nothing was wanted wait for the next commit, so many at the most."""
IDLE_S = 1.0
RETRY_S = 1.0
TROUBLE_KEY = "s"
REPLAY_KEY = "p/"

log = structlog.get_logger()


class Trouble(State):
    """Why a shard does not get on: which event its receiver does not take, since when, and what it answered."""

    event_id: str = ""
    type: str = ""
    topic: str = ""
    number: str = ""
    seq: int = 0
    since: float = 0
    attempts: int = 0
    last: str = ""
    next_at: float = 0


class Progress(State):
    """How far a replay has come: the next offset, or the end."""

    offset: int = 0


class _Conversation(msgspec.Struct):
    conversation_id: str = ""


_conversation = msgspec.json.Decoder(_Conversation)


def name_of(relay_id: str) -> str:
    """What leases and positions of a relay are kept under."""
    return f"relay.{relay_id}"


class RelayShard:
    """Serves one shard of one relay for as long as its lease is held."""

    def __init__(self, courier: Courier, log_: EventLog, store: Store, lease: Lease) -> None:
        self._courier = courier
        self._log = log_
        self._store = store
        self._lease = lease
        self._trouble: Trouble | None = None
        self._telling: set[asyncio.Task[None]] = set()
        self._replayed: set[str] = set()
        self.backlog = 0

    async def serve(self) -> None:
        """Deliver until cancelled. Raises Fenced when another owner has taken the shard over."""
        while True:
            try:
                await self._serve()
            except LogUnavailable:
                log.warning("not_durable", processor=self._lease.processor, shard=self._lease.shard)
                await asyncio.sleep(RETRY_S)

    async def _serve(self) -> None:
        relay, shard = self._courier.relay, self._lease.shard
        begins = {topic: offsets[shard] for topic, offsets in relay.begins.items()}
        positions = begins | await self._store.positions(self._lease.processor, shard)
        known = await self._store.load(self._lease.processor, shard, [TROUBLE_KEY])
        self._trouble = decode_state(Trouble, known[TROUBLE_KEY]) if known else None
        reader = await self._log.reader(tuple(relay.topics), shard, positions)
        try:
            await self._follow(reader)
        finally:
            await reader.close()

    async def _follow(self, reader: Reader) -> None:
        passed: dict[str, int] = {}
        batches = 0
        while True:
            await self._replay()
            records = await reader.poll(BATCH_RECORDS, IDLE_S)
            wanted = [record for record in records if self._courier.relay.wants(record.event.type, record.event.number)]
            await self._deliver(wanted)
            passed.update({record.topic: record.offset + 1 for record in records})
            batches += 1
            if passed and (wanted or not records or batches >= PASSED_MAX):
                await self._store.commit(Commit(self._lease, positions=passed, rows=await self._cleared()))
                passed, batches = {}, 0
            ends = await reader.ends()
            self.backlog = sum(end - reader.positions()[topic] for topic, end in ends.items())

    # --- delivering

    async def _deliver(self, records: Sequence[Record]) -> None:
        async with asyncio.TaskGroup() as group:
            for conversation in in_conversations(records):
                group.create_task(self._one_by_one(conversation))

    async def _one_by_one(self, records: Sequence[Record]) -> None:
        for record in records:
            while (await self._courier.deliver(record, self._failed)).status == GONE:
                await self._courier.rest()

    def _failed(self, record: Record, result: Result) -> None:
        """Remember what stands in the way, for whoever asks; it is written beside the work."""
        event, health, known = record.event, self._courier.health, self._trouble
        same = known is not None and known.event_id == event.id
        self._trouble = Trouble(
            event_id=event.id,
            type=event.type,
            topic=record.topic,
            number=event.number,
            seq=event.seq,
            since=known.since if same and known else self._courier.clock(),
            attempts=known.attempts + 1 if same and known else 1,
            last=result.told,
            next_at=health.next_at,
        )
        task = asyncio.create_task(self._tell(Row(msgspec.msgpack.encode(self._trouble))))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _tell(self, row: Row) -> None:
        try:
            await self._store.commit(Commit(self._lease, rows={TROUBLE_KEY: row}))
        except Exception as problem:  # noqa: BLE001 - the delivery itself finds out, and says so
            log.warning("relay_trouble_not_noted", shard=self._lease.shard, error=type(problem).__name__)

    async def _cleared(self) -> dict[str, Row | None]:
        if self._trouble is None:
            return {}
        self._trouble = None
        if self._telling:
            await asyncio.wait(self._telling)
        return {TROUBLE_KEY: None}

    # --- replays

    async def _replay(self) -> None:
        relay = self._courier.relay
        mine = [again for again in relay.replays if again.id not in self._replayed and self._is_mine(again.number)]
        if not mine:
            return
        keys = {REPLAY_KEY + again.id: again for again in mine}
        known = await self._store.load(self._lease.processor, self._lease.shard, keys)
        for key, again in keys.items():
            offset = decode_state(Progress, known[key]).offset if key in known else 0
            if offset < again.until_offset:
                await self._again(key, again, offset)
            self._replayed.add(again.id)

    def _is_mine(self, number: str) -> bool:
        return partition_of(number, self._log.partitions) == self._lease.shard

    async def _again(self, key: str, again: Replay, offset: int) -> None:
        """Send the wanted part of a topic again, in steps that survive a restart."""
        reader = await self._log.reader((again.topic,), self._lease.shard, {again.topic: offset})
        try:
            while offset < again.until_offset:
                records = await reader.poll(BATCH_RECORDS, IDLE_S)
                offset = records[-1].offset + 1 if records else again.until_offset
                await self._deliver([record for record in records if _is_meant(record, again)])
                row = Row(msgspec.msgpack.encode(Progress(offset=offset)))
                await self._store.commit(Commit(self._lease, rows={key: row, **await self._cleared()}))
        finally:
            await reader.close()


def in_conversations(records: Iterable[Record]) -> list[list[Record]]:
    """Records by conversation, each in order. What names none is kept in order by its number."""
    found: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        found.setdefault((record.event.number, _conversation_of(record)), []).append(record)
    return list(found.values())


def _conversation_of(record: Record) -> str:
    try:
        return record.event.key or _conversation.decode(record.event.data or b"{}").conversation_id
    except (msgspec.DecodeError, msgspec.ValidationError):
        return ""


def _is_meant(record: Record, again: Replay) -> bool:
    event = record.event
    return event.number == again.number and event.seq >= again.from_seq and record.offset < again.until_offset
