"""The contract of `/webhooks/meta` over real HTTP: every status and its reasons (design 3; reliability E1-E15)."""

import asyncio
import json
import logging
import socket

import pytest

from ingest.bodies import BODY_BYTES_MAX
from ingest.signature import sign
from ingest.webhook import LONG_REST_S_MAX, Webhook
from schemas.ports import LogUnavailable
from services.edge import Edge, PortInUse
from tests.app.edge_rig import MESSAGE, SECRET, TOKEN, Recorded, body_of, listening, request
from tests.processes import busy


@pytest.fixture
async def rig():
    async with listening() as found:
        yield found


def is_problem(answer, status):
    got, headers, body = answer
    told = json.loads(body)
    return got == told["status"] == status and headers["content-type"] == "application/problem+json" and told["fix"]


async def test_a_signed_webhook_is_200_and_appended(rig):
    status, headers, body = await rig.post(body_of(MESSAGE, {**MESSAGE, "id": "wamid.2"}))
    assert (status, body) == (200, b"")
    assert "server" not in headers
    ((first, second),) = rig.recorded.appended
    assert [first[1].subject, second[1].subject] == ["wamid.1", "wamid.2"]
    assert rig.recorded.answers == [(200, 2)]
    assert rig.recorded.secrets == [0]


async def test_200_comes_only_after_append_has_returned(rig):
    rig.recorded.durable.clear()
    client = await rig.connect()
    client.writer.write(request(body_of()))
    await rig.recorded.waiting.wait()
    answer = asyncio.ensure_future(client.answer())
    assert not (await asyncio.wait([answer], timeout=0.1))[0]
    rig.recorded.durable.set()
    assert (await answer)[0] == 200
    await client.close()


async def test_after_a_long_body_the_next_long_one_waits_so_that_others_come_in_between(rig):
    long = body_of(*(MESSAGE | {"id": f"wamid.{n}"} for n in range(10_000)))
    assert [answer[0] for answer in await asyncio.gather(rig.post(long), rig.post(long))] == [200, 200]
    (_, event), *_ = rig.recorded.appended[1]
    assert event.recorded_at - rig.recorded.appended_at[0] > LONG_REST_S_MAX * 0.9


async def test_append_without_confirmation_is_503_with_retry_after(rig):
    rig.recorded.failure = LogUnavailable()
    answer = await rig.post()
    assert is_problem(answer, 503)
    assert answer[1]["retry-after"] == "1"
    assert rig.recorded.unconfirmed_count == 1


async def test_append_that_takes_over_3_s_is_503(rig):
    rig.recorded.durable.clear()
    started = asyncio.get_running_loop().time()
    answer = await rig.post()
    assert is_problem(answer, 503)
    took_s = asyncio.get_running_loop().time() - started
    assert took_s > 2.9
    assert took_s < 4.5 or busy()
    assert rig.recorded.appended == []
    rig.recorded.durable.set()
    assert (await rig.post())[0] == 200


@pytest.mark.parametrize(
    "signatures",
    [
        [],
        ["sha256=" + "0" * 64],
        [sign(body_of(), SECRET)] * 2,
        [sign(body_of(), SECRET), "sha256=" + "0" * 64],
        [sign(body_of(), SECRET).upper()],
        ["sha256=" + "\xe9" * 64],
        [sign(body_of(), b"another secret")],
    ],
)
async def test_anything_but_one_right_signature_is_401_and_touches_nothing(rig, signatures):
    headers = [("content-type", "application/json"), *(("x-hub-signature-256", value) for value in signatures)]
    assert is_problem(await rig.post(headers=headers), 401)
    assert rig.recorded.appended == []
    assert rig.recorded.refusals == ["signature"]


async def test_unsigned_traffic_never_reaches_the_log(rig):
    client = await rig.connect()
    for _ in range(500):
        client.writer.write(request(body_of(), sign_with=b"wrong"))
        assert (await client.answer())[0] == 401
    await client.close()
    assert rig.recorded.appended == []
    assert rig.recorded.secrets == []


