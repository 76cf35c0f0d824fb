"""`coexist reseal`: afterwards one key opens everything, or none is needed, and nothing is as it was before."""

import json

import apsw
import pytest

from services.edition import FILE_NAME
from tests.app.rig import NUMBER, service, together, until
from tests.app.test_access_tokens import WRONG, give
from tests.app.test_at_rest import CANARY, KEY, NEW_KEY, OTHER_KEY, PHONE, holding, run, sealed, talk
from tests.app.test_privacy_erase import Person, exported, found_in

QUIET = {"pause_minutes": 0}


async def whole(rig, person):
    """What people said, their files, and the relays; the number's token can be used."""
    relays = (await rig.admin.get("/v1/relays")).json()["relays"]
    token = (await rig.admin.get(f"/v1/numbers/{NUMBER}")).json()["token"]
    assert token == "own"
    assert [relay["state"] for relay in relays] == ["paused"]
    export = await exported(rig, person)
    messages = [json.loads(line) for line in export["messages.jsonl"].splitlines()]
    media = {name: data for name, data in export.items() if name.startswith("media/")}
    return {one["message_id"]: one.get("content") for one in messages}, media, [relay["relay_id"] for relay in relays]


async def begun(rig):
    """Things of every kind, some of them before anything was sealed."""
    await talk(rig)
    made = await rig.admin.post("/v1/relays", json={"url": "https://example.org/hook"})
    await rig.admin.post(f"/v1/relays/{made.json()['relay_id']}/pause")
    assert (await give(rig)).status_code == 202
    return made.json()["secret"].encode()


@pytest.mark.faults
async def test_afterwards_one_key_is_enough_and_then_none(tmp_path):
    person = Person(0)
    person.phone, person.text = PHONE, CANARY
    async with together(tmp_path, about=QUIET | sealed(KEY, wanted=False)) as rig:
        secret = await begun(rig)
        was = await whole(rig, person)
    assert found_in(tmp_path, [person])
    keys = {"encryption_keys": f"{NEW_KEY},{KEY}", "encrypt_content": 1}
    done = await run(tmp_path, "reseal", **keys)
    assert done.exit_code == 0, done.output
    again = await run(tmp_path, "reseal", **keys)
    assert again.output.startswith("Written anew: 0 states, 0 batches of records and 0 files, of ")
    assert holding(tmp_path, CANARY.encode(), WRONG.encode(), secret) == []
    verified = await run(tmp_path, "verify", encryption_keys=NEW_KEY)
    assert verified.exit_code == 0, verified.output
    async with together(tmp_path, about=QUIET | sealed(NEW_KEY), seed=2) as rig:
        assert await whole(rig, person) == was
    refused = await run(tmp_path, "reseal", encryption_keys=OTHER_KEY, encrypt_content=1)
    assert (refused.exit_code, "Put that key back" in refused.output) == (2, True)
    plain = await run(tmp_path, "reseal", encryption_keys=NEW_KEY)
    assert plain.exit_code == 0, plain.output
    assert "coexist.db" in holding(tmp_path, CANARY.encode())
    told = await run(tmp_path, "tail", "timeline", "--from-start", "--no-follow", "--json")
    assert CANARY in [json.loads(line)["data"].get("content", {}).get("body") for line in told.output.splitlines()]
    nothing = await run(tmp_path, "reseal")
    assert (nothing.exit_code, "there is nothing to do" in nothing.output) == (2, True)


async def test_where_only_a_token_is_sealed_it_needs_the_old_key_no_more_afterwards(tmp_path):
    async with service(tmp_path, about={"encryption_keys": KEY}) as rig:
        await rig.app.tokens.keep(NUMBER, WRONG)
    done = await run(tmp_path, "reseal", encryption_keys=f"{NEW_KEY},{KEY}")
    assert done.exit_code == 0, done.output
    async with service(tmp_path, about={"encryption_keys": NEW_KEY}) as rig:
        assert await rig.app.tokens.own(NUMBER) == WRONG


async def test_a_file_of_media_that_a_killed_process_left_half_done_and_plain_goes(tmp_path):
    async with service(tmp_path, about=sealed()):
        left_behind = tmp_path / "media" / "incoming" / "tmp1"
        left_behind.write_bytes(CANARY.encode())
    done = await run(tmp_path, "reseal", encryption_keys=KEY, encrypt_content=1)
    assert (done.exit_code, left_behind.exists()) == (0, False), done.output


async def test_what_no_key_opens_is_told_in_one_sentence(tmp_path):
    async with service(tmp_path, about=QUIET | sealed()) as rig:
        await rig.trigger("message", contact=PHONE, text=CANARY)
        await until(lambda: rig.conversation(PHONE))
    with apsw.Connection(str(tmp_path / FILE_NAME)) as file:
        file.execute("UPDATE states SET value = CAST('c1 of a key that nobody knows' AS BLOB)")
    for command in ("reseal", "verify"):
        refused = await run(tmp_path, command, encryption_keys=KEY, encrypt_content=1)
        assert (refused.exit_code, refused.output.count("\n")) == (2, 1), refused.output
        assert "Something stored cannot be read" in refused.output


async def test_it_wants_the_service_stopped(tmp_path):
    async with together(tmp_path, about=QUIET | sealed()):
        refused = await run(tmp_path, "reseal", encryption_keys=KEY, encrypt_content=1)
    assert (refused.exit_code, "Stop it first" in refused.output) == (3, True)
