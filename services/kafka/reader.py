"""Reading Kafka by manual assignment from stored positions: one consumer feeds all shards that read the same topics.

No group, no rebalance: leases say who reads what. A consumer per shard would be 36 connections per broker and process;
a feed is one, drained at once after every fetch so that no partition waits for another, and a partition whose shard
is behind is paused until it has caught up.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from time import monotonic
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.client import ConnectionGroup, CoordinationType
from aiokafka.errors import KafkaError, OffsetOutOfRangeError
from aiokafka.protocol.commit import OffsetCommitRequest

from schemas.cloudevents import UNREADABLE, NotAnEvent, event_from_headers
from schemas.ports import Event, LogUnavailable, Record
from schemas.topics import OUTBOUND, OUTBOUND_BULK, TOPICS, partition_of
from services.kafka.client import DISPOSE_S, START_S, Kafka, bounded, started

FETCH_WAIT_MS = 100
"""How long a broker holds an empty fetch: a resumed partition waits for it at most so long."""
FETCH_BYTES_MAX = 1024 * 1024
"""Per partition and fetch; a larger record comes alone."""
BUFFER_BYTES_MAX = 2 * 1024 * 1024
"""Per topic of a shard; beyond it the partition is paused."""
LOOK_S = 0.1
"""How soon a feed looks whether shards have come or gone."""
RECONNECT_S = 0.5
GROUP_COMMIT_S = 5.0
GROUP_COMMIT_DEADLINE_S = 3.0

FROM_ANYONE = frozenset({OUTBOUND, OUTBOUND_BULK})
"""Topics that others write as well: in transactions, whose markers take offsets, or with another partitioner."""

log = structlog.get_logger()
Beginnings = Callable[[Sequence[TopicPartition]], Awaitable[dict[TopicPartition, int]]]
Append = Callable[[Sequence[tuple[str, Event]]], Awaitable[None]]
Ends = Callable[[Sequence[str], int], Awaitable[Mapping[str, int]]]


class GapDetected(Exception):
    """Records are missing that neither retention nor compaction explains: nobody may go on as if nothing was."""

    def __init__(self, topic: str, partition: int, expected: int, found: int) -> None:
        super().__init__(
            f"{topic}/{partition} continues at offset {found} where {expected} was expected, and neither retention "
            "nor compaction explains it. Was the topic deleted, or Kafka restored from a backup?"
        )


class KafkaReader:
    """The `Reader` port: one shard's topics, filled by a feed."""

    def __init__(
        self,
        feed: "Feed",
        topics: Sequence[str],
        partition: int,
        positions: Mapping[str, int],
        ends: Ends,
        append: Append,
    ) -> None:
        self.partition = partition
        self._feed = feed
        self._topics = tuple(topics)
        self._ends = ends
        self._append = append
        self._next = dict(positions)
        self.fetch_next = dict(positions)
        self.done = dict(positions)
        self._buffers: dict[str, deque[ConsumerRecord[Any, Any]]] = {topic: deque() for topic in topics}
        self._bytes = dict.fromkeys(topics, 0)
        self._ready = asyncio.Event()
        self._failure: Exception | None = None
        self._turn = 0

    async def poll(self, limit: int, wait_s: float, leaving: frozenset[str] = frozenset()) -> Sequence[Record]:
        """See `Reader.poll`. Raises GapDetected. Every fourth poll begins with the least preferred topic."""
        self.done = dict(self._next)
        wanted = [buffer for topic, buffer in self._buffers.items() if topic not in leaving]
        try:
            async with asyncio.timeout(wait_s):
                while not any(wanted) and self._failure is None:
                    self._ready.clear()
                    await self._ready.wait()
        except TimeoutError:
            return []
        found = self._take(limit, leaving)
        if not found and self._failure is not None:
            raise self._failure
        return await self._at_home(found) if self._feed.decides else found

    async def ends(self) -> Mapping[str, int]:
        """See `Reader.ends`."""
        return await self._ends(self._topics, self.partition)

    def positions(self) -> Mapping[str, int]:
        """See `Reader.positions`."""
        return self._next

    async def close(self) -> None:
        """See `Reader.close`."""
        self._feed.leave(self)

    # --- the feed's side

    def put(self, topic: str, records: Sequence[ConsumerRecord[Any, Any]]) -> None:
        """Take fetched records, in order."""
        for record in records:
            self._buffers[topic].append(record)
            self._bytes[topic] += _size(record)
        self.fetch_next[topic] = records[-1].offset + 1
        self._ready.set()

    def full(self, topic: str) -> bool:
        """Has the topic run ahead of its shard?"""
        return self._bytes[topic] > BUFFER_BYTES_MAX

    def fail(self, failure: Exception) -> None:
        """Let the next poll raise, once what came before has been read."""
        self._failure = failure
        self._ready.set()

    # --- handing out

    def _take(self, limit: int, leaving: frozenset[str]) -> list[Record]:
        self._turn += 1
        found: list[Record] = []
        for topic in self._topics if self._turn % 4 else self._topics[::-1]:
            if topic in leaving:
                continue
            buffer = self._buffers[topic]
            while buffer and len(found) < limit:
                raw = buffer.popleft()
                self._bytes[topic] -= _size(raw)
                self._next[topic] = raw.offset + 1
                found.append(record_of(topic, raw))
            if not self.full(topic):
                self._feed.resume(topic, self.partition)
        return found

    async def _at_home(self, records: list[Record]) -> list[Record]:
        """Leave out commands of other clients that lie on the wrong partition, once they lie on the right one.

        The sender, which alone reads the bulk topic, appends them anew; whoever else reads them leaves them out.
        """
        partitions = self._feed.partitions
        lost = [
            (record.topic, record.event)
            for record in records
            if record.topic in FROM_ANYONE
            and record.event.type != UNREADABLE
            and partition_of(record.event.number, partitions) != record.partition
        ]
        if not lost:
            return records
        moved = {id(event) for _, event in lost}
        here = [record for record in records if id(record.event) not in moved]
        if OUTBOUND_BULK not in self._topics:
            return here
        log.info("commands_moved", count=len(lost), reason="written with another partitioner")
        while True:
            try:
                await self._append(lost)
            except LogUnavailable:
                await asyncio.sleep(RECONNECT_S)
            else:
                return here


