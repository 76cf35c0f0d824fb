"""Sends through the app as it is booted: what becomes of a command, and who may stop it, over real HTTP."""

import asyncio
import random
import time

import httpx
import orjson
import pytest
import structlog

from schemas.ports import LogUnavailable
from services.sandbox.faults import calm
from tests.app.rig import ADDED, service, together, until
from tests.app.sandbox_receiver import CONTACT, NUMBER
from tests.processes import busy, probe

TRIALS = 120
NUMBERS = 12
X_S_MAX = 0.25
"""An echo that has been durable for longer than this withdraws the send, even on a busy machine."""


@pytest.fixture
async def rig(tmp_path):
    async with together(tmp_path) as running:
        await running.customer()
        await until(running.conversation)
        yield running


def quiet(**more):
    faults = calm()
    for name, value in more.items():
        setattr(faults, name, value)
    return faults


async def story(rig, command_id):
    """Types of what was told of a command on `sends`."""
    return [kind for kind, _, _ in await rig.events("sends", subject=command_id)]


async def test_a_send_in_the_window_is_accepted_once(rig):
    command_id = await rig.send("Bon dia")
    outcome = await rig.outcome(command_id)
    assert (outcome["state"], outcome["attempt"]) == ("accepted", 1)
    assert await story(rig, command_id) == ["send.accepted"]
    (sent,) = (await rig.meta.get("/sandbox/api/ledger/sends")).json()
    assert sent["wamid"] == outcome["message_id"]


async def test_an_answer_of_the_sandbox_does_not_wait_for_the_kernel_s_delayed_acknowledgements(rig):
    """A kept connection whose answers leave in two pieces loses 40 ms each time unless the socket is told not to."""
    took = []
    for _ in range(20):
        started = time.perf_counter()
        await rig.meta.get("/sandbox/api/numbers")
        took.append(time.perf_counter() - started)
    assert sorted(took)[10] < 0.03 or busy()


async def test_an_idempotency_key_makes_a_repeated_request_one_command(rig):
    body = {"number": NUMBER, "to": CONTACT, "type": "text", "text": {"body": "Una vegada"}}
    for _ in range(3):
        answer = await rig.admin.post("/v1/messages", json=body, headers={"Idempotency-Key": "order-7"})
        assert (answer.status_code, answer.json()) == (202, {"command_id": "order-7"})
    await rig.outcome("order-7")
    other = await rig.admin.post("/v1/messages", json=body | {"command_id": "order-7", "text": {"body": "Una altra"}})
    assert other.status_code == 202
    data = await rig.data("sends", "send.rejected", "order-7")
    assert data["reason"] == "command_id_conflict"
    assert len((await rig.meta.get("/sandbox/api/ledger/sends")).json()) == 1


@pytest.mark.parametrize(
    ("command", "kind", "reason"),
    [
        ({"expires_at": "2020-01-01T00:00:00Z"}, "send.expired", "expired"),
        ({"only_if": {"no_message_after": "2020-01-01T00:00:00Z"}}, "send.withdrawn", "newer_message"),
        ({"not_before": "2999-01-01T00:00:00Z"}, "send.deferred", "not_before"),
    ],
)
async def test_a_command_that_must_not_go_says_why(rig, command, kind, reason):
    command_id = await rig.send(**command)
    assert (await rig.data("sends", kind, command_id))["reason"] == reason
    assert (await rig.meta.get("/sandbox/api/ledger/sends")).json() == []


async def test_a_command_for_a_number_that_is_not_known_is_refused_at_the_door_and_nothing_of_it_is_kept(rig):
    body = {"number": "999999999999999", "to": CONTACT, "type": "text", "text": {"body": "Enlloc"}}
    answer = await rig.admin.post("/v1/messages", json=body)
    assert (answer.status_code, answer.json()["title"]) == (404, "no such number")
    assert await rig.records("outbound") == []


async def test_outside_the_window_meta_s_refusal_is_told_with_its_error(rig):
    await rig.control("/window", {"number": NUMBER, "contact": CONTACT, "expires_in_s": 0})
    data = await rig.data("sends", "send.rejected", await rig.send())
    assert (data["reason"], data["error"]["code"]) == ("needs_template", 131047)


async def test_a_command_that_waits_can_be_cancelled(rig):
    command_id = await rig.send(not_before="2999-01-01T00:00:00Z")
    await rig.data("sends", "send.deferred", command_id)
    assert (await rig.admin.delete(f"/v1/sends/{command_id}")).status_code == 202
    assert (await rig.outcome(command_id))["state"] == "cancelled"


