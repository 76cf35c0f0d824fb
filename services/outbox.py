"""Publishes what a shard's commits put into the outbox, in order, while the lease is held.

Each record carries `x-outbox: slot:number`, the running number of the shard's outbox for that partition, or
`slot.life:number` once the database was put back from a backup: it gives numbers again that Kafka has. A new owner
reads the newest record of the output partition and goes on behind its number, so a crash between publishing and
forgetting repeats nothing. A process that was frozen finds out that its lease has run out as it is about to write to
the socket, and what the network held up is thrown away with its connection; so a batch comes late only where a broker
itself had it and was frozen. Then it comes whole, with the same numbers and the same `seq`, and readers drop it by
`seq` (`schemas.reader`).
"""

import asyncio
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Protocol

import structlog

from schemas.ports import Fenced, Lease, LogUnavailable
from services.kafka.client import CONFIRM_S, Kafka, Writer
from services.kafka.log import line_of
from services.postgres.store import Line, OutboxBatch

HEADER = "x-outbox"
MARGIN_S = 1.0
"""The lease must outlast the deadline of a publication by this, or the publication is not begun."""
ARRIVE_S = 1.0
"""What a batch gets from the socket into the log of a busy broker, before another owner may look for its place."""
QUEUE_BYTES_MAX = 4 * 1024 * 1024
"""What waits in memory per partition; what is beyond stays in the database until its turn."""
EVENT_OVERHEAD_BYTES = 512
READ_BATCHES = 64
PUBLISH_RECORDS_MAX = 2_000
DROP_S = 0.5
"""How often published batches are deleted: what was not is known again by its number."""
RETRY_S = 0.3
LOOK_BACK_RECORDS = 200
"""How far back a partition with several writers is searched for our newest record."""

log = structlog.get_logger()


class Rows(Protocol):
    """What the outbox needs of its store."""

    async def slot(self, lease: Lease) -> int:
        """The shard's number, the same for every owner."""

    async def outbox_lines(self, lease: Lease) -> list[Line]:
        """The partitions for which there is something to publish."""

    async def outbox(self, lease: Lease, line: Line, after: int, limit: int) -> list[OutboxBatch]:
        """Batches that end beyond a running number, in order."""

    async def outbox_drop(self, lease: Lease, published: dict[Line, int]) -> None:
        """Forget what ends at or before these numbers."""


class Tail(Protocol):
    """What the outbox needs of the log to find its place."""

    async def end(self, topic: str, partition: int) -> int:
        """The offset after the newest record."""

    async def headers_before(self, topic: str, partition: int, end: int, count: int) -> list[dict[str, bytes]]:
        """The headers of up to `count` records before `end`, newest first."""


class Outbox:
    """All shards of one process. `holds(lease, for_s)`: is the lease certainly ours for so long?

    `life`: what numbers of this database are told by from those that it gave before it was put back from a backup.
    """

    def __init__(
        self, rows: Rows, kafka: Kafka, tail: Tail, holds: Callable[[Lease, float], bool], life: str = ""
    ) -> None:
        self._life = life
        self._rows = rows
        self._kafka = kafka
        self._writer = Writer(kafka, self._certain)
        self._tail = tail
        self._holds = holds
        self._shards: dict[Lease, _Shard] = {}
        self._publishing: Counter[Lease] = Counter()

    async def close(self) -> None:
        """Let go of the connections. Never raises, never hangs."""
        await self._writer.close()

    def told(self, lease: Lease, batches: Sequence[OutboxBatch]) -> None:
        """A commit is durable and has put these batches into the outbox."""
        shard = self._shards.get(lease)
        if shard is not None:
            shard.offer(batches)

    def unpublished(self) -> int:
        """Events that wait in memory to be published."""
        return sum(shard.waiting() for shard in self._shards.values())

    async def flush(self, lease: Lease, seconds: float) -> None:
        """Wait until the shard has published everything, or has stopped, but no longer than `seconds`."""
        shard = self._shards.get(lease)
        if shard is None or not shard.busy():
            return
        shard.quiet.clear()
        try:
            async with asyncio.timeout(seconds):
                await shard.quiet.wait()
        except TimeoutError:
            return

    async def serve(self, lease: Lease) -> None:
        """Publish for one shard until cancelled. Raises Fenced once the lease is not certainly ours."""
        shard = _Shard(lease)
        self._shards[lease] = shard
        try:
            shard.mark = b"%d%s:" % (await self._rows.slot(lease), self._life.encode())
            shard.look_up(await self._rows.outbox_lines(lease))
            while True:
                await self._turn(shard)
        finally:
            del self._shards[lease]
            shard.quiet.set()

    async def _turn(self, shard: "_Shard") -> None:
        lines = shard.lines()
        if lines:
            shard.quiet.clear()
        published = await asyncio.gather(*(self._publish(shard, line) for line in lines), return_exceptions=True)
        failed = [(line, problem) for line, problem in zip(lines, published, strict=True) if problem is not None]
        for line, problem in failed:
            if not isinstance(problem, LogUnavailable):
                raise problem
            shard.look_up([line])
        try:
            await self._drop(shard)
        except LogUnavailable as problem:
            failed.append((("", 0), problem))
        if failed:
            await asyncio.sleep(RETRY_S)
        elif not lines:
            shard.quiet.set()
            await shard.wait()

    async def _publish(self, shard: "_Shard", line: Line) -> None:
        if line in shard.unknown:
            shard.places[line] = await self._place(shard, line)
            shard.unknown.discard(line)
        batches = await self._next(shard, line)
        place = shard.places.get(line, 0)
        numbered = [
            (number, event)
            for batch in batches
            for number, event in enumerate(batch.events, batch.first)
            if number > place
        ]
        lines = [line_of(event, [(HEADER, b"%s%d" % (shard.mark, number))]) for number, event in numbered]
        done = 0
        while done < len(lines):
            self._check(shard.lease)
            self._publishing[shard.lease] += 1
            try:
                done += await self._writer.append_batch(self._kafka.topic(line[0]), line[1], lines[done:])
            finally:
                self._publishing[shard.lease] -= 1
            shard.places[line] = numbered[done - 1][0]
        shard.published[line] = shard.places[line]

    def _check(self, lease: Lease) -> None:
        """A zombie must not publish: an older state would then stand behind a newer one."""
        if not self._holds(lease, CONFIRM_S + MARGIN_S):
            log.warning("outbox_fenced", processor=lease.processor, shard=lease.shard)
            raise Fenced(f"{lease.processor} shard {lease.shard} may have another owner")

    def _certain(self) -> bool:
        """Is every shard with a batch on its way certainly ours until that has arrived? Asked as it is written."""
        return all(self._holds(lease, ARRIVE_S) for lease, count in self._publishing.items() if count)

    async def _next(self, shard: "_Shard", line: Line) -> list[OutboxBatch]:
        """What is next for a partition, from memory where nothing is missing there, else from the database."""
        if line not in shard.behind:
            found = shard.take(line)
            if found is not None:
                return found
            shard.behind.add(line)
        shard.overflowed.discard(line)
        found = await self._rows.outbox(shard.lease, line, shard.places.get(line, 0), READ_BATCHES)
        if len(found) < READ_BATCHES and line not in shard.overflowed:
            shard.behind.discard(line)
        return found

    async def _place(self, shard: "_Shard", line: Line) -> int:
        """The running number of our newest record in the partition, or 0 where it was not found."""
        topic, partition = line
        end = await self._tail.end(topic, partition)
        for seen in (1, LOOK_BACK_RECORDS):
            for headers in await self._tail.headers_before(topic, partition, end, seen):
                if headers.get(HEADER, b"").startswith(shard.mark):
                    return int(headers[HEADER][len(shard.mark) :])
        return 0

    async def _drop(self, shard: "_Shard") -> None:
        if shard.published and monotonic() - shard.dropped_at > DROP_S:
            await self._rows.outbox_drop(shard.lease, shard.published)
            shard.published = {}
            shard.dropped_at = monotonic()