class Feed:
    """One consumer for all shards that read the same topics.

    `group` is where lag tools look for the positions of a processor; without one, nobody decides over what is read.
    """

    def __init__(
        self, kafka: Kafka, topics: Sequence[str], partitions: int, group: str, beginnings: Beginnings
    ) -> None:
        self.topics = tuple(topics)
        self.partitions = partitions
        self.readers: dict[int, KafkaReader] = {}
        self._kafka = kafka
        self._group = group
        self._beginnings = beginnings
        self._consumer: AIOKafkaConsumer | None = None
        self._paused: set[TopicPartition] = set()
        self.decides = bool(group)
        self._changed = True
        self._committing: asyncio.Task[None] | None = None
        self._commit_at = monotonic() + GROUP_COMMIT_S
        self._task = asyncio.create_task(self._run(), name=f"feed/{'+'.join(topics)}")

    def join(self, reader: KafkaReader) -> None:
        """Feed this reader from its positions."""
        self.readers[reader.partition] = reader
        self._changed = True

    def leave(self, reader: KafkaReader) -> None:
        """Feed it no more."""
        if self.readers.get(reader.partition) is reader:
            del self.readers[reader.partition]
            self._changed = True

    def resume(self, topic: str, partition: int) -> None:
        """Fetch a partition again that had run ahead."""
        place = TopicPartition(self._kafka.topic(topic), partition)
        if place in self._paused and self._consumer is not None:
            self._paused.discard(place)
            if place in self._consumer.assignment():
                self._consumer.resume(place)

    async def close(self) -> None:
        """Stop feeding. Never raises, never hangs."""
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _run(self) -> None:
        while True:
            try:
                await self._feed()
            except (KafkaError, LogUnavailable, OSError, TimeoutError) as problem:
                log.warning("kafka_reader_reconnects", error=type(problem).__name__)
            except asyncio.CancelledError:
                raise
            except Exception as problem:
                for reader in self.readers.values():
                    reader.fail(problem)
                raise
            finally:
                await self._disconnect()
            await asyncio.sleep(RECONNECT_S)

    async def _feed(self) -> None:
        consumer = self._consumer = self._kafka.consumer(FETCH_WAIT_MS, FETCH_BYTES_MAX)
        await started(consumer, START_S)
        self._changed = True
        while True:
            if self._changed:
                self._assign(consumer)
            self._commit_now_and_then(consumer)
            if not self.readers:
                await asyncio.sleep(LOOK_S)
                continue
            try:
                batches = await consumer.getmany(timeout_ms=int(LOOK_S * 1000))
            except OffsetOutOfRangeError as problem:
                await self._out_of_range(problem.args[0])
                continue
            for place, records in batches.items():
                await self._hand_out(consumer, place, records)

    def _assign(self, consumer: AIOKafkaConsumer) -> None:
        self._changed = False
        self._paused.clear()
        positions = {
            TopicPartition(self._kafka.topic(topic), partition): reader.fetch_next[topic]
            for partition, reader in self.readers.items()
            for topic in self.topics
        }
        if not positions:
            consumer.unsubscribe()
            return
        consumer.assign(list(positions))
        for place, position in positions.items():
            consumer.seek(place, position)

    async def _hand_out(
        self, consumer: AIOKafkaConsumer, place: TopicPartition, records: list[ConsumerRecord[Any, Any]]
    ) -> None:
        reader = self.readers.get(place.partition)
        topic = self._kafka.name(place.topic)
        if reader is None:
            return
        expected = reader.fetch_next[topic]
        fresh = [record for record in records if record.offset >= expected]
        if fresh:
            await self._look_for_gaps(reader, topic, place, expected, fresh)
            reader.put(topic, fresh)
            if reader.full(topic) and place in consumer.assignment():
                consumer.pause(place)
                self._paused.add(place)

    async def _look_for_gaps(
        self,
        reader: KafkaReader,
        topic: str,
        place: TopicPartition,
        expected: int,
        records: list[ConsumerRecord[Any, Any]],
    ) -> None:
        if topic in FROM_ANYONE or TOPICS[topic].retention_s is None:
            return
        for record in records:
            if record.offset != expected and (await self._beginnings([place]))[place] < record.offset:
                failure = GapDetected(place.topic, place.partition, expected, record.offset)
                log.error("gap_detected", topic=topic, partition=place.partition, offset=expected)
                reader.fail(failure)
                raise failure
            expected = record.offset + 1

    async def _out_of_range(self, places: Mapping[TopicPartition, int]) -> None:
        """Retention has removed what was not read yet: say so and go on. A position beyond the end is a gap."""
        begins = await self._beginnings(list(places))
        for place, position in places.items():
            reader = self.readers.get(place.partition)
            if reader is None:
                continue
            topic = self._kafka.name(place.topic)
            begin = begins[place]
            if position > begin:
                log.error("gap_detected", topic=topic, partition=place.partition, offset=position)
                reader.fail(GapDetected(place.topic, place.partition, position, begin))
                self.leave(reader)
                continue
            log.warning("records_expired_unread", topic=topic, partition=place.partition, count=begin - position)
            reader.fetch_next[topic] = begin
        self._changed = True

    def _commit_now_and_then(self, consumer: AIOKafkaConsumer) -> None:
        """Tell Kafka the positions, for lag tools only: best effort, and nobody waits for it."""
        if not self._group or monotonic() < self._commit_at:
            return
        self._commit_at = monotonic() + GROUP_COMMIT_S
        held = consumer.assignment()
        offsets = {
            place: reader.done[topic]
            for partition, reader in self.readers.items()
            for topic in self.topics
            if (place := TopicPartition(self._kafka.topic(topic), partition)) in held
        }
        if offsets and (self._committing is None or self._committing.done()):
            telling = _tell_group(consumer._client, self._group, offsets)  # noqa: SLF001 - see _tell_group
            self._committing = asyncio.create_task(bounded(telling, GROUP_COMMIT_DEADLINE_S))

    async def _disconnect(self) -> None:
        consumer, self._consumer = self._consumer, None
        if self._committing is not None:
            self._committing.cancel()
            await asyncio.wait([self._committing])
        if consumer is not None:
            await dismantle_consumer(consumer)