async def test_a_lost_answer_is_resolved_by_the_status_and_nothing_is_sent_twice(tmp_path):
    async with together(tmp_path, faults=quiet(cut_after_accept_p=1)) as rig:
        await rig.customer()
        await until(rig.conversation)
        command_id = await rig.send(policy="at_most_once")
        outcome = await rig.outcome(command_id)
        assert outcome["state"] == "accepted"
        assert len((await rig.meta.get("/sandbox/api/ledger/sends")).json()) == 1
        assert (await rig.data("timeline", ADDED, outcome["message_id"]))["command_id"] == command_id


async def test_statuses_of_a_send_arrive_with_its_command(tmp_path):
    async with together(tmp_path, faults=quiet(failed_status_p=1)) as rig:
        await rig.customer()
        await until(rig.conversation)
        command_id = await rig.send()
        outcome = await rig.outcome(command_id)
        data = await rig.data("timeline", "status.changed", outcome["message_id"])
        assert (data["status"], data["command_id"], data["errors"][0]["code"]) == ("failed", command_id, 131026)


async def test_a_number_whose_token_is_refused_holds_its_commands(tmp_path):
    async with together(tmp_path, faults=quiet(token_expired=True)) as rig:
        await rig.customer()
        await until(rig.conversation)
        data = await rig.data("sends", "send.deferred", await rig.send())
        assert data["reason"] == "token_refused"
        changed = await rig.data("account", "number.changed")
        assert (changed["sending"], changed["because"]) == ("paused", "token")


async def test_a_takeover_withdraws_the_bot_s_sends_until_the_release(rig):
    conversation = (await rig.conversation())["conversation_id"]

    async def owned_by(owner):
        return (await rig.conversation())["owner"] == owner

    taken = await rig.admin.post(f"/v1/conversations/{conversation}/takeover", json={"minutes": 5, "by": "ana"})
    assert taken.status_code == 202
    await until(lambda: owned_by("agent"))
    data = await rig.data("sends", "send.withdrawn", await rig.send("bot"))
    assert data["reason"] == "taken_over"
    assert (await rig.outcome(await rig.send("a person", origin="agent")))["state"] == "accepted"
    await rig.admin.post(f"/v1/conversations/{conversation}/release", json={})
    await until(lambda: owned_by("bot"))
    assert (await rig.outcome(await rig.send("bot again")))["state"] == "accepted"
    assigned = await rig.admin.post(f"/v1/conversations/{conversation}/assign", json={"assignee": "ana"})
    assert assigned.status_code == 202

    async def assigned_to_ana():
        return (await rig.conversation()).get("assignee") == "ana"

    await until(assigned_to_ana)


async def test_a_bot_s_send_may_wait_for_the_release_instead(rig):
    await rig.data("timeline", ADDED, await rig.owner())
    data = await rig.data("sends", "send.deferred", await rig.send(defer_until_released=True))
    assert data["reason"] == "taken_over"


# --- what stands between a committed attempt and the socket


class Observed:
    """A log that notes when echoes became durable, and refuses to confirm what it is told to."""

    def __init__(self, log):
        self.log = log
        self.durable = {}
        self.refuse = set()

    def __getattr__(self, name):
        return getattr(self.log, name)

    async def append(self, entries):
        for _, event in entries:
            if event.type in self.refuse:
                self.refuse.discard(event.type)
                raise LogUnavailable("the test's log confirms nothing")
        await self.log.append(entries)
        now = time.perf_counter()
        for _, event in entries:
            if event.type == "webhook.echo":
                self.durable[orjson.loads(event.data)["contact"]["wa_id"]] = now


class Socket(httpx.AsyncBaseTransport):
    """In Graph's place: notes when each request would have left, and accepts it."""

    def __init__(self):
        self.left = {}

    async def handle_async_request(self, request):
        now = time.perf_counter()
        to = orjson.loads(request.content)["to"]
        self.left[to] = now
        answer = {"messaging_product": "whatsapp", "contacts": [{"wa_id": to}], "messages": [{"id": f"wamid.{to}"}]}
        return httpx.Response(200, json=answer)


async def test_a_send_whose_attempt_is_not_durable_does_not_leave_and_is_tried_again(tmp_path):
    socket, logs = Socket(), []

    def wrap(log):
        logs.append(Observed(log))
        return logs[0]

    async with service(tmp_path, graph_transport=socket, wrap_log=wrap) as rig:
        await rig.trigger("message", contact=CONTACT)
        await until(rig.conversation)
        logs[0].refuse.add("send.attempted")
        command_id = await rig.send(policy="at_most_once")
        assert (await rig.data("sends", "send.deferred", command_id))["reason"] == "not_durable"
        assert socket.left == {}
        assert (await rig.outcome(command_id))["attempt"] == 2
        assert list(socket.left) == [CONTACT]


