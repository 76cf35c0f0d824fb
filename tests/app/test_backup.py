"""The drill of the embedded edition: a backup while it works, a disaster, the backup put back, nothing sent twice."""

import asyncio
import shutil
import stat
import subprocess
import time
from collections import Counter

import apsw
import orjson
import pytest
import structlog
from click.testing import CliRunner

from schemas.tokens import read_token
from schemas.topics import DAY_S
from services.app import open_app
from services.backup import NotCopied, copy
from services.cli import main
from services.edition import FILE_NAME
from services.statements import SCHEMA
from services.verify.books import FolderBooks
from services.verify.verdict import verify
from tests.app.rig import NUMBER, service, settings, until
from tests.app.sandbox_receiver import post, sandbox
from tests.app.test_app_timeline import fact
from tests.app.test_privacy_erase import SLOW_S, Person, erase, found_in
from tests.processes import COEXIST, coexist, environment

PARTITIONS = 2
BEFORE = ("queued-1", "queued-2")


async def accepted(rig):
    """How often Meta accepted each command."""
    sends, key = (await rig.meta.get("/sandbox/api/ledger/sends")).json(), await rig.app.store.installation_key()
    return Counter(read_token(key, send["callback"])[0] for send in sends if send["wamid"])


async def state(rig, command_id):
    return (await rig.admin.get(f"/v1/sends/{command_id}")).json()


async def unresolved(rig, command_id):
    return await until(lambda: rig.events("sends", "send.unresolved", command_id))


async def settled(rig, command_id):
    return (await rig.outcome(command_id))["state"]


async def live(folder, meta, url, backup):
    """Two commands wait as the backup is made, and are sent afterwards. The ids of these, and of all that was sent."""
    async with service(folder, url, meta=meta) as rig:
        await post(meta, "/webhook", {"url": rig.webhook})
        await rig.customer()
        await until(rig.conversation)
        sent = [await rig.send("sent")]
        assert await settled(rig, sent[0]) == "accepted"
        await rig.admin.post(f"/v1/numbers/{NUMBER}/pause")
        await rig.data("account", "number.changed")
        waiting = [await rig.send(text, policy="at_least_once") for text in BEFORE]
        for command_id in waiting:
            await until(lambda known=command_id: known_to(rig, known))
        copied = await asyncio.to_thread(coexist, "backup", backup, data_dir=folder)
        assert (copied.returncode, copied.stderr) == (0, ""), copied.stderr
        await rig.admin.post(f"/v1/numbers/{NUMBER}/resume")
        sent += [*waiting, await rig.send("between")]
        assert {await settled(rig, command_id) for command_id in sent} == {"accepted"}
        await rig.owner("després de la còpia")
        await post(meta, "/flush", {"timeout_s": 30})
        return waiting, sent


async def known_to(rig, command_id):
    return (await state(rig, command_id)).get("state") == "queued"


def put_back(folder, backup):
    """The disk is gone; the backup takes the file's place."""
    shutil.rmtree(folder)
    folder.mkdir()
    shutil.copy(backup, folder / FILE_NAME)


async def test_a_restored_backup_sends_nothing_twice_and_works_on(tmp_path):
    folder, backup = tmp_path / "data", tmp_path / "backup.db"
    async with sandbox() as meta:
        url = str(meta.base_url).rstrip("/")
        waiting, sent = await live(folder, meta, url, backup)
        put_back(folder, backup)
        async with service(folder, url, meta=meta) as rig:
            await post(meta, "/webhook", {"url": rig.webhook})
            await rig.admin.post(f"/v1/numbers/{NUMBER}/resume")
            told = [(await unresolved(rig, command_id))[0][2]["reason"] for command_id in waiting]
            assert told == ["restored"] * len(BEFORE)
            sent.append(await rig.send("after"))
            assert await settled(rig, sent[-1]) == "accepted"
            assert await accepted(rig) == dict.fromkeys(sent, 1)
            await post(meta, "/flush", {"timeout_s": 30})
    books = FolderBooks(settings(folder, partitions=PARTITIONS))
    verdict = await verify(settings(folder, partitions=PARTITIONS), books, time.time(), lambda what: None)
    await books.close()
    assert verdict.differences == []


