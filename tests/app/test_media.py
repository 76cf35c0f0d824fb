"""Media end to end over real HTTP: a webhook names it, the worker fetches it, the timeline says where it is."""

import asyncio
import time
from hashlib import sha256

import orjson
import pytest

from echo_sync.media import ATTEMPT_S
from schemas.ports import Event
from services.media.store import reference
from services.sandbox.contents import media_file
from tests.app.rig import service, together, until
from tests.app.sandbox_receiver import CONTACT, NUMBER, flush, post, sandbox
from tests.processes import DEFAULT_TOKEN, Sandbox, Service, free_port, settings_for

KINDS = {"image": "image/jpeg", "video": "video/mp4", "audio": "audio/ogg; codecs=opus"}
MESSAGES = 12
KINDS |= {"document": "application/pdf", "sticker": "image/webp"}


@pytest.fixture
async def rig(tmp_path):
    async with together(tmp_path) as rig:
        yield rig


async def media_of(rig, wamid):
    """What the timeline says of a message's media, as soon as it does."""

    async def told():
        found = await rig.events("timeline", "message.completed", wamid)
        return [data["media"] for _, _, data in found if "media" in data]

    return (await until(told))[-1]


async def content_of(rig, wamid):
    return (await rig.data("timeline", "message.added", wamid))["content"]


async def stored(rig, media):
    return b"".join([chunk async for chunk in rig.app.media.store.read(media["ref"])])


@pytest.mark.parametrize("kind", KINDS)
async def test_media_of_a_customer_is_kept_and_the_timeline_says_where(rig, kind):
    wamid = await rig.customer("mira", kind=kind)
    media, content = await media_of(rig, wamid), await content_of(rig, wamid)
    data = media_file(content["id"])[1]
    digest = sha256(data).hexdigest()
    assert media == {
        "id": content["id"],
        "ref": reference(digest),
        "sha256": digest,
        "bytes": len(data),
        "mime_type": KINDS[kind],
    }
    assert await stored(rig, media) == data
    assert "comanda" not in media["ref"]


async def test_media_that_the_owner_sent_in_the_app_is_kept_and_keeps_the_conversation_taken(rig):
    await rig.customer()
    wamid = await rig.owner(kind="image")
    assert "ref" in await media_of(rig, wamid)
    assert await rig.owned("person_app")


async def test_the_conversation_shows_where_the_media_is_and_not_once_it_is_deleted(rig):
    wamid = await rig.customer(kind="image")
    media = await media_of(rig, wamid)
    path = f"/v1/conversations/{(await until(rig.conversation))['conversation_id']}/timeline"
    assert (await rig.admin.get(path)).json()["messages"][0]["media"] == media
    await rig.control("/revoke", {"wamid": wamid, "side": "customer"})
    await rig.data("timeline", "message.revoked", wamid)
    assert "media" not in (await rig.admin.get(path)).json()["messages"][0]


async def test_late_media_of_the_history_is_kept(rig):
    await rig.control("/history", {"number": NUMBER, "messages": MESSAGES, "contacts": 2, "phases": [0], "media_p": 1})
    await flush(rig.meta)

    async def all_kept():
        found = await rig.events("timeline", "message.completed")
        kept = {subject for _, subject, data in found if "ref" in data.get("media", {})}
        return len(kept) == MESSAGES

    assert await until(all_kept)
    assert len(await rig.events("timeline", "message.added")) == MESSAGES


async def test_the_same_content_in_many_messages_is_one_file(rig, tmp_path):
    """A customer forwards one image to and fro: ids and messages differ, content does not."""
    upload = {"content": b"\xff\xd8\xff\xe0 one and the same", "headers": {"Content-Type": "image/jpeg"}}
    ids = [(await rig.admin.post(f"/v1/media?number={NUMBER}", **upload)).json()["id"] for _ in range(3)]
    refs = set()
    for n, media_id in enumerate(ids):
        await rig.app.log.append([("inbound", wanted(f"wamid.{n}", media_id))])
        data = await rig.data("inbound", "media.stored", f"wamid.{n}")
        refs.add(data["media"]["ref"])
    assert len(refs) == 1
    assert [path.name for path in files(tmp_path)] == [sha256(upload["content"]).hexdigest()]


