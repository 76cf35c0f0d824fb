"""Nothing of a person in what operators see: canaries go through every path, and none is in logs or metrics."""

import asyncio
import itertools
import json
import re
import time
from contextlib import AsyncExitStack

import httpx
import pytest

from schemas.ports import Event
from schemas.topics import OUTBOUND
from services.app import ROLES
from services.edition import open_edition
from services.sandbox.config import DEFAULT_SECRET
from services.sandbox.triggers import TRIGGERS
from services.sandbox.wire import sign
from services.settings import Settings
from tests.crash.books import Books
from tests.processes import Sandbox, Service, post, probe, settings_for

CANARIES = 1_000
TALKING = 150
"""Of them, so many talk by way of the sandbox; the others come in webhooks of every kind that there is."""
POISONED = 20
LAST = {"offboard", "removed", "ban"}
NUMBER = "106540352242922"


class Canary:
    """A person who exists nowhere else: a phone, a name and a text to look for."""

    def __init__(self, n):
        self.phone = f"3469{n:04}7{n:04}"
        self.name = f"Canària{n:04}Name"
        self.text = f"piulada-{n:04}-secreta"

    def traces(self):
        return self.phone, self.phone[2:], self.name, f"{self.name[:5]}\\u00e0", self.text


def broken_bodies(canary):
    """Signed bodies with a canary that cannot be understood, each in its own way."""
    body = json.loads(probe("message", number=NUMBER, contact=canary.phone, text=canary.text))
    plain = json.dumps(body)
    value = body["entry"][0]["changes"][0]["value"]
    yield plain[:-7].encode()
    yield plain.encode().replace(b'"messages"', b'"mesages"')
    yield plain.encode().replace(canary.text.encode(), canary.text.encode() + b"\xff\xfe")
    yield json.dumps({"object": canary.text, "entry": canary.phone}).encode()
    value["messages"][0]["timestamp"] = {"name": canary.name}
    yield json.dumps(body).encode()
    value["messages"][0]["text"] = [canary.text] * 3
    yield json.dumps(body).encode()
    value["metadata"] = canary.name
    yield json.dumps(body).encode()
    yield (b"[" * 5000) + canary.text.encode()


def talk(sandbox, canary):
    about = {"number": NUMBER, "contact": canary.phone, "name": canary.name, "text": canary.text}
    wamid = sandbox.call("POST", "/customer/messages", about)["wamid"]
    sandbox.call("POST", "/app/messages", about)
    sandbox.call("POST", "/edit", {"wamid": wamid, "side": "customer", "text": f"{canary.text}!"})
    sandbox.call("POST", "/revoke", {"wamid": wamid, "side": "customer"})


def ask_wrongly(admin, canary):
    """Requests of the admin API with a canary in every place that can be wrong."""
    with httpx.Client(base_url=admin, timeout=10, trust_env=False) as client:
        good = {"number": NUMBER, "to": canary.phone, "type": "text", "text": {"body": canary.text}}
        client.post("/v1/messages", json=good | {"origin": "agent"})
        client.post("/v1/messages", json=good | {"command_id": canary.text, "number": canary.phone})
        client.post("/v1/messages", json=good | {"to": canary.name})
        client.post("/v1/messages", json=good | {"policy": canary.text})
        client.post("/v1/messages", json=good | {"expires_at": canary.text})
        client.post("/v1/messages", json=[canary.text])
        client.post("/v1/messages", content=f'{{"to": "{canary.phone}"'.encode())
        client.post("/v1/numbers", json={"number": {"name": canary.name}})
        client.post(f"/v1/conversations/{canary.name}/takeover", json={"by": canary.name})
        client.post("/v1/conversations/x/takeover", content=canary.text.encode())
        for path in (f"/v1/conversations/{canary.phone}", f"/v1/sends/{canary.text}", f"/{canary.phone}"):
            client.get(path)
        client.get("/v1/conversations", params={"number": canary.phone, "limit": canary.name})
        client.get("/v1/events", headers={"Last-Event-ID": canary.text})


