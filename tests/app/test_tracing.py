"""One trace from Meta's webhook to the answer that a bot sends because of it, in a collector that speaks OTLP."""

import contextlib
import logging
import os
import sys
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
import structlog
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from services.settings import SettingsError
from services.telemetry.tracing import Tracing, traceparent, tracing_of
from tests.app.rig import ADDED, CONTACT, NUMBER, together, until
from tests.app.test_privacy_erase import at_rest
from tests.processes import DEFAULT_SECRET, busy, probe, sign

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = f"00-{TRACE}-00f067aa0ba902b7-01"
CANARIES = ("canary-question", "canary-answer", CONTACT, NUMBER)
WALK = {
    "POST /webhooks/meta": {""},
    "send coexist.inbound": {""},
    "process coexist.inbound": {"echo_sync.messages", "sender.delivery"},
    "process coexist.timeline": {"echo_sync.conversations"},
    "POST /v1/messages": {""},
    "send coexist.outbound": {""},
    "process coexist.outbound": {"sender.delivery"},
    "send message": {""},
}


class Collector:
    """A collector on a free port: the spans that it was given, and the bytes they came in."""

    def __init__(self):
        self.bytes, self.spans, self.names = b"", [], set()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                outer.take(self.path, self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = Thread(target=self._server.serve_forever, args=(0.01,))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def take(self, path, body):
        assert path == "/v1/traces"
        self.bytes += body
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            about = {pair.key: pair.value.string_value for pair in resource.resource.attributes}
            self.names.add(about["service.name"])
            for scope in resource.scope_spans:
                self.spans.extend(scope.spans)


@pytest.fixture
def collector(monkeypatch):
    with Collector() as opened:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", opened.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
        yield opened


def about(span):
    return {pair.key: pair.value.string_value or pair.value.int_value for pair in span.attributes}


def trace_of(event):
    return event.trace.split("-")[1] if event.trace else ""


async def walk(rig):
    """A customer writes, a bot answers in the trace of what it read; the events of the conversation's two messages."""
    await rig.customer()  # opens the window on Meta's side
    await until(rig.conversation)
    await until(lambda: at_rest(rig))  # so that no batch mixes it with what comes now
    body = probe(number=NUMBER, contact=CONTACT, text="canary-question")
    headers = {"Content-Type": "application/json", "X-Hub-Signature-256": sign(body, DEFAULT_SECRET.encode())}
    assert (
        await rig.admin.post(rig.webhook, content=body, headers=headers | {"traceparent": CALLER})
    ).status_code == 200

    async def question():
        return [r.event for r in await rig.records("timeline") if b"canary-question" in r.event.data]

    (read,) = await until(question)
    command = {"number": NUMBER, "to": CONTACT, "type": "text", "text": {"body": "canary-answer"}}
    answer = await rig.admin.post("/v1/messages", json=command, headers={"traceparent": read.trace})
    told = await rig.data("sends", "send.accepted", answer.json()["command_id"])
    await rig.data("timeline", ADDED, told["message_id"])

    async def state():
        return [r for r in await rig.records("conversations") if trace_of(r.event) == TRACE]

    await until(state)
    ours = [r.event for r in await rig.records("timeline") if r.event.subject == told["message_id"]]
    return read, *[event for event in ours if event.type == ADDED]


async def test_a_signed_webhook_and_the_send_it_causes_are_one_trace(tmp_path, collector):
    async with together(tmp_path) as rig:
        events = await walk(rig)
    wamids = [event.subject for event in events]
    assert {trace_of(event) for event in events} == {TRACE}
    assert collector.names == {"coexist"}
    ours = {span.span_id: span for span in collector.spans if span.trace_id.hex() == TRACE}
    groups = {}
    for span in ours.values():
        groups.setdefault(span.name, set()).add(about(span).get("messaging.consumer.group.name", ""))
    assert {name: found & groups.get(name, set()) for name, found in WALK.items()} == WALK
    parents = Counter(span.parent_span_id.hex() for span in ours.values() if span.parent_span_id not in ours)
    assert parents == {CALLER.split("-")[2]: 1}, "every span but the first has its parent in the trace"
    (send,) = [span for span in ours.values() if span.name == "send message"]
    assert (about(send)["coexist.outcome"], send.status.code) == ("accepted", 0)
    for canary in (*CANARIES, *wamids):
        assert canary.encode() not in collector.bytes


async def test_batches_of_several_traces_link_to_each(tmp_path, collector):
    from schemas.ports import Event, Record
    from services.telemetry.spans import Spans, exporting

    spans = Spans(exporting(), "kafka", "shop")
    traces = [f"00-{n:032x}-{n:016x}-01" for n in (1, 2, 2, 3)]
    events = [Event(str(n), "webhook.message", "1", b"{}", 0, 0, trace=trace) for n, trace in enumerate([*traces, ""])]
    spans.processed("echo_sync.messages", [Record("inbound", 5, n, event, 0) for n, event in enumerate(events)], 0.01)
    spans.processed("echo_sync.messages", [Record("inbound", 5, 9, events[-1], 0)], 0.01)
    await spans.close()
    (span,) = collector.spans
    assert (span.name, span.parent_span_id) == ("process shop.inbound", b"")
    assert [int(link.trace_id.hex(), 16) for link in span.links] == [1, 2, 3]
    assert about(span) == {
        "messaging.system": "kafka",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "shop.inbound",
        "messaging.destination.partition.id": "5",
        "messaging.batch.message_count": 5,
        "messaging.consumer.group.name": "echo_sync.messages",
    }


async def test_without_a_collector_the_trace_goes_on_and_nothing_is_imported(tmp_path):
    async with together(tmp_path) as rig:
        assert type(rig.app.tracing) is Tracing
        assert {event.trace for event in await walk(rig)} == {CALLER}


async def test_a_collector_that_is_gone_holds_up_no_stop(tmp_path, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    async with together(tmp_path) as rig:
        await walk(rig)
        asked = time.monotonic()
        await rig.app.tracing.close()
        assert time.monotonic() - asked < 2 or busy()


def test_a_protocol_that_is_not_spoken_is_refused_with_the_right_one():
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    with pytest.raises(SettingsError, match="http/protobuf"):
        tracing_of(environment, "sqlite", "coexist")


@pytest.mark.parametrize("more", [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}])
def test_the_standard_variables_turn_it_off(more):
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"} | more
    assert type(tracing_of(environment, "sqlite", "coexist")) is Tracing


@contextlib.contextmanager
def said():
    """What the log says, whatever the tests before have set it to."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.INFO))
    try:
        with structlog.testing.capture_logs() as lines:
            yield lines
    finally:
        structlog.configure(**before)


def test_without_the_extra_it_is_off_and_the_log_says_so(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("opentelemetry.sdk")] + ["services.telemetry.spans"]:
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.resources", None)
    environment = os.environ | {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    with said() as lines:
        assert type(tracing_of(environment, "sqlite", "coexist")) is Tracing
    assert [line["event"] for line in lines] == ["tracing_off"]


@pytest.mark.parametrize(
    "text",
    [None, "", "a", CALLER[:-1], CALLER.upper(), f"00-{'0' * 32}-{'1' * 16}-01", f"00-{'1' * 32}-{'0' * 16}-01"],
)
def test_what_is_no_traceparent_is_no_trace(text):
    assert traceparent(text) == ""
