"""The Grafana dashboards, as Python that writes them: what each panel asks is readable here, the JSON is made from it.

The classic dashboard schema, which every Grafana since 10 imports. Data source and job are variables.
"""

from dataclasses import dataclass
from typing import Any

COLUMNS = 24
JOB = 'job="$job"'
_N = f'{JOB}, number=~"$number"'


@dataclass(frozen=True)
class Panel:
    """One panel: what it asks (`legend → query`), in which unit, how wide of 24 columns and how high it is."""

    title: str
    asks: dict[str, str]
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 8
    height: int = 7
    says: str = ""
    limit: float | None = None


def _rate(metric: str, by: str, more: str = "") -> str:
    return f"sum by ({by}) (rate({metric}{{{JOB}{more}}}[$__rate_interval]))"


def _quantile(share: float, metric: str, by: str = "", more: str = "") -> str:
    labels = f"{by}, le" if by else "le"
    return f"histogram_quantile({share}, {_rate(f'{metric}_bucket', labels, more)})"


def _of_number(kind: str) -> dict[str, str]:
    items = f'coexist_number_items_total{{{_N}, kind="{kind}"}}'
    return {"{{number}}": f"sum by (number) (rate({items}[1h]))"}


def _heat(stage: str) -> dict[str, str]:
    buckets = f'coexist_echo_latency_seconds_bucket{{{JOB}, stage="{stage}"}}'
    return {"{{le}}": f"sum by (le) (increase({buckets}[$__rate_interval]))"}


def _stat(title: str, query: str, unit: str = "short", says: str = "") -> Panel:
    return Panel(title, {"": query}, unit, "stat", 4, 4, says)


OVERVIEW = (
    _stat("Processes ready", f"sum(coexist_ready{{{JOB}}})"),
    _stat("Items in", f"sum(coexist:items:rate5m{{{JOB}}})", "reqps"),
    _stat("Sends out", f'sum(coexist:sends:rate5m{{{JOB}, outcome="accepted"}})', "reqps"),
    _stat("Echo latency p99", f'max(coexist:echo_latency:p99_5m{{{JOB}, stage="total"}})', "s"),
    _stat("Worst lag", f"max(coexist_lag_seconds{{{JOB}}})", "s"),
    _stat("In doubt", f"sum(coexist_sends_ambiguous{{{JOB}}})"),
    Panel(
        "Alerts",
        {"{{alertname}}": 'count by (alertname, severity) (ALERTS{alertname=~"Coexist.*", alertstate="firing"})'},
        kind="table",
        says="Each has an entry in RUNBOOK.md.",
    ),
    Panel("Webhook items", {"{{kind}}": f"coexist:items:rate5m{{{JOB}}}"}, "reqps"),
    Panel("Messages on the timeline", {"{{origin}}": f"coexist:messages:rate5m{{{JOB}}}"}, "reqps"),
    Panel("Requests by answer", {"{{outcome}}": _rate("coexist_ingest_requests_total", "outcome")}, "reqps"),
    Panel("Duplicates dropped", {"{{reason}}": _rate("coexist_duplicates_dropped_total", "reason")}, "reqps"),
    Panel("Sends by outcome", {"{{outcome}}": f"coexist:sends:rate5m{{{JOB}}}"}, "reqps"),
    Panel(
        "Webhooks slower than 1 s or not durable",
        {"5 min": f"coexist:ack_slow:ratio_rate5m{{{JOB}}}", "1 h": f"coexist:ack_slow:ratio_rate1h{{{JOB}}}"},
        "percentunit",
        says="The goal is 0.1 % over 30 days.",
        limit=0.001,
    ),
    Panel(
        "Echoes later than 2 s",
        {"5 min": f"coexist:echo_slow:ratio_rate5m{{{JOB}}}", "1 h": f"coexist:echo_slow:ratio_rate1h{{{JOB}}}"},
        "percentunit",
        says="The goal is 1 % over 30 days.",
        limit=0.01,
    ),
    Panel("Numbers", {"{{sending}}": f"sum by (sending) (coexist_numbers{{{JOB}}})"}),
)

