"""What the operator page asks for: the truth about a running service."""

import asyncio
import time
from types import SimpleNamespace

import msgspec
import orjson
import pytest

from echo_sync.messages import Messages
from schemas.ports import NOWHERE, Commit, Event, Row
from schemas.states import CONVERSATIONS, Conversation, Number, conversation_key
from schemas.topics import INBOUND, OUTBOUND, TIMELINE, partition_of
from sender.command import AMBIGUOUS, OPEN, Command, Lane, Queue
from sender.pacing import PAIR_BURST, PAIR_INTERVAL_S
from services.console.commands import Surroundings, why
from services.console.hour import Hour, latencies, quantile, rate
from services.console.overview import lag
from services.dead_letters import dead_letter
from services.telemetry.metrics import Metrics
from tests import harness as h
from tests.app.rig import CONTACT, NUMBER, service, together, until

MANY = 10_000
NOW = 1_790_000_000.0


async def test_without_a_token_only_names_of_this_machine_are_answered(tmp_path):
    async with service(tmp_path, roles=()) as rig:
        for name in ("evil.example", "evil.example:8081", "127.0.0.1.evil.example"):
            answer = await rig.admin.get("/v1/overview", headers={"Host": name})
            assert answer.status_code == 421, name
        assert (await rig.admin.get("/v1/overview", headers={"Host": "localhost:8081"})).status_code == 200


# --- the overview


async def test_the_figures_of_the_page_are_those_of_the_metrics_and_of_the_ledger(tmp_path):
    async with together(tmp_path) as rig:
        for n in range(5):
            await rig.customer(f"{n}")
        await rig.owner()
        sent = await rig.send(origin="agent")
        await rig.outcome(sent)
        await rig.control("/flush", {"timeout_s": 30})
        ledger = (await rig.meta.get("/sandbox/api/ledger")).json()

        async def settled():
            found = (await rig.admin.get("/v1/overview")).json()
            items = sum(found["totals"]["items"].values())
            unread = sum(one["records"] for one in found["lag"])
            return (
                found if items >= ledger["items"] and found["totals"]["sends"].get("accepted") and not unread else None
            )

        found = await until(settled)
        value = rig.app.metrics.registry.get_sample_value
        for kind, count in found["totals"]["items"].items():
            assert count == value("coexist_ingest_items_total", {"kind": kind})
        assert found["totals"]["messages"]["customer.inbound"] == 5
        assert found["totals"]["sends"]["accepted"] == ledger["sends"]["accepted"] == 1
        assert found["echo"]["total"]["count"] == 1
        assert found["rates"]["items_in"] > 0


async def test_problems_are_named_with_their_figures(tmp_path):
    async with service(tmp_path) as rig:
        found = (await rig.admin.get("/v1/overview")).json()
        assert [one["code"] for one in found["problems"]] == ["no_webhook"]
        assert (await rig.post(b"{}", secret="another app's")).status_code == 401
        await rig.trigger("message")
        await rig.data("account", "number.onboarded")
        assert (await rig.admin.post(f"/v1/numbers/{NUMBER}/pause")).status_code == 202

        async def paused():
            found = (await rig.admin.get("/v1/overview")).json()
            return [one for one in found["problems"] if one["code"] == "not_sending"] and found

        found = await until(paused)
        assert {one["code"]: one for one in found["problems"]} == {
            "bad_signature": {"code": "bad_signature", "count": 1, "seconds": 60},
            "not_sending": {"code": "not_sending", "number": NUMBER, "because": "operator"},
        }