def wanted(message_id, media_id):
    """What a replayed dead letter about media is."""
    media = {"id": media_id, "mime_type": "image/jpeg"}
    data = orjson.dumps({"number": NUMBER, "message_id": message_id, "kind": "image", "media": media, "at": 1.0})
    return Event(f"mw:{message_id}", "media.wanted", NUMBER, data, 1.0, 1.0, message_id)


def files(folder):
    return [path for path in (folder / "media").rglob("*") if path.is_file()]


async def test_what_cannot_be_fetched_is_told_and_its_dead_letter_begins_anew(rig, tmp_path):
    await rig.control("/faults", {"media_trouble": "too_large"})
    wamid = await rig.customer(kind="image")
    media = await media_of(rig, wamid)
    assert media == {"id": (await content_of(rig, wamid))["id"], "failed": "too_large"}
    assert files(tmp_path) == []
    (letter,) = (await rig.admin.get("/v1/dead-letters")).json()["dead_letters"]
    await rig.control("/faults", {"media_trouble": ""})
    answer = await rig.admin.post(f"/v1/dead-letters/{letter['id']}/replay")
    assert answer.is_success, answer.text

    async def kept():
        return (await media_of(rig, wamid)).get("ref")

    assert await until(kept)


async def test_a_passing_trouble_only_delays(rig):
    await rig.control("/faults", {"media_trouble": "error500"})
    wamid = await rig.customer(kind="image")
    missed = await rig.data("inbound", "media.missed", wamid)
    assert missed["reason"] == "refused"
    await rig.control("/faults", {"media_trouble": ""})
    assert "ref" in await media_of(rig, wamid)
    assert rig.app.metrics.registry.get_sample_value("coexist_media_jobs_total", {"outcome": "missed"}) == 1


async def test_a_stop_in_the_middle_leaves_no_half_file_and_the_next_start_fetches_it(tmp_path):
    ahead = [0.0]
    wiring = {"clock": lambda: time.time() + ahead[0]}
    async with sandbox() as meta:
        url = str(meta.base_url).rstrip("/")
        async with service(tmp_path, url, meta=meta, **wiring) as rig:
            await post(meta, "/webhook", {"url": rig.webhook})
            await post(meta, "/faults", {"media_trouble": "slow"})
            wamid = await rig.customer(kind="image")
            await until(lambda: asyncio.sleep(0, files(tmp_path)))
        assert files(tmp_path) == []
        await post(meta, "/faults", {"media_trouble": ""})
        ahead[0] = ATTEMPT_S
        async with service(tmp_path, url, meta=meta, **wiring) as rig:
            assert "ref" in await media_of(rig, wamid)
            assert len(files(tmp_path)) == 1


@pytest.mark.crash
def test_a_kill_in_the_middle_leaves_nothing_that_could_be_taken_for_media(tmp_path):
    told = settings_for(tmp_path / "data", f"http://127.0.0.1:{free_port()}")
    with Sandbox(tmp_path, f"http://127.0.0.1:{told['port']}/webhooks/meta") as meta:
        told["meta_graph_url"] = meta.url
        meta.call("POST", "/faults", {"media_trouble": "slow"})
        with Service(told, tmp_path) as process:
            process.ready()
            meta.call("POST", "/customer/messages", {"number": NUMBER, "contact": CONTACT, "kind": "image"})
            process.until(lambda: files(tmp_path / "data"))
            process.kill()
    assert {path.parent.name for path in files(tmp_path / "data")} == {"incoming"}


# --- uploads


async def upload(rig, data=b"%PDF-1.7 hola", content_type="application/pdf", number=NUMBER):
    return await rig.admin.post(f"/v1/media?number={number}", content=data, headers={"Content-Type": content_type})


