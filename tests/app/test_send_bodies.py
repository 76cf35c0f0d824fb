"""Every body of the Send API over real HTTP: at our door, and as Meta gets it."""

import asyncio
from hashlib import sha256

import httpx
import orjson
import pytest
import pytest_asyncio

from tests.app.rig import together, until
from tests.app.sandbox_receiver import NUMBER
from tests.send_bodies import BROKEN, CASES, GOOD, template

TOKEN_KEY = "biz_opaque_callback_data"
USER_ID = "US.13491208655302741918"
pytestmark = pytest.mark.asyncio(loop_scope="module")


class Recording(httpx.AsyncHTTPTransport):
    """The real way to Graph; remembers what was posted."""

    def __init__(self):
        super().__init__()
        self.posted = {}

    async def handle_async_request(self, request):
        body = orjson.loads(request.content)
        self.posted[body.get("to") or body.get("recipient") or body["message_id"]] = request.content
        return await super().handle_async_request(request)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def door(tmp_path_factory):
    graph = Recording()
    async with together(tmp_path_factory.mktemp("door"), wiring={"graph_transport": graph}) as rig:
        rig.graph = graph
        await rig.customer()
        await until(rig.conversation)
        yield rig


def phone(name):
    """A customer of their own for each sample: nobody waits for the pair limit of another."""
    return f"346001{sorted(GOOD).index(name):05d}"


async def requested(door):
    return len(await door.records("outbound")) + len(await door.records("outbound-bulk"))


async def post(door, body):
    return await door.admin.post("/v1/messages", json=body)


@pytest.mark.parametrize("name", GOOD)
async def test_graph_gets_the_callers_object_in_its_envelope_and_nothing_else(door, name):
    to = phone(name)
    await door.customer("Hola", to)
    about = {"number": NUMBER, "to": f"+{to}"}
    whole = {"message": GOOD[name]} if "ttl" in GOOD[name] else GOOD[name]
    answer = await post(door, about | whole)
    assert answer.status_code == 202, answer.text
    state = await door.outcome(answer.json()["command_id"])
    assert state["state"] == "accepted"
    posted = orjson.loads(door.graph.posted[to])
    token = posted.pop(TOKEN_KEY)
    envelope = {"messaging_product": "whatsapp", "recipient_type": "individual", "to": to}
    assert posted == envelope | {"type": "text"} | GOOD[name]
    sends = [send for send in await _ledger(door) if send["callback"] == token]
    assert [send["body_sha256"] for send in sends] == [sha256(door.graph.posted[to]).hexdigest()]


async def _ledger(door):
    return (await door.meta.get("/sandbox/api/ledger/sends")).json()


async def test_a_user_id_is_put_into_recipient(door):
    answer = await post(door, {"number": NUMBER, "to": USER_ID, **GOOD["text"]})
    assert answer.status_code == 202

    async def posted():
        return door.graph.posted.get(USER_ID)

    body = orjson.loads(await until(posted))
    assert body["recipient"] == USER_ID
    assert "to" not in body


@pytest.mark.parametrize("more", [{}, {"typing_indicator": {"type": "text"}}, {"to": "34600111222"}])
async def test_a_read_receipt_goes_as_it_is_and_leaves_nothing_on_the_timeline(door, more):
    wamid = await door.customer("Hola?")
    await door.data("timeline", "message.added", wamid)
    body = {"status": "read", "message_id": wamid, **more}
    answer = await post(door, {"number": NUMBER, **body})
    assert answer.status_code == 202, answer.text
    outcome = await door.outcome(answer.json()["command_id"])
    assert (outcome["state"], outcome["message_id"]) == ("accepted", None)
    body.pop("to", None)
    assert orjson.loads(door.graph.posted[wamid]) == {"messaging_product": "whatsapp", **body}
    for topic in ("inbound", "timeline"):
        told = [(kind, data.get("command_id")) for kind, _, data in await door.events(topic)]
        left = [kind for kind, command_id in told if command_id == answer.json()["command_id"]]
        assert left == (["send.answered"] if topic == "inbound" else [])


async def test_a_whole_request_as_it_was_written_for_meta_is_taken(door):
    body = {"messaging_product": "whatsapp", "recipient_type": "individual", "to": "34600777888", **template()}
    answer = await post(door, {"number": NUMBER, **body})
    assert answer.status_code == 202
    await door.outcome(answer.json()["command_id"])
    posted = orjson.loads(door.graph.posted["34600777888"])
    assert posted == {**body, TOKEN_KEY: posted[TOKEN_KEY]}


@pytest.mark.parametrize("kind", sorted({kind for kind, _, _, _ in BROKEN}))
async def test_a_broken_body_is_refused_by_name_and_nothing_is_written(door, kind):
    before = await requested(door)
    cases = [case for case, about in zip(CASES, BROKEN, strict=True) if about[0] == kind]
    told = await asyncio.gather(
        *(post(door, {"number": NUMBER, "to": "34600111222", **message}) for message, _ in cases)
    )
    for answer, (_, says) in zip(told, cases, strict=True):
        assert answer.status_code == 422
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["title"] == says
    assert await requested(door) == before


@pytest.mark.parametrize(
    ("more", "title"),
    [
        ({"recipient_type": "group"}, "recipient_type must be individual."),
        ({"messaging_product": "messenger"}, "messaging_product must be whatsapp."),
        ({TOKEN_KEY: "mine"}, f"{TOKEN_KEY} is used by Coexist to recognise its own sends."),
        ({"to": "Ada"}, "to must be a phone number of 5 to 15 digits or a user id like US.13491208655302741918."),
        ({"fallback": {"type": "text", "text": {"body": "x"}}}, "fallback.type must be template."),
        ({"fallback": template(name="")}, "fallback.template.name must not be empty."),
        ({"status": "read"}, "message_id is missing."),
        ({"to": "", "status": None}, "status must be read."),
    ],
)
async def test_what_stands_around_a_body_is_checked_too(door, more, title):
    before = await requested(door)
    answer = await post(door, {"number": NUMBER, "to": "34600111222", **GOOD["text"], **more})
    assert (answer.status_code, answer.json()["title"]) == (422, title)
    assert await requested(door) == before


@pytest.mark.parametrize("value", [b"NaN", b"-Infinity", b"1e999", b"18446744073709551616", b'"\\ud83d"'])
async def test_a_value_that_would_change_on_its_way_is_refused(door, value):
    before = await requested(door)
    content = b'{"number":"%s","to":"34600111222","text":{"body":"x","later":[%s]}}' % (NUMBER.encode(), value)
    answer = await door.admin.post("/v1/messages", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert answer.json()["title"] == "the body has a value that JSON does not carry safely"
    assert await requested(door) == before
