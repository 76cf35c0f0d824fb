"""Relays: a receiver that fails, hangs, goes away and comes back gets every event, in order, signed."""

import asyncio
import contextlib

import pytest
from msgspec.structs import replace

from schemas.topics import TIMELINE
from services.media.address import Forbidden, resolved
from services.relays.registry import Wanted
from services.relays.state import Relay, Replay
from services.relays.target import WrongAddress, reachable, target
from services.relays.waiting import waits
from tests.app.relay_receiver import receiver
from tests.app.rig import service, until
from tests.app.sandbox_receiver import NUMBER

MANY = 60


@contextlib.asynccontextmanager
async def relaying(folder, **about):
    about = {"relay_hosts": ["127.0.0.1"], **about}
    async with service(folder, about=about) as rig:
        yield rig


async def added(rig, where, **more):
    answer = await rig.admin.post("/v1/relays", json={"url": where.url, **more})
    assert answer.status_code == 201, answer.text
    where.secrets = [answer.json()["secret"]]
    return answer.json()["relay_id"]


async def state(rig, relay_id):
    return (await rig.admin.get(f"/v1/relays/{relay_id}")).json()


async def asked(rig, relay_id, action, **body):
    """What a relay is asked to do: status and title of the answer."""
    answer = await rig.admin.post(f"/v1/relays/{relay_id}/{action}", json=body)
    return answer.status_code, answer.json().get("title")


async def resume(rig, relay_id):
    answer = await rig.admin.post(f"/v1/relays/{relay_id}/resume")
    assert answer.status_code == 200, answer.text


async def write(rig, count, start=0):
    for n in range(start, start + count):
        await rig.trigger("message", text=f"n{n}", contact=f"3460000{n % 7:04d}")


def seqs(events):
    return [int(event["seq"]) for event in events]


def in_order_by_conversation(events):
    places = {}
    for event in events:
        places.setdefault(event["data"]["conversation_id"], []).append(int(event["seq"]))
    return all(found == sorted(set(found)) for found in places.values())


async def test_every_event_of_a_topic_arrives_once_signed_and_in_the_order_of_its_conversation(tmp_path):
    async with relaying(tmp_path) as rig, receiver().listening() as there:
        await added(rig, there)
        await write(rig, MANY)
        await until(lambda: _has(there, MANY))
        assert there.forged == 0
        assert sorted(seqs(there.taken)) == list(range(1, MANY + 1))
        assert in_order_by_conversation(there.taken)
        assert {event["type"] for event in there.taken} == {"message.added"}
        assert all(event["timestamp"] == event["time"] for event in there.taken)


async def test_a_receiver_that_fails_hangs_goes_away_and_returns_misses_nothing(tmp_path):
    there = receiver()
    async with relaying(tmp_path) as rig:
        await added(rig, there)
        await write(rig, 10)
        async with there.listening():
            await until(lambda: _has(there, 10))
            there.mood = 503
            await write(rig, 10, 10)
            await until(lambda: _seen_again(there))
        async with there.listening():
            there.mood = "hang"
            there.came.clear()
            await until(lambda: _came(there), 30)
        there.mood = 200
        async with there.listening():
            await until(lambda: _has(there, 20), 30)
            assert seqs_set(there) == set(range(1, 21))
            assert in_order_by_conversation(first_times(there.taken))


async def test_what_was_not_taken_before_a_restart_is_delivered_after_it(tmp_path):
    there = receiver()
    async with relaying(tmp_path) as rig:
        relay_id = await added(rig, there)
        await write(rig, 20)
        await until(lambda: _troubled(rig, relay_id))
    async with relaying(tmp_path) as rig, there.listening():
        await until(lambda: _has(there, 20), 30)
        assert seqs_set(there) == set(range(1, 21))
        await until(lambda: _is(rig, relay_id, "working"))


