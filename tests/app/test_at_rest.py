"""Content at rest: with the setting no byte of a data folder holds what was said, and everything works as without."""

import asyncio
import os
import time
import zipfile
from base64 import b64encode

import pytest
from click.testing import CliRunner

from services import backup
from services.app import open_app
from services.cli import main
from services.sandbox.contents import media_file
from services.settings import SettingsError
from tests.app.rig import NUMBER, settings, together, until
from tests.app.test_privacy_erase import erase
from tests.processes import environment, settings_for

KEY, NEW_KEY, OTHER_KEY = (b64encode(os.urandom(32)).decode() for _ in range(3))
CANARY, NAME = "canari-de-paper-1789", "Canària Paperina"
PHONE = "34600555444"
HEARD_S = 30
"""On a cluster the first webhook waits until shards are held."""


def sealed(keys=KEY, wanted=True):
    return {"encryption_keys": keys, "encrypt_content": wanted}


def holding(folder, *texts):
    """The files of a folder in which any of the texts stands."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    return [path.name for path in files if any(text in path.read_bytes() for text in texts)]


async def talk(rig, text=CANARY):
    """Of everything that holds content: both sides, an edit, a file, a send, something unknown, an import."""
    first = await rig.customer(text, PHONE, name=NAME)
    await rig.control("/edit", {"wamid": first, "side": "customer", "text": f"{text}!"})
    image = await rig.customer(text, PHONE, kind="image")
    await rig.owner(text, PHONE)
    await rig.trigger("history", contact=PHONE, text=f"{text} abans")
    await rig.trigger("unknown", contact=PHONE, text=text)
    await until(lambda: rig.conversation(PHONE), HEARD_S)
    assert (await rig.outcome(await rig.send(text, PHONE)))["state"] == "accepted"
    await until(lambda: rig.events("timeline", "message.edited", first))
    told = await until(lambda: rig.events("timeline", "message.completed", image))
    await until(lambda: rig.events("conversations", "conversation.state"))
    added = await rig.data("timeline", "message.added", image)
    return first, told[-1][2]["media"]["ref"], media_file(added["content"]["id"])[1]


@pytest.mark.parametrize("wanted", [True, False])
async def test_what_people_write_is_in_no_byte_of_the_folder_with_the_setting_and_is_without_it(tmp_path, wanted):
    async with together(tmp_path, about={"pause_minutes": 0, **sealed(wanted=wanted)}) as rig:
        _, ref, data = await talk(rig)
        alive = holding(tmp_path, CANARY.encode(), NAME.encode(), data)
        read = await rig.admin.get("/v1/media", params={"ref": ref})
        assert read.content == data
        copied = tmp_path / "backup" / "coexist.db"
        copied.parent.mkdir()
        await asyncio.to_thread(backup.copy, tmp_path / "coexist.db", copied, time.time())
        assert holding(copied.parent, CANARY.encode(), NAME.encode()) == ([] if wanted else ["coexist.db"])
    found = holding(tmp_path, CANARY.encode(), NAME.encode(), data)
    if wanted:
        assert (alive, found) == ([], [])
    else:
        assert {"coexist.db", ref.partition("/")[2]} <= set(found)


@pytest.mark.faults
async def test_erasing_and_exporting_go_through_the_seals(tmp_path):
    async with together(tmp_path, about={"pause_minutes": 0, **sealed()}) as rig:
        _, _, data = await talk(rig)
        body = {"number": NUMBER, "contact": PHONE}
        (tmp_path / "export.zip").write_bytes((await rig.admin.post("/v1/privacy/export", json=body)).content)
        with zipfile.ZipFile(tmp_path / "export.zip") as export:
            contents = [export.read(name) for name in export.namelist()]
        assert data in contents
        assert any(CANARY.encode() in content for content in contents)
        (tmp_path / "export.zip").unlink()
        _, report = await erase(rig, PHONE)
        assert report["removed"]["media"] == 1
        assert report["removed"]["records"] >= 6
        assert not [one for one in await rig.records("timeline") if CANARY.encode() in (one.event.data or b"")]


async def test_keys_rotate_the_setting_may_come_late_and_a_missing_key_stops_the_start(tmp_path):
    about = {"pause_minutes": 0}
    async with together(tmp_path, about=about | sealed(KEY, wanted=False)) as rig:
        first, *_ = await talk(rig, "abans de segellar")
    async with together(tmp_path, about=about | sealed(KEY), seed=2) as rig:
        second, *_ = await talk(rig)
        assert await rig.data("timeline", "message.added", first)
    async with together(tmp_path, about=about | sealed(f"{NEW_KEY},{KEY}"), seed=3) as rig:
        third, *_ = await talk(rig, "amb clau nova")
        for wamid in (first, second, third):
            assert await rig.data("timeline", "message.added", wamid)
    for keys in (KEY, NEW_KEY, OTHER_KEY, ""):
        for wanted in (True, False):
            with pytest.raises(SettingsError, match="COEXIST_ENCRYPTION_KEYS"):
                async with open_app(settings(tmp_path, **about, **sealed(keys, wanted=wanted))):
                    pass
    assert holding(tmp_path, b"amb clau nova") == []


async def run(folder, *arguments, **more):
    """A command, in a thread: it has a loop of its own."""
    env = environment(data_dir=folder, partitions=2, automatic_within_s=0, pause_minutes=0, **more)
    return await asyncio.to_thread(CliRunner().invoke, main, list(arguments), env=env)


async def test_tail_and_verify_read_through_the_seals_and_say_plainly_when_a_key_is_missing(tmp_path):
    async with together(tmp_path, about={"pause_minutes": 0, **sealed()}) as rig:
        await talk(rig)
    told = await run(tmp_path, "tail", "timeline", "--from-start", "--no-follow", encryption_keys=KEY)
    assert CANARY in told.output
    verified = await run(tmp_path, "verify", encryption_keys=KEY, encrypt_content=1)
    assert (verified.exit_code, "all as it must be" in verified.output) == (0, True), verified.output
    commands = (["tail", "timeline", "--no-follow"], ["verify"], ["migrate"], ["run", "--roles", "echo-sync"])
    for command in commands:
        for keys in ({}, {"encryption_keys": OTHER_KEY}):
            refused = await run(tmp_path, *command, **keys)
            assert refused.exit_code == 2, refused.output
            assert refused.output.count("\n") == 1
            assert "Put that key back, behind the first." in refused.output
    nothing = await run(tmp_path / "new", "migrate", encrypt_content=1)
    assert (nothing.exit_code, "COEXIST_ENCRYPTION_KEYS is not" in nothing.output) == (2, True)


async def test_the_check_tells_what_is_sealed_from_what_was_written_before(tmp_path):
    async def told():
        given = {**settings_for(tmp_path), "port": 0, "admin_port": 0, "partitions": 2, **sealed(wanted="1")}
        result = await asyncio.to_thread(CliRunner().invoke, main, ["run", "--check"], env=environment(**given))
        assert result.exit_code == 0, result.output
        return next(line for line in result.output.splitlines() if "encryption keys" in line)

    before = "1 set, content is sealed from now on; what was written before stays plain until `coexist reseal`"
    assert (await told()).endswith("1 set, content is sealed")
    async with together(tmp_path, about=sealed(wanted=False)) as rig:
        await rig.customer(CANARY, PHONE, name=NAME)
        await until(lambda: rig.conversation(PHONE))
    assert (await told()).endswith(before)
    async with together(tmp_path, about=sealed()):
        pass
    assert (await told()).endswith(before)
    resealed = await run(tmp_path, "reseal", **sealed(wanted="1"))
    assert resealed.exit_code == 0, resealed.output
    assert (await told()).endswith("1 set, content is sealed")
