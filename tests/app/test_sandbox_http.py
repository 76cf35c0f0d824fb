"""The sandbox over real HTTP: its webhooks and its control API."""

import asyncio
import json
import os
import signal
import socket
import sys
import time
from collections import Counter

import httpx
import pytest

from services.sandbox.faults import Faults, calm
from tests.app.sandbox_receiver import ALICE, DEADLINE_S, NUMBER, Receiver, flush, listening, post, sandbox, until
from tests.processes import busy


@pytest.fixture
async def receiver():
    app = Receiver()
    async with listening(app) as url:
        app.url = url + "/webhooks/meta"
        yield app


@pytest.fixture
async def meta(receiver):
    async with sandbox(webhook_url=receiver.url) as client:
        yield client


async def test_a_message_arrives_once_signed_and_is_acknowledged_in_the_ledger(meta, receiver):
    wamid = (await post(meta, "/customer/messages", ALICE))["wamid"]
    assert await flush(meta) == {"outstanding": 0, "unacknowledged": 0}
    assert receiver.found("messages")[0]["text"]["body"] == ALICE["text"]
    items = [json.loads(line) for line in (await meta.get("/sandbox/api/ledger/items")).text.splitlines()]
    assert [(i["key"], i["deliveries"], i["acknowledged"]) for i in items] == [(f"message:{wamid}", 1, 1)]
    assert items[0]["first_ack_at_s"] == pytest.approx(time.time(), abs=DEADLINE_S)


async def test_refused_updates_come_again_until_a_200(meta, receiver):
    receiver.status = lambda nth: 503 if nth <= 3 else 200
    wamid = (await post(meta, "/app/messages", ALICE))["wamid"]
    await flush(meta)
    assert receiver.items == {f"message_echoes:{wamid}": 4}
    ledger = (await meta.get("/sandbox/api/ledger")).json()
    assert (ledger["deliveries"], ledger["acknowledged"]) == (4, 1)
    assert ledger["answers"] == {"503": 3, "200": 1}


async def test_a_slow_receiver_counts_as_a_failure(meta, receiver):
    await post(meta, "/faults", {"webhook_timeout_ms": 50})
    receiver.delay_s = 0.3
    await post(meta, "/customer/messages", ALICE)

    async def answers():
        return (await meta.get("/sandbox/api/ledger")).json()["answers"]

    assert set(await until(answers)) == {"timeout"}
    receiver.delay_s = 0.0
    await flush(meta)


async def test_updates_wait_for_a_receiver_that_is_not_there_yet(receiver):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/"
        async with sandbox(webhook_url=url) as client:
            wamid = (await post(client, "/customer/messages", ALICE))["wamid"]
            left = await post(client, "/flush", {"timeout_s": 0.2})
            assert left == {"outstanding": 1, "unacknowledged": 1}
            await post(client, "/webhook", {"url": receiver.url})
            await flush(client)
    assert receiver.items == {f"messages:{wamid}": 1}


async def test_a_lost_200_makes_a_repeat_and_stays_acknowledged(meta, receiver):
    wamid = (await post(meta, "/customer/messages", ALICE | {"trouble": {"drop200": True}}))["wamid"]
    await flush(meta)
    assert receiver.items == {f"messages:{wamid}": 2}
    ledger = (await meta.get("/sandbox/api/ledger")).json()
    assert (ledger["acknowledged"], ledger["lost_200"], ledger["answers"]) == (1, 1, {"200": 2})


async def test_one_message_can_be_ordered_to_come_late_and_twice(meta, receiver):
    late = (await post(meta, "/customer/messages", ALICE | {"trouble": {"late_ms": 1000, "duplicate": True}}))["wamid"]
    soon = (await post(meta, "/customer/messages", ALICE))["wamid"]
    await flush(meta)
    assert receiver.order[0] == f"messages:{soon}"
    assert receiver.items == {f"messages:{soon}": 1, f"messages:{late}": 2}


