"""The whole app, booted as in production but on the seeded log: signed webhooks in, Graph by seed, and all balances.

Graph accepts, refuses, or accepts and loses its answer; statuses and echoes of what it accepted come in any order and
repeated. In the end every message stands on the timeline once, with its author, and every command has its end.
"""

import asyncio
import random
import time

import httpx
import orjson
import pytest

from schemas.topics import DEAD_LETTERS, SENDS, TIMELINE
from tests.app.rig import service, until
from tests.harness import audit
from tests.simulation.line import FINAL
from tests.simulation.seeded_log import SeededLog
from tests.simulation.truth import fold

NUMBER, BUSINESS = "106540352242922", "34600999888"
CUSTOMERS = [f"3460011122{n}" for n in range(4)]
STEPS = 40
DEADLINE_S = 30.0


class Meta:
    """Both sides of Meta: what it accepted and what it will tell, in an order of its own."""

    def __init__(self, seed):
        self.pick = random.Random(seed)
        self.clock = int(time.time()) - 2 * STEPS  # windows are open, and no message lies ahead
        self.pending = []
        self.authors = {}
        self.refused = 0
        self.accepted = {}

    def __call__(self, request):
        """Graph: `httpx.MockTransport` hands us each request."""
        sent = orjson.loads(request.content)
        fate = self.pick.random()
        if fate < 0.1:
            self.refused += 1
            return httpx.Response(400, json={"error": {"code": 131026, "message": "undeliverable"}})
        if fate < 0.2:
            raise httpx.ConnectError("no route", request=request)
        wamid = f"wamid.api{len(self.accepted)}"
        token = sent["biz_opaque_callback_data"]
        self.accepted[wamid] = token
        self.authors[wamid] = "api"
        self.tell_of(wamid, token, sent)
        if fate < 0.4:
            raise httpx.ReadTimeout("lost", request=request)
        return httpx.Response(200, json={"contacts": [{"wa_id": sent["to"]}], "messages": [{"id": wamid}]})

    def tell_of(self, wamid, token, sent):
        for name in ("sent", "delivered", "read"):
            status = {"id": wamid, "status": name, "timestamp": str(self.clock), "recipient_id": sent["to"]}
            self.put("messages", statuses=[status | {"biz_opaque_callback_data": token}])
        echoed = {"from": BUSINESS, "to": sent["to"], "id": wamid, "type": "text", "text": sent["text"]}
        self.put("smb_message_echoes", message_echoes=[echoed | {"timestamp": str(self.clock)}])

    def customer(self):
        wamid = self.new("customer")
        message = {"from": self.pick.choice(CUSTOMERS), "id": wamid, "type": "text", "text": {"body": "hola"}}
        self.put("messages", messages=[message | {"timestamp": str(self.clock)}])

    def owner(self):
        """The same words as our own sends have: words must not matter."""
        wamid = self.new("business_app")
        echo = {"from": BUSINESS, "to": self.pick.choice(CUSTOMERS), "id": wamid, "type": "text"}
        echo |= {"text": {"body": self.pick.choice(["resposta", "altres"])}, "timestamp": str(self.clock)}
        self.put("smb_message_echoes", message_echoes=[echo])

    def new(self, author):
        self.clock += 1
        wamid = f"wamid.{author}{len(self.authors)}"
        self.authors[wamid] = author
        return wamid

    def put(self, field, **items):
        value = {"metadata": {"phone_number_id": NUMBER, "display_phone_number": BUSINESS}, **items}
        entry = {"id": "102", "changes": [{"field": field, "value": value}]}
        body = orjson.dumps({"object": "whatsapp_business_account", "entry": [entry]})
        self.pending += [body] * self.pick.choice([1, 1, 2])

    async def deliver(self, rig, share):
        """Post some of what is pending, in any order, several at once."""
        self.pick.shuffle(self.pending)
        count = int(len(self.pending) * share)
        now, self.pending = self.pending[:count], self.pending[count:]
        answers = await asyncio.gather(*(rig.post(body) for body in now))
        assert {answer.status_code for answer in answers} <= {200}


async def live(meta, rig):
    commands = []
    meta.customer()
    await meta.deliver(rig, 1)
    await until(lambda: rig.events("account", "number.onboarded"))
    for _ in range(STEPS):
        step = meta.pick.choice(["customer", "owner", "send", "send", "deliver"])
        if step == "send":
            commands.append(await rig.send("resposta", meta.pick.choice(CUSTOMERS), origin="agent"))
        elif step == "deliver":
            await meta.deliver(rig, 0.6)
        else:
            getattr(meta, step)()
    return commands


def origins(timeline):
    return {wamid: told["origin"] for wamid, told in fold(timeline).items() if told["added"]}


async def ended(rig, meta, commands):
    """Deliver whatever Meta has to tell until every command has its end and every message is there."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            await meta.deliver(rig, 1)
            told = await rig.events(SENDS)
            final = {subject for kind, subject, _ in told if kind in FINAL}
            timeline = [record.event for record in await rig.records(TIMELINE)]
            if final >= set(commands) and origins(timeline) == meta.authors and not meta.pending:
                return
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("seed", range(2))
async def test_the_whole_app_balances_whatever_the_order(tmp_path, seed):
    meta, logs = Meta(seed), []

    def wrap(log):
        logs.append(SeededLog(log, seed))
        return logs[0]

    transport = httpx.MockTransport(meta)
    roles = ("ingest", "echo-sync", "sender")
    async with service(tmp_path, "https://graph.test", roles, graph_transport=transport, wrap_log=wrap) as rig:
        commands = await live(meta, rig)
        await ended(rig, meta, commands)
        events = await audit(rig.app.log)
    assert origins(events[TIMELINE]) == meta.authors
    added = [event.subject for event in events[TIMELINE] if event.type == "message.added"]
    assert sorted(added) == sorted(meta.authors)
    ends = [event.subject for event in events[SENDS] if event.type in FINAL]
    assert sorted(ends) == sorted(commands)
    assert sum(event.type == "send.accepted" for event in events[SENDS]) == len(meta.accepted)
    assert sum(event.type == "send.rejected" for event in events[SENDS]) == meta.refused
    assert events[DEAD_LETTERS] == []
    assert logs[0].redelivered > 0
