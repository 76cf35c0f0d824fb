"""The door of the admin API: commands that nobody would read whole are refused, and bodies are bounded."""

import asyncio
import json

import pytest
import pytest_asyncio

from schemas.commands import OnlyIf, SendRequested
from schemas.ports import Event
from services.api.door import BODY_BYTES_MAX
from services.api.sends import ABOUT
from services.dead_letters import dead_letter
from tests.app.edge_rig import Client
from tests.app.rig import service, until
from tests.app.sandbox_receiver import CONTACT, NUMBER
from tests.processes import coexist

SEND = {"number": NUMBER, "to": CONTACT, "type": "text", "text": {"body": "hola"}}


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig(tmp_path_factory):
    async with service(tmp_path_factory.mktemp("door")) as running:
        await running.trigger("message")
        await until(running.conversation)
        yield running


async def written(rig):
    """How many commands stand on the topics."""
    return len(await rig.records("outbound")) + len(await rig.records("outbound-bulk"))


def is_problem(answer, status):
    told = answer.json()
    assert (answer.status_code, told["status"]) == (status, status), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    return told


@pytest.mark.parametrize(
    ("more", "title", "near"),
    [
        ({"expire_at": "2026-09-21T16:00:00Z"}, "expire_at is", "expires_at"),
        ({"only_iff": {"not_taken_over": True}}, "only_iff is", "only_if"),
        ({"only_if": {"not_takenover": True}}, "only_if.not_takenover is", "not_taken_over"),
        ({"orign": "bot"}, "orign is", "origin"),
        ({"templat": {}}, "templat is", "template"),
        ({"recipient_typ": "individual"}, "recipient_typ is", "recipient_type"),
        ({"34600111222 said": 1}, "? is", "inside `message`"),
        ({"ttl": 60}, "ttl is", "inside `message`"),
        ({"message": {"text": {"body": "x"}}}, "type is", "inside `message`"),
    ],
)
async def test_a_field_that_nobody_would_read_is_refused_with_the_nearest_one(rig, more, title, near):
    before = await written(rig)
    told = is_problem(await rig.admin.post("/v1/messages", json=SEND | more), 422)
    assert told["title"] == f"{title} not a field of this command"
    assert near in told["fix"]
    assert await written(rig) == before


async def test_every_field_that_there_is_passes_the_door(rig):
    body = SEND | {
        "origin": "agent",
        "policy": "at_most_once",
        "lane": "bulk",
        "defer_until_released": True,
        "not_before": "2999-01-01T00:00:00Z",
        "expires_at": "2999-01-02T00:00:00Z",
        "trace": "a",
        "only_if": {"no_message_after": "wamid.1", "not_taken_over": True},
        "fallback": {"type": "template", "template": {"name": "x", "language": {"code": "ca"}}},
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        "context": {"message_id": "wamid.1"},
        "command_id": "all-of-them",
    }
    assert set(OnlyIf.model_fields) == set(body["only_if"])
    assert set(SendRequested.model_fields) == {*ABOUT, "to", "message"}
    assert set(body) >= ABOUT
    assert (await rig.admin.post("/v1/messages", json=body)).status_code == 202


async def test_on_the_topic_itself_a_field_that_is_not_known_is_ignored(rig):
    data = {"command_id": "c", "number": "7", "to": CONTACT, "message": {"text": {"body": "x"}}, "expire_at": "?"}
    event = Event("send:c", "send.requested", "7", json.dumps(data).encode(), 1.0, 1.0, "c")
    await rig.app.log.append([("outbound", event)])
    assert (await rig.data("sends", "send.rejected", "c"))["reason"] == "unknown_number"


async def test_a_command_from_a_file_is_refused_alike_and_ends_with_2(rig, tmp_path):
    data = {"number": NUMBER, "to": CONTACT, "message": {"text": {"body": "x"}}, "expire_at": "2026-09-21T16:00:00Z"}
    (tmp_path / "command.json").write_text(json.dumps(data))
    given = {"admin_url": str(rig.admin.base_url).rstrip("/"), "data_dir": tmp_path}
    result = await asyncio.to_thread(coexist, "send", "--json", tmp_path / "command.json", **given)
    assert (result.returncode, result.stdout) == (2, "")
    assert "expire_at is not a field of this command. Did you mean expires_at?" in result.stderr


@pytest.mark.parametrize(
    ("action", "body", "said"),
    [
        ("takeover", {"minuts": 5}, "minuts is not a field"),
        ("takeover", {"minutes": "5"}, "minutes must be a number"),
        ("takeover", {"conversation_id": "c-2"}, "conversation_id is not a field"),
        ("release", {"minutes": 5}, "minutes is not a field"),
        ("assign", {}, "assignee is missing"),
        ("assign", {"assignee": 7}, "assignee must be text"),
    ],
)
async def test_what_a_person_asks_of_a_conversation_is_checked_too(rig, action, body, said):
    before, conversation = await written(rig), await rig.conversation()
    answer = await rig.admin.post(f"/v1/conversations/{conversation['conversation_id']}/{action}", json=body)
    assert said in is_problem(answer, 422)["title"]
    assert await written(rig) == before


