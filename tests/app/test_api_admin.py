"""The admin listener: health, metrics, who may call it, and what it says when something is wrong."""

import asyncio

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from schemas.states import CONVERSATIONS, DELIVERY, MESSAGES
from services.app import open_app
from services.sandbox.faults import Faults
from services.settings import SettingsError
from tests.app.rig import ADDED, service, settings, together, until
from tests.app.sandbox_receiver import CONTACT, NUMBER
from tests.processes import busy

TOKEN = "an-admin-token-of-the-tests"
BUSY = Faults(duplicate_p=1, duplicate_ms=1, api_echo_p=1, status_delay_ms=2, reorder_p=0, drop200_p=0)


@pytest.fixture
async def rig(tmp_path):
    async with service(tmp_path) as running:
        yield running


async def metrics(rig):
    """Samples of /metrics: name and labels → value."""
    text = (await rig.admin.get("/metrics")).text
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_the_metrics_tell_echo_latency_by_stage_duplicates_lag_sends_and_the_queue(tmp_path):
    async with together(tmp_path, faults=BUSY) as rig:
        await rig.customer()
        await until(rig.conversation)
        await rig.outcome(await rig.send())
        await rig.owner()
        await rig.control("/flush", {"timeout_s": 30})

        async def counted():
            found = await metrics(rig)
            return found if found.get(("coexist_echo_latency_seconds_count", ("stage", "total"))) == 1 else None

        found = await until(counted)
        for stage in ("meta", "append", "resolve"):
            assert found["coexist_echo_latency_seconds_count", ("stage", stage)] >= 2
        assert found["coexist_duplicates_dropped_total", ("reason", "redelivery")] >= 2
        assert found["coexist_duplicates_dropped_total", ("reason", "own_echo")] == 1
        assert found["coexist_sends_total", ("outcome", "accepted")] == 1
        assert found["coexist_graph_request_seconds_count", ("outcome", "accepted")] == 1
        assert found["coexist_messages_total", ("direction", "outbound"), ("origin", "business_app")] == 1
        assert found["coexist_ingest_requests_total", ("outcome", "accepted")] >= 4
        lags = {labels[0] for name, *labels in found if name == "coexist_lag_events"}
        assert {("processor", name) for name in (MESSAGES, CONVERSATIONS, DELIVERY)} <= lags
        assert found["coexist_sends_queue_depth",] == 0


async def test_the_queue_s_depth_is_how_many_commands_stand_in_line(rig):
    await rig.trigger("message")
    await until(lambda: rig.events("timeline", ADDED))
    await rig.admin.post(f"/v1/numbers/{NUMBER}/pause")
    await until(lambda: rig.events("account", "number.changed"))
    for n in range(3):
        await rig.send(to=f"3460011{n:04}")

    async def three_in_line():
        return (await metrics(rig))["coexist_sends_queue_depth",] == 3

    await until(three_in_line)


async def test_it_is_alive_and_ready_without_a_token_and_everything_else_needs_it(tmp_path):
    async with service(tmp_path, about={"admin_token": TOKEN}) as rig:
        assert (await rig.admin.get("/livez")).status_code == 200
        for path in ("/metrics", "/v1/numbers", "/openapi.json", "/v1/events"):
            for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}):
                answer = await rig.admin.get(path, headers=headers)
                assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json")
                assert "COEXIST_ADMIN_TOKEN" in answer.json()["fix"]
        answer = await rig.admin.get("/v1/numbers", headers={"Authorization": f"Bearer {TOKEN}"})
        assert (answer.status_code, answer.json()) == (200, {"numbers": []})


async def test_beyond_loopback_a_token_must_be_set(tmp_path):
    with pytest.raises(SettingsError, match="COEXIST_ADMIN_TOKEN must be set"):
        async with open_app(settings(tmp_path, admin_host="0.0.0.0")):
            pass


