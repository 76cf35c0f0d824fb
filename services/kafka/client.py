"""Connections to Apache Kafka: the options every client shares, a producer that heals, and a stop that never hangs.

aiokafka waits for a lost broker without end: an idempotent batch never expires, `stop()` and `commit()` hang. So every
await here has a deadline of ours, and a client that does not answer is taken apart instead of being asked to close.
"""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaError

from schemas import topics
from schemas.ports import LogUnavailable
from services.kafka.fence import guard, writers
from services.settings import Settings, SettingsError

CONFIRM_S = 3.0
"""What Kafka gets to confirm a record (reliability 2.2)."""
START_S = 12.0
"""What a client gets to start: the first server it asks may be frozen, which it learns after REQUEST_MS."""
DISPOSE_S = 2.0
WEDGED_S = 30.0
"""A producer that has confirmed nothing for so long is replaced: what it held is repeated by its caller anyway."""
REQUEST_MS = 5_000
"""After it a request counts as lost and the leader is looked up anew, so that a frozen broker is left in time."""
RETRY_BACKOFF_MS = 50
METADATA_AGE_MS = 60_000
PRODUCE_BATCH_BYTES_MAX = 256 * 1024
"""aiokafka keeps one batch per partition in flight: 16 kB, its default, costs half the throughput."""
UNCONFIRMED_BYTES_MAX = 64 * 1024 * 1024
"""What may wait for confirmation in one producer; beyond it, appends are refused at once."""
RECORD_OVERHEAD_BYTES = 256


