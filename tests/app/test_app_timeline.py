"""From Meta's webhook to the timeline, over real HTTP on every side: the app as it is booted, and Meta in a box."""

import asyncio
import json

import pytest

from schemas.ports import Event
from schemas.topics import TIMELINE, partition_of
from services.sandbox.faults import Faults
from tests.app.rig import ADDED, DEADLINE_S, service, together, until
from tests.app.sandbox_receiver import CONTACT, NUMBER
from tests.processes import probe

HABITS = Faults(
    duplicate_p=0.3, reorder_p=0.3, drop200_p=0.2, api_echo_p=1, status_before_response_p=0.3, status_delay_ms=5
)


@pytest.fixture
async def rig(tmp_path):
    async with together(tmp_path) as running:
        yield running


async def shown(rig):
    """The conversation's messages as the API shows them."""
    conversation = await until(rig.conversation)
    answer = await rig.admin.get(f"/v1/conversations/{conversation['conversation_id']}/timeline")
    return answer.json()["messages"]


async def stream(rig, path, count, headers=None):
    """The first events of a server-sent stream: pairs of id and CloudEvent."""
    found, place = [], ""
    async with asyncio.timeout(DEADLINE_S), rig.admin.stream("GET", path, headers=headers or {}) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        async for line in answer.aiter_lines():
            if line.startswith("id: "):
                place = line[4:]
            elif line.startswith("data: "):
                found.append((place, json.loads(line[6:])))
                if len(found) == count:
                    return found
    raise AssertionError("the stream ended")


async def test_what_a_customer_writes_is_on_the_timeline_once(rig):
    wamid = await rig.customer("Bon dia! 😀")
    data = await rig.data("timeline", ADDED, wamid)
    assert (data["direction"], data["origin"], data["historical"]) == ("inbound", "customer", False)
    assert data["content"] == {"body": "Bon dia! 😀"}
    assert data["contact"]["wa_id"] == CONTACT
    assert [one["message_id"] for one in await shown(rig)] == [wamid]


async def test_what_the_owner_writes_in_the_app_is_on_the_timeline_and_takes_the_conversation_over(rig):
    await rig.customer()
    wamid = await rig.owner("Sí! Te la guardo.")
    data = await rig.data("timeline", ADDED, wamid)
    assert (data["direction"], data["origin"]) == ("outbound", "business_app")

    async def taken():
        conversation = await rig.conversation()
        return conversation if conversation and conversation["owner"] == "person_app" else None

    conversation = await until(taken)
    assert conversation["automation_paused_until"] > conversation["last_outbound_at"]


async def test_an_own_send_its_echo_and_its_statuses_are_one_line(tmp_path):
    async with together(tmp_path, faults=HABITS) as rig:
        await rig.customer()
        await until(rig.conversation)
        outcome = await rig.outcome(await rig.send("Gràcies!", policy="at_most_once"))
        assert outcome["state"] == "accepted"
        wamid = outcome["message_id"]
        await rig.control("/flush", {"timeout_s": 30})

        async def read():
            told = await rig.events("timeline", "status.changed", wamid)
            return {data["status"] for _, _, data in told} >= {"sent", "delivered"}

        await until(read)
        added = await rig.events("timeline", ADDED, wamid)
        assert len(added) == 1
        assert (added[0][2]["origin"], added[0][2]["command_id"]) == ("api", outcome["command_id"])
        assert await rig.owned("bot")
        told = [data["status"] for _, _, data in await rig.events("timeline", "status.changed", wamid)]
        assert len(told) == len(set(told))
        value = rig.app.metrics.registry.get_sample_value
        assert value("coexist_duplicates_dropped_total", {"reason": "own_echo"}) == 1


async def test_an_echo_that_comes_before_the_answer_to_its_send_is_still_ours(tmp_path):
    early = Faults(api_echo_p=1, status_before_response_p=1, status_delay_ms=100, duplicate_p=0, drop200_p=0)
    async with together(tmp_path, faults=early) as rig:
        await rig.customer()
        await until(rig.conversation)
        outcome = await rig.outcome(await rig.send())
        data = await rig.data("timeline", ADDED, outcome["message_id"])
        assert data["origin"] == "api"
        assert (await rig.conversation())["owner"] != "person_app"


async def test_edits_revokes_and_redeliveries_change_what_is_shown_and_add_nothing(tmp_path):
    async with together(tmp_path, faults=HABITS) as rig:
        first, second = await rig.customer("Bon dia"), await rig.owner("Hola")
        for wamid in (first, second):
            await rig.data("timeline", ADDED, wamid)
        await rig.control("/edit", {"wamid": first, "side": "customer", "text": "Bona tarda"})
        await rig.control("/revoke", {"wamid": second, "side": "app"})
        await rig.control("/flush", {"timeout_s": 30})
        await rig.data("timeline", "message.edited", first)
        await rig.data("timeline", "message.revoked", second)
        by_id = {one["message_id"]: one for one in await shown(rig)}
        assert by_id[first]["content"]["body"] == "Bona tarda"
        assert (by_id[second]["content"], "revoked_at" in by_id[second]) == ({}, True)
        assert len(await rig.events("timeline", ADDED)) == 2


async def test_a_stream_goes_on_where_a_reader_left_it(rig):
    first = await rig.customer("u")
    await rig.data("timeline", ADDED, first)
    ((place, event),) = await stream(rig, "/v1/topics/timeline/events?from_start=1", 1)
    assert (event["type"], event["data"]["message_id"], event["seq"], event["topic"]) == (
        ADDED,
        first,
        "1",
        "timeline",
    )
    assert {"specversion", "id", "source", "subject", "time", "number", "partition", "offset"} <= set(event)
    second = await rig.customer("dos")
    await rig.data("timeline", ADDED, second)
    ((_, event),) = await stream(rig, "/v1/topics/coexist.timeline/events", 1, {"Last-Event-ID": place})
    assert event["data"]["message_id"] == second


