"""An export holds all that is held about one person, and nothing of anybody else."""

import asyncio
import hashlib
import io
import json
import os
import zipfile
from base64 import b64encode

import pytest
from click.testing import CliRunner

from services.cli import main
from tests.app.rig import NUMBER, service, together, until
from tests.app.sandbox_receiver import CONTACT
from tests.app.test_privacy_erase import Person, at_rest, erase, talk
from tests.processes import environment


async def export(rig, contact):
    answer = await rig.admin.post("/v1/privacy/export", json={"number": NUMBER, "contact": contact})
    assert answer.status_code == 200, answer.text
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    return archive, json.loads(archive.read("manifest.json"))


def lines(archive, name):
    return [json.loads(line) for line in archive.read(name).splitlines()]


async def test_an_export_equals_metas_ledger_for_that_person(tmp_path):
    one, other = Person(1), Person(2)
    async with together(tmp_path, about={"pause_minutes": 0}) as rig:
        for person in (one, other, one):
            await talk(rig, person)
        command = await rig.send(one.text, one.phone)
        sent = (await rig.outcome(command))["message_id"]
        archive, manifest = await export(rig, one.phone)
        ledger = (await rig.meta.get("/sandbox/api/ledger/items")).text
        items = [json.loads(line) for line in ledger.splitlines()]
        mine = {item["wamid"] for item in items if item["contact"] == one.phone and item["kind"] in ("message", "echo")}
        told = {message["message_id"] for message in lines(archive, "messages.jsonl")}
        assert told == mine | {sent}
        whole = archive.read("records.jsonl") + archive.read("states.jsonl") + archive.read("messages.jsonl")
        assert not [trace for trace in other.traces() if trace in whole]
        for name, about in manifest["files"].items():
            assert hashlib.sha256(archive.read(name)).hexdigest() == about["sha256"]


async def test_an_export_is_complete_by_the_stores_own_count(tmp_path):
    person = Person(3)
    async with together(tmp_path, about={"pause_minutes": 0}) as rig:
        await talk(rig, person)
        await talk(rig, Person(4))
        await until(lambda: at_rest(rig))
        archive, manifest = await export(rig, person.phone)
        rows = rig.app.file.reading.execute("SELECT key, value FROM states").fetchall()
        traced = {key for key, value in rows if any(trace in key.encode() + value for trace in person.traces())}
        assert traced <= {one["key"] for one in lines(archive, "states.jsonl")}
        assert manifest["held"]["messages"] == 2
        held = [record for record in lines(archive, "records.jsonl") if record["topic"] == "timeline"]
        assert {record["subject"] for record in held} >= set(person.wamids)


async def test_after_an_erasure_there_is_nothing_to_export(tmp_path):
    async with service(tmp_path) as rig:
        await rig.trigger("message", contact=CONTACT)
        await until(lambda: rig.events("timeline", "message.added"))
        assert (await export(rig, CONTACT))[1]["held"]["messages"] == 1
        await erase(rig, CONTACT)
        assert (await export(rig, CONTACT))[1]["held"] == {"records": 0, "media": 0}


KEY = b64encode(os.urandom(32)).decode()


@pytest.mark.parametrize("content", [False, True])
async def test_media_that_cannot_be_read_is_named_and_the_rest_is_exported(tmp_path, content):
    about = {"encryption_keys": KEY, "encrypt_content": content}
    async with together(tmp_path, about=about) as rig:
        images = [await rig.customer(kind="image", contact=CONTACT) for _ in range(2)]
        told = [await until(lambda wamid=wamid: rig.events("timeline", "message.completed", wamid)) for wamid in images]
        lost, kept = (f"media/{events[-1][2]['media']['ref']}" for events in told)
        if content:
            (tmp_path / lost).write_bytes((tmp_path / lost).read_bytes()[:-1])
        else:
            (tmp_path / lost).unlink()
            (tmp_path / lost).mkdir()
        archive, manifest = await export(rig, CONTACT)
        assert manifest["unreadable"] == [lost]
        assert lost not in {*manifest["files"], *archive.namelist()}
        assert manifest["files"][kept]["sha256"] == hashlib.sha256(archive.read(kept)).hexdigest()
        (tmp_path / kept).unlink()
        archive, manifest = await export(rig, CONTACT)
        assert (manifest["files"][kept], kept in archive.namelist()) == ({"missing": True}, False)


async def exported(rig, to, contact=CONTACT):
    """`coexist privacy export`: its exit code, and its output as one line."""
    arguments = ["privacy", "export", "--number", NUMBER, "--contact", contact, "--to", str(to)]
    about = environment(admin_url=str(rig.admin.base_url).rstrip("/"))
    result = await asyncio.to_thread(CliRunner().invoke, main, arguments, env=about)
    return result.exit_code, " ".join(result.output.split())


async def test_an_export_with_nowhere_to_go_asks_for_nothing_and_leaves_no_record(tmp_path):
    (tmp_path / "there.zip").write_text("kept")
    async with service(tmp_path / "data") as rig:
        await rig.trigger("message", contact=CONTACT)
        await until(lambda: rig.events("timeline", "message.added"))
        for to, why in (
            ("there.zip", "exists"),
            ("none/e.zip", "no such file"),
            ("there.zip/e.zip", "not a directory"),
        ):
            code, told = await exported(rig, tmp_path / to)
            assert (code, why in told, "defect" in told) == (2, True, False), told
        assert (await exported(rig, tmp_path / "refused.zip", "nobody"))[0] == 2
        assert (await rig.admin.get("/v1/audit")).json()["audit"] == []
        assert sorted(one.name for one in tmp_path.iterdir()) == ["data", "there.zip"]
        assert (tmp_path / "there.zip").read_text() == "kept"
        code, told = await exported(rig, tmp_path / "new.zip")
        assert code == 0, told
        assert zipfile.is_zipfile(tmp_path / "new.zip")
        (record,) = (await rig.admin.get("/v1/audit")).json()["audit"]
        assert record["what"] == "person.exported"
