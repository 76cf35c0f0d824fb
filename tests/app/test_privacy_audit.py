"""Who did what to whose data: recorded without content, found by whoever knows the person, and hard to tamper with."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.ports import LogUnavailable
from services.audit import Audit, digest, verify
from tests.app.rig import NUMBER, service, until
from tests.app.test_privacy_erase import done, erase

PHONE = "34600555444"


async def audit(rig, **query):
    answer = await rig.admin.get("/v1/audit", params=query)
    assert answer.status_code == 200, answer.text
    assert answer.json()["broken"] == []
    return [(one["who"], one["what"]) for one in answer.json()["audit"]]


async def test_reading_a_conversation_is_recorded_once_in_a_while_with_who_read_it(tmp_path):
    async with service(tmp_path) as rig:
        await rig.trigger("message", contact=PHONE, text="secret")
        one = await until(lambda: rig.conversation(PHONE))
        for _ in range(3):
            path = f"/v1/conversations/{one['conversation_id']}/timeline"
            await rig.admin.get(path, headers={"Coexist-User": "anna"})
        assert (await audit(rig)).count(("anna", "conversation.read")) == 1
        assert await audit(rig, number=NUMBER, contact=PHONE) == [("anna", "conversation.read")]
        body = (await rig.admin.get("/v1/audit")).text
        assert PHONE not in body
        assert "secret" not in body


async def test_what_was_done_to_a_persons_data_is_found_by_the_person(tmp_path):
    async with service(tmp_path) as rig:
        await rig.trigger("message", contact=PHONE)
        await until(lambda: rig.conversation(PHONE))
        body = {"number": NUMBER, "contact": PHONE, "by": "pere"}
        await rig.admin.post("/v1/privacy/export", json=body)
        begun, _ = await erase(rig, PHONE)
        assert await done(rig, begun)
        assert await audit(rig, number=NUMBER, contact=f"+{PHONE}") == [
            ("pere", "person.exported"),
            ("test", "person.erased"),
        ]
        assert await audit(rig, number=NUMBER, contact="34600000000") == []
        assert (await rig.admin.get("/v1/audit", params={"contact": PHONE})).status_code == 422


class Log:
    partitions = 1

    def __init__(self):
        self.bodies = []
        self.away = False

    async def append(self, entries):
        if self.away:
            raise LogUnavailable
        self.bodies += [event.data for _, event in entries]


async def test_a_record_that_is_changed_or_missing_is_noticed():
    log = Log()
    book = Audit(log, lambda: 1_790_000_000.0)
    for n in range(4):
        await book.record("anna", "conversation.read", NUMBER, conversation=f"c{n}")
    assert verify(log.bodies) == []
    assert verify(log.bodies[1:]) == []
    chain = orjson.loads(log.bodies[0])["chain"]
    assert verify([log.bodies[0], *log.bodies[2:]]) == [f"{chain}:1"]
    changed = log.bodies[1].replace(b"anna", b"pere")
    assert verify([log.bodies[0], changed, *log.bodies[2:]]) == [f"{chain}:2"]


async def test_a_record_that_was_not_durable_leaves_no_gap():
    log = Log()
    book = Audit(log, lambda: 1.0)
    await book.record("a", "x", NUMBER)
    log.away = True
    with pytest.raises(LogUnavailable):
        await book.record("a", "x", NUMBER)
    log.away = False
    await book.record("a", "x", NUMBER)
    assert verify(log.bodies) == []


@given(st.lists(st.binary(min_size=1), min_size=2, unique=True))
def test_digests_tell_records_apart(bodies):
    assert len({digest(body) for body in bodies}) == len(bodies)