async def race(rig, contact, number, head_start_s):
    """A bot answers a customer, and so does a person in the app, `head_start_s` sooner. The command's end."""
    command = {"number": number, "to": contact, "type": "text", "text": {"body": "bot"}, "origin": "bot"}

    async def person():
        await asyncio.sleep(max(0.0, -head_start_s))
        assert (await rig.post(probe("echo", number=number, contact=contact))).status_code == 200

    async def bot():
        await asyncio.sleep(max(0.0, head_start_s))
        return (await rig.admin.post("/v1/messages", json=command)).json()["command_id"]

    _, command_id = await asyncio.gather(person(), bot())
    return (await rig.outcome(command_id))["state"]


async def test_a_person_who_answers_first_in_the_app_withdraws_the_bot_s_reply(tmp_path, tell):
    """X of the promise: how long the echo has been durable, at most, when a request leaves nevertheless."""
    socket, logs, dice = Socket(), [], random.Random(11)

    def wrap(log):
        logs.append(Observed(log))
        return logs[0]

    ahead, withdrawn = [], 0
    async with service(tmp_path, graph_transport=socket, wrap_log=wrap, about={"partitions": 4}) as rig:
        people = [(f"346001{n:05}", str(106540352242000 + n % NUMBERS)) for n in range(TRIALS)]
        for contact, number in people:
            assert (await rig.post(probe(number=number, contact=contact))).status_code == 200

        async def everybody_is_known():
            return len(await rig.events("conversations", "conversation.state")) >= TRIALS

        await until(everybody_is_known)
        for contact, number in people:
            state = await race(rig, contact, number, dice.uniform(-0.03, 0.03))
            withdrawn += state == "withdrawn"
            assert (state == "withdrawn") == (contact not in socket.left)
            if contact in socket.left:
                ahead.append(socket.left[contact] - logs[0].durable[contact])
    x_s = max(0.0, *ahead)
    tell(f"X: {withdrawn} of {TRIALS} withdrawn; no send left more than {x_s * 1000:.1f} ms after a durable echo")
    assert 0 < withdrawn < TRIALS or busy()
    assert x_s < X_S_MAX or busy()


async def test_a_paused_number_sends_nothing_and_what_a_person_answered_meanwhile_is_withdrawn(rig):
    async def sending(state):
        return (await rig.admin.get("/v1/numbers")).json()["numbers"][0]["sending"] == state

    other = "34600111444"
    await rig.data("timeline", ADDED, await rig.customer(contact=other))
    await rig.admin.post(f"/v1/numbers/{NUMBER}/pause")
    await until(lambda: sending("paused"))
    answered, unanswered = await rig.send(), await rig.send(to=other)
    await rig.data("timeline", ADDED, await rig.owner("Ja ho miro jo"))

    async def queued():
        answers = [await rig.admin.get(f"/v1/sends/{command}") for command in (answered, unanswered)]
        return [answer.json().get("state") for answer in answers] == ["queued", "queued"]

    await until(queued)
    await rig.admin.post(f"/v1/numbers/{NUMBER}/resume")
    assert (await rig.outcome(answered))["state"] == "withdrawn"
    assert (await rig.outcome(unanswered))["state"] == "accepted"
    assert len((await rig.meta.get("/sandbox/api/ledger/sends")).json()) == 1


async def test_the_log_says_that_sends_fail_and_a_number_is_paused_and_names_nobody(tmp_path):
    with structlog.testing.capture_logs() as lines:
        async with together(tmp_path) as rig:
            await rig.customer()
            await until(rig.conversation)
            for _ in range(3):
                await rig.outcome(await rig.send(to="34600999888"))
            await rig.admin.post(f"/v1/numbers/{NUMBER}/pause")
            await rig.data("account", "number.changed")
            await rig.post(b"{}", secret="a secret that nobody here knows, at all")
    said = [(line["event"], line["reason"], line["count"]) for line in lines if "reason" in line]
    assert ("sends_fail", "needs_template", 1) in said
    assert ("number_paused", "operator", 1) in said
    assert ("webhooks_refused", "signature", 1) in said
    assert len(said) == len(set(said))
    assert not any(name in str(lines) for name in (NUMBER, CONTACT, "34600999888", "Resposta"))