async def test_every_update_can_be_made_to_come_twice(meta, receiver):
    await post(meta, "/faults", {"duplicate_p": 1, "duplicate_ms": 5})
    for n in range(10):
        await post(meta, "/customer/messages", ALICE | {"text": str(n)})
    await flush(meta)
    assert Counter(receiver.items.values()) == {2: 10}


async def test_held_back_updates_are_overtaken(meta, receiver):
    await post(meta, "/faults", {"reorder_p": 0.5, "reorder_ms": 200})
    wanted = [(await post(meta, "/customer/messages", ALICE))["wamid"] for _ in range(20)]
    await flush(meta)
    got = [key.partition(":")[2] for key in receiver.order]
    assert sorted(got) == sorted(wanted)
    assert got != wanted


async def test_batches_are_cut_anew_when_they_are_repeated(meta, receiver):
    await post(meta, "/faults", {"paused": True, "batch_p": 1, "batch_max": 50, "concurrency": 1})
    for n in range(30):
        await post(meta, "/app/messages" if n % 3 else "/customer/messages", ALICE)
    receiver.status = lambda nth: 500 if nth <= 2 else 200
    await post(meta, "/faults", {"paused": False})
    await flush(meta)
    assert len(receiver.items) == 30
    assert len(receiver.bodies) < 30
    sizes = [sum(1 for _ in receiver.read(body)) for body in receiver.bodies]
    assert max(sizes) > 1
    assert sum(sizes) > 30


async def test_people_talking_lose_nothing_in_any_trouble(meta, receiver):
    trouble = {"duplicate_p": 0.2, "reorder_p": 0.3, "drop200_p": 0.1, "batch_p": 0.5, "batch_max": 20}
    await post(meta, "/faults", trouble | {"retry_max_ms": 200})
    receiver.status = lambda nth: 500 if nth % 7 == 0 else 200
    await post(meta, "/traffic", {"messages_per_s": 400, "customers": 10, "seconds": 1})

    async def silent():
        return (await meta.get("/sandbox/api/traffic")).json() is None

    await until(silent)
    left = await flush(meta)
    ledger = (await meta.get("/sandbox/api/ledger")).json()
    assert left["unacknowledged"] == 0
    assert ledger["items"] == len(receiver.items) > 100
    assert ledger["deliveries"] == receiver.items.total() > ledger["items"]


async def test_the_same_calls_give_the_same_ids(receiver):
    runs = []
    for seed in (5, 5, 6):
        async with sandbox(webhook_url=receiver.url, seed=seed) as client:
            runs.append([(await post(client, "/customer/messages", ALICE))["wamid"] for _ in range(3)])
    assert runs[0] == runs[1] != runs[2]


async def test_the_control_api_says_what_is_wrong(meta):
    wrong = await post(meta, "/customer/messages", ALICE | {"number": "1"}, (404,))
    assert wrong["detail"] == "no such number in this sandbox"
    assert "duplicate_p" in (await post(meta, "/faults", {"dupliate_p": 1}, (400,)))["detail"]
    assert "contact" in (await post(meta, "/customer/messages", {"number": NUMBER}, (400,)))["detail"]
    assert (await meta.get(f"/sandbox/api/chats/{NUMBER}/1")).json()["messages"] == []
    assert (await meta.get("/sandbox/api/chats/1/1")).status_code == 404


async def test_edits_deletions_history_and_triggers_reach_the_receiver(meta, receiver):
    wamid = (await post(meta, "/customer/messages", ALICE))["wamid"]
    await post(meta, "/edit", {"wamid": wamid, "text": "nou", "side": "customer"})
    await post(meta, "/revoke", {"wamid": wamid, "side": "customer"})
    await post(meta, "/trigger", {"name": "echo_revoke", "target": "wamid.T", "times": 2})
    assert (await post(meta, "/history", {"number": NUMBER, "messages": 30, "media_p": 0}))["chunks"] == 3
    await flush(meta)
    assert Counter(item["type"] for item in receiver.found("messages")) == {"text": 1, "edit": 1, "revoke": 1}
    assert [i["revoke"]["original_message_id"] for i in receiver.found("message_echoes")] == ["wamid.T"] * 2
    kinds = (await meta.get("/sandbox/api/ledger")).json()["items_by_kind"]
    assert (kinds["history"], kinds["history_message"]) == (3, 30)


