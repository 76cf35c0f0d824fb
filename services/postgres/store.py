"""The `Store` port on Postgres. Outputs go into an outbox in the same transaction; `services.outbox` publishes them."""

import hashlib
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import msgspec

from schemas.ports import NOWHERE, Attendance, Commit, Event, Fenced, Lease, LogUnavailable, Row
from schemas.topics import TOPICS, partition_of
from services import statements as shared
from services.postgres import statements as sql
from services.postgres.pool import Postgres, numbered
from services.sealing.content import Seals, about_outbox
from services.sqlite.store import KEY_BYTES, SHARDS_MAX, sequenced

KEY_BYTES_MAX = 1_024
"""Postgres indexes no more than 2.7 kB; a longer key, which only a hostile webhook has, is stored by its digest."""
LAST_BYTE = b"\xff"
"""Beyond every byte that a key in UTF-8 has."""
OUTBOX_KEY = "@outbox"
"""The topic under which the running numbers of the outbox are kept, beside the sequences."""

Line = tuple[str, int]
"""A partition of an output topic."""
Counter = tuple[str, str]
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[Event])


@dataclass(frozen=True, slots=True)
class OutboxBatch:
    """Events of one commit for one partition of a topic; the last of them has the running number `last`."""

    topic: str
    partition: int
    last: int
    events: Sequence[Event]

    @property
    def first(self) -> int:
        """The running number of the first event."""
        return self.last - len(self.events) + 1


@dataclass(slots=True)
class _Outputs:
    counted: dict[Counter, int]
    batches: list[OutboxBatch]


