"""Erasing a person from a running service: nothing of them is left, nothing comes back, nobody else is hurt."""

import asyncio
import io
import json
import re
import time
import zipfile
from pathlib import Path

import msgspec
import orjson
from msgspec.structs import replace

from schemas.instants import parse_rfc3339
from schemas.topics import TOPICS
from services.privacy.sweep import AGE_FIRST_S
from tests import harness as h
from tests.app.rig import NUMBER, service, together, until
from tests.harness import read_all
from tests.processes import probe

PEOPLE, ERASED = 12, 4
UNKNOWN = "999999999999999"
SLOW_S = 30


class Person:
    """Somebody who exists nowhere else: a phone, a name and a text to look for."""

    def __init__(self, n):
        self.phone = f"3461{n:03}84{n:03}"
        self.name = f"Canaria{n:03}Name"
        self.text = f"piulada-{n:03}-secreta"
        self.wamids = []

    def traces(self):
        return [trace.encode() for trace in (self.phone, self.name, self.text, *self.wamids)]


def found_in(folder: Path, people):
    """Traces of these people in any byte of any file of the data folder."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    held = {path.name: path.read_bytes() for path in files}
    return [(trace, name) for one in people for trace in one.traces() for name, data in held.items() if trace in data]


async def erase(rig, contact, number=NUMBER):
    """Erase somebody; the report, once it is done."""
    answer = await rig.admin.post("/v1/privacy/erase", json={"number": number, "contact": contact, "by": "test"})
    assert answer.status_code == 202, answer.text
    begun = answer.json()
    return begun, await until(lambda: done(rig, begun), SLOW_S)


async def done(rig, begun):
    path = f"/v1/privacy/erasures/{begun['erasure_id']}"
    report = (await rig.admin.get(path, params={"number": begun["number"]})).json()
    return report if report.get("state") == "done" else None  # after a restore it is not known at once


async def everything(rig):
    """Every record of every topic, by its place."""
    records = [record for topic in TOPICS for record in await rig.records(topic)]
    return {(record.topic, record.partition, record.offset): record for record in records}


async def exported(rig, person):
    """What an export holds of somebody, file by file; when it was made left out."""
    answer = await rig.admin.post("/v1/privacy/export", json={"number": NUMBER, "contact": person.phone})
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        return {name: archive.read(name) for name in archive.namelist() if name != "manifest.json"}


def assert_untouched(before, after, kept):
    """Every record that names one of these people is the same, to the byte; how many there are."""
    traces = re.compile(b"|".join(re.escape(trace) for person in kept for trace in person.traces()))
    theirs = [place for place, record in before.items() if traces.search(msgspec.msgpack.encode(record.event))]
    assert [place for place in theirs if after[place] != before[place]] == []
    return len(theirs)


async def told(rig, wamid):
    return [one for one in await rig.events("timeline", "message.added") if one[1] == wamid]


async def talk(rig, person):
    """Messages of both sides, an edit, a send and what comes of it."""
    person.wamids.append(await rig.customer(person.text, person.phone, name=person.name))
    person.wamids.append(await rig.owner(person.text, person.phone))
    await rig.control("/edit", {"wamid": person.wamids[0], "side": "customer", "text": f"{person.text}!"})
    for wamid in person.wamids:
        await until(lambda wamid=wamid: told(rig, wamid))


async def at_rest(rig):
    """Every processor has read everything."""
    for name, runner in rig.app.runners.items():
        for shard in range(rig.app.log.partitions):
            positions = await rig.app.store.positions(name, shard)
            for topic in runner.processor.inputs:
                if positions.get(topic, 0) < await rig.app.log.end(topic, shard):
                    return False
    return True


async def test_after_erasing_some_people_no_byte_of_them_is_left_and_the_others_are_untouched(tmp_path, tell):
    people = [Person(n) for n in range(PEOPLE)]
    gone, kept = people[:ERASED], people[ERASED:]
    async with together(tmp_path, about={"pause_minutes": 0}) as rig:
        for person in people:
            await talk(rig, person)
        command = await rig.send(gone[0].text, gone[0].phone)
        assert (await rig.outcome(command))["state"] == "accepted"
        await until(lambda: at_rest(rig))
        before, exports = await everything(rig), [await exported(rig, person) for person in kept]
        started = asyncio.get_running_loop().time()
        reports = await asyncio.gather(*(erase(rig, person.phone) for person in gone))
        took = asyncio.get_running_loop().time() - started
        assert found_in(tmp_path, gone) == []
        for person in kept:
            assert len(found_in(tmp_path, [person])) >= len(person.traces())
        after = await everything(rig)
        assert [(place, after[place].event.seq) for place in before] == [
            (place, before[place].event.seq) for place in before
        ]
        assert assert_untouched(before, after, kept) >= 5 * len(kept)
        assert [await exported(rig, person) for person in kept] == exports
        erased = await rig.events("contacts", "contact.erased")
        assert len(erased) == ERASED
    tell(f"{ERASED} of {PEOPLE} people erased in {took:.1f} s; removed: {reports[0][1]['removed']}")


async def test_what_meta_repeats_of_an_erased_person_is_acknowledged_and_not_stored(tmp_path):
    async with service(tmp_path) as rig:
        await rig.trigger("message", contact="34600555111", text="torna-hi")
        await until(lambda: rig.events("timeline", "message.added"))
        first = next(one for one in await read_all(rig.app.log, "inbound") if one.event.type == "webhook.message")
        await erase(rig, "+34 600 555 111")
        assert found_in(tmp_path, [_of("34600555111", "torna-hi")]) == []
        await rig.app.log.append([("inbound", first.event)])
        await rig.app.log.append([("history", first.event)])
        assert found_in(tmp_path, [_of("34600555111", "torna-hi")]) == []


async def test_whoever_was_erased_may_write_again_and_is_somebody_new(tmp_path):
    async with together(tmp_path) as rig:
        wamid = await rig.customer("abans")
        old = (await rig.data("timeline", "message.added", wamid))["conversation_id"]
        await erase(rig, "34600111222")
        await asyncio.sleep(1.1)  # Meta's times are whole seconds
        again = await rig.customer("despres")
        new = await rig.data("timeline", "message.added", again)
        assert new["conversation_id"] != old
        assert (await rig.admin.get(f"/v1/conversations/{old}")).status_code == 404
        found = await until(rig.conversation)
        assert found["conversation_id"] == new["conversation_id"]


async def test_what_waited_to_be_sent_is_cancelled_and_told(tmp_path):
    async with service(tmp_path) as rig:
        await rig.trigger("message", contact="34600555222")
        await until(lambda: rig.events("timeline", "message.added"))
        await rig.admin.post(f"/v1/numbers/{NUMBER}/pause")
        command = await rig.send("no surt", "34600555222")

        async def waits():
            return (await rig.admin.get(f"/v1/sends/{command}")).json().get("state") == "queued"

        await until(waits)
        await erase(rig, "34600555222")
        told = await rig.events("sends", "send.cancelled", command)
        assert [data["reason"] for _, _, data in told] == ["erased"]
        assert found_in(tmp_path, [_of("34600555222", "no surt")]) == []


async def test_a_command_for_a_number_that_is_not_known_goes_with_the_person_and_other_peoples_stay(tmp_path):
    person, other = _of("34600555444", "per a ningu"), _of("34600555445", "d'un altre")
    async with service(tmp_path) as rig:
        await rig.trigger("message", contact=person.phone)
        await until(lambda: rig.events("timeline", "message.added"))
        for one in (person, other):
            event = h.request(one.phone[-1], one.phone, number=UNKNOWN, says=one.text)
            await rig.app.log.append([("outbound", replace(event, number=UNKNOWN))])
            assert (await rig.data("sends", "send.rejected", one.phone[-1]))["reason"] == "unknown_number"
        assert {trace for trace, _ in found_in(tmp_path, [person])} >= {b"34600555444", b"per a ningu"}
        await erase(rig, person.phone)
        assert found_in(tmp_path, [person]) == []
        assert {trace for trace, _ in found_in(tmp_path, [other])} == {b"34600555445", b"d'un altre"}


async def audited(rig, person):
    """What the audit has of a person; it must hold together."""
    told = (await rig.admin.get("/v1/audit", params={"number": NUMBER, "contact": person.phone})).json()
    assert told["broken"] == []
    return told["audit"]


async def test_an_erasure_is_carried_out_again_after_an_older_backup_was_restored_and_the_audit_says_so(tmp_path):
    live, backup = tmp_path / "data", tmp_path / "backup"
    person = _of("34600555333", "copia-de-seguretat")
    async with service(live) as rig:
        await rig.trigger("message", contact=person.phone, text=person.text)
        await until(lambda: rig.events("timeline", "message.added"))
    (backup / "coexist.db").parent.mkdir()
    (backup / "coexist.db").write_bytes((live / "coexist.db").read_bytes())
    async with service(live) as rig:
        begun, _ = await erase(rig, person.phone)
        (first,) = await audited(rig, person)
    (backup / "coexist.db").replace(live / "coexist.db")
    assert found_in(live, [person])
    for _ in range(2):  # at the second start it is known, and nothing is to be done again
        async with service(live) as rig:
            await until(lambda: done(rig, begun), SLOW_S)
            assert found_in(live, [person]) == []
            (told,) = await audited(rig, person)
    assert (told["who"], told["what"], told["about"]) == ("test", "person.erased_again", begun["erasure_id"])
    times = [parse_rfc3339(at) for at in (told["asked_at"], first["at"], told["at"])]
    assert times == sorted(times)


async def test_an_erasure_needs_a_number_that_is_known_and_a_person(tmp_path):
    async with service(tmp_path) as rig:
        for body, status in (
            ({}, 422),
            ({"number": NUMBER, "contact": "?"}, 422),
            ({"number": "1", "contact": "34600111222"}, 404),
        ):
            assert (await rig.admin.post("/v1/privacy/erase", json=body)).status_code == status
        assert orjson.loads((await rig.admin.get("/v1/privacy/requests")).content) == {"requests": []}


async def test_whoever_wrote_to_a_number_that_nobody_has_added_can_be_erased(tmp_path):
    person = _of("34600555446", "a un numero sense llista")
    async with service(tmp_path, about={"registration": "listed"}) as rig:
        await rig.trigger("message", contact=person.phone, text=person.text)
        await until(lambda: rig.events("timeline", "message.added"))
        assert found_in(tmp_path, [person])
        await erase(rig, person.phone)
        assert found_in(tmp_path, [person]) == []


def _of(phone, text):
    person = Person(0)
    person.phone, person.text, person.name = phone, text, "no name at all"
    return person


async def test_an_erasure_that_a_stop_broke_off_goes_on_at_the_next_start(tmp_path):
    person = _of("34600555666", "a-mitges")
    async with service(tmp_path) as rig:
        await rig.trigger("message", contact=person.phone, text=person.text)
        await until(lambda: rig.events("timeline", "message.added"))
        body = {"number": NUMBER, "contact": person.phone}
        begun = (await rig.admin.post("/v1/privacy/erase", json=body)).json()
    async with service(tmp_path) as rig:
        await until(lambda: done(rig, begun), SLOW_S)
        assert found_in(tmp_path, [person]) == []


async def test_a_file_that_somebody_else_has_too_outlives_the_first_of_them(tmp_path):
    upload = {"content": b"\xff\xd8\xff\xe0 one and the same", "headers": {"Content-Type": "image/jpeg"}}
    phones = "34600555881", "34600555882"
    async with together(tmp_path) as rig:
        for phone in phones:
            media_id = (await rig.admin.post(f"/v1/media?number={NUMBER}", **upload)).json()["id"]
            wamid = await written(rig, phone, "image", {"id": media_id, "mime_type": "image/jpeg"})
            await until(lambda wamid=wamid: rig.events("inbound", "media.stored", wamid), SLOW_S)
            await until(lambda wamid=wamid: rig.events("timeline", "message.completed", wamid), SLOW_S)
        assert files(tmp_path) == 1
        await erase(rig, phones[0])
        assert files(tmp_path) == 1
        _, report = await erase(rig, phones[1])
        assert report["removed"]["media"] == 1
        assert files(tmp_path) == 0


async def written(rig, phone, kind, content, at=None):
    """A signed message of somebody, with exactly this content; its id."""
    body = json.loads(probe("message", number=NUMBER, contact=phone))
    (message,) = body["entry"][0]["changes"][0]["value"]["messages"]
    message |= {"type": kind, kind: content, "timestamp": str(int(at or time.time()))}
    assert (await rig.post(json.dumps(body).encode())).status_code == 200
    return message["id"]


def files(folder):
    """How many files the media store keeps."""
    return sum(path.is_file() for path in (folder / "media").rglob("*"))


async def test_messages_that_are_too_old_are_let_go_and_the_rest_stays(tmp_path):
    clock = Shifted()
    async with service(tmp_path, clock=clock) as rig:
        await written(rig, "34600555991", "text", {"body": "vell i prou"}, time.time() - 366 * 86_400)
        wamid = await written(rig, "34600555992", "text", {"body": "nou i bo"})
        await until(lambda: rig.events("timeline", "message.added", wamid))
        clock.ahead_s = AGE_FIRST_S + 1
        assert await until(lambda: only(rig, b"nou i bo"), SLOW_S)


class Shifted:
    """The real time, somewhat ahead."""

    ahead_s = 0

    def __call__(self):
        return time.time() + self.ahead_s


async def only(rig, text):
    """The messages that are kept are those with this text."""
    rows = rig.app.file.reading.execute("SELECT value FROM states WHERE key GLOB 'm/*'").fetchall()
    return len(rows) == 1 and text in rows[0][0]
