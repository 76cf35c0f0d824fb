"""The catalogue: every metric there is, with its meaning, and the observers that move them. Nothing else makes one.

Labels come from closed sets; no number, name, text or message id ever is one.
"""

from collections import Counter as Counted
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from schemas.ports import Event, Record
from schemas.states import DELIVERY, MESSAGES

ACK_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 3.0, 5.0)
ECHO_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0)
KINDS = ("message", "echo", "status", "edit", "revoke", "history", "contact", "account", "unknown")


class Metrics:
    """All metrics of one process, and what ingest, the runner and the sender tell them."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry(auto_describe=True)
        self.requests = Counter(
            "coexist_ingest_requests_total", "Webhook requests by outcome.", ["outcome"], registry=registry
        )
        self.ack = Histogram(
            "coexist_ingest_ack_seconds", "Time from request to answer.", registry=registry, buckets=ACK_BUCKETS
        )
        self.items = Counter("coexist_ingest_items_total", "Webhook items by kind.", ["kind"], registry=registry)
        self._secrets = Counter(
            "coexist_ingest_signature_secret_total", "Which app secret matched.", ["secret"], registry=registry
        )
        self.last_webhook = Gauge(
            "coexist_ingest_last_webhook_timestamp_seconds", "When the last signed webhook came.", registry=registry
        )
        self.echo = Histogram(
            "coexist_echo_latency_seconds",
            "Echo latency by stage: meta (Meta's way to us), append (durable), resolve (decided), total (on timeline).",
            ["stage"],
            registry=registry,
            buckets=ECHO_BUCKETS,
        )
        self.messages = Counter(
            "coexist_messages_total", "Messages added to the timeline.", ["origin", "direction"], registry=registry
        )
        self.duplicates = Counter(
            "coexist_duplicates_dropped_total", "What was known already, by reason.", ["reason"], registry=registry
        )
        self.takeovers = Counter("coexist_takeovers_total", "Conversations taken over.", ["by"], registry=registry)
        self.published = Counter(
            "coexist_events_published_total",
            "Events published by topic and type.",
            ["topic", "type"],
            registry=registry,
        )
        self.fenced = Counter(
            "coexist_fenced_total", "Commits refused to a former owner.", ["processor"], registry=registry
        )
        self.batch = Histogram(
            "coexist_processor_batch_seconds", "Time to commit a batch.", ["processor"], registry=registry
        )
        self.dead = Counter("coexist_dead_letters_total", "Records set aside.", ["processor"], registry=registry)
        self.sends = Counter("coexist_sends_total", "Outcomes of send commands.", ["outcome"], registry=registry)
        self.graph = Histogram(
            "coexist_graph_request_seconds", "Time of a Graph request.", ["outcome"], registry=registry
        )
        self._add_statuses(registry)
        self._add_media(registry)
        self._add_relay(registry)
        self._look_up()

    def _add_statuses(self, registry: CollectorRegistry) -> None:
        self.statuses = Counter("coexist_statuses_total", "Statuses by kind.", ["status"], registry=registry)
        self.prices = Counter(
            "coexist_priced_messages_total",
            "Messages by the price that Meta's statuses tell: category, type, billable or free, country.",
            ["category", "type", "billable", "country"],
            registry=registry,
        )

    def _add_media(self, registry: CollectorRegistry) -> None:
        self.media = Counter(
            "coexist_media_jobs_total",
            "Media by what became of an attempt to fetch it.",
            ["outcome"],
            registry=registry,
        )
        self._media_bytes = Counter("coexist_media_bytes_total", "Bytes of media fetched and kept.", registry=registry)
        self._media_seconds = Histogram(
            "coexist_media_fetch_seconds", "Time to fetch and keep one media object.", registry=registry
        )

    def _add_relay(self, registry: CollectorRegistry) -> None:
        self._relayed = Counter(
            "coexist_relay_deliveries_total",
            "Attempts to relay an event: delivered, failed, skipped.",
            ["outcome"],
            registry=registry,
        )
        self._relay_seconds = Histogram(
            "coexist_relay_delivery_seconds", "Time of one attempt to relay an event.", registry=registry
        )

    def _look_up(self) -> None:
        """The labels of every webhook and every echo, found once: to find one costs more than to count it."""
        self._answered = {status: self.requests.labels(outcome) for status, outcome in OUTCOMES.items()}
        self._signed = self._secrets.labels("current"), self._secrets.labels("previous")
        self._echo = {stage: self.echo.labels(stage) for stage in ("meta", "append", "resolve", "total")}

    # --- ingest

    def answered(self, status: int, seconds: float, items: int) -> None:
        """A webhook request was answered."""
        counted = self._answered.get(status)
        (counted if counted is not None else self.requests.labels("other")).inc()
        self.ack.observe(seconds)

    def refused(self, reason: str) -> None:
        """A request was turned away; `answered` counts it by status."""

    def secret(self, index: int) -> None:
        """This one of the app secrets signed a webhook."""
        self._signed[min(index, 1)].inc()

    def unconfirmed(self) -> None:
        """An append was not confirmed in time; `answered` counts it as not durable."""

    def appended(self, entries: Sequence[tuple[str, Event]], now: float, seconds: float) -> None:
        """Webhook items became durable."""
        self.last_webhook.set(now)
        for type_, count in Counted(event.type for _, event in entries).items():
            kind = type_.removeprefix("webhook.")
            self.items.labels(kind if kind in KINDS else "unknown").inc(count)
        for _, event in entries:
            if event.type == "webhook.echo":
                self._echo["append"].observe(seconds)
                self._echo["meta"].observe(max(0.0, event.recorded_at - event.at))

    # --- media

    def media_kept(self, bytes_: int, seconds: float) -> None:
        """A media object was fetched and kept."""
        self._media_bytes.inc(bytes_)
        self._media_seconds.observe(seconds)

    # --- relays

    def relayed(self, outcome: str, seconds: float) -> None:
        """An attempt to relay an event is over."""
        self._relayed.labels(outcome).inc()
        if outcome != "skipped":
            self._relay_seconds.observe(seconds)

    # --- the runner

    def committed(
        self,
        processor: str,
        records: Sequence[Record],
        outputs: Sequence[tuple[str, Event]],
        seconds: float,
        now: float,
    ) -> None:
        """A batch is durable."""
        self.batch.labels(processor).observe(seconds)
        for (topic, kind), count in Counted((topic, event.type) for topic, event in outputs).items():
            self.published.labels(topic, kind).inc(count)
            if processor == DELIVERY and kind != "message.added":
                self.sends.labels(kind.removeprefix("send.")).inc(count)
        if processor == MESSAGES:
            for event in (event for _, event in outputs if event.type == "status.changed"):
                status = event.id.rpartition(":status:")[2].partition("|")[0]
                self.statuses.labels(status if status in STATUSES else "other").inc()
            self._added([event for _, event in outputs if event.type == "message.added"], now)
            self._resolved(records, now)

    def _added(self, events: Sequence[Event], now: float) -> None:
        origins = [_origin(event.data or b"") for event in events]
        for origin, count in Counted(origins).items():
            self.messages.labels(origin, "inbound" if origin == "customer" else "outbound").inc(count)
        for origin, event in zip(origins, events, strict=True):
            if origin == "business_app" and b'"historical":false' in (event.data or b""):
                self._echo["total"].observe(max(0.0, now - event.recorded_at))

    def _resolved(self, records: Sequence[Record], now: float) -> None:
        for record in records:
            if record.event.type == "webhook.echo":
                self._echo["resolve"].observe(max(0.0, now - record.appended_at))

    def noted(self, processor: str, notes: Sequence[str]) -> None:
        """What the deciders of a durable batch noted."""
        for note, count in Counted(notes).items():
            kind, _, reason = note.partition(":")
            if kind == "duplicate":
                self.duplicates.labels(reason).inc(count)
            elif kind == "media":
                self.media.labels(reason).inc()
            elif kind == "price":
                self.prices.labels(*reason.split("|")).inc(count)
            elif kind == "takeover":
                self.takeovers.labels(reason).inc(count)

    def dead_lettered(self, processor: str, reason: str) -> None:
        """A record could not be decided and was set aside."""
        self.dead.labels(processor).inc()

    # --- what is looked up when asked

    def watch(self, figures: Callable[[], Mapping[str, tuple[str, Sequence[tuple[Mapping[str, str], float]]]]]) -> None:
        """Collect gauges from `figures` at each scrape: name → (help, [(labels, value)])."""
        self.registry.register(_Figures(figures))


class _Figures(Collector):
    def __init__(
        self, figures: Callable[[], Mapping[str, tuple[str, Sequence[tuple[Mapping[str, str], float]]]]]
    ) -> None:
        self._figures = figures

    def collect(self) -> list[GaugeMetricFamily]:
        found = []
        for name, (text, samples) in self._figures().items():
            names = list(samples[0][0]) if samples else []
            family = GaugeMetricFamily(name, text, labels=names)
            for labels, value in samples:
                family.add_metric(list(labels.values()), value)
            found.append(family)
        return found

    def describe(self) -> list[Any]:
        return []


STATUSES = ("sent", "delivered", "read", "played", "failed")
OUTCOMES = {
    200: "accepted",
    401: "bad_signature",
    403: "handshake_refused",
    408: "too_slow",
    413: "too_large",
    415: "bad_type",
    503: "not_durable",
}
ORIGINS = {name.encode(): name for name in ("customer", "business_app", "api", "other")}
_ORIGIN = b'"origin":"'


def _origin(added: bytes) -> str:
    """The origin in the data of `message.added`, which stands before anything that came from outside."""
    start = added.find(_ORIGIN) + len(_ORIGIN)
    return ORIGINS.get(added[start : added.find(b'"', start)], "other")