@pytest.mark.faults
async def test_who_was_erased_after_the_backup_is_erased_from_it_once_it_is_put_back(tmp_path):
    folder, backup, person = tmp_path / "data", tmp_path / "backup.db", Person(1)
    about = {"erasure_ledger": tmp_path / "erasures.jsonl"}
    async with service(folder, about=about) as rig:
        await rig.trigger("message", contact=person.phone, text=person.text)
        await until(lambda: rig.conversation(person.phone))
        copy(folder / FILE_NAME, backup, time.time())
        await erase(rig, person.phone)
    put_back(folder, backup)
    assert {name for _, name in found_in(folder, [person])} == {FILE_NAME}
    async with service(folder, about=about) as rig:
        await until(lambda: gone(folder, person), SLOW_S)
        assert await rig.conversation(person.phone) is None


async def gone(folder, person):
    return await asyncio.to_thread(found_in, folder, [person]) == []


def test_a_copy_made_by_other_means_is_fenced_by_word(tmp_path):
    folder = tmp_path / "data"
    said = coexist("restored", data_dir=folder)
    assert (said.returncode, said.stderr) == (0, "")
    assert "are not sent" in said.stdout
    with apsw.Connection(str(folder / FILE_NAME)) as file:
        assert file.execute("SELECT count(*) FROM installation WHERE name = 'restored'").get == 1


async def test_a_service_on_what_was_put_back_says_so_at_each_start(tmp_path):
    folder, copied = tmp_path / "data", tmp_path / "backup.db"
    assert await started(folder) == []
    copy(folder / FILE_NAME, copied, time.time())
    put_back(folder, copied)
    (first,), (second,) = await started(folder), await started(folder)
    assert (first["log_level"], second["log_level"], "not sent" in second["fix"]) == ("warning", "warning", True)
    (later,) = await started(folder, clock=lambda: time.time() + 2 * DAY_S)
    assert (later["log_level"], later["seconds"] >= 2 * DAY_S) == ("info", True)
    (tmp_path / "other").mkdir()
    assert (
        await asyncio.to_thread(coexist, "restored", data_dir=tmp_path / "other", partitions=PARTITIONS)
    ).stderr == ""
    assert len(await started(tmp_path / "other")) == 1


async def started(folder, **wiring):
    """What a service says of a backup when it starts."""
    with structlog.testing.capture_logs() as lines:
        async with open_app(settings(folder), [], **wiring):
            pass
    return [line for line in lines if line["event"] == "restored"]


def test_a_backup_overwrites_nothing_and_is_for_its_owner_alone(tmp_path):
    source, backup = tmp_path / FILE_NAME, tmp_path / "backup.db"
    with pytest.raises(NotCopied, match="COEXIST_DATA_DIR"):
        copy(source, backup, 0)
    with apsw.Connection(str(source)) as file:
        file.execute(SCHEMA)
    assert copy(source, backup, 0) == backup.stat().st_size
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    with pytest.raises(NotCopied, match="overwrites nothing"):
        copy(source, backup, 0)
    with pytest.raises(NotCopied, match="could not be written"):
        copy(source, tmp_path / "no" / "backup.db", 0)
    with pytest.raises(NotCopied, match="could not be written"):
        copy(source, backup / "backup.db", 0)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["backup.db", FILE_NAME]


@pytest.mark.parametrize("command", ["backup", "restored"])
def test_the_help_teaches(command):
    assert "send.unresolved" in CliRunner().invoke(main, [command, "--help"]).stdout


async def test_tail_goes_on_with_the_file_that_was_put_in_the_place_of_the_one_it_read(tmp_path):
    folder = tmp_path / "data"
    async with service(folder, roles=()) as rig:
        await rig.app.log.append([fact(n) for n in range(3)])
    command, env = [*COEXIST, "tail", "timeline", "--from-start", "--json"], environment(data_dir=folder)
    told = await asyncio.create_subprocess_exec(*command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    async def heard():
        async with asyncio.timeout(SLOW_S):
            return orjson.loads(await told.stdout.readline())["data"]["n"]

    try:
        assert [await heard() for _ in range(3)] == [0, 1, 2]
        shutil.rmtree(folder)
        async with service(folder, roles=()) as rig:
            await rig.app.log.append([fact(7)])
            assert await heard() == 7
    finally:
        told.kill()
        _, said = await told.communicate()
    assert b"Another file lies there now" in said