ECHO = (
    Panel("p50 by stage", {"{{stage}}": f"coexist:echo_latency:p50_5m{{{JOB}}}"}, "s", width=12),
    Panel("p99 by stage", {"{{stage}}": f"coexist:echo_latency:p99_5m{{{JOB}}}"}, "s", width=12),
    Panel(
        "From arrival to the timeline",
        _heat("total"),
        "s",
        "heatmap",
        width=12,
        height=9,
    ),
    Panel(
        "From Meta to us",
        _heat("meta"),
        "s",
        "heatmap",
        width=12,
        height=9,
        says="Meta's own time, in whole seconds: it stamps no finer.",
    ),
    Panel("Echoes", {"in": f'coexist:items:rate5m{{{JOB}, kind="echo"}}'}, "reqps"),
    Panel(
        "Whose they were",
        {
            "a person's": f'coexist:messages:rate5m{{{JOB}, origin="business_app"}}',
            "our own sends'": _rate("coexist_duplicates_dropped_total", "job", ', reason="own_echo"'),
        },
        "reqps",
    ),
    Panel("Takeovers", {"{{by}}": _rate("coexist_takeovers_total", "by")}, "reqps"),
    Panel("Greetings and away texts", {"{{sign}}": _rate("coexist_automatic_texts_total", "sign")}, "reqps"),
    Panel(
        "Answer to Meta",
        {
            "p50": _quantile(0.5, "coexist_ingest_ack_seconds"),
            "p99": _quantile(0.99, "coexist_ingest_ack_seconds"),
        },
        "s",
        says="Meta asks for a median of 250 ms and less than 1 % above 1 s.",
        limit=0.25,
    ),
    Panel("Commit p99", {"{{processor}}": _quantile(0.99, "coexist_processor_batch_seconds", "processor")}, "s"),
    Panel("Lag", {"{{processor}}": f"max by (processor) (coexist_lag_seconds{{{JOB}}})"}, "s"),
)

SENDER = (
    Panel("In line or under way", {"commands": f"sum(coexist_sends_queue_depth{{{JOB}}})"}),
    Panel("Outcomes", {"{{outcome}}": f"coexist:sends:rate5m{{{JOB}}}"}, "reqps"),
    Panel("Statuses", {"{{status}}": _rate("coexist_statuses_total", "status")}, "reqps"),
    Panel(
        "Graph request p99",
        {"{{outcome}}": _quantile(0.99, "coexist_graph_request_seconds", "outcome")},
        "s",
    ),
    Panel("Graph requests", {"{{outcome}}": _rate("coexist_graph_request_seconds_count", "outcome")}, "reqps"),
    Panel(
        "Headroom of the tightest number", {"": f"min(coexist_rate_headroom_ratio{{{JOB}}})"}, "percentunit", limit=0.1
    ),
    Panel("In doubt", {"commands": f"sum(coexist_sends_ambiguous{{{JOB}}})"}),
    Panel(
        "In doubt, the oldest",
        {"": f"max(coexist_sends_ambiguous_oldest_seconds{{{JOB}}})"},
        "s",
        says="Beyond 10 minutes somebody is called.",
        limit=600,
    ),
    Panel(
        "Ended badly, per hour",
        {
            "{{outcome}}": "sum by (outcome) (increase(coexist_sends_total"
            f'{{{JOB}, outcome=~"unresolved|rejected|expired|duplicate_detected"}}[1h]))'
        },
    ),
    Panel("Numbers", {"{{sending}}": f"sum by (sending) (coexist_numbers{{{JOB}}})"}),
    Panel(
        "Priced messages, per day",
        {
            "{{category}} {{billable}}": "sum by (category, billable) "
            f"(increase(coexist_priced_messages_total{{{JOB}}}[1d]))"
        },
        says="What Meta's statuses tell, not an invoice.",
    ),
    Panel(
        "Billable by country, per day",
        {"{{country}}": f"sum by (country) (increase(coexist_billable_messages_total{{{JOB}}}[1d]))"},
    ),
)

