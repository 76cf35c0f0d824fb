"""The records of a topic as they come from Kafka, for `coexist tail`. Needs neither the service nor the database."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from time import monotonic

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from schemas.ports import LogUnavailable, Record
from services.kafka.client import Kafka, bounded
from services.kafka.reader import FETCH_BYTES_MAX, FETCH_WAIT_MS, dismantle_consumer, record_of

CONNECT_S = 5.0
ASK_S = 10.0
POLL_MS = 200
SILENT_S = 30.0
"""Without `follow`, records that were promised and do not come in so long will not come."""

Batches = AsyncGenerator[list[Record], None]


def records(kafka: Kafka, topic: str, *, from_start: bool, follow: bool) -> Iterator[Record]:
    """The records, in order within a partition; those that are fetched together by the time they were appended.

    Without `follow` it ends with the newest record that stood there at first. Raises LogUnavailable.
    """
    with asyncio.Runner() as runner:
        found = _records(kafka, topic, from_start=from_start, follow=follow)
        try:
            while (batch := runner.run(_next(found))) is not None:
                yield from batch
        finally:
            runner.run(bounded(found.aclose(), CONNECT_S))


async def _next(found: Batches) -> list[Record] | None:
    return await anext(found, None)


async def _records(kafka: Kafka, topic: str, *, from_start: bool, follow: bool) -> Batches:
    consumer = kafka.consumer(FETCH_WAIT_MS, FETCH_BYTES_MAX, beyond="earliest")
    try:
        async with asyncio.timeout(CONNECT_S):
            await consumer.start()
        async with asyncio.timeout(ASK_S):
            places = await _assign(consumer, kafka.topic(topic))
            begins, ends = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
        for place in places:
            consumer.seek(place, begins[place] if from_start or not follow else ends[place])
        unread = {place for place in places if begins[place] < ends[place]}
        heard_at = monotonic()
        while follow or unread:
            batches = await consumer.getmany(timeout_ms=POLL_MS)
            if batches:
                heard_at = monotonic()
                found = [record_of(topic, raw) for raws in batches.values() for raw in raws]
                yield sorted(found, key=lambda record: record.appended_at)
            elif not follow and monotonic() - heard_at > SILENT_S:
                raise LogUnavailable("Kafka did not hand out what it has")
            unread = {place for place in unread if await consumer.position(place) < ends[place]}
    except (KafkaError, OSError, TimeoutError) as problem:
        raise LogUnavailable(f"Kafka did not answer: {type(problem).__name__}") from None
    finally:
        await dismantle_consumer(consumer)


async def _assign(consumer: AIOKafkaConsumer, name: str) -> list[TopicPartition]:
    """All partitions of a topic, however many it has."""
    cluster = await consumer._client.fetch_all_metadata()  # noqa: SLF001 - it knows only what it reads
    found = sorted(cluster.partitions_for_topic(name) or ())
    if not found:
        raise LogUnavailable(f"Kafka has no topic {name}: `coexist topics create` makes it")
    places = [TopicPartition(name, partition) for partition in found]
    consumer.assign(places)
    return places
