"""The sandbox's Graph endpoints over real HTTP, with the webhooks that follow a send."""

import asyncio
from hashlib import sha256

import httpx
import pytest

from tests.app.sandbox_receiver import (
    ALICE,
    CONTACT,
    NUMBER,
    TEXT,
    TOKEN,
    Receiver,
    code,
    flush,
    listening,
    post,
    sandbox,
    send,
    until,
)


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


async def test_a_send_is_accepted_and_its_statuses_carry_our_token(meta, receiver):
    await post(meta, "/customer/messages", ALICE)
    await post(meta, "/faults", {"read_p": 1, "api_echo_p": 1})
    answer = await send(meta, biz_opaque_callback_data="coexist:cmd:1")
    wamid = answer.json()["messages"][0]["id"]
    assert answer.json()["contacts"] == [{"input": CONTACT, "wa_id": CONTACT}]
    await flush(meta)
    statuses = [item for item in receiver.found("statuses") if item["id"] == wamid]
    assert [item["status"] for item in statuses] == ["sent", "delivered", "read"]
    assert {item["biz_opaque_callback_data"] for item in statuses} == {"coexist:cmd:1"}
    assert {item["recipient_id"] for item in statuses} == {CONTACT}
    assert [item["id"] for item in receiver.found("message_echoes")] == [wamid]
    chat = (await meta.get(f"/sandbox/api/chats/{NUMBER}/{CONTACT}")).json()
    assert [(m["side"], m["status"]) for m in chat["messages"]] == [("customer", "sent"), ("api", "read")]


async def test_statuses_can_come_before_the_answer(meta, receiver):
    await post(meta, "/customer/messages", ALICE)
    await post(meta, "/faults", {"status_before_response_p": 1, "api_echo_p": 1, "status_delay_ms": 1500})
    sending = asyncio.create_task(send(meta))

    async def arrived():
        assert not sending.done()
        return receiver.found("statuses") and receiver.found("message_echoes")

    await until(arrived)
    assert (await sending).json()["messages"][0]["id"] == receiver.found("statuses")[0]["id"]


@pytest.mark.parametrize(
    ("fault", "seen"),
    [("cut_after_accept_p", None), ("error500_after_accept_p", 500), ("unparsable_200_p", 200)],
)
async def test_an_accepted_send_can_lose_its_answer(meta, receiver, fault, seen):
    await post(meta, "/customer/messages", ALICE)
    await post(meta, "/faults", {fault: 1})
    if seen is None:
        with pytest.raises(httpx.TransportError):
            await send(meta, biz_opaque_callback_data="t")
    else:
        answer = await send(meta, biz_opaque_callback_data="t")
        assert answer.status_code == seen
        with pytest.raises(ValueError):
            answer.json()
    await flush(meta)
    assert {item["biz_opaque_callback_data"] for item in receiver.found("statuses")} == {"t"}
    sends = (await meta.get("/sandbox/api/ledger/sends")).json()
    assert [(s["code"], s["token_accepted"], s["wamid"] is None) for s in sends] == [(None, 1, False)]


async def test_a_send_cut_before_it_is_accepted_leaves_nothing(meta, receiver):
    await post(meta, "/customer/messages", ALICE)
    await post(meta, "/faults", {"cut_before_accept_p": 1})
    with pytest.raises(httpx.TransportError):
        await send(meta)
    await flush(meta)
    assert not receiver.found("statuses")
    assert (await meta.get("/sandbox/api/ledger")).json()["sends"]["accepted"] == 0


async def test_refusals_are_metas(meta):
    path = f"/v26.0/{NUMBER}/messages"
    assert code(await meta.post(path, json=TEXT)) == (401, 190)
    unknown = await meta.post("/v26.0/1/messages", headers=TOKEN, json=TEXT)
    assert code(unknown) == (400, 100)
    assert unknown.json()["error"]["error_subcode"] == 33
    assert code(await send(meta)) == (400, 131047)
    template = {"type": "template", "template": {"name": "order_update", "language": {"code": "es"}}}
    assert (await send(meta, **template)).status_code == 200
    await post(meta, "/faults", {"token_expired": True})
    assert code(await send(meta)) == (401, 190)