async def test_events_tell_what_happens(meta):
    async with meta.stream("GET", "/sandbox/api/events") as stream:
        lines = stream.aiter_lines()
        assert (await anext(lines)).startswith(":")
        await post(meta, "/customer/messages", ALICE)
        seen = set()
        async with asyncio.timeout(DEADLINE_S):
            while seen != {"chat.message", "webhook.delivered"}:
                line = await anext(lines)
                if line.startswith("data: "):
                    seen.add(json.loads(line.removeprefix("data: "))["type"])


async def test_the_page_runs_nothing_inline(meta):
    answer = await meta.get("/sandbox")
    assert answer.headers["content-security-policy"].startswith("default-src 'self'")
    assert "<style" not in answer.text
    assert " style=" not in answer.text
    assert (await meta.get("/sandbox/static/../app.py")).status_code == 404
    assert (await meta.get("/sandbox/static/%2e%2e/app.py")).status_code == 404
    assert (await meta.get("/healthz")).text == "ok\n"


PROGRAM = """
import asyncio
from services.sandbox.app import serve
from services.sandbox.config import SandboxConfig
asyncio.run(serve(SandboxConfig(port=0), lambda port: print(port, flush=True)))
"""


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_stops_it_cleanly_although_a_page_listens_and_a_call_waits(sent):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    port = int(await asyncio.wait_for(process.stdout.readline(), DEADLINE_S))
    async with (
        httpx.AsyncClient(timeout=DEADLINE_S) as client,
        client.stream("GET", f"http://127.0.0.1:{port}/sandbox/api/events") as stream,
    ):
        await anext(stream.aiter_bytes())
        base = f"http://127.0.0.1:{port}/sandbox/api"
        await client.post(base + "/customer/messages", json=ALICE)
        left = asyncio.Event()

        async def trace(name, _):
            if name == "http11.send_request_body.complete":
                left.set()

        asked = client.post(base + "/flush", json={"timeout_s": 60}, extensions={"trace": trace})
        waiting = asyncio.create_task(asked)
        await left.wait()  # on a connection that was there already, so the sandbox reads it before what follows
        await client.get(base + "/ledger")
        started = time.monotonic()
        os.kill(process.pid, sent)
        _, errors = await asyncio.wait_for(process.communicate(), DEADLINE_S)
        assert (await waiting).json() == {"outstanding": 1, "unacknowledged": 1}
    assert (process.returncode, errors) == (0, b"")
    assert time.monotonic() - started < 1 or busy()


def test_defaults_have_some_trouble_and_calm_has_none():
    assert Faults().duplicate_p > 0
    assert calm().duplicate_p == calm().reorder_p == calm().drop200_p == 0


async def test_offline_ends_by_itself_and_can_be_ended(meta, receiver):
    assert (await post(meta, "/offline", {"seconds": 2}))["offline_s"] > 1
    await post(meta, "/customer/messages", ALICE)
    assert (await meta.get("/sandbox/api/ledger")).json()["offline_s"] > 0
    assert receiver.bodies == []
    assert (await flush(meta))["unacknowledged"] == 0
    assert (await meta.get("/sandbox/api/ledger")).json()["offline_s"] == 0
    await post(meta, "/offline", {"seconds": 600})
    await post(meta, "/customer/messages", ALICE)
    await post(meta, "/offline", {"seconds": 0})
    assert (await flush(meta))["unacknowledged"] == 0
    for wrong in (-1, 1e9, "long"):
        assert (await meta.post("/sandbox/api/offline", json={"seconds": wrong})).status_code == 400