class PostgresStore:
    """See `Store`. `told` is called with what a commit put into the outbox, once it is durable.

    `seals`: what seals the batches of the outbox, where content is sealed; the states are `SealedStore`'s.
    """

    def __init__(self, database: Postgres, partitions: int, seals: Seals | None = None) -> None:
        self._database = database
        self._partitions = partitions
        self._seals = seals
        self._numbers: dict[str, int] = {}
        self._counters: dict[Lease, dict[Counter, int]] = {}
        self._doubtful: set[Lease] = set()
        self.told: Callable[[Lease, Sequence[OutboxBatch]], None] | None = None

    async def installation_key(self) -> bytes:
        """See `Store.installation_key`."""
        await self._database.rows(numbered(shared.INSTALLATION_KEY_MAKE), secrets.token_bytes(KEY_BYTES))
        return cast("bytes", await self._database.one(shared.INSTALLATION_KEY))

    # --- leases

    async def acquire(self, processor: str, shard: int, owner: str, ttl_s: float) -> Lease | None:
        """See `Store.acquire`."""
        epoch = await self._database.one(sql.ACQUIRE, await self._slot(processor, shard), owner, ttl_s)
        return None if epoch is None else Lease(processor, shard, owner, epoch)

    async def renew(self, lease: Lease, ttl_s: float) -> None:
        """See `Store.renew`."""
        slot = await self._slot(lease.processor, lease.shard)
        if await self._database.one(sql.RENEW, slot, lease.owner, lease.epoch, ttl_s) is None:
            raise _fenced(lease)

    async def release(self, lease: Lease) -> None:
        """See `Store.release`."""
        self._forget(lease)
        slot = await self._slot(lease.processor, lease.shard)
        await self._database.rows(sql.GIVE_BACK, slot, lease.owner, lease.epoch)

    async def attend(self, processor: str, owner: str, ttl_s: float) -> Attendance:
        """See `Store.attend`."""
        first = await self._slot(processor, 0)
        span = (first, first + SHARDS_MAX)
        await self._database.rows(sql.ATTEND, processor, owner, ttl_s)
        held = await self._database.rows(sql.RENEW_ALL, *span, owner, ttl_s)
        taken = await self._database.rows(sql.TAKEN, *span, owner)
        owners = await self._database.rows(sql.MEMBERS, processor)
        return Attendance(
            tuple(row[0] for row in owners),
            {row[0] - first: row[1] for row in held},
            frozenset(row[0] - first for row in taken),
        )

    async def depart(self, processor: str, owner: str) -> None:
        """See `Store.depart`."""
        await self._database.rows(sql.DEPART, processor, owner)
        await self._database.rows(sql.FORGET_MEMBERS, processor)

    # --- reading

    async def positions(self, processor: str, shard: int) -> dict[str, int]:
        """See `Store.positions`."""
        rows = await self._database.rows(numbered(shared.POSITIONS), await self._slot(processor, shard))
        return {row[0]: row[1] for row in rows}

    async def load(self, processor: str, shard: int, keys: Iterable[str]) -> dict[str, bytes]:
        """See `Store.load`."""
        wanted = {key_bytes(key): key for key in keys}
        rows = await self._database.rows(sql.LOAD, await self._slot(processor, shard), list(wanted))
        return {wanted[row[0]]: row[1] for row in rows}

    async def sequence(self, topic: str, key: str) -> int:
        """See `Store.sequence`."""
        rows = await self._database.rows(sql.SEQUENCES, [topic], [key.encode()])
        return int(rows[0][2]) if rows else 0

    async def due(self, processor: str, shard: int, until: float, limit: int) -> list[str]:
        """See `Store.due`."""
        rows = await self._database.rows(numbered(shared.DUE), await self._slot(processor, shard), until, limit)
        return [row[0].decode() for row in rows]

    async def next_wake(self, processor: str, shard: int) -> float | None:
        """See `Store.next_wake`."""
        found = await self._database.one(numbered(shared.NEXT_WAKE), await self._slot(processor, shard))
        return cast("float | None", found)

    async def heads(
        self, processor: str, shard: int, line: str, until: float, limit: int, after: float = NOWHERE
    ) -> list[tuple[str, bytes]]:
        """See `Store.heads`."""
        slot = await self._slot(processor, shard)
        rows = await self._database.rows(numbered(shared.HEADS), slot, key_bytes(line), after, until, limit)
        return [(row[0].decode(), row[1]) for row in rows]

    async def count(self, processor: str, shard: int, prefix: str) -> int:
        """See `Store.count`."""
        first = prefix.encode()
        slot = await self._slot(processor, shard)
        return cast("int", await self._database.one(numbered(shared.COUNT), slot, first, first + b"\xff"))

    async def scan(self, processor: str, shard: int, prefix: str, after: str, limit: int) -> list[tuple[str, bytes]]:
        """See `Store.scan`."""
        span = (await self._slot(processor, shard), key_bytes(max(after, prefix)), prefix.encode() + LAST_BYTE, limit)
        rows = await self._database.rows(numbered(shared.STATES_AFTER), *span)
        return [(row[0].decode(), row[1]) for row in rows]

    # --- committing

    async def commit(self, commit: Commit) -> None:
        """See `Store.commit`. After a commit of unknown fate the lease must be taken anew: until then, Fenced."""
        lease = commit.lease
        if lease in self._doubtful:
            raise _fenced(lease)
        outputs = await self._outputs(lease, commit.outputs)
        slot = await self._slot(lease.processor, lease.shard)
        values = [*_positions(commit.positions), *_states(commit.rows), *_counters(outputs), *self._batches(outputs)]
        try:
            done = await self._database.one(sql.COMMIT, slot, lease.owner, lease.epoch, *values)
        except LogUnavailable:
            self._forget(lease)
            self._doubtful.add(lease)
            raise
        if done is None:
            self._forget(lease)
            raise _fenced(lease)
        self._counters.setdefault(lease, {}).update(outputs.counted)
        if outputs.batches and self.told is not None:
            self.told(lease, outputs.batches)

    async def _outputs(self, lease: Lease, outputs: Sequence[tuple[str, Event]]) -> _Outputs:
        """Number what is to be published. Only the lease's owner counts, so what was read once stays known."""
        known = await self._known(lease, outputs)
        counted: dict[Counter, int] = {}
        batches: dict[Line, list[Event]] = {}
        for topic, event in outputs:
            placed = event
            if TOPICS[topic].sequenced:
                counter = (topic, event.number)
                counted[counter] = counted.get(counter, known.get(counter, 0)) + 1
                placed = sequenced(event, counted[counter])
            batches.setdefault((topic, partition_of(event.number, self._partitions)), []).append(placed)
        rows = []
        for line, events in batches.items():
            counter = _outbox_counter(lease, line)
            counted[counter] = known.get(counter, 0) + len(events)
            rows.append(OutboxBatch(*line, counted[counter], events))
        return _Outputs(counted, rows)

    async def _known(self, lease: Lease, outputs: Sequence[tuple[str, Event]]) -> dict[Counter, int]:
        known = self._counters.setdefault(lease, {})
        wanted = {(topic, event.number) for topic, event in outputs if TOPICS[topic].sequenced}
        wanted |= {
            _outbox_counter(lease, (topic, partition_of(event.number, self._partitions))) for topic, event in outputs
        }
        missing = sorted(wanted - known.keys())
        if missing:
            known.update(dict.fromkeys(missing, 0))
            rows = await self._database.rows(
                sql.SEQUENCES, [topic for topic, _ in missing], [key.encode() for _, key in missing]
            )
            known.update({(row[0], row[1].decode()): row[2] for row in rows})
        return known

    def _forget(self, lease: Lease) -> None:
        for old in [known for known in self._counters if _same_slot(known, lease)]:
            del self._counters[old]
        self._doubtful = {old for old in self._doubtful if not _same_slot(old, lease)}

    # --- the outbox

    async def outbox_lines(self, lease: Lease) -> list[Line]:
        """The partitions for which the shard has something to publish."""
        rows = await self._database.rows(sql.OUTBOX_LINES, await self._slot(lease.processor, lease.shard))
        return [(row[0], row[1]) for row in rows]

    async def outbox(self, lease: Lease, line: Line, after: int, limit: int) -> list[OutboxBatch]:
        """Up to `limit` batches that end beyond the running number `after`, in order."""
        slot = await self._slot(lease.processor, lease.shard)
        rows = await self._database.rows(sql.OUTBOX, slot, *line, after, limit)
        return [OutboxBatch(row[0], row[1], row[2], decoded_batch(row[4], line, self._seals)) for row in rows]

    def _batches(self, outputs: _Outputs) -> tuple[list[Any], ...]:
        batches = outputs.batches
        return (
            [batch.topic for batch in batches],
            [batch.partition for batch in batches],
            [batch.last for batch in batches],
            [len(batch.events) for batch in batches],
            [_encoded_batch(batch, self._seals) for batch in batches],
        )

    async def outbox_drop(self, lease: Lease, published: dict[Line, int]) -> None:
        """Forget the batches that end at or before these running numbers."""
        slot = await self._slot(lease.processor, lease.shard)
        lines = list(published)
        await self._database.rows(
            sql.OUTBOX_DROP, slot, [t for t, _ in lines], [p for _, p in lines], list(published.values())
        )

    async def slot(self, lease: Lease) -> int:
        """The number under which the lease's shard is known, the same for every owner."""
        return await self._slot(lease.processor, lease.shard)

    async def _slot(self, processor: str, shard: int) -> int:
        number = self._numbers.get(processor)
        while number is None:
            number = await self._database.one(sql.PROCESSOR, processor)
            if number is None:
                await self._database.rows(sql.PROCESSOR_MAKE, processor)
            else:
                self._numbers[processor] = number
        return number * SHARDS_MAX + shard


