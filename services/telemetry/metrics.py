"""The metrics of one process, made from the catalogue and nothing else, and the observers that move them."""

from collections import Counter as Counted
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from ingest.normalize import UNUSED_FIELD
from schemas.items import decode
from schemas.ports import Event, Record
from schemas.states import DELIVERY, MESSAGES
from services.runner import Batch
from services.telemetry import logs
from services.telemetry.catalogue import (
    ACKNOWLEDGED,
    ANSWERS,
    CATALOGUE,
    ITEM_KINDS,
    NUMBER_KINDS,
    NUMBERS_DEFAULT,
    OTHER,
    STAGES,
    STATUSES,
    counter,
    gauge,
    histogram,
)

Figures = Mapping[str, Sequence[tuple[Mapping[str, str], float]]]
"""Gauges by name: their labels, and the value."""


class Metrics:
    """All metrics of one process, and what ingest, the runner and the sender tell them.

    `numbers_max`: business numbers with series of their own, those met first; all others share `other`.
    """

    def __init__(self, numbers_max: int = NUMBERS_DEFAULT) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call] # a further series per counter that nobody asks for
        self.registry = registry = CollectorRegistry(auto_describe=True)
        self._numbers_max = numbers_max
        self._numbers: set[str] = set()
        self._under_way: dict[object, float] = {}
        self.requests = counter(registry, "coexist_ingest_requests_total")
        self.ack = histogram(registry, "coexist_ingest_ack_seconds")
        self.items = counter(registry, "coexist_ingest_items_total")
        self._number_items = counter(registry, "coexist_number_items_total")
        self._secrets = counter(registry, "coexist_ingest_signature_secret_total")
        self.last_webhook = gauge(registry, "coexist_ingest_last_webhook_timestamp_seconds")
        self.echo = histogram(registry, "coexist_echo_latency_seconds")
        self.messages = counter(registry, "coexist_messages_total")
        self.duplicates = counter(registry, "coexist_duplicates_dropped_total")
        self.takeovers = counter(registry, "coexist_takeovers_total")
        self.automatic = counter(registry, "coexist_automatic_texts_total")
        self.published = counter(registry, "coexist_events_published_total")
        self.batch = histogram(registry, "coexist_processor_batch_seconds")
        self.dead = counter(registry, "coexist_dead_letters_total")
        self.sends = counter(registry, "coexist_sends_total")
        self.graph = histogram(registry, "coexist_graph_request_seconds")
        self.statuses = counter(registry, "coexist_statuses_total")
        self.prices = counter(registry, "coexist_priced_messages_total")
        self._billable = counter(registry, "coexist_billable_messages_total")
        self.media = counter(registry, "coexist_media_jobs_total")
        self._media_bytes = counter(registry, "coexist_media_bytes_total")
        self._media_seconds = histogram(registry, "coexist_media_fetch_seconds")
        self._relayed = counter(registry, "coexist_relay_deliveries_total")
        self._relay_seconds = histogram(registry, "coexist_relay_delivery_seconds")
        ProcessCollector(registry=registry)
        registry.register(_LogLines())
        self._look_up()

    def _look_up(self) -> None:
        """The labels of every webhook and every echo, found once: to find one costs more than to count it."""
        self._answered = {status: self.requests.labels(outcome) for status, outcome in ANSWERS.items()}
        self._acknowledged = {
            status: self.ack.labels(outcome) for status, outcome in ANSWERS.items() if outcome in ACKNOWLEDGED
        }
        self._signed = self._secrets.labels("current"), self._secrets.labels("previous")
        self._echo = {stage: self.echo.labels(stage) for stage in STAGES}
        self._items = {kind: self.items.labels(kind) for kind in ITEM_KINDS}
        self._of_number: dict[tuple[str, str], Any] = {}

    def number(self, number: str) -> str:
        """What stands for a business number in a label: itself, or `other` where too many have series already.

        Meta's ids are digits; what else a signed body may name a number is nobody's label.
        """
        if number not in self._numbers:
            if len(self._numbers) >= self._numbers_max or not (number.isascii() and number.isdecimal()):
                return OTHER
            self._numbers.add(number)
        return number

    # --- ingest

    def answered(self, status: int, seconds: float, items: int) -> None:
        """A webhook request was answered."""
        counted = self._answered.get(status)
        (counted if counted is not None else self.requests.labels(OTHER)).inc()
        if (timed := self._acknowledged.get(status)) is not None:
            timed.observe(seconds)

    def refused(self, reason: str) -> None:
        """A request was turned away; `answered` counts it by status."""

    def secret(self, index: int) -> None:
        """This one of the app secrets signed a webhook."""
        self._signed[min(index, 1)].inc()

    def unconfirmed(self) -> None:
        """An append was not confirmed in time; `answered` counts it as not durable."""

    def appending(self, now: float) -> object:
        """Webhook items are about to become durable; give what this returns to `append_ended`."""
        token = object()
        self._under_way[token] = now
        return token

    def append_ended(self, token: object) -> None:
        """They are durable, or will not be."""
        self._under_way.pop(token, None)

    def unconfirmed_s(self, now: float) -> float:
        """For how long the oldest append has been under way."""
        return max(0.0, now - next(iter(self._under_way.values()), now))

    def appended(self, entries: Sequence[tuple[str, Event]], now: float, seconds: float) -> int:
        """Webhook items became durable. Returns how many of them nobody understood."""
        self.last_webhook.set(now)
        unknown = 0
        for (number, kind), count in Counted((event.number, _item_kind(event)) for _, event in entries).items():
            self._items[kind].inc(count)
            self._number_item(number, kind if kind in NUMBER_KINDS else OTHER).inc(count)
            unknown += count * (kind == "unknown")
        for _, event in entries:
            if event.type == "webhook.echo":
                self._echo["append"].observe(seconds)
                self._echo["meta"].observe(max(0.0, event.recorded_at - event.at))
        return unknown

    def _number_item(self, number: str, kind: str) -> Any:
        shown = self.number(number)
        found = self._of_number.get((shown, kind))
        if found is None:
            found = self._of_number[shown, kind] = self._number_items.labels(shown, kind)
        return found

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

    def committed(self, batch: Batch) -> None:
        """A batch is durable."""
        self.batch.labels(batch.processor).observe(batch.seconds)
        for (topic, kind), count in Counted((topic, event.type) for topic, event in batch.outputs).items():
            self.published.labels(topic, kind).inc(count)
            if batch.processor == DELIVERY and kind != "message.added":
                self.sends.labels(kind.removeprefix("send.")).inc(count)
        if batch.processor == MESSAGES:
            for event in (event for _, event in batch.outputs if event.type == "status.changed"):
                status = event.id.rpartition(":status:")[2].partition("|")[0]
                self.statuses.labels(status if status in STATUSES else OTHER).inc()
            self._added([event for _, event in batch.outputs if event.type == "message.added"], batch.at)
            self._resolved(batch.records, batch.at)

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
                self.media.labels(reason).inc(count)
            elif kind == "automatic":
                self.automatic.labels(reason).inc(count)
            elif kind == "price":
                self._priced(reason, count)
            elif kind == "takeover":
                self.takeovers.labels(reason).inc(count)

    def _priced(self, price: str, count: int) -> None:
        category, kind, billable, country = price.split("|")
        self.prices.labels(category, kind, billable).inc(count)
        if billable == "billable":
            self._billable.labels(country).inc(count)

    def dead_lettered(self, processor: str, reason: str) -> None:
        """A record could not be decided and was set aside."""
        self.dead.labels(processor).inc()

    # --- what is looked up when asked

    def watch(self, figures: Callable[[], Figures]) -> None:
        """Collect gauges of the catalogue from `figures` at each scrape."""
        self.registry.register(_Figures(figures))


