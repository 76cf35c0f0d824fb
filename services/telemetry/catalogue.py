"""The catalogue: every metric there is, with its meaning, its unit and the values its labels may have.

`services.telemetry.metrics` makes metrics from it and from nothing else; the page deploy/METRICS.md, the rules and the
dashboards are held against it by tests. A label's values come from a closed set, from words of our own source, or are
business numbers, of which the first few have series of their own. A phone, a name, a text or a message id never is one.
"""

import itertools
from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from echo_sync.costs import CATEGORIES, TYPES
from schemas.countries import UNKNOWN
from schemas.marks import PRIVACY
from schemas.states import CONVERSATIONS, DELIVERY, MESSAGES
from schemas.topics import TOPICS
from services.telemetry.metric import ENDINGS, Label, Metric

OTHER = "other"
"""The value of whatever is beyond a label's set."""
NUMBERS_DEFAULT = 200
"""Business numbers with series of their own; at six series each they cost less than the histograms."""

ACK_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 3.0, 5.0)
ECHO_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0)
WORK_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

ITEM_KINDS = ("message", "echo", "status", "edit", "revoke", "history", "contact", "account", "unused", "unknown")
NUMBER_KINDS = ("message", "echo", "status", OTHER)
STAGES = ("meta", "append", "resolve", "total")
STATUSES = ("sent", "delivered", "read", "played", "failed")
REASONS = ("redelivery", "own_echo", "history_copy", "status_repeat", "command_repeat", "erased")
SEND_OUTCOMES = (
    *("accepted", "rejected", "deferred", "unresolved", "resolved", "withdrawn", "expired", "cancelled"),
    "duplicate_detected",
)
"""The types on `sends`, without `send.`."""
ANSWERS = {
    200: "accepted",
    401: "bad_signature",
    403: "handshake_refused",
    405: "bad_method",
    408: "too_slow",
    413: "too_large",
    415: "bad_type",
    429: "too_many",
    503: "not_durable",
}
"""What a webhook request was answered, by status."""
ACKNOWLEDGED = ("accepted", "not_durable")


def _of(*values: str) -> Label:
    return Label(values)


def _counter(name: str, unit: str, meaning: str, **labels: Label) -> Metric:
    return Metric(name, "counter", unit, meaning, labels)


def _gauge(name: str, unit: str, meaning: str, **labels: Label) -> Metric:
    return Metric(name, "gauge", unit, meaning, labels)


def _histogram(name: str, buckets: tuple[float, ...], meaning: str, **labels: Label) -> Metric:
    return Metric(name, "histogram", "seconds", meaning, labels, buckets)


_PROCESSOR = Label(
    (MESSAGES, CONVERSATIONS, DELIVERY, "media.fetching", PRIVACY), "", 0, "the processors of ARCHITECTURE.md"
)
_TOPIC = _of(*TOPICS)
_TYPE = Label((), r"[a-z]+\.[a-z_]+", 60, "the types of schemas/json")
_NUMBER = Label((OTHER,), r"[0-9]+", NUMBERS_DEFAULT, "phone number ids, the first COEXIST_METRICS_NUMBERS")
_OUTCOME = _of(*ANSWERS.values(), OTHER)
_WORD = Label((), r"[a-z_]+", 60, "words of our own source")

_EDGE = (
    _counter(
        "coexist_ingest_requests_total",
        "requests",
        "Webhook requests by what they were answered. `not_durable` is 503: Meta sends again.",
        outcome=_OUTCOME,
    ),
    _histogram(
        "coexist_ingest_ack_seconds",
        ACK_BUCKETS,
        "Time from a webhook request to its answer, of those that were signed.",
        outcome=_of(*ACKNOWLEDGED),
    ),
    _counter(
        "coexist_ingest_items_total",
        "items",
        "Signed webhook items that became durable. `unknown`: nobody understood it. `unused`: of a field from which "
        "nothing is drawn. Both are `webhook.unknown`.",
        kind=_of(*ITEM_KINDS),
    ),
    _counter(
        "coexist_number_items_total",
        "items",
        "The same by business number, so that a number that fell silent is seen.",
        number=_NUMBER,
        kind=_of(*NUMBER_KINDS),
    ),
    _counter(
        "coexist_ingest_signature_secret_total",
        "requests",
        "Which app secret had signed; after a rotation `previous` stands still.",
        secret=_of("current", "previous"),
    ),
    _gauge(
        "coexist_ingest_last_webhook_timestamp_seconds",
        "seconds since 1970",
        "When the last signed webhook became durable; 0 before the first.",
    ),
    _gauge(
        "coexist_ingest_unconfirmed_age_seconds",
        "seconds",
        "For how long the oldest webhook under way has waited to become durable; after 3 s it is answered 503.",
    ),
)

