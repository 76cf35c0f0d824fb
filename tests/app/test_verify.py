"""`coexist verify` on a data folder with everything in it: it passes, and finds what was damaged or removed."""

import asyncio
import shutil
import time

import apsw
import msgspec
import pytest
from click.testing import CliRunner

from echo_sync.message import Message
from schemas.states import Conversation
from schemas.topics import ACCOUNT, CONVERSATIONS, HISTORY, INBOUND, OUTBOUND, SENDS, TIMELINE
from services.cli import main
from services.edition import FILE_NAME
from services.sandbox.faults import Faults
from services.shard import decode_state
from services.sqlite.log import OFFSET_BITS
from services.verify.books import FolderBooks
from services.verify.verdict import verify
from tests.app.rig import settings, together, until
from tests.app.sandbox_receiver import NUMBER

PARTITIONS = 2
TROUBLE = Faults(duplicate_p=0.3, reorder_p=0.2, api_echo_p=0.7, status_delay_ms=2, cut_after_accept_p=0.2)
PLAN = {"messages_per_s": 60, "customers": 12, "echoes_ratio": 0.4}
LIVELY_S = 1.5


async def busy(folder):
    """Both sides talk under trouble; edits, deletions, an import, sends, takeovers."""
    async with together(folder, faults=TROUBLE) as rig:
        people = [f"3460033{n:04}" for n in range(6)]
        for person in people:
            await rig.customer(contact=person)
            command = await rig.send(to=person, origin="agent")
            assert (await rig.outcome(command))["state"] == "accepted"
        await rig.control("/traffic", PLAN)
        for person in people:
            wamid = await rig.customer(contact=person)
            await rig.owner(contact=person)
            await rig.control("/edit", {"side": "customer", "wamid": wamid, "text": "edited"})
        await rig.control("/revoke", {"side": "customer", "wamid": await rig.customer(contact=people[0])})
        await rig.control("/history", {"number": NUMBER})
        for name in ("contact", "revoke", "edit", "status"):
            await rig.trigger(name)
        one, two = [await until(lambda person=person: rig.conversation(person)) for person in people[:2]]
        await rig.admin.post(f"/v1/conversations/{one['conversation_id']}/takeover", json={"minutes": 5})
        await rig.admin.post(f"/v1/conversations/{two['conversation_id']}/assign", json={"assignee": "Anna"})
        await asyncio.sleep(LIVELY_S)
        await rig.meta.delete("/sandbox/api/traffic")
        await rig.control("/flush", {"timeout_s": 30})