async def test_a_shard_says_what_stands_in_its_way_and_an_operator_can_pass_that_over_and_nothing_else(tmp_path):
    async with relaying(tmp_path) as rig, receiver().listening() as there:
        await write(rig, 1)
        event_id = (await until(lambda: rig.records("timeline")))[0].event.id
        there.refuse = {event_id}
        relay_id = await added(rig, there, from_start=True)
        await until(lambda: _troubled(rig, relay_id))
        (trouble,) = (await state(rig, relay_id))["troubles"]
        assert (trouble["event_id"], trouble["last"], trouble["seq"]) == (event_id, "422", "1")
        await write(rig, 1, 7)
        assert there.taken == []
        none = (404, "no such event is tried now or comes next")
        assert await asked(rig, relay_id, "skip", event_id="nope") == none
        assert [await asked(rig, relay_id, "skip", event_id=event_id) for _ in range(2)] == [(200, None)] * 2
        await until(lambda: _has(there, 1), 20)
        assert seqs(there.taken) == [2]
        await until(lambda: _is(rig, relay_id, "working"))
        assert "nope" not in (await rig.app.relaying.registry.relay(relay_id)).skips


async def test_a_receiver_that_answers_410_is_left_alone_until_somebody_resumes_it(tmp_path):
    async with relaying(tmp_path) as rig, receiver().listening() as there:
        relay_id = await added(rig, there)
        there.mood = 410
        await write(rig, 3)
        await until(lambda: _is(rig, relay_id, "gone"))
        there.mood = 200
        assert there.taken == []
        await resume(rig, relay_id)
        await until(lambda: _has(there, 3))


class SlowToLetGo:
    """A store that leaves whoever attends for a second time without an answer, and takes its time to be given up."""

    def __init__(self, store):
        self._store, self._attended, self.asked = store, False, asyncio.Event()

    def __getattr__(self, name):
        return getattr(self._store, name)

    async def attend(self, *about):
        if self._attended:
            self.asked.set()
            try:
                await asyncio.Event().wait()
            finally:
                self._attended = False
                for _ in range(20):
                    await asyncio.sleep(0)
        self._attended = True
        return await self._store.attend(*about)


async def test_what_a_receiver_that_is_gone_did_not_take_waits_for_it_however_long_the_work_needs_to_end(tmp_path):
    async with relaying(tmp_path) as rig, receiver().listening() as there:
        store = rig.app.relaying.store = SlowToLetGo(rig.app.store)
        relay_id = await added(rig, there)
        there.mood = 410
        await store.asked.wait()
        await write(rig, 3)
        await until(lambda: _is(rig, relay_id, "gone"))
        await until(lambda: _unserved(rig, relay_id))
        there.mood = 200
        await resume(rig, relay_id)
        await until(lambda: _has(there, 3))


async def test_changes_of_one_moment_all_take_place(tmp_path):
    async with relaying(tmp_path) as rig, receiver().listening() as there:
        path = f"/v1/relays/{await added(rig, there)}/rotate"
        answers = await asyncio.gather(*(rig.admin.post(path) for _ in range(8)))
        assert {answer.status_code for answer in answers} == {200}


async def test_a_paused_relay_keeps_its_place(tmp_path):
    async with relaying(tmp_path) as rig, receiver().listening() as there:
        relay_id = await added(rig, there)
        await write(rig, 2)
        await until(lambda: _has(there, 2))
        assert (await rig.admin.post(f"/v1/relays/{relay_id}/pause")).status_code == 200
        await until(lambda: _unserved(rig, relay_id))
        await write(rig, 2, 2)
        await until(lambda: _count(rig, 4))
        assert len(there.taken) == 2
        await resume(rig, relay_id)
        await until(lambda: _has(there, 4))
        assert sorted(seqs(there.taken)) == [1, 2, 3, 4]