def _same_slot(one: Lease, other: Lease) -> bool:
    return one.processor == other.processor and one.shard == other.shard


def _fenced(lease: Lease) -> Fenced:
    return Fenced(f"{lease.processor} shard {lease.shard} has another owner")


def _outbox_counter(lease: Lease, line: Line) -> Counter:
    return OUTBOX_KEY, f"{lease.processor}/{lease.shard}/{line[0]}/{line[1]}"


def key_bytes(key: str) -> bytes:
    """The key as stored. Storing a stored key again gives the same, so timers and heads find their state."""
    plain = key.encode()
    if len(plain) <= KEY_BYTES_MAX:
        return plain
    head = plain[: KEY_BYTES_MAX // 2].decode(errors="ignore").encode()
    return head + b"#" + hashlib.sha256(plain).hexdigest().encode()


def _positions(positions: dict[str, int]) -> tuple[list[Any], ...]:
    return list(positions), list(positions.values())


def _states(rows: dict[str, Row | None]) -> tuple[list[Any], ...]:
    removed = [key_bytes(key) for key, row in rows.items() if row is None]
    kept = [(key_bytes(key), row) for key, row in rows.items() if row is not None]
    return (
        removed,
        [key for key, _ in kept],
        [row.value for _, row in kept],
        [row.wake_at for _, row in kept],
        [None if row.line is None else key_bytes(row.line) for _, row in kept],
        [row.place for _, row in kept],
    )


def _counters(outputs: _Outputs) -> tuple[list[Any], ...]:
    counted = outputs.counted
    return [topic for topic, _ in counted], [key.encode() for _, key in counted], list(counted.values())


def _encoded_batch(batch: OutboxBatch, seals: Seals | None) -> bytes:
    encoded = _encoder.encode(batch.events)
    return encoded if seals is None else seals.seal(encoded, about_outbox(batch.topic, batch.partition))


def decoded_batch(stored: bytes, line: Line, seals: Seals | None) -> list[Event]:
    """The events of a batch as the outbox keeps it. Raises CannotUnseal."""
    return _decoder.decode(stored if seals is None else seals.open(stored, about_outbox(*line)))