async def test_during_a_rotation_no_secret_is_refused(rig):
    rig.secrets.append(b"a-new-secret-of-thirty-two-bytes")
    assert (await rig.post())[0] == 200
    assert (await rig.post(sign_with=rig.secrets[1]))[0] == 200
    del rig.secrets[0]
    assert (await rig.post())[0] == 401
    assert rig.recorded.secrets == [0, 1]


@pytest.mark.parametrize("text", ["é", "😀", "a/b <&>", "\u2028", "日本語"])
async def test_the_signature_is_over_the_raw_bytes_however_text_is_escaped(rig, text):
    for escape in (True, False):
        body = json.dumps({"entry": [], "object": text}, ensure_ascii=escape).replace("/", "\\/").encode()
        assert (await rig.post(body))[0] == 200


@pytest.mark.parametrize("body", [b"", b"{", b"\xff" * 100, b"[" * 100_000, b"null"])
async def test_a_signed_body_that_nobody_can_read_is_200_and_kept(rig, body):
    assert (await rig.post(body))[0] == 200
    (((topic, event),),) = rig.recorded.appended
    assert (topic, event.type) == ("inbound", "webhook.unknown")


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("content-type", "text/plain")],
        [("content-type", "application/json"), ("content-type", "application/json")],
        [("content-type", "application/x-www-form-urlencoded")],
        [("content-type", "application/json"), ("content-encoding", "gzip")],
        [("content-type", "application/json"), ("content-encoding", "identity")],
    ],
)
async def test_another_media_type_or_any_encoding_is_415_before_the_signature(rig, headers):
    assert is_problem(await rig.post(headers=headers), 415)


@pytest.mark.parametrize("media_type", ["application/json; charset=utf-8", "Application/JSON", "application/json ;x"])
async def test_parameters_of_the_media_type_are_allowed(rig, media_type):
    headers = [("content-type", media_type), ("x-hub-signature-256", sign(body_of(), SECRET))]
    assert (await rig.post(headers=headers))[0] == 200


async def test_a_body_of_exactly_4_mib_is_taken_and_one_byte_more_is_413(rig):
    body = body_of().ljust(BODY_BYTES_MAX)
    assert (await rig.post(body))[0] == 200
    assert is_problem(await rig.post(body + b" "), 413)


def chunked(*chunks):
    head = (
        "POST /webhooks/meta HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        f"x-hub-signature-256: {sign(b''.join(chunks), SECRET)}\r\ntransfer-encoding: chunked\r\n\r\n"
    ).encode()
    return head + b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))


async def test_chunked_bodies_are_taken_and_bounded_alike(rig):
    body = body_of()
    assert (await rig.exchange(chunked(body[:10], body[10:11], body[11:])))[0] == 200
    assert is_problem(await rig.exchange(chunked(*[b" " * 65_536] * 65)), 413)


async def test_413_comes_before_the_body(rig):
    head = request(b"", headers=[], more=[]).replace(b"content-length: 0", b"content-length: 209715200")
    answer = await rig.exchange(head)
    assert is_problem(answer, 413)
    assert answer[1]["connection"] == "close"


async def test_a_body_that_does_not_come_is_408(rig):
    client = await rig.connect()
    client.writer.write(request(body_of())[:-5])
    answer = await client.answer()
    assert is_problem(answer, 408)
    assert rig.recorded.refusals == ["too_slow"]
    await client.closed()
    await client.close()


async def test_a_client_that_leaves_is_no_log_line(rig, caplog):
    with caplog.at_level(logging.INFO):
        for rude in (request(body_of())[:-5], b"POST /webhooks/meta HTT", chunked(b"xx")[:-9]):
            client = await rig.connect()
            client.writer.write(rude)
            await client.writer.drain()
            await client.close()
        assert (await rig.post())[0] == 200
        await rig.until(lambda: rig.recorded.refusals.count("disconnected") == 2)
    assert caplog.records == []


async def test_a_repeat_of_a_webhook_has_the_same_ids(rig):
    await rig.post()
    await rig.post()
    first, second = rig.recorded.appended
    assert [event.id for _, event in first] == [event.id for _, event in second]


GOOD = "hub.mode=subscribe&hub.challenge=40719935&hub.verify_token=our-own-string"