def _item_kind(event: Event) -> str:
    """What a webhook item counts as: its type without `webhook.`, or `unused` where nothing is drawn from its field."""
    kind = event.type.removeprefix("webhook.")
    if kind == "unknown":
        return "unused" if decode(event).reason == UNUSED_FIELD else kind
    return kind if kind in ITEM_KINDS else "unknown"


class _Figures(Collector):
    def __init__(self, figures: Callable[[], Figures]) -> None:
        self._figures = figures

    def collect(self) -> list[GaugeMetricFamily]:
        found = []
        for name, samples in self._figures().items():
            metric = CATALOGUE[name]
            family = GaugeMetricFamily(name, metric.meaning, labels=list(metric.labels))
            for labels, value in samples:
                family.add_metric([labels[label] for label in metric.labels], value)
            found.append(family)
        return found

    def describe(self) -> list[Any]:
        return []


class _LogLines(Collector):
    """What the log said, counted: so every warning can be an alert."""

    def collect(self) -> list[CounterMetricFamily]:
        name = "coexist_log_lines_total"
        family = CounterMetricFamily(name, CATALOGUE[name].meaning, labels=["level", "event"])
        for (level, event), count in sorted(logs.LINES.items()):
            family.add_metric([level, event], count)
        return [family]

    def describe(self) -> list[Any]:
        return []


ORIGINS = {name.encode(): name for name in ("customer", "business_app", "api", "other")}
_ORIGIN = b'"origin":"'


def _origin(added: bytes) -> str:
    """The origin in the data of `message.added`, which stands before anything that came from outside."""
    start = added.find(_ORIGIN) + len(_ORIGIN)
    return ORIGINS.get(added[start : added.find(b'"', start)], OTHER)
