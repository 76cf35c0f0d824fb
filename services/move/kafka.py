"""The log's way to Kafka: record batches by an idempotent producer, each at the offset that it had in the folder.

Kafka's own answer tells the offset of every batch. So whatever came between, a batch of a run before that was still
under way, or somebody else's record, is found out at once, and where a run was cut off is where its partitions end.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from time import monotonic
from typing import Any, TypeVar

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.errors import KafkaError

from schemas.ports import Event, LogUnavailable
from schemas.topics import DAY_S, RECORD_BYTES_MAX, TOPICS
from services.kafka import topics as kafka_topics
from services.kafka.client import Kafka, bounded, dismantle_producer, started
from services.kafka.log import KafkaLog, line_of
from services.move.folder import Folder, Part, Refused

BATCH_BYTES_MAX = 512 * 1024
CONFIRM_S = 30.0
"""What Kafka gets to confirm a batch: longer than in the service, for nobody waits but who started the move."""
PARTS_AT_ONCE = 8
"""Each has one batch under way and one in the making."""
UNREAD_KEEP_S = DAY_S
"""Records that somebody has still to read are at most so old on Kafka, or retention could remove them unread."""
ASK_S = 20.0
ASK_AGAIN_S = 0.2
DELETE_MS = 10_000
CLOSE_S = 2.0

Answer = TypeVar("Answer")
Passed = Callable[[int], None]
"""Told how many records were passed."""


class KafkaTarget:
    """The topics that are moved to. Every method raises LogUnavailable when Kafka does not answer."""

    def __init__(self, kafka: Kafka, partitions: int, batch_bytes: int = BATCH_BYTES_MAX) -> None:
        self._kafka = kafka
        self._partitions = partitions
        self._batch_bytes = batch_bytes

    async def check(self) -> None:
        """Raise Refused when topics that exist are not as they must be."""
        there = await self._there()
        if len(there) not in (0, len(TOPICS)):
            missing = ", ".join(self._kafka.topic(name) for name in TOPICS if name not in there)
            raise Refused(f"{missing} missing on Kafka, while others are there. Run `coexist topics create` first.")
        if there and (wrong := await kafka_topics.problems(self._kafka, self._partitions)):
            raise Refused(" ".join(wrong))

    async def identity(self) -> str:
        """What tells this Kafka from any other."""
        async with self._admin() as admin:
            return str((await admin.describe_cluster())["cluster_id"])

    async def ends(self) -> dict[tuple[str, int], int]:
        """Where the partitions of the topics that exist end."""
        places = [(name, partition) for name in await self._there() for partition in range(self._partitions)]
        log = KafkaLog(self._kafka, self._partitions)
        try:
            ends = await _patiently(lambda: asyncio.gather(*(log.end(*place) for place in places)))
            return dict(zip(places, ends, strict=True))
        finally:
            await log.close()

    async def _all_ends(self) -> dict[tuple[str, int], int]:
        """The same once every topic is heard of: a broker hears of a new one a moment after it was made."""
        ends = await self.ends()
        if len(ends) != len(TOPICS) * self._partitions:
            raise LogUnavailable("Kafka has not heard of its new topics yet")
        return ends

    async def _there(self) -> list[str]:
        async with self._admin() as admin:
            found = set(await admin.list_topics())
        return [name for name in TOPICS if self._kafka.topic(name) in found]

    @asynccontextmanager
    async def _admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        admin = AIOKafkaAdminClient(**self._kafka.options)
        try:
            async with asyncio.timeout(ASK_S):
                await started(admin, ASK_S)
                yield admin
        except (KafkaError, OSError, TimeoutError) as problem:
            raise LogUnavailable(f"Kafka did not answer: {type(problem).__name__}") from None
        finally:
            await bounded(admin.close(), CLOSE_S)

    async def begin(self, folder: Folder) -> dict[tuple[str, int], int]:
        """Make the topics that are missing; where each partition ends now. Raises Refused."""
        await kafka_topics.create(self._kafka, self._partitions)
        ends = await _patiently(self._all_ends)
        await self._check_ends(folder, folder.parts(), ends)
        return ends

    async def copy(self, folder: Folder, ends: Mapping[tuple[str, int], int], passed: Passed) -> None:
        """Bring every partition to where it ends in the folder, from where it ends now. Raises Refused."""
        parts = folder.parts()
        producer = await self._connect()
        try:
            await _all(
                [_Copy(producer, self._kafka, folder, part, ends[part.topic, part.partition], passed) for part in parts]
            )
        finally:
            await dismantle_producer(producer)
        await self._forget(parts)
        reached = await _patiently(self._all_ends)
        for part in parts:
            if reached[part.topic, part.partition] != part.end:
                raise _foreign(self._kafka, part)

    async def _check_ends(self, folder: Folder, parts: Sequence[Part], ends: Mapping[tuple[str, int], int]) -> None:
        """What stands at the end of a partition must be what the folder has there."""
        log = KafkaLog(self._kafka, self._partitions)
        try:
            for part in parts:
                end = ends[part.topic, part.partition]
                if end > part.end:
                    raise _foreign(self._kafka, part)
                if end > part.begin:
                    last = await _patiently(partial(log.read, part.topic, part.partition, end - 1, 1))
                    event, _ = next(folder.events(part, end - 1))[0]
                    if last and (last[0].event.id, last[0].event.seq) != (event.id, event.seq):
                        raise _foreign(self._kafka, part)
        finally:
            await log.close()

    async def _connect(self) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            **self._kafka.options,
            enable_idempotence=True,
            acks="all",
            max_batch_size=self._batch_bytes,
            max_request_size=RECORD_BYTES_MAX,
        )
        try:
            await started(producer, ASK_S)
        except (KafkaError, OSError, TimeoutError) as problem:
            await dismantle_producer(producer)
            raise LogUnavailable(f"Kafka cannot be reached: {type(problem).__name__}") from None
        return producer

    async def _forget(self, parts: Sequence[Part]) -> None:
        """Let partitions begin where they began in the folder; a compacted topic forgets by itself."""
        aged = {
            TopicPartition(self._kafka.topic(part.topic), part.partition): RecordsToDelete(before_offset=part.begin)
            for part in parts
            if part.begin and TOPICS[part.topic].retention_s is not None
        }
        if aged:
            async with self._admin() as admin:
                await admin.delete_records(aged, timeout_ms=DELETE_MS)


class _Copy:
    """One partition on its way."""

    def __init__(
        self, producer: AIOKafkaProducer, kafka: Kafka, folder: Folder, part: Part, begin: int, passed: Passed
    ) -> None:
        self.part = part
        self._producer = producer
        self._kafka = kafka
        self._folder = folder
        self._passed = passed
        self._offset = begin
        self._sent: tuple[asyncio.Future[Any], int, int] | None = None
        passed(begin)

    async def run(self) -> None:
        try:
            batch, count = self._producer.create_batch(), 0
            for events in self._folder.events(self.part, self._offset):
                for event, appended_at in events:
                    if not self._add(batch, event, appended_at, self._offset + count):
                        await self._send(batch, count)
                        batch, count = self._producer.create_batch(), 0
                        self._add(batch, event, appended_at, self._offset)
                    count += 1
                await asyncio.sleep(0)
            if count:
                await self._send(batch, count)
            await self._confirm()
        except (KafkaError, TimeoutError) as problem:
            raise LogUnavailable(f"Kafka did not confirm: {type(problem).__name__}") from None

    def _add(self, batch: Any, event: Event, appended_at: float, offset: int) -> bool:
        line = line_of(event)
        if offset >= self.part.unread_from:
            appended_at = max(appended_at, self._folder.now - UNREAD_KEEP_S)
        at_ms = int(min(appended_at, self._folder.now) * 1000)
        added = batch.append(timestamp=at_ms, key=line.key, value=line.value, headers=line.headers)
        return added is not None

    async def _send(self, batch: Any, count: int) -> None:
        await self._confirm()
        part = self.part
        async with asyncio.timeout(CONFIRM_S):
            topic = self._kafka.topic(part.topic)
            future = await self._producer.send_batch(batch, topic, partition=part.partition)
        self._sent = asyncio.ensure_future(future), self._offset, count
        self._offset += count

    async def _confirm(self) -> None:
        if self._sent is None:
            return
        (future, offset, count), self._sent = self._sent, None
        async with asyncio.timeout(CONFIRM_S):
            told = await future
        if told.offset not in (offset, -1):  # -1: known as a repeat of the same batch
            raise _foreign(self._kafka, self.part)
        self._passed(count)


async def _patiently(ask: Callable[[], Awaitable[Answer]]) -> Answer:
    """The answer, asked for again until ASK_S are over: new topics have leaders a moment after they are made."""
    give_up = monotonic() + ASK_S
    while True:
        try:
            return await ask()
        except LogUnavailable:
            if monotonic() > give_up:
                raise
            await asyncio.sleep(ASK_AGAIN_S)


async def _all(copies: Sequence[_Copy]) -> None:
    """Run them, the longest first, a few at a time; the first failure ends all."""
    few = asyncio.Semaphore(PARTS_AT_ONCE)

    async def one(copy: _Copy) -> None:
        async with few:
            await copy.run()

    longest_first = sorted(copies, key=lambda copy: -copy.part.end)
    tasks = [asyncio.create_task(one(copy)) for copy in longest_first]
    try:
        for done in asyncio.as_completed(tasks):
            await done
    finally:
        for task in tasks:
            task.cancel()
        await bounded(asyncio.gather(*tasks, return_exceptions=True), CLOSE_S)


def _foreign(kafka: Kafka, part: Part) -> Refused:
    return Refused(
        f"{kafka.topic(part.topic)}/{part.partition} holds records that this move did not put there. Delete "
        "the topics, or set another COEXIST_TOPIC_PREFIX, then `coexist migrate-to-cluster --abandon` and begin anew."
    )