async def test_the_limits_of_a_coexistence_number_hold(meta):
    await post(meta, "/customer/messages", ALICE)
    await post(meta, "/faults", {"pair_burst": 3})
    codes = [code(answer)[1] if answer.is_error else None for answer in [await send(meta) for _ in range(4)]]
    assert codes == [None, None, None, 131056]
    await post(meta, "/faults", {"pair_interval_ms": 0, "number_mps": 2})
    answers = await asyncio.gather(*(send(meta) for _ in range(20)))
    assert 130429 in {code(answer)[1] for answer in answers if answer.is_error}


async def test_a_user_id_reaches_its_person_and_in_to_it_is_lost(meta, receiver):
    await post(meta, "/customer/messages", ALICE)
    user_id = (await meta.get("/sandbox/api/chats")).json()[0]["user_id"]
    body = {name: value for name, value in TEXT.items() if name != "to"} | {"recipient": user_id}
    answer = await meta.post(f"/v26.0/{NUMBER}/messages", headers=TOKEN, json=body)
    assert answer.json()["contacts"] == [{"input": user_id, "user_id": user_id}]
    lost = await send(meta, to=user_id, type="template", template={"name": "x", "language": {"code": "es"}})
    wamid = lost.json()["messages"][0]["id"]
    await flush(meta)
    failed = [item for item in receiver.found("statuses") if item["id"] == wamid]
    assert [(item["status"], item["errors"][0]["code"]) for item in failed] == [("failed", 131026)]


async def test_the_platform_side_answers_as_graph_does(meta, receiver):
    assert (await post(meta, "/verify"))["verified"]
    number = (await meta.get(f"/v26.0/{NUMBER}?fields=is_on_biz_app,platform_type", headers=TOKEN)).json()
    assert (number["is_on_biz_app"], number["platform_type"]) == (True, "CLOUD_API")
    waba = "/v26.0/700000000000001"
    listed = (await meta.get(waba + "/phone_numbers", headers=TOKEN)).json()["data"]
    assert [entry["id"] for entry in listed] == [NUMBER]
    assert (await meta.post(waba + "/subscribed_apps", headers=TOKEN)).json() == {"success": True}
    assert len((await meta.get(waba + "/subscribed_apps", headers=TOKEN)).json()["data"]) == 1
    sync = {"messaging_product": "whatsapp", "sync_type": "history"}
    path = f"/v26.0/{NUMBER}/smb_app_data"
    assert "request_id" in (await meta.post(path, headers=TOKEN, json=sync)).json()
    assert code(await meta.post(path, headers=TOKEN, json=sync)) == (400, 2593107)
    await flush(meta)


async def test_media_can_be_fetched_with_the_digest_of_the_webhook(meta, receiver):
    await post(meta, "/customer/messages", ALICE | {"kind": "image", "text": "mira"})
    await flush(meta)
    image = receiver.found("messages")[0]["image"]
    about = (await meta.get(f"/v26.0/{image['id']}", headers=TOKEN)).json()
    data = (await meta.get(about["url"], headers=TOKEN)).content
    assert sha256(data).hexdigest() == about["sha256"]
    assert (await meta.get(about["url"])).status_code == 401
    await post(meta, "/faults", {"media_missing_p": 1})
    assert (await meta.get(about["url"], headers=TOKEN)).status_code == 404
    upload = {"file": ("a.txt", b"hello", "text/plain")}
    got = await meta.post(f"/v26.0/{NUMBER}/media", headers=TOKEN, files=upload, data={"type": "text/plain"})
    about = (await meta.get(f"/v26.0/{got.json()['id']}", headers=TOKEN)).json()
    assert (about["file_size"], about["mime_type"]) == (5, "text/plain")
