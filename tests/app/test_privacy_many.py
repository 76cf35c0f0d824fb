"""200 of 1,000 people are erased while the rest go on writing: no byte of them is left, and none comes back."""

import asyncio
import json
import time

import pytest

from tests.app.rig import NUMBER, service, until
from tests.app.test_privacy_erase import Person, assert_untouched, at_rest, done, everything, exported, found_in
from tests.harness import read_all
from tests.processes import probe

PEOPLE, ERASED = 1_000, 200
SILENT = 10
"""Of those who are kept so many say nothing meanwhile, and are exported before and after."""
AT_ONCE = 16
EACH_S_MAX = 60.0
LOOK_S = 1.0
"""Two hundred who look a hundred times a second would be a load of their own."""
KINDS = ("message", "echo", "history", "contact", "status")


def bodies(person):
    """What Meta says of a person, of every kind, each as one webhook."""
    told = [probe(kind, number=NUMBER, contact=person.phone, text=person.text) for kind in KINDS]
    return [body.replace(b"Laia", person.name.encode()) for body in told]


async def post_all(rig, sent):
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(body):
        async with gate:
            assert (await rig.post(body)).status_code == 200

    await asyncio.gather(*(one(body) for body in sent))


async def chatter(rig, people, stop):
    """The others go on writing."""
    count = 0
    while not stop.is_set():
        person = people[count % len(people)]
        assert (
            await rig.post(probe("message", number=NUMBER, contact=person.phone, text=person.text))
        ).status_code == 200
        count += 1
        await asyncio.sleep(0.005)
    return count


async def looked(rig, begun, gate):
    """The report once it is done; few look at once, or they would wait for each other's connections."""
    async with gate:
        return await done(rig, begun)


async def erase(rig, person, gate):
    """Erase somebody; the seconds it took."""
    async with gate:
        started = time.monotonic()
        body = {"number": NUMBER, "contact": person.phone}
        answer = await rig.admin.post("/v1/privacy/erase", json=body, timeout=60)
        assert answer.status_code == 202, answer.text
    begun = answer.json()
    async with asyncio.timeout(2 * EACH_S_MAX):
        while True:
            if await looked(rig, begun, gate):
                break
            await asyncio.sleep(LOOK_S)
    return time.monotonic() - started


async def conversations(rig):
    """The keys of all conversations."""
    rows = rig.app.file.reading.execute("SELECT key FROM states WHERE key GLOB 'v/*'").fetchall()
    return {key for (key,) in rows}


@pytest.mark.faults
async def test_two_hundred_of_a_thousand_people_are_erased_under_load(tmp_path, tell):
    people = [Person(n) for n in range(PEOPLE)]
    gone, kept = people[:ERASED], people[ERASED:]
    sent = {person.phone: bodies(person) for person in people}
    async with service(tmp_path) as rig:
        await post_all(rig, [body for person in people for body in sent[person.phone]])
        await until(lambda: at_rest(rig), EACH_S_MAX)
        records = await read_all(rig.app.log, "inbound") + await read_all(rig.app.log, "history")
        assert len(found_in(tmp_path, gone)) >= 2 * ERASED
        before, untouched = await conversations(rig), await everything(rig)
        exports = [await exported(rig, person) for person in kept[:SILENT]]
        stop, gate = asyncio.Event(), asyncio.Semaphore(AT_ONCE)
        talking = asyncio.create_task(chatter(rig, kept[SILENT:], stop))
        took = await asyncio.gather(*(erase(rig, person, gate) for person in gone))
        left = await asyncio.to_thread(found_in, tmp_path, gone)  # the others go on meanwhile
        stop.set()
        written = await talking
        assert left == []
        assert len(before - await conversations(rig)) == ERASED
        same = assert_untouched(untouched, await everything(rig), kept)
        assert same >= len(kept) * len(KINDS)
        assert [await exported(rig, person) for person in kept[:SILENT]] == exports

        await post_all(rig, [body for person in people for body in sent[person.phone]])
        for record in records:
            await rig.app.log.append([(record.topic, record.event)])
        await until(lambda: at_rest(rig), EACH_S_MAX)
        assert found_in(tmp_path, gone) == []
        assert all(found_in(tmp_path, [person]) for person in kept)
        told = [record.event for record in await read_all(rig.app.log, "timeline")]
        added = [json.loads(event.data)["message_id"] for event in told if event.type == "message.added"]
        assert len(added) == len(set(added))
    mib = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) >> 20
    tell(
        f"{ERASED} of {PEOPLE} people erased under {written} messages of others: each in {max(took):.1f} s at most; "
        f"0 traces in {mib} MiB, 0 came back; {same} records of the others are the same to the byte"
    )
    assert max(took) <= EACH_S_MAX