NUMBERS = (
    Panel(
        "Messages in",
        _of_number("message"),
        "reqps",
        width=12,
    ),
    Panel(
        "Echoes in",
        _of_number("echo"),
        "reqps",
        width=12,
    ),
    Panel(
        "Statuses in",
        _of_number("status"),
        "reqps",
        width=12,
    ),
    Panel(
        "Headroom", {"{{number}}": f"min by (number) (coexist_number_headroom_ratio{{{_N}}})"}, "percentunit", width=12
    ),
    Panel(
        "May send", {"{{number}}": f"min by (number) (coexist_number_sending{{{_N}}})"}, kind="state-timeline", width=12
    ),
    Panel(
        "Last 24 hours",
        {"{{number}}": f"sum by (number, kind) (increase(coexist_number_items_total{{{_N}}}[1d]))"},
        kind="table",
        width=12,
        says="COEXIST_METRICS_NUMBERS says how many numbers have series of their own; the rest is `other`.",
    ),
)

INTERNALS = (
    Panel("Lag in events", {"{{processor}} {{topic}}": f"sum by (processor, topic) (coexist_lag_events{{{JOB}}})"}),
    Panel("Lag in seconds", {"{{processor}}": f"max by (processor) (coexist_lag_seconds{{{JOB}}})"}, "s"),
    Panel("Commit p99", {"{{processor}}": _quantile(0.99, "coexist_processor_batch_seconds", "processor")}, "s"),
    Panel("Commits", {"{{processor}}": _rate("coexist_processor_batch_seconds_count", "processor")}, "reqps"),
    Panel("Published", {"{{topic}}": _rate("coexist_events_published_total", "topic")}, "reqps"),
    Panel(
        "Shards held", {"{{instance}} {{processor}}": f"sum by (instance, processor) (coexist_shards_held{{{JOB}}})"}
    ),
    Panel("Oldest webhook not yet durable", {"{{instance}}": f"coexist_ingest_unconfirmed_age_seconds{{{JOB}}}"}, "s"),
    Panel("Store answers", {"{{instance}}": f"coexist_store_up{{{JOB}}}"}, kind="state-timeline"),
    Panel(
        "Dead letters, per hour",
        {"{{processor}}": f"sum by (processor) (increase(coexist_dead_letters_total{{{JOB}}}[1h]))"},
    ),
    Panel("Log lines, per hour", {"{{event}}": f"sum by (event) (increase(coexist_log_lines_total{{{JOB}}}[1h]))"}),
    Panel("Waiting to be published", {"{{instance}}": f"coexist_outbox_events{{{JOB}}}"}),
    Panel("Write-ahead log", {"{{instance}}": f"coexist_sqlite_wal_bytes{{{JOB}}}"}, "bytes"),
    Panel(
        "Disk free",
        {"{{instance}}": f"coexist_data_dir_free_bytes{{{JOB}}} / coexist_data_dir_size_bytes{{{JOB}}}"},
        "percentunit",
        limit=0.15,
    ),
    Panel("App secrets in use", {"{{secret}}": _rate("coexist_ingest_signature_secret_total", "secret")}, "reqps"),
    Panel("Processor time", {"{{instance}}": f"rate(process_cpu_seconds_total{{{JOB}}}[$__rate_interval])"}),
    Panel("Memory", {"{{instance}}": f"process_resident_memory_bytes{{{JOB}}}"}, "bytes"),
    Panel("Open files", {"{{instance}}": f"process_open_fds{{{JOB}}}"}),
    Panel("Media", {"{{outcome}}": _rate("coexist_media_jobs_total", "outcome")}, "reqps"),
    Panel("Media waiting", {"jobs": f"sum(coexist_media_queue_depth{{{JOB}}})"}),
    Panel("Media fetch p99", {"": _quantile(0.99, "coexist_media_fetch_seconds")}, "s"),
    Panel(
        "Media kept", {"bytes per second": f"sum(rate(coexist_media_bytes_total{{{JOB}}}[$__rate_interval]))"}, "Bps"
    ),
    Panel("Relay deliveries", {"{{outcome}}": _rate("coexist_relay_deliveries_total", "outcome")}, "reqps"),
    Panel("Relay delivery p99", {"": _quantile(0.99, "coexist_relay_delivery_seconds")}, "s"),
    Panel("Relay backlog", {"{{relay}}": f"sum by (relay) (coexist_relay_backlog_records{{{JOB}}})"}),
    Panel(
        "Versions",
        {"{{version}} {{edition}}": f"count by (version, edition) (coexist_build_info{{{JOB}}})"},
        says="Two during a rolling upgrade.",
    ),
    Panel("Up for", {"{{instance}}": f"time() - process_start_time_seconds{{{JOB}}}"}, "s"),
    Panel("History imports with a gap", {"numbers": f"sum(coexist_history_incomplete{{{JOB}}})"}),
)

