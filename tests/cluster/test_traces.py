"""A trace survives Kafka: its headers carry it from the webhook to the send that follows."""

import pytest

from tests.app.rig import service
from tests.app.sandbox_receiver import post, sandbox
from tests.app.test_tracing import CALLER, TRACE, Collector, about, trace_of, walk
from tests.cluster.rig import Cluster

pytestmark = [pytest.mark.kafka, pytest.mark.faults]


async def test_a_webhook_and_the_send_it_causes_are_one_trace_over_kafka(tmp_path, monkeypatch):
    with Collector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        async with sandbox() as meta, Cluster() as cluster:
            async with service(tmp_path, str(meta.base_url).rstrip("/"), meta=meta, about=cluster.settings) as rig:
                await post(meta, "/webhook", {"url": rig.webhook})
                events = await walk(rig)
            assert {trace_of(event) for event in events} == {TRACE}
    names = {span.name.replace(cluster.prefix, "x") for span in collector.spans if span.trace_id.hex() == TRACE}
    systems = {about(span).get("messaging.system", "kafka") for span in collector.spans}
    assert {"send x.inbound", "process x.timeline", "process x.outbound", "send message"} <= names
    assert systems == {"kafka"}
    assert CALLER.split("-")[2] in {span.parent_span_id.hex() for span in collector.spans}