def get(query, method="GET", host="x"):
    return f"{method} /webhooks/meta?{query} HTTP/1.1\r\nhost: {host}\r\n\r\n".encode()


async def test_the_handshake_echoes_the_challenge_as_plain_text(rig):
    status, headers, body = await rig.exchange(get(GOOD))
    assert (status, headers["content-type"], body) == (200, "text/plain", b"40719935")


@pytest.mark.parametrize(
    "query",
    [
        "",
        GOOD.replace("subscribe", "unsubscribe"),
        GOOD.replace("our-own-string", "wrong"),
        GOOD.replace("our-own-string", ""),
        GOOD.replace("our-own-string", "%C3%A9"),
        GOOD.replace("40719935", ""),
        GOOD.replace("40719935", "<script>"),
        GOOD.replace("40719935", "a%0D%0Ab"),
        GOOD.replace("40719935", "1" * 201),
        GOOD + "&hub.challenge=2",
        GOOD + "&hub.verify_token=our-own-string",
        GOOD.replace("hub.mode=subscribe&", ""),
        GOOD + "&x=1" * 200,
    ],
)
async def test_any_other_handshake_is_403_and_reflects_nothing(rig, query):
    answer = await rig.exchange(get(query))
    assert is_problem(answer, 403)
    assert b"script" not in answer[2]


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_other_methods_are_405_and_name_what_is_allowed(rig, method):
    answer = await rig.exchange(get(GOOD, method))
    assert is_problem(answer, 405)
    assert answer[1]["allow"] == "get, post"


@pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json", "/redoc", "/webhooks", "/webhooks/meta/", "/metrics"])
async def test_nothing_else_is_there(rig, path):
    answer = await rig.exchange(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
    assert is_problem(answer, 404)


async def test_a_poisoned_host_changes_no_path(rig):
    assert (await rig.exchange(get(GOOD, host="a/admin?")))[0] == 200
    assert is_problem(await rig.exchange(b"GET /x HTTP/1.1\r\nhost: a/webhooks/meta?\r\n\r\n"), 404)


async def test_without_a_secret_there_is_no_webhook():
    recorded = Recorded()
    for secrets in ([], [b""], [b"x", b""]):
        with pytest.raises(ValueError, match="COEXIST_META_APP_SECRETS"):
            Webhook(recorded.append, secrets, TOKEN, float, recorded)


async def test_without_a_verify_token_no_handshake_succeeds():
    recorded = Recorded()
    sent = []

    async def send(message):
        sent.append(message)

    webhook = Webhook(recorded.append, [SECRET], b"", float, recorded)
    query = GOOD.replace("our-own-string", "").encode()
    await webhook({"method": "GET", "headers": [], "query_string": query}, None, send)
    assert sent[0]["status"] == 403


def test_no_form_parser_is_installed_with_ingest():
    with pytest.raises(ImportError):
        __import__("python_multipart")


async def test_a_taken_port_is_said_before_anything_starts(rig):
    with pytest.raises(PortInUse) as told:
        Edge(None, "127.0.0.1", rig.edge.port)
    assert (told.value.host, told.value.port) == ("127.0.0.1", rig.edge.port)


async def test_stop_answers_what_is_open_and_frees_the_port():
    async with listening() as rig:
        rig.recorded.durable.clear()
        client = await rig.connect()
        client.writer.write(request(body_of()))
        await rig.recorded.waiting.wait()
        stopping = asyncio.ensure_future(rig.edge.stop(5))
        await asyncio.sleep(0)
        rig.recorded.durable.set()
        assert (await client.answer())[0] == 200
        await stopping
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", rig.edge.port)) != 0
        await client.close()


async def test_stop_cuts_what_outlasts_its_grace():
    async with listening() as rig:
        rig.recorded.durable.clear()
        client = await rig.connect()
        client.writer.write(request(body_of()))
        await rig.recorded.waiting.wait()
        started = asyncio.get_running_loop().time()
        await rig.edge.stop(0.2)
        assert asyncio.get_running_loop().time() - started < 2.5 or busy()
        assert (await client.answer())[0] == 0
        await client.close()