async def poison(folder, canaries):
    """Commands that nobody can read, as another program may write them: each becomes a dead letter."""
    async with AsyncExitStack() as stack:
        edition = await open_edition(Settings(data_dir=folder), time.time, stack)
        edition.file.start()
        for canary in canaries:
            data = json.dumps({"command_id": canary.text, "to": canary.phone, "message": canary.name})[:-2].encode()
            event = Event(canary.text, "send.requested", NUMBER, data, time.time(), time.time(), canary.name)
            await edition.log.append([(OUTBOUND, event)])


def relay_to_nowhere(admin, port):
    """A relay whose receiver refuses everything: what it is sent must not be told either."""
    about = {"url": f"http://127.0.0.1:{port}/nowhere", "topics": ["timeline", "contacts", "sends"]}
    answer = httpx.post(f"{admin}/v1/relays", json=about, timeout=10, trust_env=False)
    assert answer.status_code < 300, answer.text


@pytest.mark.crash
def test_no_phone_name_or_text_is_in_logs_or_metrics(tmp_path, tell):
    settings = settings_for(tmp_path / "data", log_level="debug", log_format="json", relay_hosts="127.0.0.1")
    webhook = f"http://127.0.0.1:{settings['port']}/webhooks/meta"
    canaries = [Canary(n) for n in range(CANARIES)]
    talking, others = canaries[:TALKING], canaries[TALKING:]
    asyncio.run(poison(tmp_path / "data", others[:POISONED]))
    with Sandbox(tmp_path, webhook) as sandbox:
        sandbox.call("POST", "/faults", {"number_mps": 0, "cut_after_accept_p": 0.1, "failed_status_p": 0.2})
        settings["meta_graph_url"] = sandbox.url
        every = ("--roles", ",".join(ROLES))
        with Service(settings, tmp_path, *every) as service, httpx.Client(timeout=10, trust_env=False) as client:
            service.ready()
            relay_to_nowhere(service.admin, sandbox.port)
            for name, canary in zip(itertools.cycle(sorted(set(TRIGGERS) - LAST)), others):
                assert post(webhook, probe(name, number=NUMBER, contact=canary.phone, text=canary.text), client) == 200
            for n, canary in enumerate(talking):
                talk(sandbox, canary)
                if n % 5 == 0:
                    assert {post(webhook, body, client) for body in broken_bodies(canary)} == {200}
                    assert post(webhook, probe(contact=canary.phone), client, "a secret of somebody else") == 401
                    ask_wrongly(service.admin, canary)
            sandbox.call("POST", "/flush", {"timeout_s": 30})
            books = Books(tmp_path / "data")
            service.until(lambda: books.behind() == 0)
            for name in sorted(LAST & set(TRIGGERS)):
                post(webhook, probe(name, number=NUMBER, contact=others[0].phone, text=others[0].text), client)
            unsigned = client.post(webhook, content=canaries[0].text.encode(), headers={"X-Hub": canaries[0].phone})
            assert unsigned.status_code in (401, 415)
            seen = client.get(f"{service.admin}/metrics").text + client.get(f"{service.admin}/readyz").text
            books.close()
            assert service.stop()[0] == 0
        seen += service.err.read_text() + service.out.read_text()
    assert sign(b"", DEFAULT_SECRET.encode()) not in seen
    letters = re.search(r'coexist_dead_letters_total\{processor="sender.delivery"\} (\d+)', seen)
    assert int(letters[1]) == POISONED
    assert re.search(r'coexist_relay_deliveries_total\{outcome="failed"\} [1-9]', seen)
    found = [trace for canary in canaries for trace in canary.traces() if trace in seen]
    tell(f"{CANARIES} people in, {len(seen)} bytes of logs and metrics out, {len(found)} traces of them")
    assert found == []
    assert re.search(r'"event": ?"', seen) or "coexist_ingest_items_total" in seen