async def test_events_are_sent_again_from_a_seq_on_with_the_ids_they_had(tmp_path):
    async with relaying(tmp_path) as rig, receiver().listening() as there:
        relay_id = await added(rig, there, topics=["timeline", "conversations"], types=["message.added"])
        await write(rig, 9)
        await until(lambda: _has(there, 9))
        first = {event["id"] for event in there.taken}
        there.taken.clear()
        for wrong, says in (
            ({"number": NUMBER, "from_seq": 10}, "from_seq: beyond the newest of this number, which is 9"),
            ({"number": "1", "from_seq": 1}, "number: has no events"),
            ({"number": NUMBER, "from_seq": 1, "topic": "conversations"}, "topic: conversations counts no seq"),
        ):
            assert await asked(rig, relay_id, "replay", **wrong) == (422, says)
        assert await asked(rig, relay_id, "replay", number=NUMBER, from_seq=5) == (202, None)
        await until(lambda: _has(there, 5))
        assert sorted(seqs(there.taken)) == [5, 6, 7, 8, 9]
        assert {event["id"] for event in there.taken} <= first


async def test_what_waits_for_a_relay_is_what_lies_before_it_or_is_sent_again(tmp_path):
    async with service(tmp_path) as rig:
        await write(rig, 2)
        await until(lambda: _count(rig, 2))
        log = rig.app.log
        _, last = [record.event.id for record in await rig.records("timeline")]
        ends = {"timeline": [await log.end("timeline", shard) for shard in range(log.partitions)]}
        new = Relay(relay_id="r", topics=["timeline"])
        again = Replay("a", NUMBER, "timeline", 1, max(ends["timeline"]))
        cases = (
            (new, True),
            (replace(new, types=["message.edited"]), False),
            (replace(new, begins=ends), False),
            (replace(new, begins=ends, replays=[again]), True),
        )
        for relay, expected in cases:
            assert await waits(last, relay, log, rig.app.store) is expected
            assert not await waits("nope", relay, log, rig.app.store)


async def test_while_a_secret_is_rotated_receivers_may_check_with_either(tmp_path):
    async with relaying(tmp_path) as rig, receiver().listening() as there:
        relay_id = await added(rig, there)
        fresh = (await rig.admin.post(f"/v1/relays/{relay_id}/rotate")).json()["secret"]
        assert fresh not in there.secrets
        await until(lambda: _knows(rig, relay_id, fresh))
        await write(rig, 1)
        await until(lambda: _has(there, 1))
        there.secrets = [fresh]
        await write(rig, 1, 1)
        await until(lambda: _has(there, 2))
        assert there.forged == 0


async def test_a_relay_gets_only_the_topics_types_and_numbers_it_wants(tmp_path):
    async with relaying(tmp_path) as rig, receiver().listening() as there:
        await added(rig, there, topics=["timeline", "coexist.conversations"], types=["conversation.state"])
        await write(rig, 3)
        await until(lambda: _has(there, 3))
        assert {event["type"] for event in there.taken} == {"conversation.state"}
        assert {event["topic"] for event in there.taken} == {"conversations"}


async def test_the_test_event_is_signed_and_its_answer_is_told(tmp_path):
    async with relaying(tmp_path) as rig, receiver().listening() as there:
        relay_id = await added(rig, there)
        told = (await rig.admin.post(f"/v1/relays/{relay_id}/test")).json()
        assert (told["taken"], told["answer"]) == (True, "200")
        there.mood = 500
        told = (await rig.admin.post(f"/v1/relays/{relay_id}/test")).json()
        assert (told["taken"], told["answer"]) == (False, "500")


async def test_a_redirect_is_not_followed_and_private_addresses_are_never_asked(tmp_path):
    there = receiver()
    async with service(tmp_path) as rig, there.listening():
        wanted = Wanted(f"https://127.0.0.1:{there.port}/x", (TIMELINE,), (), (), from_start=False, secret="")
        relay_id = (await rig.app.relaying.registry.add(wanted)).relay_id  # a name may come to lead there later
        told = (await rig.admin.post(f"/v1/relays/{relay_id}/test")).json()
        assert told["answer"] == "forbidden_address"
        assert there.seen == []
    async with relaying(tmp_path / "named") as rig, there.listening():
        relay_id = await added(rig, there)
        there.mood, there.headers = 302, {"location": there.url}
        assert (await rig.admin.post(f"/v1/relays/{relay_id}/test")).json()["answer"] == "302"
        assert len(there.seen) == 1