@pytest.fixture(scope="module")
def lived(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lived") / "data"
    asyncio.run(busy(folder))
    return folder


@pytest.fixture
def folder(lived, tmp_path):
    return shutil.copytree(lived, tmp_path / "data")


async def look(folder):
    told = settings(folder, partitions=PARTITIONS)
    books = FolderBooks(told)
    try:
        return await verify(told, books, time.time(), lambda what: None)
    finally:
        await books.close()


def kinds(verdict):
    return {difference.kind for difference in verdict.differences}


class Damage:
    """The file, to be changed as no service would."""

    def __init__(self, folder):
        self.file = apsw.Connection(str(folder / FILE_NAME))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def one(self, statement, *values):
        return self.file.execute(statement, values).fetchone()

    def change(self, prefix, kind, change):
        """Change the newest state under a prefix for which `change` returns true."""
        asked = f"SELECT key, value FROM states WHERE key GLOB '{prefix}*' AND line IS NOT NULL ORDER BY place"
        for key, value in self.file.execute(asked).fetchall():
            state = decode_state(kind, value)
            if change(state):
                self.file.execute("UPDATE states SET value = ? WHERE key = ?", (msgspec.msgpack.encode(state), key))
                return state
        raise AssertionError(f"no state under {prefix} to damage")

    def rows(self, topic):
        (number,) = self.one("SELECT number FROM topics WHERE topic = ?", topic)
        span = (number * PARTITIONS << OFFSET_BITS, (number + 1) * PARTITIONS << OFFSET_BITS)
        return [row[0] for row in self.file.execute("SELECT id FROM log WHERE id >= ? AND id < ? ORDER BY id", span)]

    def remove_row(self, topic, place):
        self.file.execute("DELETE FROM log WHERE id = ?", (self.rows(topic)[place],))


async def test_a_folder_that_has_lived_is_as_it_must_be(folder, tell):
    started = time.monotonic()
    verdict = await look(folder)
    assert verdict.differences == []
    assert verdict.messages > 100
    assert verdict.conversations > 6
    assert verdict.partly == 0
    seen = f"{verdict.events} events, {verdict.messages} messages"
    tell(f"verify: {seen} in {time.monotonic() - started:.1f} s: no difference")


async def test_a_changed_content_is_found(folder):
    with Damage(folder) as damage:
        damage.change("m/", Message, lambda m: m.added and setattr(m, "content", b'{"body":"forged"}') is None)
    verdict = await look(folder)
    assert kinds(verdict) == {"message"}
    assert any("content" in difference.says for difference in verdict.differences)
    assert not any("forged" in difference.says for difference in verdict.differences)


async def test_a_status_that_was_forgotten_is_found(folder):
    def forget(message):
        message.statuses = message.statuses[:-1]
        return True

    with Damage(folder) as damage:
        damage.change("m/", Message, lambda m: bool(m.statuses) and forget(m))
    assert kinds(await look(folder)) == {"message"}


async def test_a_message_that_is_gone_and_one_that_nobody_told_of_are_found(folder):
    with Damage(folder) as damage:
        key, slot, value = damage.one("SELECT key, slot, value FROM states WHERE key GLOB 'm/*' AND line IS NOT NULL")
        damage.file.execute("DELETE FROM states WHERE key = ?", (key,))
        state = decode_state(Message, value)
        state.message_id = "wamid.invented"
        made = (slot, f"m/{state.number}/wamid.invented", msgspec.msgpack.encode(state))
        damage.file.execute("INSERT INTO states (slot, key, value) VALUES (?, ?, ?)", made)
    assert kinds(await look(folder)) >= {"lost", "untold", "extra"}


async def test_a_state_that_cannot_be_read_is_found(folder):
    with Damage(folder) as damage:
        key = damage.one("SELECT key FROM states WHERE key GLOB 'm/*'")[0]
        damage.file.execute("UPDATE states SET value = ? WHERE key = ?", (b"\xc1\x00", key))
    assert "state" in kinds(await look(folder))


@pytest.mark.parametrize("change", ["claims", "inbound", "version", "window_until", "assignee"])
async def test_a_conversation_that_is_not_what_it_was_told_is_found(folder, change):
    damaged = {"claims": [], "inbound": b"", "version": 1_000, "window_until": 1.0, "assignee": "Nobody"}[change]

    def differ(state):
        if state.merged_into or getattr(state, change) == damaged:
            return False
        setattr(state, change, damaged)
        return True

    with Damage(folder) as damage:
        damage.change("v/", Conversation, differ)
    assert kinds(await look(folder)) == {"conversation"}


async def test_an_identity_that_leads_elsewhere_is_found(folder):
    with Damage(folder) as damage:
        rows = damage.file.execute("SELECT key, value FROM states WHERE key GLOB 'i/*' ORDER BY value").fetchall()
        damage.file.execute("UPDATE states SET value = ? WHERE key = ?", (rows[-1][1], rows[0][0]))
    assert "identity" in kinds(await look(folder))


@pytest.mark.parametrize("topic", [TIMELINE, SENDS])
@pytest.mark.parametrize("place", [0, 3, -1], ids=["first", "middle", "last"])
async def test_a_removed_record_of_a_topic_that_tells_each_fact_once_is_a_gap(folder, topic, place):
    with Damage(folder) as damage:
        damage.remove_row(topic, place)
    verdict = await look(folder)
    if place:
        assert "gap" in kinds(verdict)
    else:  # as after retention, unless the state tells more
        assert verdict.differences == [] or "lost" not in kinds(verdict)


async def test_removed_records_of_what_was_read_are_found_by_the_states_that_they_left(folder):
    with Damage(folder) as damage:
        for _ in range(10):  # one alone may be a repeat, of which the state knew nothing new
            damage.remove_row(INBOUND, len(damage.rows(INBOUND)) // 2)
    assert kinds(await look(folder)) & {"extra", "message"}


async def test_what_is_older_than_retention_is_no_difference_but_what_is_left_is_still_compared(folder):
    with Damage(folder) as damage:
        for topic in (INBOUND, HISTORY, TIMELINE, SENDS, ACCOUNT, OUTBOUND):
            for row in damage.rows(topic)[: max(1, len(damage.rows(topic)) // 3)]:
                damage.file.execute("DELETE FROM log WHERE id = ?", (row,))
    verdict = await look(folder)
    assert verdict.differences == []
    assert verdict.partly == 1
    with Damage(folder) as damage:
        damage.change("v/", Conversation, lambda c: c.inbound != b"" and setattr(c, "inbound", b"") is None)
    assert kinds(await look(folder)) == {"conversation"}


def test_the_command_ends_with_one_on_a_difference_and_says_where_without_quoting(folder, monkeypatch):
    monkeypatch.setenv("COEXIST_DATA_DIR", str(folder))
    monkeypatch.setenv("COEXIST_PARTITIONS", str(PARTITIONS))
    well = CliRunner().invoke(main, ["verify"])
    assert (well.exit_code, well.output.count("all as it must be")) == (0, 1), well.output
    with Damage(folder) as damage:
        damage.change("m/", Message, lambda m: m.added and setattr(m, "content", b'{"body":"forged"}') is None)
        damage.remove_row(CONVERSATIONS, -1)
    ill = CliRunner().invoke(main, ["verify"])
    assert ill.exit_code == 1
    assert "differences" in ill.output.splitlines()[-1]
    assert "forged" not in ill.output
    assert "34600330" not in ill.output
