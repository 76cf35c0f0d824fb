"""Spans for an OpenTelemetry collector, after its conventions for messaging. Imported only when tracing is on.

Attributes come from closed sets: topics, partitions, processors, outcomes. No phone number, name, text or message id
is among them, nor a record's key, which the conventions would like to have. Exceptions are told by their type alone.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, islice
from operator import attrgetter

import structlog
from msgspec.structs import replace
from opentelemetry import trace as otel
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from ingest.webhook import PATH, Append
from schemas.ports import Event, Record
from services.dead_letters import VERSION
from services.runner import Batch, Observer
from services.telemetry.tracing import Hop, Tracing, traceparent

CLOSE_S = 1.0
"""What a collector gets to take the last spans; a stop waits for nobody longer."""
LINKS_MAX = 128
"""The SDK's own limit; a batch has up to 256 records."""

log = structlog.get_logger()


def exporting() -> TracerProvider:
    """A provider that exports to the collector which the environment names. OTEL_SERVICE_NAME wins over our name."""
    failures = logging.getLogger("opentelemetry")
    failures.propagate = False
    failures.handlers = [_Told(logging.ERROR)]
    about = {SERVICE_VERSION: VERSION} | ({} if _is_named() else {SERVICE_NAME: "coexist"})
    provider = TracerProvider(resource=Resource.create(about), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


def _is_named() -> bool:
    """Whether the environment names the service."""
    return not str(Resource.create().attributes[SERVICE_NAME]).startswith("unknown_service")


class _Told(logging.Handler):
    """What the exporter has to say becomes one word of ours: its own sentences may hold anything."""

    def emit(self, _: logging.LogRecord) -> None:
        """Say that spans were lost."""
        log.warning("spans_not_exported", fix="Does a collector listen at OTEL_EXPORTER_OTLP_ENDPOINT?")


class Spans(Tracing):
    """Makes a span of each webhook, append, batch and request to Graph, and hands its trace on."""

    def __init__(self, provider: TracerProvider, system: str, prefix: str) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("coexist", VERSION)
        self._system = system
        self._prefix = prefix

    def appending(self, append: Append) -> Append:
        """See `Tracing.appending`: one span for the webhook, and one in it for each topic."""

        async def traced(entries: Sequence[tuple[str, Event]]) -> None:
            with self._span(f"POST {PATH}", SpanKind.SERVER, self.of_request(), _route("POST", PATH)) as webhook:
                counts: dict[str, int] = {}
                for topic, _ in entries:
                    counts[topic] = counts.get(topic, 0) + 1
                with contextlib.ExitStack() as sends:
                    told = {t: sends.enter_context(self._sent(t, n, _text(webhook))) for t, n in counts.items()}
                    await append([(topic, _with(event, told[topic])) for topic, event in entries])

        return traced

    def observing(self, observer: Observer) -> Observer:
        """See `Tracing.observing`."""
        return _Batches(observer, self)

    @contextlib.contextmanager
    def command(self, route: str, topic: str, trace: str) -> Iterator[str]:
        """See `Tracing.command`."""
        method, _, path = route.partition(" ")
        with (
            self._span(route, SpanKind.SERVER, trace, _route(method, path)) as asked,
            self._sent(topic, 1, _text(asked)) as sent,
        ):
            yield sent

    @contextlib.contextmanager
    def request(self, trace: str) -> Iterator[Hop]:
        """See `Tracing.request`."""
        with self._span("send message", SpanKind.CLIENT, trace, {"http.request.method": "POST"}) as span:
            yield _Hop(span)

    def processed(self, processor: str, records: Sequence[Record], seconds: float) -> None:
        """One span for what a batch had of each topic; a batch of several traces belongs to none, and links to all."""
        ended = time.time_ns()
        for topic, found in groupby(sorted(records, key=attrgetter("topic")), attrgetter("topic")):
            batch = list(found)
            causes = [cause for text in dict.fromkeys(r.event.trace for r in batch) if (cause := _context(text))]
            if not causes:
                continue
            attributes = self._about("process", topic, len(batch)) | {
                "messaging.consumer.group.name": processor,
                "messaging.destination.partition.id": str(batch[0].partition),
            }
            alike = len({cause.trace_id for cause in causes}) == 1
            span = self._tracer.start_span(
                f"process {self._prefix}.{topic}",
                otel.set_span_in_context(otel.NonRecordingSpan(causes[0])) if alike else None,
                SpanKind.CONSUMER,
                attributes,
                [Link(cause) for cause in islice(causes, LINKS_MAX)],
                ended - int(seconds * 1e9),
            )
            span.end(ended)

    async def close(self) -> None:
        """See `Tracing.close`. The SDK would wait for half a minute: a thread that nobody waits for does."""
        done, loop = asyncio.Event(), asyncio.get_running_loop()

        def shut_down() -> None:
            self._provider.shutdown()
            with contextlib.suppress(RuntimeError):  # the loop has gone
                loop.call_soon_threadsafe(done.set)

        threading.Thread(target=shut_down, name="spans", daemon=True).start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await done.wait()

    @contextlib.contextmanager
    def _sent(self, topic: str, count: int, trace: str) -> Iterator[str]:
        """A span around the append of some events; their trace."""
        with self._span(
            f"send {self._prefix}.{topic}", SpanKind.PRODUCER, trace, self._about("send", topic, count)
        ) as span:
            yield _text(span)

    @contextlib.contextmanager
    def _span(self, name: str, kind: SpanKind, trace: str, attributes: Mapping[str, str | int]) -> Iterator[Span]:
        cause = _context(trace)
        span = self._tracer.start_span(
            name, otel.set_span_in_context(otel.NonRecordingSpan(cause)) if cause else None, kind, dict(attributes)
        )
        try:
            yield span
        except BaseException as problem:
            _failed(span, type(problem).__name__)
            raise
        finally:
            span.end()

    def _about(self, operation: str, topic: str, count: int) -> dict[str, str | int]:
        return {
            "messaging.system": self._system,
            "messaging.operation.name": operation,
            "messaging.operation.type": operation,
            "messaging.destination.name": f"{self._prefix}.{topic}",
            "messaging.batch.message_count": count,
        }


class _Hop(Hop):
    def __init__(self, span: Span) -> None:
        super().__init__(_text(span))
        self._span = span

    def end(self, outcome: str, error: str) -> None:
        """See `Hop.end`."""
        self._span.set_attribute("coexist.outcome", outcome)
        if error:
            _failed(self._span, error)


class _Batches:
    """The observer of a runner, with a span for each committed batch."""

    def __init__(self, observer: Observer, spans: Spans) -> None:
        self._observer = observer
        self._spans = spans
        self.noted = observer.noted
        self.dead_lettered = observer.dead_lettered

    def committed(self, batch: Batch) -> None:
        """See `Observer.committed`."""
        self._spans.processed(batch.processor, batch.records, batch.seconds)
        self._observer.committed(batch)


def _with(event: Event, trace: str) -> Event:
    return replace(event, trace=trace)


def _route(method: str, path: str) -> dict[str, str | int]:
    return {"http.request.method": method, "http.route": path}


def _failed(span: Span, error: str) -> None:
    span.set_attribute("error.type", error)
    span.set_status(Status(StatusCode.ERROR))


def _text(span: Span) -> str:
    """A span's place as a traceparent."""
    place = span.get_span_context()
    return f"00-{place.trace_id:032x}-{place.span_id:016x}-{place.trace_flags:02x}"


def _context(text: str) -> SpanContext | None:
    """The place that a traceparent names."""
    if not traceparent(text):
        return None
    _, trace_id, span_id, flags = text.split("-")
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))
