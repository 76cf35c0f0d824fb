"""Whoever wanted no marketing and was erased gets none afterwards: a digest is kept that says no more than that."""

import asyncio

import pytest

from tests.app.rig import NUMBER, together, until
from tests.app.test_privacy_erase import Person, at_rest, erase, found_in

CAMPAIGN = {
    "text": None,
    "origin": "campaign",
    "type": "template",
    "template": {"name": "order_update", "language": {"code": "en_US"}},
}
OTHER = "34600555999"


@pytest.fixture
async def rig(tmp_path):
    words = {"opt_out_words": "BAJA", "opt_in_words": "ALTA"}
    async with together(tmp_path, about={"pause_minutes": 0, **words}) as running:
        yield running


async def campaign(rig, phone):
    """What becomes of a marketing template."""
    command_id = await rig.send(to=phone, **CAMPAIGN)
    state = (await rig.outcome(command_id))["state"]
    return (await rig.data("sends", "send.rejected", command_id))["reason"] if state == "rejected" else state


async def suppressed(rig):
    answer = (await rig.admin.get("/v1/suppressions", params={"number": NUMBER})).json()
    found = answer.get("suppressions", [])  # the number is met with its first message
    return [(stop["scope"], stop["because"]) for one in found for stop in one["stops"]]


@pytest.mark.faults
async def test_a_stop_outlives_the_erasure_as_a_digest_until_the_person_wants_marketing_again(rig, tmp_path):
    person = Person(7)
    await rig.customer(person.text, person.phone, name=person.name)
    await rig.customer("Baja!", person.phone)
    await until(lambda: suppressed(rig))
    assert await campaign(rig, person.phone) == "opted_out"
    await erase(rig, person.phone)
    assert found_in(tmp_path, [person]) == []
    assert await suppressed(rig) == []
    assert await campaign(rig, person.phone) == "opted_out"
    assert await campaign(rig, OTHER) == "accepted"
    assert found_in(tmp_path, [person]) != []  # the command, which is no less the business's own
    await asyncio.sleep(1.1)  # Meta's times are whole seconds
    await rig.customer("Torno", person.phone)
    await until(lambda: suppressed(rig))
    assert await suppressed(rig) == [("marketing", "erased")]
    assert await campaign(rig, person.phone) == "opted_out"
    assert (await rig.outcome(await rig.send(to=person.phone)))["state"] == "accepted"
    await asyncio.sleep(1.1)
    await rig.customer("ALTA", person.phone)
    await until(lambda: lifted(rig))
    assert await campaign(rig, person.phone) == "accepted"
    await erase(rig, person.phone)
    await until(lambda: at_rest(rig))
    assert await campaign(rig, person.phone) == "accepted"


async def lifted(rig):
    return not await suppressed(rig)


async def test_whoever_was_to_get_nothing_at_all_still_gets_nothing(rig):
    phone = "34600555777"
    await rig.customer("Hola", phone)
    await until(lambda: rig.conversation(phone))
    told = await rig.admin.post("/v1/suppressions", json={"number": NUMBER, "contact": phone, "scope": "all"})
    assert told.status_code == 202
    await until(lambda: suppressed(rig))
    await erase(rig, phone)
    assert await campaign(rig, phone) == "suppressed"