_TRUTH = (
    _histogram(
        "coexist_echo_latency_seconds",
        ECHO_BUCKETS,
        "An echo's way: `meta` to us, `append` until durable, `resolve` from there until decided, `total` from its "
        "arrival here until it is on the timeline.",
        stage=_of(*STAGES),
    ),
    _counter(
        "coexist_messages_total",
        "messages",
        "Messages added to the timeline.",
        origin=_of("customer", "business_app", "api", OTHER),
        direction=_of("inbound", "outbound"),
    ),
    _counter("coexist_duplicates_dropped_total", "items", "What was known already.", reason=_of(*REASONS)),
    _counter(
        "coexist_takeovers_total",
        "takeovers",
        "Conversations that a person took over from automation.",
        by=_of("app", "agent"),
    ),
    _counter(
        "coexist_automatic_texts_total",
        "messages",
        "Messages of the app that seem automatic, by the sign that told them; corrected: one that was not, after all.",
        sign=_of("greeting", "repeated_text", "corrected"),
    ),
    _counter("coexist_statuses_total", "statuses", "Statuses of messages, each once.", status=_of(*STATUSES, OTHER)),
    _counter(
        "coexist_priced_messages_total",
        "messages",
        "Messages by the price that Meta's statuses tell, each once. It is what Meta told, not an invoice.",
        category=_of(*sorted(CATEGORIES), OTHER),
        type=_of(*sorted(TYPES), OTHER),
        billable=_of("billable", "free"),
    ),
    _counter(
        "coexist_billable_messages_total",
        "messages",
        "Messages that Meta charges for, by country; `GET /v1/costs` has both together.",
        country=Label((UNKNOWN,), "[A-Z]{2}", 250, "ISO 3166 codes by the prefix of the customer's phone"),
    ),
    _counter("coexist_events_published_total", "events", "Events published.", topic=_TOPIC, type=_TYPE),
    _gauge("coexist_history_incomplete", "numbers", "Numbers whose history import has a gap or has fallen silent."),
)

_SENDING = (
    _counter(
        "coexist_sends_total",
        "outcomes",
        "Outcomes of send commands, the passing ones (`deferred`, `unresolved`) too.",
        outcome=Label(SEND_OUTCOMES, "[a-z_]+", 8),
    ),
    _histogram(
        "coexist_graph_request_seconds",
        WORK_BUCKETS,
        "Time of a send request to Meta's Graph API.",
        outcome=_of("accepted", "rejected", "ambiguous", "not_sent"),
    ),
    _gauge("coexist_media_queue_depth", "messages", "Messages whose media is still to be fetched and kept."),
    _gauge("coexist_sends_queue_depth", "commands", "Commands in line or under way."),
    _gauge(
        "coexist_sends_ambiguous", "commands", "Commands whose answer never came and that no evidence has settled yet."
    ),
    _gauge(
        "coexist_sends_ambiguous_oldest_seconds",
        "seconds",
        "For how long the oldest of them has been under way; 0 without one.",
    ),
    _gauge(
        "coexist_rate_headroom_ratio",
        "0 to 1",
        "Unspent share of the next second's rate, of the number with the least.",
    ),
    _gauge("coexist_number_headroom_ratio", "0 to 1", "The same by business number.", number=_NUMBER),
    _gauge(
        "coexist_number_sending",
        "0 or 1",
        "1 while the number may send; 0 while it is paused by Meta, by its life cycle or by an operator.",
        number=_NUMBER,
    ),
    _gauge("coexist_numbers", "numbers", "Business numbers that are known.", sending=_of("on", "paused")),
)

_WORK = (
    _gauge(
        "coexist_lag_events",
        "events",
        "Events not yet read, of the shards that this process holds.",
        processor=_PROCESSOR,
        topic=_TOPIC,
    ),
    _gauge("coexist_lag_seconds", "seconds", "For how long the oldest of them has waited.", processor=_PROCESSOR),
    _histogram(
        "coexist_processor_batch_seconds", WORK_BUCKETS, "Time to make a decided batch durable.", processor=_PROCESSOR
    ),
    _counter(
        "coexist_dead_letters_total",
        "records",
        "Records that could not be decided and were set aside.",
        processor=_PROCESSOR,
    ),
    _gauge("coexist_shards_held", "shards", "Shards that this process works for.", processor=_PROCESSOR),
    _gauge(
        "coexist_outbox_events", "events", "Cluster: committed events that wait in memory to be published on Kafka."
    ),
    _counter(
        "coexist_log_lines_total",
        "lines",
        "Warnings and errors in the service's log by their fixed word, such as `gap_detected` or `fenced`.",
        level=_of("warning", "error", "critical"),
        event=_WORD,
    ),
)