@pytest.mark.parametrize("before", [0, 1])
async def test_a_reader_that_loses_its_stream_before_the_first_event_misses_none(rig, before):
    path = "/v1/topics/timeline/events"
    for n in range(before):
        await rig.data("timeline", ADDED, await rig.customer(f"abans {n}"))
    async with rig.admin.stream("GET", path) as answer:
        lines = answer.aiter_lines()
        place = [await anext(lines) for _ in range(2)][1].removeprefix("id: ")
    wamid = await rig.customer("ara")
    await rig.data("timeline", ADDED, wamid)
    ((_, event),) = await stream(rig, path, 1, {"Last-Event-ID": place})
    assert event["data"]["message_id"] == wamid


@pytest.mark.parametrize("path", ["/v1/topics/timeline/events", "/v1/events"])
async def test_a_place_ahead_of_the_log_is_refused_and_one_at_its_end_is_not(tmp_path, path):
    async with service(tmp_path, roles=()) as rig:
        await goes_on_from_the_end_and_not_from_beyond(rig, path)


async def goes_on_from_the_end_and_not_from_beyond(rig, path):
    """As after a restore: whoever heard more than the log has must not wait in silence until it has grown."""
    await rig.app.log.append([fact(n) for n in range(3)])
    at = partition_of(NUMBER, rig.app.log.partitions)
    ahead = await rig.admin.get(path, headers={"Last-Event-ID": f"timeline/{at}:4"})
    assert (ahead.status_code, ahead.headers["content-type"]) == (410, "application/problem+json")
    assert f"timeline/{at}:4 lies ahead of the log" in ahead.json()["title"]
    assert "from_start=1" in ahead.json()["fix"]
    assert ahead.headers["cache-control"] == "no-store"
    reading = asyncio.create_task(stream(rig, path, 1, {"Last-Event-ID": f"timeline/{at}:3"}))
    await rig.app.log.append([fact(3)])
    ((place, event),) = await reading
    assert (event["data"], place) == ({"n": 3}, f"timeline/{at}:4")


def fact(n):
    return TIMELINE, Event(f"m{n}:added", ADDED, NUMBER, b'{"n":%d}' % n, n, n, f"m{n}", seq=n + 1)


async def test_the_stream_of_everything_tells_of_message_and_conversation(rig):
    reading = asyncio.create_task(stream(rig, "/v1/events?from_start=1", 3))
    await rig.customer()
    types = {event["type"] for _, event in await reading}
    assert types == {"number.onboarded", ADDED, "conversation.state"}


async def test_a_live_stream_tells_only_what_comes(rig):
    await rig.data("timeline", ADDED, await rig.customer("abans"))
    async with asyncio.timeout(DEADLINE_S), rig.admin.stream("GET", "/v1/topics/timeline/events") as answer:
        lines = answer.aiter_lines()
        assert await anext(lines) == ": connected"
        wamid = await rig.customer("ara")
        async for line in lines:
            if line.startswith("data: "):
                assert json.loads(line[6:])["data"]["message_id"] == wamid
                return


async def test_ingest_alone_keeps_what_comes_for_the_processors_to_come(tmp_path):
    async with service(tmp_path, roles=("ingest",)) as rig:
        for _ in range(3):
            assert (await rig.post(probe())).status_code == 200
        assert await rig.events("timeline") == []
    async with service(tmp_path, roles=("echo-sync",)) as rig:

        async def all_three():
            return len(await rig.events("timeline", ADDED)) == 3

        await until(all_three)


async def test_the_handshake_of_meta_succeeds(rig):
    assert await rig.control("/verify") == {"verified": True, "status": 200}


async def test_a_contact_and_its_history_are_imported_without_waking_anybody(rig):
    await rig.trigger("history")
    await rig.trigger("contact", contact=CONTACT)
    await rig.data("account", "history.progress")
    await rig.data("contacts", "contact.changed")
    found = await until(lambda: rig.events("timeline", ADDED))
    assert all(data["historical"] for _, _, data in found)
    conversations = (await rig.admin.get("/v1/conversations", params={"number": NUMBER})).json()["conversations"]
    assert all(one["owner"] == "unknown" and "window_expires_at" not in one for one in conversations)


async def test_a_backfill_in_pages_joined_to_the_topic_at_its_seq_is_the_whole_timeline(tmp_path):
    async with together(tmp_path) as rig:
        before = [await rig.customer(f"n{n}") for n in range(5)]
        await until(lambda: _told(rig, 5))
        conversation_id = (await until(rig.conversation))["conversation_id"]
        path, pages, after = f"/v1/conversations/{conversation_id}/timeline", [], {}
        while after is not None:
            page = (await rig.admin.get(path, params={"limit": 2, **after})).json()
            pages = [page, *pages]
            after = {"after": page["after"]} if page["after"] is not None else None
        first = int(pages[-1]["seq"])
        later = [await rig.customer(f"m{n}") for n in range(3)]
        await until(lambda: _told(rig, 8))
        filled = [message["message_id"] for page in pages for message in page["messages"]]
        joined = [r.event.subject for r in await rig.records("timeline") if r.event.seq > first]
        assert filled == before
        assert [wamid for wamid in joined if wamid in later] == later
        assert set(joined) == set(later)


async def _told(rig, count):
    return len(await rig.events("timeline", ADDED)) >= count