DASHBOARDS: dict[str, tuple[str, tuple[Panel, ...]]] = {
    "overview": ("Coexist / Overview", OVERVIEW),
    "echo": ("Coexist / Echo latency", ECHO),
    "sender": ("Coexist / Sender and limits", SENDER),
    "numbers": ("Coexist / Numbers", NUMBERS),
    "internals": ("Coexist / Internals", INTERNALS),
}


def dashboard(name: str) -> dict[str, Any]:
    """A dashboard as Grafana imports it."""
    title, panels = DASHBOARDS[name]
    variables = [
        {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Data source"},
        _variable("job", "label_values(coexist_build_info, job)"),
    ]
    if name == "numbers":
        variables.append(_variable("number", f"label_values(coexist_number_items_total{{{JOB}}}, number)", many=True))
    return {
        "uid": f"coexist-{name}",
        "title": title,
        "tags": ["coexist"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "links": [{"type": "dashboards", "tags": ["coexist"], "asDropdown": True, "title": "Coexist"}],
        "templating": {"list": variables},
        "panels": _placed(panels),
    }


def _variable(name: str, query: str, *, many: bool = False) -> dict[str, Any]:
    found: dict[str, Any] = {"name": name, "type": "query", "query": query, "refresh": 2, "datasource": _source()}
    return found | ({"multi": True, "includeAll": True, "allValue": ".*"} if many else {})


def _source() -> dict[str, str]:
    return {"type": "prometheus", "uid": "${datasource}"}


def _placed(panels: tuple[Panel, ...]) -> list[dict[str, Any]]:
    """The panels from left to right, in rows as high as their first."""
    found, x, y, height = [], 0, 0, 0
    for number, panel in enumerate(panels, 1):
        if x + panel.width > COLUMNS:
            x, y, height = 0, y + height, 0
        height = max(height, panel.height)
        found.append(_panel(panel, number) | {"gridPos": {"x": x, "y": y, "w": panel.width, "h": panel.height}})
        x += panel.width
    return found


def _panel(panel: Panel, number: int) -> dict[str, Any]:
    defaults: dict[str, Any] = {"unit": panel.unit, "min": 0}
    if panel.limit is not None:
        steps = [{"color": "green", "value": None}, {"color": "red", "value": panel.limit}]
        defaults |= {
            "thresholds": {"mode": "absolute", "steps": steps},
            "custom": {"thresholdsStyle": {"mode": "dashed"}},
        }
    instant = panel.kind in ("stat", "table")
    targets = [
        {"refId": chr(65 + n), "expr": query, "legendFormat": legend, "instant": instant, "datasource": _source()}
        | ({"format": "table"} if panel.kind == "table" else {"format": "heatmap"} if panel.kind == "heatmap" else {})
        for n, (legend, query) in enumerate(panel.asks.items())
    ]
    return {
        "id": number,
        "title": panel.title,
        "type": panel.kind,
        "description": panel.says,
        "datasource": _source(),
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "targets": targets,
    }