_MEDIA = (
    _counter(
        "coexist_media_jobs_total",
        "attempts",
        "Attempts to fetch media by what became of them; `missed` is tried again.",
        outcome=_of("stored", "missed", "failed"),
    ),
    _counter("coexist_media_bytes_total", "bytes", "Media fetched and kept."),
    _histogram("coexist_media_fetch_seconds", WORK_BUCKETS, "Time to fetch and keep one media object."),
)

_RELAY = (
    _counter(
        "coexist_relay_deliveries_total",
        "attempts",
        "Attempts to relay an event; `failed` is tried again, `skipped` was given up by an operator.",
        outcome=_of("delivered", "failed", "skipped"),
    ),
    _histogram("coexist_relay_delivery_seconds", WORK_BUCKETS, "Time of one attempt to relay an event."),
    _gauge(
        "coexist_relay_backlog_records",
        "records",
        "Records that a relay has not passed yet.",
        relay=Label((), r"[0-9a-f]{12}", 100, "ids of relays"),
    ),
)

_PROCESS = (
    _gauge(
        "coexist_build_info",
        "1",
        "What runs here.",
        version=Label((), "[0-9A-Za-z.+-]+", 1, "the version"),
        edition=_of("embedded", "cluster"),
    ),
    _gauge("coexist_ready", "0 or 1", "1 while /readyz answers 200."),
    _gauge("coexist_store_up", "0 or 1", "1 when the store answered this scrape within 2 s."),
    _gauge("coexist_sqlite_wal_bytes", "bytes", "Embedded: size of the write-ahead log."),
    _gauge("coexist_data_dir_free_bytes", "bytes", "Free space where the data folder lies."),
    _gauge("coexist_data_dir_size_bytes", "bytes", "Size of that disk."),
    _counter("process_cpu_seconds_total", "seconds", "Processor time of this process."),
    _gauge("process_resident_memory_bytes", "bytes", "Memory of this process."),
    _gauge("process_virtual_memory_bytes", "bytes", "Address space of this process."),
    _gauge("process_start_time_seconds", "seconds since 1970", "When this process started."),
    _gauge("process_open_fds", "files", "Open file descriptors."),
    _gauge("process_max_fds", "files", "How many it may open."),
)

GROUPS: Mapping[str, tuple[Metric, ...]] = {
    "Webhooks": _EDGE,
    "Timeline and echoes": _TRUTH,
    "Sends and limits": _SENDING,
    "Processors": _WORK,
    "Media": _MEDIA,
    "Relays": _RELAY,
    "The process": _PROCESS,
}
CATALOGUE: Mapping[str, Metric] = {metric.name: metric for group in GROUPS.values() for metric in group}


def series() -> dict[str, frozenset[str]]:
    """What Prometheus sees: name of a series → its labels."""
    return {
        metric.name + ending: frozenset(metric.labels) | ({"le"} if ending == "_bucket" else frozenset())
        for metric in CATALOGUE.values()
        for ending in ENDINGS[metric.kind]
    }


def counter(registry: CollectorRegistry, name: str) -> Counter:
    """A counter of the catalogue. Where labels are known, series begin at 0: else their first event is no increase."""
    metric = _listed(name, "counter")
    made = Counter(name, metric.meaning, tuple(metric.labels), registry=registry)
    if metric.labels:
        for values in itertools.product(*(label.values for label in metric.labels.values())):
            made.labels(*values)
    return made


def gauge(registry: CollectorRegistry, name: str) -> Gauge:
    """A gauge of the catalogue."""
    metric = _listed(name, "gauge")
    return Gauge(name, metric.meaning, tuple(metric.labels), registry=registry)


def histogram(registry: CollectorRegistry, name: str) -> Histogram:
    """A histogram of the catalogue."""
    metric = _listed(name, "histogram")
    return Histogram(name, metric.meaning, tuple(metric.labels), registry=registry, buckets=metric.buckets)


def _listed(name: str, kind: str) -> Metric:
    metric = CATALOGUE[name]
    if metric.kind != kind:
        raise ValueError(f"{name} is a {metric.kind} in the catalogue")
    return metric