class _Shard:
    """What one shard has to publish, and how far each partition is.

    `behind`: partitions whose next batch is to be read from the database. `unknown`: those whose place must be looked
    up in the log first. Where nothing was left over when the lease was taken, everything before is published.
    """

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self.mark = b""
        self.places: dict[Line, int] = {}
        self.behind: set[Line] = set()
        self.unknown: set[Line] = set()
        self.overflowed: set[Line] = set()
        self.published: dict[Line, int] = {}
        self.dropped_at = 0.0
        self.quiet = asyncio.Event()
        self._queues: defaultdict[Line, deque[OutboxBatch]] = defaultdict(deque)
        self._bytes: defaultdict[Line, int] = defaultdict(int)
        self._ready = asyncio.Event()

    def look_up(self, lines: Sequence[Line]) -> None:
        """What is in memory for these partitions may not be all, or may be published already."""
        self.unknown.update(lines)
        self.behind.update(lines)

    def offer(self, batches: Sequence[OutboxBatch]) -> None:
        """Keep what was committed; a partition with too much is read from the database later."""
        for batch in batches:
            line = (batch.topic, batch.partition)
            if line not in self.unknown:
                self.places.setdefault(line, batch.first - 1)
            self._queues[line].append(batch)
            self._bytes[line] += _size(batch)
            if self._bytes[line] > QUEUE_BYTES_MAX:
                self._queues[line].clear()
                self._bytes[line] = 0
                self.behind.add(line)
                self.overflowed.add(line)
        self._ready.set()

    def lines(self) -> list[Line]:
        """The partitions that have something to publish."""
        return sorted({line for line, queue in self._queues.items() if queue} | self.behind)

    def busy(self) -> bool:
        """Is something still to be published?"""
        return not self.quiet.is_set() or bool(self.lines())

    def take(self, line: Line) -> list[OutboxBatch] | None:
        """The next batches, or None where memory does not have the very next one."""
        queue, place = self._queues[line], self.places.get(line, 0)
        taken: list[OutboxBatch] = []
        records = 0
        while queue and records < PUBLISH_RECORDS_MAX:
            if queue[0].first > place + 1:
                return taken or None
            batch = queue.popleft()
            self._bytes[line] -= _size(batch)
            if batch.last > place:
                taken.append(batch)
                records += len(batch.events)
                place = batch.last
        return taken

    def waiting(self) -> int:
        """Events in memory."""
        return sum(len(batch.events) for queue in self._queues.values() for batch in queue)

    async def wait(self) -> None:
        """Wait until something is offered, or it is time to delete what is published."""
        try:
            async with asyncio.timeout(DROP_S if self.published else None):
                await self._ready.wait()
        except TimeoutError:
            return
        self._ready.clear()


def _size(batch: OutboxBatch) -> int:
    return sum(len(event.data or b"") + EVENT_OVERHEAD_BYTES for event in batch.events)