async def test_webhooks_that_nobody_understood_are_a_problem_with_their_number(tmp_path):
    change = {"field": "calls", "value": {}}
    calls = {"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [change]}]}
    async with service(tmp_path) as rig:
        assert (await rig.post(orjson.dumps(calls))).status_code == 200
        assert "not_understood" not in str((await rig.admin.get("/v1/overview")).json()["problems"])
        for body in (b"null", b"not JSON"):
            assert (await rig.post(body)).status_code == 200
        found = (await rig.admin.get("/v1/overview")).json()
        assert {"code": "not_understood", "count": 2, "seconds": 3600} in found["problems"]
        assert (found["totals"]["items"]["unused"], found["totals"]["items"]["unknown"]) == (1, 2)


async def test_lag_counts_what_nobody_has_read_and_how_long_it_has_waited(tmp_path):
    ahead = [0.0]
    async with service(tmp_path, roles=("ingest",), clock=lambda: time.time() + ahead[0]) as rig:
        rig.app.runners["echo_sync.messages"] = SimpleNamespace(processor=Messages(b"k" * 32))
        await rig.trigger("message")
        ahead[0] = 60.0
        inbound, history = await lag(rig.app)
        assert (inbound["topic"], inbound["records"], inbound["seconds"] >= 60) == ("inbound", 1, True)
        assert (history["topic"], history["records"], history["seconds"]) == ("history", 0, 0.0)


def test_a_minute_tells_the_rate_and_the_quantiles_of_that_minute_alone():
    clock = iter(NOW + 60.0 * n for n in range(10)).__next__
    metrics = Metrics()
    hour = Hour(metrics, clock)
    for _ in range(60):
        metrics.items.labels("message").inc()
        metrics.echo.labels("total").observe(0.004)
    hour.take()
    metrics.echo.labels("total").observe(7.0)
    (old, new), (_, now) = hour.minutes()
    assert rate(old, new, "items") == 1.0
    assert latencies(old, new)["total"]["count"] == 60
    assert latencies(old, new)["total"]["p99_ms"] <= 5
    assert rate(new, now, "items") == 0.0
    assert latencies(new, now) == {"total": {"count": 1, "p50_ms": 7500.0, "p99_ms": 9950.0}}


def test_a_quantile_beyond_the_last_bound_is_that_bound():
    assert quantile([(1.0, 0.0), (300.0, 0.0), (float("inf"), 4.0)], 0.5) == 300.0


# --- conversations


async def seed(rig, count, places=lambda n: n):
    """Conversations as their owner would have stored them."""
    shard = partition_of(NUMBER, rig.app.log.partitions)
    lease = await rig.app.store.acquire(CONVERSATIONS, shard, "test", 60)
    rows = {}
    for n in range(count):
        one = Conversation(number=NUMBER, conversation_id=f"c{n:05d}", wa_id=f"3460{n:07d}", name=f"Person {n}")
        view = {"conversation_id": one.conversation_id, "number": NUMBER, "owner": "bot", "unread": 0}
        one.told = orjson.dumps(view | {"contact": {"wa_id": one.wa_id, "name": one.name}})
        one.line, one.place, one.version = NUMBER, float(places(n)), 1
        row = Row(msgspec.msgpack.encode(one), None, one.line, one.place)
        rows[conversation_key(one.conversation_id)] = row
    await rig.app.store.commit(Commit(lease, rows=rows))


async def test_ten_thousand_conversations_come_in_pages_that_miss_none_and_repeat_none(tmp_path):
    async with service(tmp_path, roles=()) as rig:
        await seed(rig, MANY, places=lambda n: n // 7)  # Meta's times are whole seconds, so places are shared
        found, after = [], NOWHERE
        while after is not None:
            query = {"number": NUMBER, "limit": 100} | ({} if after == NOWHERE else {"after": after})
            page = (await rig.admin.get("/v1/conversations", params=query)).json()
            assert len(page["conversations"]) <= 100
            found += [one["conversation_id"] for one in page["conversations"]]
            after = page["after"]
        assert found == [f"c{n:05d}" for n in range(MANY)]


async def test_a_page_that_is_one_moment_is_given_whole(tmp_path):
    async with service(tmp_path, roles=()) as rig:
        await seed(rig, 30, places=lambda n: 0)
        page = (await rig.admin.get("/v1/conversations", params={"number": NUMBER, "limit": 10})).json()
        assert (len(page["conversations"]), page["after"]) == (30, None)


async def test_a_search_finds_by_name_and_part_of_a_phone_among_ten_thousand(tmp_path):
    async with service(tmp_path, roles=()) as rig:
        await seed(rig, MANY)
        for asked, expected in (("person 9876", "c09876"), ("0009876", "c09876"), ("c00042", "c00042")):
            answer = await rig.admin.get("/v1/conversations", params={"number": NUMBER, "q": asked})
            assert [one["conversation_id"] for one in answer.json()["conversations"]] == [expected], asked
        answer = await rig.admin.get("/v1/conversations", params={"number": NUMBER, "q": "nobody"})
        assert answer.json()["conversations"] == []


async def test_a_search_by_phone_or_user_id_needs_no_list(tmp_path):
    async with service(tmp_path) as rig:
        await rig.trigger("message", contact=CONTACT)
        known = await until(rig.conversation)
        for asked in (CONTACT, f"+{CONTACT}", known["contact"].get("user_id", CONTACT)):
            answer = await rig.admin.get("/v1/conversations", params={"number": NUMBER, "q": asked})
            assert [one["conversation_id"] for one in answer.json()["conversations"]] == [known["conversation_id"]]


async def test_changes_of_the_owner_are_told_in_order(tmp_path):
    async with service(tmp_path) as rig:
        await rig.trigger("message", contact=CONTACT)
        path = f"/v1/conversations/{(await until(rig.conversation))['conversation_id']}"
        for action, owner in (("takeover", "agent"), ("release", "bot")):
            await rig.admin.post(f"{path}/{action}")

            async def owned(owner=owner):
                return (await rig.admin.get(path)).json()["owner"] == owner

            await until(owned)
        owners = (await rig.admin.get(f"{path}/owners")).json()["owners"]
        assert [one["owner"] for one in owners] == ["unknown", "agent", "bot"]


async def test_the_stream_of_a_conversation_tells_its_own_events_only(tmp_path):
    async with together(tmp_path) as rig:
        await rig.customer("before")
        path = f"/v1/conversations/{(await until(rig.conversation))['conversation_id']}/events"
        async with rig.admin.stream("GET", path) as stream:
            lines = stream.aiter_lines()
            assert await anext(lines) == ": connected"
            await rig.customer("another's", contact="34600999111")
            await rig.customer("after")
            async for line in lines:
                event = orjson.loads(line[6:]) if line.startswith("data: ") else {"type": ""}
                if event["type"] == "message.added":
                    assert event["data"]["content"]["body"] == "after"
                    break


# --- sends


async def test_a_send_that_waits_says_for_what_and_can_be_cancelled(tmp_path):
    async with service(tmp_path) as rig:
        await rig.trigger("message", contact=CONTACT)
        conversation = (await until(rig.conversation))["conversation_id"]
        await rig.admin.post(f"/v1/numbers/{NUMBER}/pause")

        async def paused():
            return (await rig.admin.get("/v1/numbers")).json()["numbers"][0]["sending"] == "paused"

        await until(paused)
        first, second = await rig.send("one"), await rig.send("two")
        later = await rig.send("three", not_before="2099-01-01T00:00:00Z")

        async def all_wait():
            sends = (await rig.admin.get("/v1/sends")).json()["sends"]
            return sends if len(sends) == 3 else None

        sends = {one["command_id"]: one for one in await until(all_wait)}
        assert sends[first]["waits_for"] == "paused_operator"
        assert (sends[second]["waits_for"], sends[second]["place"]) == ("its_turn", 1)
        assert (sends[later]["waits_for"], sends[later]["until"][:4]) == ("not_before", "2099")
        assert sends[first]["conversation_id"] == conversation
        queued = (await rig.admin.get(f"/v1/conversations/{conversation}/sends")).json()["sends"]
        assert [one["command_id"] for one in queued] == [first, second]
        await rig.admin.delete(f"/v1/sends/{first}")
        assert await rig.outcome(first)
        assert (await rig.admin.get("/v1/sends", params={"number": "another"})).json()["sends"] == []


async def test_rejected_sends_are_counted_by_code(tmp_path):
    async with together(tmp_path) as rig:
        commands = ["one", "two"]
        for command in commands:  # as another program writes to the topic: nobody has written, the number is not known
            await rig.app.log.append([(OUTBOUND, h.request(command, CONTACT))])
            await rig.data("sends", "send.rejected", command)
        found = (await rig.admin.get("/v1/sends", params={"state": "rejected"})).json()
        assert [(one["code"], one["reason"], one["count"]) for one in found["by_code"]] == [(0, "unknown_number", 2)]
        assert {one["command_id"] for one in found["sends"]} == set(commands)


async def test_an_unknown_state_of_sends_is_refused_with_a_fix(tmp_path):
    async with service(tmp_path, roles=()) as rig:
        answer = await rig.admin.get("/v1/sends", params={"state": "lost"})
        assert answer.status_code == 422
        assert "unresolved" in answer.json()["fix"]


def surroundings(**parts):
    return Surroundings(**({"lane": Lane(), "queue": Queue(), "number": Number(), "conversation": None} | parts))


def test_why_a_send_waits_follows_the_senders_own_order():
    full = NOW + (PAIR_BURST + 1) * PAIR_INTERVAL_S
    deferred = Command(slot=0, story=[(NOW, "send.deferred", "retry")])
    cases = (
        (Command(state=OPEN, wake_at=NOW + 9), {}, ("answer", NOW + 9)),
        (Command(state=AMBIGUOUS, wake_at=NOW + 90), {}, ("evidence", NOW + 90)),
        (Command(slot=-1, wake_at=NOW + 60), {}, ("not_before", NOW + 60)),
        (Command(slot=3), {"lane": Lane(head=1)}, ("its_turn", 0)),
        (Command(slot=0), {"queue": Queue(held_until=NOW + 5, held_because="token")}, ("held_token", NOW + 5)),
        (Command(slot=0), {"lane": Lane(pair_tat=full)}, ("pair_limit", full - (PAIR_BURST - 1) * PAIR_INTERVAL_S)),
        (deferred, {"lane": Lane(place=NOW + 4)}, ("retry", NOW + 4)),
        (Command(slot=0), {"queue": Queue(tat=NOW + 1)}, ("rate_limit", NOW + 0.95)),
    )
    for command, parts, expected in cases:
        found = why(command, surroundings(**parts), NOW)
        assert (found.reason, pytest.approx(found.until)) == expected


# --- dead letters


async def poison(rig, topic=OUTBOUND, data=b'{"command_id": 7}'):
    """A record that a processor cannot read, and the letter that the runner makes of it."""
    event = Event(f"poison-{topic}", "send.requested", NUMBER, data, NOW, NOW, "poison")
    await rig.app.log.append([(topic, event)])
    await until(lambda: rig.records("dead-letters"))
    return (await rig.admin.get("/v1/dead-letters")).json()["dead_letters"][0]


async def test_a_dead_letter_is_listed_shown_whole_and_named_as_a_problem(tmp_path):
    async with service(tmp_path) as rig:
        found = await poison(rig)
        assert (found["state"], found["topic"], found["type"]) == ("open", OUTBOUND, "send.requested")
        assert "raw" not in found
        assert (await rig.admin.get(f"/v1/dead-letters/{found['id']}")).json()["raw"] == '{"command_id": 7}'
        problems = (await rig.admin.get("/v1/overview")).json()["problems"]
        assert {"code": "dead_letters", "count": 1} in problems


async def test_a_replay_appends_the_record_as_it_stood_and_what_fails_again_is_a_new_letter(tmp_path):
    async with service(tmp_path) as rig:
        found = await poison(rig)
        answer = await rig.admin.post(f"/v1/dead-letters/{found['id']}/replay")
        assert (answer.status_code, answer.json()["state"]) == (202, "replayed")

        async def two():
            letters = (await rig.admin.get("/v1/dead-letters")).json()["dead_letters"]
            return letters if len(letters) == 2 else None

        letters = await until(two)
        assert sorted(one["state"] for one in letters) == ["open", "replayed"]
        first, second = await rig.records(OUTBOUND)
        assert first.event == second.event


async def test_what_was_settled_stays_so_over_a_restart_and_cannot_be_settled_again(tmp_path):
    async with service(tmp_path) as rig:
        found = await poison(rig)
        assert (await rig.admin.post(f"/v1/dead-letters/{found['id']}/discard")).status_code == 202
    async with service(tmp_path) as rig:
        shown = (await rig.admin.get(f"/v1/dead-letters/{found['id']}")).json()
        assert shown["state"] == "discarded"
        for action in ("replay", "discard"):
            answer = await rig.admin.post(f"/v1/dead-letters/{found['id']}/{action}")
            assert answer.status_code == 409, action
        assert len(await rig.records(OUTBOUND)) == 1
        assert (await rig.admin.get("/v1/dead-letters?state=open")).json()["count"] == 0


async def test_two_operators_at_once_settle_a_letter_once(tmp_path):
    async with service(tmp_path) as rig:
        path = f"/v1/dead-letters/{(await poison(rig))['id']}"
        asked = [rig.admin.post(f"{path}/{action}") for action in ("discard", "discard", "discard")]
        statuses = [answer.status_code for answer in await asyncio.gather(*asked)]
        assert statuses.count(202) == 1
        assert set(statuses) <= {202, 409, 503}


async def test_a_fact_of_the_timeline_is_not_told_twice_by_a_replay(tmp_path):
    async with service(tmp_path, roles=()) as rig:
        event = Event("a-fact", "message.added", NUMBER, b"{}", NOW, NOW, "x")
        await rig.app.log.append([(TIMELINE, event)])
        (record,) = await rig.records(TIMELINE)
        await rig.app.log.append([dead_letter(record, "test", NOW)])
        (found,) = (await rig.admin.get("/v1/dead-letters")).json()["dead_letters"]
        answer = await rig.admin.post(f"/v1/dead-letters/{found['id']}/replay")
        assert answer.status_code == 409
        assert len(await rig.records(TIMELINE)) == 1


async def test_a_record_that_its_topic_no_longer_holds_is_replayed_from_the_letter(tmp_path):
    async with service(tmp_path, roles=()) as rig:
        event = Event("gone", "webhook.message", NUMBER, b'{"number":"1"}', NOW, NOW, "x")
        await rig.app.log.append([(INBOUND, event)])
        (record,) = await rig.records(INBOUND)
        elsewhere = type(record)(INBOUND, record.partition, 77, event, NOW)
        await rig.app.log.append([dead_letter(elsewhere, "test", NOW)])
        (found,) = (await rig.admin.get("/v1/dead-letters")).json()["dead_letters"]
        assert (await rig.admin.post(f"/v1/dead-letters/{found['id']}/replay")).status_code == 202
        again = (await rig.records(INBOUND))[-1].event
        assert (again.id, again.type, again.data, again.at) == (event.id, event.type, event.data, event.at)


@pytest.mark.parametrize("letter_id", ["0-99", "77-0", "x", "-1", "0-", "0--1"])
async def test_a_letter_that_is_not_there_is_404(tmp_path, letter_id):
    async with service(tmp_path, roles=()) as rig:
        assert (await rig.admin.get(f"/v1/dead-letters/{letter_id}")).status_code == 404
        assert (await rig.admin.post(f"/v1/dead-letters/{letter_id}/replay")).status_code == 404


# --- topics and health


async def test_the_newest_events_end_where_the_stream_goes_on(tmp_path):
    async with service(tmp_path) as rig:
        await rig.trigger("message", text="old")
        await until(rig.conversation)
        newest = (await rig.admin.get("/v1/topics/coexist.timeline/newest")).json()
        assert [event["data"]["content"]["body"] for event in newest["events"]] == ["old"]
        headers = {"Last-Event-ID": newest["last_event_id"]}
        async with rig.admin.stream("GET", "/v1/topics/timeline/events", headers=headers) as stream:
            await rig.trigger("message", text="new")
            async for line in stream.aiter_lines():
                if line.startswith("data: "):
                    assert orjson.loads(line[6:])["data"]["content"]["body"] == "new"
                    break
        assert (await rig.admin.get("/v1/topics/nothing/newest")).status_code == 404


async def test_health_tells_what_this_process_is_and_no_secret(tmp_path):
    async with service(tmp_path) as rig:
        answer = await rig.admin.get("/v1/health")
        found = answer.json()
        assert found["edition"] == "embedded"
        assert found["ready"]
        assert found["sqlite"]["journal_mode"] == "wal"
        assert found["sqlite"]["file_bytes"] > 0
        assert set(found["shards_held"].values()) == {found["partitions"]}
        for secret in rig.app.settings.meta_app_secrets:
            assert secret.get_secret_value() not in answer.text
