"""The `EventLog` port on Apache Kafka: CloudEvents in binary mode, keyed and placed as `schemas.topics` says.

`append` returns once every in-sync replica has the records in memory, which is what `acks=all` promises: Kafka does not
fsync each record, so replicas belong into different power domains (reliability 2.2).
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from time import monotonic

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from schemas.cloudevents import headers
from schemas.ports import Event, LogUnavailable, Reader, Record
from schemas.topics import partition_of
from services.kafka.asked import Asked
from services.kafka.client import CONFIRM_S, START_S, Kafka, Line, Writer, ended
from services.kafka.reader import FETCH_WAIT_MS, RECONNECT_S, Feed, KafkaReader, dismantle_consumer, record_of

ASK_S = 3.0
"""What Kafka gets to say where a partition begins or ends."""
BROWSE_S = 5.0
"""A read of old records ends after so long: with what it has, or where that is nothing or must be all, without."""
BROWSE_QUIET_MS = 200

Offsets = dict[TopicPartition, int]


class KafkaLog:
    """See `EventLog`. `groups` names a consumer group for each tuple of topics that a processor reads.

    `browse_s`, `confirm_s`: how long a read of old records may take, and an append.
    """

    def __init__(
        self,
        kafka: Kafka,
        partitions: int,
        groups: Mapping[tuple[str, ...], str] | None = None,
        browse_s: float = BROWSE_S,
        confirm_s: float = CONFIRM_S,
    ) -> None:
        self.partitions = partitions
        self._browse_s = browse_s
        self._kafka = kafka
        self._groups = dict(groups or {})
        self._writer = Writer(kafka, confirm_s=confirm_s)
        self._feeds: list[Feed] = []
        self._asking: AIOKafkaConsumer | None = None
        self._starting: asyncio.Task[AIOKafkaConsumer] | None = None
        self._browsing = asyncio.Lock()
        self._ends = Asked(self._ask_ends)
        self._begins = Asked(self._ask_begins)

    async def start(self) -> None:
        """Connect. Raises LogUnavailable."""
        await self._writer.start()

    async def close(self) -> None:
        """Let go of every connection. Never raises, never hangs."""
        await asyncio.gather(*(feed.close() for feed in self._feeds), self._writer.close())
        self._feeds.clear()
        if self._starting is not None:
            await ended(self._starting)
        await asyncio.gather(self._ends.close(), self._begins.close())
        if self._asking is not None:
            await dismantle_consumer(self._asking)
            self._asking = None

    # --- appending

    async def append(self, entries: Sequence[tuple[str, Event]]) -> None:
        """See `EventLog.append`."""
        if entries:
            await self._writer.append(
                [
                    (self._kafka.topic(topic), partition_of(event.number, self.partitions), line_of(event))
                    for topic, event in entries
                ]
            )

    # --- reading

    async def reader(self, topics: Sequence[str], partition: int, positions: Mapping[str, int]) -> Reader:
        """See `EventLog.reader`. Waits for Kafka as long as it takes."""
        places = self._places(topics, partition)
        begins = await self._patiently(lambda: self._begins.get(places))
        start = {topic: positions.get(topic, begins[place]) for topic, place in zip(topics, places, strict=True)}
        feed = self._feed_of(tuple(topics), partition)
        reader = KafkaReader(feed, topics, partition, start, self._ends_of, self.append)
        feed.join(reader)
        return reader

    async def read(self, topic: str, partition: int, offset: int, limit: int) -> Sequence[Record]:
        """See `EventLog.read`. Raises LogUnavailable."""
        place = TopicPartition(self._kafka.topic(topic), partition)
        begin, end = (await self._begins.get([place]))[place], (await self._ends.get([place]))[place]
        return [record_of(topic, raw) for raw in await self._browse(place, max(offset, begin), end, limit)]

    async def headers_before(self, topic: str, partition: int, end: int, count: int) -> list[dict[str, bytes]]:
        """The headers of all records within `count` offsets before `end`, newest first. Raises LogUnavailable."""
        place = TopicPartition(self._kafka.topic(topic), partition)
        begin = max((await self._begins.get([place]))[place], end - count)
        found = await self._browse(place, begin, end, count, whole=True)
        return [dict(raw.headers) for raw in reversed(found)]

    async def _browse(
        self, place: TopicPartition, begin: int, end: int, limit: int, *, whole: bool = False
    ) -> list[ConsumerRecord[bytes, bytes]]:
        """Up to `limit` records from `begin` on and before `end`, on the connection that questions use.

        None: there are none. Raises LogUnavailable where time ran out before the first, or if `whole` the last.
        """
        found: list[ConsumerRecord[bytes, bytes]] = []
        if begin >= end or limit <= 0:
            return found
        async with self._browsing:
            try:
                consumer = await self._connected()
                consumer.assign([place])
                consumer.seek(place, begin)
                deadline = monotonic() + self._browse_s
                while len(found) < limit and begin < end and monotonic() < deadline:
                    async with asyncio.timeout(ASK_S):
                        batches = await consumer.getmany(timeout_ms=BROWSE_QUIET_MS, max_records=limit - len(found))
                    records = batches.get(place, [])
                    found.extend(raw for raw in records if raw.offset < end)
                    begin = records[-1].offset + 1 if records else await consumer.position(place)
                if len(found) < limit and begin < end and (whole or not found):
                    raise TimeoutError  # noqa: TRY301 - as when one answer takes too long
                consumer.unsubscribe()
            except (KafkaError, OSError, TimeoutError) as problem:
                raise await self._lost(problem) from None
        return found

    async def begin(self, topic: str, partition: int) -> int:
        """The offset of the first record that is retained. Raises LogUnavailable."""
        place = TopicPartition(self._kafka.topic(topic), partition)
        return (await self._begins.get([place]))[place]

    async def end(self, topic: str, partition: int) -> int:
        """See `EventLog.end`. Raises LogUnavailable."""
        place = TopicPartition(self._kafka.topic(topic), partition)
        return (await self._ends.get([place]))[place]

    # --- asking where partitions begin and end

    async def _ends_of(self, topics: Sequence[str], partition: int) -> Mapping[str, int]:
        places = self._places(topics, partition)
        found = await self._patiently(lambda: self._ends.get(places))
        return {topic: found[place] for topic, place in zip(topics, places, strict=True)}

    async def _patiently(self, ask: Callable[[], Awaitable[Offsets]]) -> Offsets:
        while True:
            try:
                return await ask()
            except LogUnavailable:
                await asyncio.sleep(RECONNECT_S)

    async def _ask_ends(self, places: set[TopicPartition]) -> Offsets:
        return await self._ask(places, begins=False)

    async def _ask_begins(self, places: set[TopicPartition]) -> Offsets:
        return await self._ask(places, begins=True)

    async def _ask(self, places: set[TopicPartition], *, begins: bool) -> Offsets:
        try:
            async with asyncio.timeout(ASK_S):
                consumer = await self._connected()
                asked = consumer.beginning_offsets(list(places)) if begins else consumer.end_offsets(list(places))
                return dict(await asked)
        except (KafkaError, OSError, TimeoutError) as problem:
            raise await self._lost(problem) from None

    async def _lost(self, problem: Exception) -> LogUnavailable:
        """Take the connection apart; the next question makes a new one."""
        asking, self._asking = self._asking, None
        if asking is not None:
            await dismantle_consumer(asking)
        return LogUnavailable(f"Kafka did not answer: {type(problem).__name__}")

    async def _connected(self) -> AIOKafkaConsumer:
        """A consumer that hardly fetches: on a connection with a long fetch, a question would wait behind it.

        Whoever asks gives up after a while; the start goes on for the next one, for cut short it leaves sockets open.
        """
        if self._asking is not None:
            return self._asking
        if self._starting is None:
            self._starting = asyncio.create_task(self._start_asking())
            self._starting.add_done_callback(self._started)
        return await asyncio.shield(self._starting)

    async def _start_asking(self) -> AIOKafkaConsumer:
        consumer = AIOKafkaConsumer(
            **self._kafka.options,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            fetch_max_wait_ms=FETCH_WAIT_MS,
        )
        try:
            async with asyncio.timeout(START_S):
                await consumer.start()
        except BaseException:
            await dismantle_consumer(consumer)
            raise
        return consumer

    def _started(self, task: "asyncio.Task[AIOKafkaConsumer]") -> None:
        self._starting = None
        if not task.cancelled() and task.exception() is None:
            self._asking = task.result()

    def _feed_of(self, topics: tuple[str, ...], partition: int) -> Feed:
        for feed in self._feeds:
            if feed.topics == topics and partition not in feed.readers:
                return feed
        feed = Feed(self._kafka, topics, self.partitions, self._groups.get(topics, ""), self._begins.get)
        self._feeds.append(feed)
        return feed

    def _places(self, topics: Sequence[str], partition: int) -> list[TopicPartition]:
        return [TopicPartition(self._kafka.topic(topic), partition) for topic in topics]


def line_of(event: Event, extra: Sequence[tuple[str, bytes]] = ()) -> Line:
    """The event as a Kafka record."""
    return Line((event.key or event.number).encode(), event.data, [*headers(event), *extra])