async def test_an_uploaded_file_can_be_sent_by_its_id(rig):
    await rig.customer()
    await until(rig.conversation)
    answer = await upload(rig)
    assert answer.status_code == 201
    media_id = answer.json()["id"]
    headers = {"Authorization": f"Bearer {DEFAULT_TOKEN}"}
    about = (await rig.meta.get(f"/v26.0/{media_id}", headers=headers)).json()
    assert (about["mime_type"], about["file_size"]) == ("application/pdf", 13)
    body = {"number": NUMBER, "to": CONTACT, "type": "document", "document": {"id": media_id, "filename": "a.pdf"}}
    command = (await rig.admin.post("/v1/messages", json=body)).json()["command_id"]
    assert (await rig.outcome(command))["state"] == "accepted"


async def test_an_upload_beyond_metas_limits_is_refused_before_it_leaves(rig, tmp_path):
    assert (await upload(rig, b"x" * ((5 << 20) + 1), "image/png")).status_code == 413
    assert (await upload(rig, b"")).status_code == 422
    assert (await upload(rig, content_type="multipart/form-data; boundary=x")).status_code == 415
    assert (await upload(rig, content_type="a b")).status_code == 415
    assert (await upload(rig, number="../1")).status_code == 422
    assert files(tmp_path) == []


async def test_what_meta_says_of_an_upload_is_told(rig):
    answer = await upload(rig, number="999")
    assert answer.status_code == 502
    assert "100" in answer.json()["title"]


async def test_kept_media_is_read_back_by_its_message_and_by_its_reference(rig):
    wamid = await rig.customer("mira", kind="image")
    media = await media_of(rig, wamid)
    data = media_file((await content_of(rig, wamid))["id"])[1]
    by_message = await rig.admin.get("/v1/media", params={"number": NUMBER, "message": wamid})
    assert (by_message.status_code, by_message.content) == (200, data)
    assert by_message.headers["content-type"] == "image/jpeg"
    assert by_message.headers["x-content-type-options"] == "nosniff"
    assert by_message.headers["content-disposition"] == "attachment"
    by_ref = await rig.admin.get("/v1/media", params={"ref": media["ref"]})
    assert (by_ref.content, by_ref.headers["content-type"]) == (data, "application/octet-stream")


NOT_KEPT = (
    {},
    {"ref": "../coexist.db"},
    {"ref": "aa/../../coexist.db"},
    {"ref": "/etc/passwd"},
    {"ref": f"ab/{'cd' * 32}"},
    {"ref": f"ab/{'ab' * 32}\n"},
    {"ref": f"ab/{'ab' * 32}"},
    {"number": NUMBER, "message": "wamid.nobody"},
    {"message": "wamid.nobody"},
)


async def test_nothing_but_kept_media_is_ever_read(rig):
    for wanted in NOT_KEPT:
        answer = await rig.admin.get("/v1/media", params=wanted)
        assert answer.status_code == 404, wanted
        assert answer.json()["fix"]


async def test_media_of_a_message_deleted_for_everyone_is_not_handed_out(rig):
    wamid = await rig.customer("mira", kind="image")
    await media_of(rig, wamid)
    await rig.control("/revoke", {"wamid": wamid, "side": "customer"})
    await rig.data("timeline", "message.revoked", wamid)
    answer = await rig.admin.get("/v1/media", params={"number": NUMBER, "message": wamid})
    assert answer.status_code == 404


async def test_reading_media_needs_the_token(tmp_path):
    async with service(tmp_path, about={"admin_token": "t" * 40}) as rig:
        assert (await rig.admin.get("/v1/media", params={"ref": f"ab/{'ab' * 32}"})).status_code == 401


async def test_the_metrics_tell_what_is_still_to_be_fetched_and_what_was_kept(rig):
    await rig.control("/faults", {"media_trouble": "error500"})
    await rig.customer("mira", kind="image")

    async def sample(name, **labels):
        text = (await rig.admin.get("/metrics")).text
        lines = [
            line for line in text.splitlines() if line.startswith(name) and all(v in line for v in labels.values())
        ]
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    async def waits():
        return await sample("coexist_media_queue_depth") == 1 and await sample("coexist_media_jobs_total", o="missed")

    await until(waits)
    await rig.control("/faults", {"media_trouble": ""})
    media = await media_of(rig, await rig.customer("i aquesta", kind="image"))
    assert await sample("coexist_media_bytes_total") == media["bytes"]
    assert await sample("coexist_media_queue_depth") == 1