async def _tell_group(client: Any, group: str, offsets: Mapping[TopicPartition, int]) -> None:
    """Commit offsets for a group without being in it.

    aiokafka's own coordinator breaks a consumer whose assignment changes while it looks for its broker.
    """
    by_topic: dict[str, list[tuple[int, int, str]]] = {}
    for place, offset in offsets.items():
        by_topic.setdefault(place.topic, []).append((place.partition, offset, ""))
    nobody = OffsetCommitRequest(group, -1, "", OffsetCommitRequest.DEFAULT_RETENTION_TIME, list(by_topic.items()))
    node = await client.coordinator_lookup(CoordinationType.GROUP, group)
    await client.send(node, nobody, group=ConnectionGroup.COORDINATION)


async def dismantle_consumer(consumer: AIOKafkaConsumer) -> None:
    """Stop a consumer and close its sockets. Never raises, never hangs."""
    await bounded(consumer.stop(), DISPOSE_S)
    await bounded(consumer._client.close(), DISPOSE_S)  # noqa: SLF001 - stop() may leave its sockets open


def _size(record: ConsumerRecord[Any, Any]) -> int:
    return len(record.value or b"") + 512


def record_of(topic: str, raw: ConsumerRecord[Any, Any]) -> Record:
    """A fetched record as the port has it."""
    appended_at = raw.timestamp / 1000
    return Record(topic, raw.partition, raw.offset, _event(raw, appended_at), appended_at)


def _event(raw: ConsumerRecord[Any, Any], appended_at: float) -> Event:
    """The record's event. One that is none is kept whole, under a type that says so, for the dead letters."""
    try:
        return event_from_headers(raw.headers, raw.key, raw.value, appended_at)
    except NotAnEvent as problem:
        return Event(
            f"{raw.topic}/{raw.partition}/{raw.offset}",
            UNREADABLE,
            (raw.key or b"unknown").decode(errors="replace"),
            raw.value,
            appended_at,
            appended_at,
            subject=str(problem),
        )