log = structlog.get_logger()
Headers = Sequence[tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class Line:
    """A record on its way: key, value and headers, as Kafka has them."""

    key: bytes
    value: bytes | None
    headers: Headers

    @property
    def size(self) -> int:
        """About how many bytes it takes."""
        return (
            RECORD_OVERHEAD_BYTES
            + len(self.key)
            + len(self.value or b"")
            + sum(len(name) + len(value) for name, value in self.headers)
        )


@dataclass(frozen=True, slots=True)
class Kafka:
    """Where Kafka is, how to speak to it, and what stands before every topic's name."""

    options: dict[str, Any]
    prefix: str

    def topic(self, name: str) -> str:
        """The topic's name on Kafka."""
        return f"{self.prefix}.{name}"

    def name(self, topic: str) -> str:
        """The topic's name without the prefix."""
        return topic.removeprefix(f"{self.prefix}.")

    def consumer(self, wait_ms: int, bytes_max: int, *, beyond: str = "none") -> AIOKafkaConsumer:
        """A consumer of what is committed, not started, whose positions are ours. Wants a running loop.

        `wait_ms`, `bytes_max`: how long the broker holds an empty fetch, and what a fetch brings of a partition.
        `beyond`: where it goes on from a position that is gone, such as `earliest`; else OffsetOutOfRangeError.
        """
        return AIOKafkaConsumer(
            **self.options,
            enable_auto_commit=False,
            auto_offset_reset=beyond,
            isolation_level="read_committed",
            fetch_max_wait_ms=wait_ms,
            max_partition_fetch_bytes=bytes_max,
        )


def kafka_of(settings: Settings) -> Kafka:
    """The connection that the settings describe. Connects to nothing. Raises SettingsError for certificates."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it tells each retry twenty times a second; we tell once
    options: dict[str, Any] = {
        "bootstrap_servers": settings.kafka_bootstrap_servers,
        "security_protocol": settings.kafka_security_protocol,
        "request_timeout_ms": REQUEST_MS,
        "retry_backoff_ms": RETRY_BACKOFF_MS,
        "metadata_max_age_ms": METADATA_AGE_MS,
    }
    if "SSL" in settings.kafka_security_protocol:
        options["ssl_context"] = _ssl_context(settings)
    if "SASL" in settings.kafka_security_protocol:
        options["sasl_mechanism"] = settings.kafka_sasl_mechanism
        options["sasl_plain_username"] = settings.kafka_sasl_username
        password = settings.kafka_sasl_password
        options["sasl_plain_password"] = password.get_secret_value() if password else ""
    return Kafka(options, settings.topic_prefix)


def _ssl_context(settings: Settings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.kafka_ssl_cafile or None)
    except OSError as problem:
        raise _unusable("COEXIST_KAFKA_SSL_CAFILE", problem) from None
    if settings.kafka_ssl_certfile:
        password = settings.kafka_ssl_password.get_secret_value() if settings.kafka_ssl_password else ""
        try:
            context.load_cert_chain(settings.kafka_ssl_certfile, settings.kafka_ssl_keyfile or None, lambda: password)
        except OSError as problem:
            names = "COEXIST_KAFKA_SSL_CERTFILE, COEXIST_KAFKA_SSL_KEYFILE or COEXIST_KAFKA_SSL_PASSWORD"
            raise _unusable(names, problem) from None
    return context


def _unusable(names: str, problem: OSError) -> SettingsError:
    return SettingsError(f"{names} cannot be used: {problem.strerror or problem}.")


class Writer:
    """An idempotent producer with `acks=all` that is replaced when it breaks. Safe to share between tasks.

    What is handed to it and not confirmed in time may still become durable: its callers know their own repeats.
    `may_write` is asked at the last moment, when a request is about to be written to its socket: where it says no, the
    request does not leave and the producer breaks. A process that was frozen finds out there that its time is over.
    """

    def __init__(
        self, kafka: Kafka, may_write: Callable[[], bool] = lambda: True, confirm_s: float = CONFIRM_S
    ) -> None:
        self._kafka = kafka
        self._confirm_s = confirm_s
        self._may_write = may_write
        self._producer: AIOKafkaProducer | None = None
        self._connecting: asyncio.Task[AIOKafkaProducer] | None = None
        self._away = False
        self._unconfirmed: dict[asyncio.Future[Any], tuple[float, int]] = {}
        self._unconfirmed_bytes = 0
        self._disposing: set[asyncio.Task[None]] = set()
        self._closed = False

    async def start(self) -> None:
        """Connect. Raises LogUnavailable."""
        async with _deadline(START_S):
            await self._ready()

    async def close(self) -> None:
        """Let go of the connections. Never raises, never hangs."""
        self._closed = True
        if self._connecting is not None:
            await ended(self._connecting)
        if self._producer is not None:
            self._replace(self._producer)
        while self._disposing:
            await asyncio.wait(self._disposing)

    def oldest_s(self) -> float:
        """How long the oldest unconfirmed record has been waiting."""
        first = next(iter(self._unconfirmed.values()), None)
        return 0.0 if first is None else monotonic() - first[0]

    async def append(self, lines: Sequence[tuple[str, int, Line]]) -> None:
        """Append each line to its topic (by its name on Kafka) and partition; return once all are durable.

        Raises LogUnavailable after `confirm_s`, and from then on at once while somebody else is still trying.
        """
        self._refuse_when_stalled()
        producer: AIOKafkaProducer | None = None
        try:
            async with _deadline(self._confirm_s):
                producer = await self._ready()
                sent = [await self._send(producer, *line) for line in lines]
                await asyncio.wait(sent)
        except LogUnavailable:
            self._away = True
            raise
        except KafkaError as problem:
            raise self._broken(producer, problem) from None
        for future in sent:
            if (failure := future.exception()) is not None:
                raise self._broken(producer, failure)

    async def append_batch(self, topic: str, partition: int, lines: Sequence[Line]) -> int:
        """Append lines as one record batch: all or none. Returns how many it took.

        It takes at least one and at most what fits into PRODUCE_BATCH_BYTES_MAX. Raises LogUnavailable; then the
        producer is taken apart, so that what is unresolved cannot come later than what is already on its way. When it
        is cancelled, it ends once that is so, too: whoever publishes next finds this batch in the log, or never.
        """
        producer: AIOKafkaProducer | None = None
        future: asyncio.Future[Any] | None = None
        try:
            async with _deadline(CONFIRM_S):
                producer = await self._ready()
                batch = producer.create_batch()
                count = 0
                for line in lines:
                    added = batch.append(key=line.key, value=line.value, timestamp=None, headers=list(line.headers))
                    if added is None:
                        break
                    count += 1
                future = await producer.send_batch(batch, topic, partition=partition)
                future.add_done_callback(_seen)
                await asyncio.shield(future)
        except KafkaError as problem:
            raise self._broken(producer, problem) from None
        except LogUnavailable as problem:
            raise self._broken(producer, problem) from None
        except asyncio.CancelledError as problem:
            if future is not None:
                await asyncio.wait([future], timeout=CONFIRM_S)
            if future is None or not future.done():
                self._broken(producer, problem)
            raise
        return count

    # --- the producer

    async def _ready(self) -> AIOKafkaProducer:
        """The producer, once it is connected. While Kafka is known to be away, nobody waits for the next attempt."""
        if self._producer is not None:
            return self._producer
        if self._closed:
            raise LogUnavailable("the producer has stopped")
        if self._connecting is None:
            self._connecting = asyncio.create_task(self._connect())
            self._connecting.add_done_callback(self._connected)
        if self._away:
            raise LogUnavailable("Kafka cannot be reached")
        return await asyncio.shield(self._connecting)

    def _connected(self, task: "asyncio.Task[AIOKafkaProducer]") -> None:
        self._connecting = None
        self._away = task.cancelled() or task.exception() is not None
        if not self._away:
            self._producer = task.result()

    async def _connect(self) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            **self._kafka.options,
            enable_idempotence=True,
            acks="all",
            max_batch_size=PRODUCE_BATCH_BYTES_MAX,
            max_request_size=topics.RECORD_BYTES_MAX,
        )
        guard(producer, self._may_write)
        try:
            async with asyncio.timeout(START_S):
                await producer.start()
        except BaseException as problem:
            self._dispose(producer)
            if isinstance(problem, KafkaError | OSError | TimeoutError):
                raise LogUnavailable(f"Kafka cannot be reached: {type(problem).__name__}") from None
            raise
        return producer

    async def _send(self, producer: AIOKafkaProducer, topic: str, partition: int, line: Line) -> asyncio.Future[Any]:
        future = await producer.send(topic, line.value, line.key, partition, headers=list(line.headers))
        size = line.size
        self._unconfirmed[future] = (monotonic(), size)
        self._unconfirmed_bytes += size
        future.add_done_callback(self._confirmed)
        return future  # type: ignore[no-any-return]

    def _confirmed(self, future: asyncio.Future[Any]) -> None:
        """A record's fate is known. One that failed leaves a hole in the producer's numbering: it is of no more use."""
        entry = self._unconfirmed.pop(future, None)
        if entry is not None:
            self._unconfirmed_bytes -= entry[1]
            self._away = future.cancelled() or future.exception() is not None
            if self._away and self._producer is not None:
                self._replace(self._producer)
        _seen(future)

    def _refuse_when_stalled(self) -> None:
        waited_s = self.oldest_s()
        if waited_s > WEDGED_S and self._producer is not None:
            self._replace(self._producer)
            self._away = True
        elif waited_s > self._confirm_s or (self._away and self._unconfirmed):
            raise LogUnavailable("Kafka has not confirmed older records in time")
        if self._unconfirmed_bytes > UNCONFIRMED_BYTES_MAX:
            raise LogUnavailable("too much is waiting to be confirmed by Kafka")

    def _broken(self, producer: AIOKafkaProducer | None, problem: BaseException) -> LogUnavailable:
        if producer is not None:
            self._replace(producer)
        return LogUnavailable(f"Kafka did not confirm: {type(problem).__name__}")

    def _replace(self, producer: AIOKafkaProducer) -> None:
        if self._producer is producer:
            self._producer = None
            self._unconfirmed.clear()
            self._unconfirmed_bytes = 0
            self._dispose(producer)

    def _dispose(self, producer: AIOKafkaProducer) -> None:
        task = asyncio.create_task(dismantle_producer(producer))
        self._disposing.add(task)
        task.add_done_callback(self._disposing.discard)


def _seen(future: asyncio.Future[Any]) -> None:
    """Take note of how it ended: nobody may be waiting for it any more."""
    if not future.cancelled():
        future.exception()


@asynccontextmanager
async def _deadline(seconds: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise LogUnavailable("Kafka did not confirm in time") from None


async def dismantle_producer(producer: AIOKafkaProducer) -> None:
    """Make sure that the producer sends nothing more, and close its sockets. Never raises, never hangs."""
    producer._closed = True  # noqa: SLF001 - its own stop() waits for a dead broker without end
    for writer in writers(producer.client):
        writer.transport.abort()
    sender = producer._sender.sender_task  # noqa: SLF001
    if sender is not None:
        sender.cancel()
    await bounded(producer.client.close(), DISPOSE_S)
    if sender is not None:
        await bounded(asyncio.wait([sender]), DISPOSE_S)


async def started(client: Any, seconds: float) -> None:
    """Start a client. One that takes longer, or whose caller is cancelled, is let end first. Raises TimeoutError."""
    start = asyncio.ensure_future(client.start())
    try:
        async with asyncio.timeout(seconds):
            await asyncio.shield(start)
    finally:
        if not start.done():
            await ended(start)


async def ended(start: "asyncio.Task[Any]") -> None:
    """Wait until a client has started or failed to, but not for long: a start that is cut short leaves sockets open."""
    await asyncio.wait([start], timeout=DISPOSE_S)
    start.cancel()
    await asyncio.wait([start])


async def bounded(work: Awaitable[Any], seconds: float) -> None:
    """Wait for `work` no longer than this, in a task of its own: what it raises, even a cancellation, ends there."""
    task = asyncio.ensure_future(work)
    await asyncio.wait([task], timeout=seconds)
    if not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=seconds)
    if task.done() and not task.cancelled() and (problem := task.exception()) is not None:
        log.debug("kafka_close_failed", error=type(problem).__name__)
