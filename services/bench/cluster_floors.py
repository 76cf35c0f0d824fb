"""The floors of the cluster's goals: a bare produce → consume loop and a bare commit, at a rate.

Run with the settings as JSON, events a second and seconds; prints the sums of both percentiles in milliseconds.
"""

import asyncio
import json
import os
import sys
import time

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from schemas.topics import INBOUND
from services.bench.bodies import Workload
from services.bench.load import percentile
from services.kafka.client import PRODUCE_BATCH_BYTES_MAX, Kafka, kafka_of
from services.serve import loop_factory
from services.settings import Settings, load

SILENT_S = 5.0


async def produce_and_consume(kafka: Kafka, partitions: int, rate_per_s: float, seconds: float) -> list[float]:
    """Seconds from the call that sends a record until it has been received, in one process on one loop."""
    topic, value = kafka.topic(INBOUND), Workload().body(0)
    producer = AIOKafkaProducer(
        **kafka.options, enable_idempotence=True, acks="all", max_batch_size=PRODUCE_BATCH_BYTES_MAX
    )
    consumer = AIOKafkaConsumer(**kafka.options, enable_auto_commit=False)
    await producer.start()
    await consumer.start()
    consumer.assign([TopicPartition(topic, partition) for partition in range(partitions)])
    await consumer.seek_to_end()
    count = int(rate_per_s * seconds)
    times: list[float] = []

    async def receive() -> None:
        while len(times) < count:
            async with asyncio.timeout(SILENT_S):
                batches = await consumer.getmany(timeout_ms=1_000)
            now = time.perf_counter()
            times.extend(now - float(record.key) for records in batches.values() for record in records)

    receiving = asyncio.create_task(receive())
    began = time.perf_counter()
    for index in range(count):
        await asyncio.sleep(max(0.0, began + index / rate_per_s - time.perf_counter()))
        key = repr(time.perf_counter()).encode()
        await producer.send(topic, value, key, partition=index % partitions)
    await receiving
    await producer.stop()
    await consumer.stop()
    return times


async def commits(url: str, rate_per_s: float, seconds: float) -> list[float]:
    """Seconds that a commit of a single row takes."""
    connection = await asyncpg.connect(url)
    await connection.execute("CREATE TABLE bench_floor (id BIGINT PRIMARY KEY, batch BYTEA NOT NULL)")
    statement = await connection.prepare("INSERT INTO bench_floor VALUES ($1, $2)")
    times: list[float] = []
    began = time.perf_counter()
    for index in range(int(rate_per_s * seconds)):
        await asyncio.sleep(max(0.0, began + index / rate_per_s - time.perf_counter()))
        started = time.perf_counter()
        await statement.fetch(index, b"x" * 900)
        times.append(time.perf_counter() - started)
    await connection.execute("DROP TABLE bench_floor")
    await connection.close()
    return times


async def both(settings: Settings, rate_per_s: float, seconds: float) -> dict[str, float]:
    """Both, one after the other."""
    url = settings.database_url.get_secret_value() if settings.database_url else ""
    loop = sorted(await produce_and_consume(kafka_of(settings), settings.partitions, rate_per_s, seconds))
    commit = sorted(await commits(url, rate_per_s, seconds))
    return {
        name: (percentile(loop, share) + percentile(commit, share)) * 1000
        for name, share in (("p50_ms", 0.50), ("p99_ms", 0.99))
    }


def main() -> None:
    """Measure, and print the sums."""
    given, rate_per_s, seconds = json.loads(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
    os.environ.update(given)
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        print(json.dumps(runner.run(both(load(), rate_per_s, seconds))))


if __name__ == "__main__":
    main()