async def test_a_page_of_another_origin_may_not_write(rig):
    headers = {"Origin": "https://elsewhere.example"}
    answer = await rig.admin.post(f"/v1/numbers/{NUMBER}/pause", headers=headers)
    assert (answer.status_code, answer.json()["title"]) == (403, "a page of another origin")
    own = {"Origin": str(rig.admin.base_url).rstrip("/")}
    assert (await rig.admin.post("/v1/numbers", json={"number": NUMBER}, headers=own)).status_code == 202


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "said"),
    [
        ("GET", "/v1/nothing", None, 404, "Not Found"),
        ("DELETE", "/v1/messages", None, 405, "Method Not Allowed"),
        ("GET", "/v1/sends/none", None, 404, "no such command"),
        ("DELETE", "/v1/sends/none", None, 404, "no such command"),
        ("GET", "/v1/conversations/none", None, 404, "no such conversation"),
        ("GET", "/v1/conversations/none/timeline", None, 404, "no such conversation"),
        ("POST", "/v1/conversations/none/takeover", {}, 404, "no such conversation"),
        ("POST", "/v1/conversations/none/explode", {}, 404, "no such action"),
        ("GET", "/v1/topics/none/events", None, 404, "no such topic"),
        ("GET", "/v1/conversations", None, 422, "number"),
        ("GET", "/v1/conversations?number=1&limit=many", None, 422, "limit"),
        ("POST", "/v1/messages", {}, 422, "number"),
        (
            "POST",
            "/v1/messages",
            {"number": NUMBER, "to": CONTACT, "text": {"body": "x"}, "policy": "perhaps"},
            422,
            "policy",
        ),
        ("POST", "/v1/messages", [], 422, "body"),
        ("POST", "/v1/numbers", {}, 422, "number"),
        ("POST", "/v1/numbers", {"number": 7}, 422, "number"),
    ],
)
async def test_every_error_is_a_problem_with_a_fix(rig, method, path, body, status, said):
    answer = await rig.admin.request(method, path, json=body)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    problem = answer.json()
    assert problem["status"] == status
    assert problem["fix"]
    assert said in problem["title"]


async def test_what_is_not_json_is_a_problem_too(rig):
    answer = await rig.admin.post("/v1/messages", content=b"{", headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")


async def test_an_event_id_of_somebody_else_is_refused(rig):
    for place in ("yesterday", "timeline/0:x", "inbound/0:1", "timeline/99:1"):
        answer = await rig.admin.get("/v1/topics/timeline/events", headers={"Last-Event-ID": place})
        assert (answer.status_code, answer.json()["title"]) == (400, "Last-Event-ID is not one of ours")


async def test_a_failure_that_nobody_foresaw_is_a_problem_that_names_nobody(rig):
    rig.app.store = None
    answer = await rig.admin.get(f"/v1/sends/{CONTACT}")
    assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
    assert CONTACT not in answer.text


async def test_a_number_is_registered_before_its_first_webhook(rig):
    assert (await rig.admin.post("/v1/numbers", json={"number": NUMBER, "waba": "7"})).status_code == 202

    async def known():
        return (await rig.admin.get("/v1/numbers")).json()["numbers"]

    number = next(one for one in await until(known) if one["number"] == NUMBER)
    assert (number["number"], number["waba"], number["rate_per_s"], number["sending"]) == (NUMBER, "7", 20, "on")


async def test_with_listed_registration_only_added_numbers_are_known(tmp_path):
    async with service(tmp_path, about={"registration": "listed"}) as rig:
        await rig.trigger("message")
        await until(lambda: rig.events("timeline", ADDED))
        assert (await rig.admin.get("/v1/numbers")).json() == {"numbers": []}
        body = {"number": NUMBER, "to": CONTACT, "type": "text", "text": {"body": "Hola"}}
        assert (await rig.admin.post("/v1/messages", json=body)).status_code == 404


async def test_it_publishes_its_contract_and_its_settings_without_secrets(rig):
    api = (await rig.admin.get("/openapi.json")).json()
    assert {"/v1/messages", "/v1/sends/{command_id}", "/v1/conversations", "/v1/events"} <= set(api["paths"])
    assert (await rig.admin.get("/asyncapi.json")).json()["asyncapi"].startswith("3.")
    shown = (await rig.admin.get("/v1/config")).text
    assert "COEXIST_PARTITIONS" in shown
    assert "coexist-sandbox" not in shown


async def test_a_stop_ends_open_streams_soon(tmp_path):
    async with httpx.AsyncClient(timeout=30, trust_env=False) as reader:
        async with service(tmp_path) as rig:
            stream = reader.stream("GET", f"{rig.admin.base_url}/v1/events".replace("//v1", "/v1"))
            answer = await stream.__aenter__()
            lines = answer.aiter_lines()
            assert await anext(lines) == ": connected"
            asked = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - asked < 3 or busy()
        await stream.__aexit__(None, None, None)