async def test_a_number_with_a_field_that_is_none_is_refused(rig):
    answer = await rig.admin.post("/v1/numbers", json={"number": NUMBER, "wabba": "7"})
    assert "Did you mean waba?" in is_problem(answer, 422)["fix"]


@pytest.mark.parametrize(
    ("content", "title"),
    [
        (b"{", "the body is not JSON"),
        (b"\xff", "the body is not JSON"),
        (b"[]", "the body must be an object"),
        (b"5", "the body must be an object"),
        (b"", "the body is missing"),
    ],
)
async def test_a_body_that_cannot_be_read_is_said_so_in_plain_words(rig, content, title):
    answer = await rig.admin.post("/v1/messages", content=content, headers={"Content-Type": "application/json"})
    assert is_problem(answer, 422)["title"] == title


async def test_a_parameter_that_cannot_be_read_is_said_so_in_plain_words(rig):
    answer = await rig.admin.get("/v1/conversations?number=1&limit=many")
    assert is_problem(answer, 422)["title"] == "limit must be a whole number"
    answer = await rig.admin.get("/v1/dead-letters?limit=9999")
    assert is_problem(answer, 422)["title"] == "limit must be less than or equal to 200"


async def test_a_body_over_the_cap_is_413_and_reading_stops_there(rig):
    head = b"POST /v1/messages HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
    chunk = b"%x\r\n%s\r\n" % (65_536, b" " * 65_536)
    cases = [
        (head + b"content-length: %d\r\n\r\n" % (BODY_BYTES_MAX + 1), b""),
        (head.replace(b"/v1/messages", b"/v1/none") + b"content-length: 999999999999999999\r\n\r\n", b""),
        (head + b"transfer-encoding: chunked\r\n\r\n", chunk * (BODY_BYTES_MAX // 65_536 + 1)),
    ]
    for begin, body in cases:
        client = Client(*await asyncio.open_connection("127.0.0.1", rig.app.admin.port))
        client.writer.write(begin + body)
        status, headers, told = await client.answer()
        await client.closed()
        await client.close()
        assert (status, headers["connection"], headers["content-type"]) == (413, "close", "application/problem+json")
        assert "1 MiB" in json.loads(told)["title"]
    text = SEND | {"text": {"body": "x" * 4096}}
    content = json.dumps(text).encode().ljust(BODY_BYTES_MAX)
    answer = await rig.admin.post("/v1/messages", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == 202


async def test_a_head_is_bounded_as_on_the_public_listener(rig):
    client = Client(*await asyncio.open_connection("127.0.0.1", rig.app.admin.port))
    client.writer.write(b"GET /livez HTTP/1.1\r\nhost: 127.0.0.1\r\nx: " + b"a" * 70_000 + b"\r\n\r\n")
    assert (await client.answer())[0] == 431
    await client.close()


async def letters(rig, *arguments):
    given = {"admin_url": str(rig.admin.base_url).rstrip("/"), "data_dir": rig.app.settings.data_dir}
    return await asyncio.to_thread(coexist, "dead-letters", *arguments, **given)


async def test_dead_letters_say_what_to_do_about_what_cannot_be_done(rig):
    result = await letters(rig, "show", "../numbers")
    assert (result.returncode, "coexist dead-letters list" in result.stderr) == (2, True)
    result = await letters(rig, "replay", "0-9999999999999")
    assert (result.returncode, "coexist dead-letters list" in result.stderr) == (1, True)
    for missing in ("0-99", "999-1", "nonsense", "1", "0-" + "9" * 40):
        assert is_problem(await rig.admin.get(f"/v1/dead-letters/{missing}"), 404)["fix"]


async def test_a_letter_of_a_fact_or_of_no_topic_is_not_replayed_and_says_why(rig):
    record = (await rig.records("timeline"))[0]
    topic, letter = dead_letter(record, "test", 1.0)
    gone = json.loads(letter.data) | {"topic": "abandoned"}
    other = Event("dead:2", letter.type, letter.number, json.dumps(gone).encode(), 1.0, 1.0, "")
    await rig.app.log.append([(topic, letter), (topic, other)])
    for one in (await rig.admin.get("/v1/dead-letters")).json()["dead_letters"]:
        told = is_problem(await rig.admin.post(f"/v1/dead-letters/{one['id']}/replay"), 409)
        assert "Discard the letter." in told["fix"]
        assert (await rig.admin.post(f"/v1/dead-letters/{one['id']}/discard")).status_code == 202
        told = is_problem(await rig.admin.post(f"/v1/dead-letters/{one['id']}/discard"), 409)
        assert told["title"] == "it was settled already"
