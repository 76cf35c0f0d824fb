"""A number's own access token: sealed in the data folder, used for what is sent and fetched, never shown."""

import asyncio
import os
from base64 import b64encode

import pytest

from services.access_tokens import CACHE_S
from services.app import open_app
from services.settings import SettingsError
from tests.app.rig import settings, together, until
from tests.app.sandbox_receiver import NUMBER
from tests.app.sealed_start import refused_without_its_key
from tests.harness import Clock
from tests.processes import DEFAULT_TOKEN

KEY, NEW_KEY = (b64encode(os.urandom(32)).decode() for _ in range(2))
WRONG = "EAA-a-token-of-somebody-else"


def keyed(token=WRONG, keys=KEY):
    return {"meta_access_token": token, "encryption_keys": keys}


async def token_of(rig):
    return (await rig.admin.get(f"/v1/numbers/{NUMBER}")).json()["token"]


async def give(rig, token=DEFAULT_TOKEN):
    return await rig.admin.put(f"/v1/numbers/{NUMBER}/token", json={"token": token})


async def known(rig):
    await rig.customer()
    await until(rig.conversation)


async def test_a_number_s_own_token_goes_before_the_installation_s(tmp_path):
    async with together(tmp_path, about=keyed()) as rig:
        await known(rig)
        assert await token_of(rig) == "default"
        assert (await give(rig)).status_code == 202
        assert await token_of(rig) == "own"
        assert (await rig.outcome(await rig.send()))["state"] == "accepted"
        upload = await rig.admin.post(
            f"/v1/media?number={NUMBER}", content=b"\xff\xd8\xff0", headers={"Content-Type": "image/jpeg"}
        )
        assert upload.status_code == 201
        assert (await rig.admin.delete(f"/v1/numbers/{NUMBER}/token")).json()["token"] == "default"
        data = await rig.data("sends", "send.deferred", await rig.send(to="34600111444"))
        assert data["reason"] == "token_refused"


async def test_a_number_whose_token_is_refused_sends_at_once_when_it_gets_another(tmp_path):
    async with together(tmp_path, about=keyed()) as rig:
        await known(rig)
        command_id = await rig.send()
        assert (await rig.data("sends", "send.deferred", command_id))["reason"] == "token_refused"
        await give(rig)
        assert (await rig.outcome(command_id))["state"] == "accepted"  # within the rig's deadline; alone: a minute
        assert (await rig.admin.get(f"/v1/numbers/{NUMBER}")).json()["sending"] == "on"


async def test_without_any_token_a_command_is_rejected_and_nothing_is_announced(tmp_path):
    async with together(tmp_path, about=keyed(None)) as rig:
        await known(rig)
        assert await token_of(rig) == "none"
        data = await rig.data("sends", "send.rejected", await rig.send())
        assert data["reason"] == "no_token"
        assert await rig.events("inbound", "send.attempted") == []


async def test_a_token_is_nowhere_on_the_disk_in_the_log_or_in_an_answer(tmp_path, capsys):
    secret = "EAA" + os.urandom(16).hex()
    async with together(tmp_path, about=keyed()) as rig:
        await known(rig)
        answer = await rig.admin.post("/v1/numbers", json={"number": NUMBER, "token": secret})
        assert answer.status_code == 202
        await until(lambda: rig.events("account", "number.onboarded"))
        paths = ("/v1/numbers", f"/v1/numbers/{NUMBER}", "/v1/config", "/metrics", "/v1/overview")
        shown = [answer.text, *[(await rig.admin.get(path)).text for path in paths]]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert [path for path in files if secret.encode() in path.read_bytes()] == []
    told = capsys.readouterr()
    assert secret not in "".join(shown) + told.out + told.err


async def test_a_new_key_takes_over_by_itself_and_a_lost_one_leaves_the_number_without_a_token(tmp_path):
    async with together(tmp_path, about=keyed()) as rig:
        await known(rig)
        await give(rig)
    async with together(tmp_path, about=keyed(keys=f"{NEW_KEY},{KEY}")) as rig:
        assert await token_of(rig) == "own"
    async with together(tmp_path, about=keyed(keys=NEW_KEY)) as rig:
        assert await token_of(rig) == "own"
        await known(rig)
        assert (await rig.outcome(await rig.send()))["state"] == "accepted"
    async with together(tmp_path, about=keyed(DEFAULT_TOKEN, keys=KEY) | {"encryption_key_lost": True}) as rig:
        assert await token_of(rig) == "sealed"
        await known(rig)
        data = await rig.data("sends", "send.rejected", await rig.send())
        assert data["reason"] == "no_token"  # the installation's may be another business's


async def test_what_another_process_set_is_used_after_some_seconds_and_at_once_after_a_refusal(tmp_path):
    clock = Clock()
    async with open_app(settings(tmp_path, **keyed()), ["sender"], clock=clock) as app:
        tokens = app.tokens
        assert await tokens.of(NUMBER) == WRONG
        await type(tokens)(app.store, tokens._sealer, None, 2, "another", clock).keep(NUMBER, "theirs")
        assert await tokens.of(NUMBER) == WRONG
        tokens.forget(NUMBER)
        assert await tokens.of(NUMBER) == "theirs"
        await type(tokens)(app.store, tokens._sealer, None, 2, "another", clock).keep(NUMBER, "newer")
        clock.now += CACHE_S + 1
        assert await tokens.of(NUMBER) == "newer"


@pytest.mark.parametrize("token", ["", "two words", 7, None, "x" * 4097])
async def test_what_is_no_token_is_refused(tmp_path, token):
    async with together(tmp_path, about=keyed()) as rig:
        await known(rig)
        answer = await give(rig, token)
        assert (answer.status_code, answer.json()["title"]) == (422, "token: not an access token")


async def test_without_a_key_no_token_is_kept_and_the_answer_says_what_to_do(tmp_path):
    async with together(tmp_path) as rig:
        await known(rig)
        answer = await give(rig)
        assert answer.status_code == 409
        assert "COEXIST_ENCRYPTION_KEYS is not set. Make one with `openssl rand" in answer.json()["fix"]


async def test_a_wrong_key_stops_the_start_before_anything_has_an_effect(tmp_path):
    with pytest.raises(SettingsError, match="Key 1 of COEXIST_ENCRYPTION_KEYS"):
        async with open_app(settings(tmp_path / "data", encryption_keys="short")):
            await asyncio.sleep(0)
    assert not (tmp_path / "data").exists()


async def test_without_the_key_of_a_number_s_token_nothing_starts_and_the_check_says_so(tmp_path):
    async def keep(rig):
        await known(rig)
        return await give(rig)

    await refused_without_its_key(tmp_path, keep)
