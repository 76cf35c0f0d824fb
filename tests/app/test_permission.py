"""What the sender knows before it sends, through the app as it is booted: over real HTTP, with Meta's own webhooks."""

import time

import pytest

from tests.app.rig import ADDED, together, until
from tests.app.sandbox_receiver import CONTACT, NUMBER

DAY = 24 * 3600
TEMPLATE = {"type": "template", "template": {"name": "order_update", "language": {"code": "en_US"}}}
OTHER = "34600111444"


@pytest.fixture
async def rig(tmp_path):
    async with together(tmp_path, about={"opt_out_words": "STOP,BAJA"}) as running:
        await running.customer()
        await until(running.conversation)
        yield running


async def requests(rig):
    return (await rig.meta.get("/sandbox/api/ledger/sends")).json()


async def end(rig, kind, command_id):
    return await rig.data("sends", kind, command_id)


async def template(rig, **more):
    return await rig.send(**{"text": None, **TEMPLATE, **more})


async def preference(rig, event):
    async def told():
        found = await rig.events("account", "preference.changed")
        return any(data["event"] == event for _, _, data in found)

    await until(told)


async def test_outside_the_window_no_request_is_spent_and_the_fallback_goes(rig):
    await rig.trigger("message", contact=OTHER, clock=lambda: time.time() - DAY - 60)
    await until(lambda: rig.conversation(OTHER))
    refused = await rig.send(to=OTHER)
    assert (await end(rig, "send.rejected", refused))["reason"] == "needs_template"
    assert await requests(rig) == []
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    command_id = await rig.send(to=OTHER, fallback=TEMPLATE, trace=trace)
    told = await end(rig, "send.accepted", command_id)
    assert (told["reason"], told["body"]) == ("window_closed", "fallback")
    added = await rig.data("timeline", ADDED, told["message_id"])
    assert (added["kind"], added["content"]) == ("template", TEMPLATE["template"])
    traces = {record.event.trace for record in await rig.records("sends") if record.event.subject == command_id}
    assert traces == {trace}
    story = (await rig.admin.get(f"/v1/sends/{command_id}")).json()["story"]
    assert [(step["event"], step["detail"]) for step in story] == [
        ("send.requested", ""),
        ("fallback", "window_closed"),
        ("send.attempted", "1"),
        ("send.accepted", "window_closed"),
    ]


async def test_a_template_that_meta_paused_stops_early(rig):
    await rig.trigger("template")
    await rig.data("account", "template.changed")

    async def stopped():
        return (await rig.outcome(await template(rig, to=OTHER)))["state"] == "rejected"

    await until(stopped)
    told = (await rig.events("sends", "send.rejected"))[-1][2]
    assert told["reason"] == "template_paused"
    assert told["retry_at"]


async def test_a_customer_who_stopped_marketing_in_whatsapp_gets_none(rig):
    await rig.trigger("preference", contact=CONTACT)
    await preference(rig, "stop")
    command_id = await template(rig, origin="campaign")
    assert (await end(rig, "send.rejected", command_id))["reason"] == "opted_out"
    assert (await rig.outcome(await rig.send()))["state"] == "accepted"


async def test_a_customer_who_writes_one_of_the_words_gets_no_more_marketing(rig):
    await rig.customer("Baja!")
    await preference(rig, "stop")
    assert (await end(rig, "send.rejected", await template(rig, origin="campaign")))["reason"] == "opted_out"


async def test_suppressions_are_managed_by_the_api(rig):
    about = {"number": NUMBER, "contact": "+34 600 111 222", "scope": "all"}
    assert (await rig.admin.post("/v1/suppressions", json=about)).status_code == 202
    await preference(rig, "stop")
    assert (await end(rig, "send.rejected", await rig.send(origin="agent")))["reason"] == "suppressed"
    (found,) = (await rig.admin.get(f"/v1/suppressions?number={NUMBER}")).json()["suppressions"]
    assert found["contact"]["wa_id"] == CONTACT
    assert [(stop["scope"], stop["because"]) for stop in found["stops"]] == [("all", "operator")]
    assert (await rig.admin.request("DELETE", "/v1/suppressions", json=about)).status_code == 202
    await preference(rig, "resume")
    assert (await rig.outcome(await rig.send()))["state"] == "accepted"
    assert (await rig.admin.get(f"/v1/suppressions?number={NUMBER}")).json() == {"suppressions": [], "after": None}
    assert (await rig.admin.post("/v1/opt-ins", json={"number": NUMBER, "contact": CONTACT})).status_code == 202
    await preference(rig, "opt_in")


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"contact": CONTACT}, 422, "nobody is named"),
        ({"number": NUMBER}, 422, "nobody is named"),
        ({"number": NUMBER, "contact": "Laia"}, 422, "nobody is named"),
        ({"number": NUMBER, "contact": CONTACT, "scope": "news"}, 422, "no such scope"),
        ({"number": "1", "contact": CONTACT}, 404, "no such number"),
    ],
)
async def test_a_wrong_suppression_is_refused_and_nothing_is_written(rig, body, status, says):
    before = len(await rig.records("inbound"))
    answer = await rig.admin.post("/v1/suppressions", json=body)
    assert (answer.status_code, answer.json()["title"]) == (status, says)
    assert len(await rig.records("inbound")) == before


async def test_what_messages_cost_is_told_by_number_and_month(rig):
    outcome = await rig.outcome(await rig.send())
    await rig.data("timeline", "status.changed", outcome["message_id"])

    async def costs():
        return (await rig.admin.get(f"/v1/costs?number={NUMBER}")).json()["messages"]

    (found,) = await until(costs)
    assert (found["country"], found["count"]) == ("ES", 1)
    assert (await rig.admin.get(f"/v1/costs?number={NUMBER}&month=2020-01")).json()["messages"] == []
    assert (await rig.admin.get(f"/v1/costs?number={NUMBER}&month=may")).status_code == 422
    assert "coexist_priced_messages_total{" in (await rig.admin.get("/metrics")).text