@pytest.mark.parametrize(
    ("host", "named"),
    [
        ("127.0.0.1:9", "COEXIST_RELAY_HOSTS"),
        ("10.1.2.3", "COEXIST_RELAY_HOSTS"),
        ("2130706433", "COEXIST_RELAY_HOSTS"),
        ("[::1]", "COEXIST_RELAY_HOSTS"),
        ("[::ffff:10.1.2.3]", "COEXIST_RELAY_HOSTS"),
        ("a..b", "looked up"),
        (f"{'a' * 64}.com", "looked up"),
    ],
)
async def test_what_a_courier_would_refuse_is_refused_at_the_door(host, named):
    with pytest.raises(WrongAddress, match=named):
        await reachable(f"https://{host}/x", ["crm.internal"], resolved)
    with pytest.raises(Forbidden):
        await target(f"https://{host}/x", ["crm.internal"], resolved)


async def test_a_name_without_an_address_may_get_one_and_one_that_cannot_be_is_no_defect():
    async def nowhere(_):
        raise OSError

    await reachable("https://crm.example/x", [], nowhere)
    await reachable("https://10.1.2.3/x", ["10.1.2.3"], resolved)
    with pytest.raises(OSError, match="looked up"):
        await resolved("a..b")


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"url": "http://example.org/x"}, "https"),
        ({"url": "https://user:word@example.org/"}, "password"),
        ({"url": "https://example.org/", "topics": ["timelime"]}, "timeline"),
        ({"url": "https://example.org/", "types": ["message.add"]}, "message.added"),
        ({"url": "https://example.org/", "secret": "whsec_short"}, "whsec_"),
        ({"url": "https://example.org/", "topic": "timeline"}, "topic"),
        ({"topics": ["timeline"]}, "url"),
        ({"url": "https://localhost/x"}, "COEXIST_RELAY_HOSTS"),
    ],
)
async def test_a_relay_that_could_not_work_is_refused_with_the_reason(tmp_path, body, named):
    async with relaying(tmp_path) as rig:
        answer = await rig.admin.post("/v1/relays", json=body)
        assert answer.status_code == 422
        assert named in answer.text
        assert (await rig.admin.get("/v1/relays")).json() == {"relays": []}


async def test_an_unknown_relay_is_404_and_a_removed_one_is_gone(tmp_path):
    async with relaying(tmp_path) as rig, receiver().listening() as there:
        relay_id = await added(rig, there)
        assert (await rig.admin.delete(f"/v1/relays/{relay_id}")).status_code == 200
        for call in (rig.admin.get, rig.admin.delete):
            assert (await call(f"/v1/relays/{relay_id}")).status_code == 404
        assert (await rig.admin.post(f"/v1/relays/{relay_id}/test")).status_code == 404


async def _has(there, count):
    return len({event["id"] for event in there.taken}) >= count


async def _came(there):
    return there.came.is_set()


async def _seen_again(there):
    return len(there.seen) > len(set(there.seen))


async def _troubled(rig, relay_id):
    return (await state(rig, relay_id))["troubles"]


async def _is(rig, relay_id, wanted):
    return (await state(rig, relay_id))["state"] == wanted


async def _unserved(rig, relay_id):
    return relay_id not in rig.app.relaying.backlog()


async def _knows(rig, relay_id, secret):
    return secret in rig.app.relaying.secrets_of(relay_id)


async def _count(rig, count):
    return len(await rig.records("timeline")) >= count


def first_times(events):
    return list({event["id"]: event for event in reversed(events)}.values())[::-1]


def seqs_set(there):
    return set(seqs(there.taken))
