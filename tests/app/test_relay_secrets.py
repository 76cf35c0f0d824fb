"""The secrets of relays at rest: sealed where there is a key, under the first of them, and useless without it."""

import os
from base64 import b64encode

from tests.app.relay_receiver import receiver
from tests.app.rig import until
from tests.app.sealed_start import refused_without_its_key
from tests.app.test_at_rest import holding
from tests.app.test_relay import _has, added, relaying, resume, state, write

KEY, NEW_KEY = (b64encode(os.urandom(32)).decode() for _ in range(2))
SOON_S = 20


async def test_a_secret_is_sealed_once_there_is_a_key_and_follows_the_first_key_by_itself(tmp_path):
    there = receiver()
    async with relaying(tmp_path) as rig, there.listening():
        await added(rig, there)
    secret = there.secrets[0].encode()
    assert holding(tmp_path, secret) == ["coexist.db"]
    for count, keys in enumerate((KEY, f"{NEW_KEY},{KEY}", NEW_KEY), 1):
        async with relaying(tmp_path, encryption_keys=keys) as rig, there.listening():
            await write(rig, 1, count)
            await until(lambda count=count: _has(there, count), SOON_S)
            assert secret not in (await rig.admin.get("/v1/relays")).content
        assert there.forged == 0
        assert holding(tmp_path, secret) == []


async def test_a_relay_whose_secret_no_key_opens_sends_nothing_until_it_is_rotated(tmp_path):
    there = receiver()
    async with relaying(tmp_path, encryption_keys=KEY) as rig, there.listening():
        relay_id = await added(rig, there)
    async with relaying(tmp_path, encryption_keys=NEW_KEY, encryption_key_lost=True) as rig, there.listening():
        assert (await state(rig, relay_id))["state"] == "sealed"
        refused = await rig.admin.post(f"/v1/relays/{relay_id}/test")
        assert (refused.status_code, refused.json()["title"]) == (409, "no key opens the relay's secret")
        await rig.admin.post(f"/v1/relays/{relay_id}/pause")
        assert (await rig.admin.post(f"/v1/relays/{relay_id}/test")).status_code == 409
        await resume(rig, relay_id)
        await write(rig, 1)
        there.secrets = [(await rig.admin.post(f"/v1/relays/{relay_id}/rotate")).json()["secret"]]
        await until(lambda: _has(there, 1), SOON_S)
        assert there.forged == 0
        assert (await state(rig, relay_id))["state"] == "working"
    async with relaying(tmp_path, encryption_keys=NEW_KEY) as rig:
        assert (await state(rig, relay_id))["state"] == "working"


async def test_without_the_key_of_a_relay_s_secret_nothing_starts_and_the_check_says_so(tmp_path):
    async def keep(rig):
        return await rig.admin.post("/v1/relays", json={"url": "https://example.org/events", "topics": ["timeline"]})

    await refused_without_its_key(tmp_path, keep)
