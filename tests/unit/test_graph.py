"""Requests to Graph and what its answers mean: only a wamid is an acceptance, only an error object a refusal."""

import asyncio

import httpx
import orjson
import pytest

from schemas.items import Contact
from sender.errors import Action
from sender.graph import PER_CLIENT, Graph, body, classify, client, quota

SOON_S = 60
ACCEPTED = {
    "messaging_product": "whatsapp",
    "contacts": [{"input": "34600111222", "wa_id": "34600111222", "user_id": "ES.1"}],
    "messages": [{"id": "wamid.1", "message_status": "accepted"}],
}


def refusal(code, subcode=0):
    return orjson.dumps({"error": {"message": "x", "code": code, "error_subcode": subcode, "fbtrace_id": "t"}})


async def answer_to(handler):
    graph = Graph(lambda: client(httpx.MockTransport(handler)), "https://graph.test", "v26.0")
    try:
        return await graph.send("8", "secret", b"{}")
    finally:
        await graph.aclose()


# --- requests


def test_a_phone_goes_into_to_and_a_user_id_into_recipient():
    to_phone = orjson.loads(body(Contact(wa_id="34600111222"), {"type": "text", "text": {"body": "a"}}, "tok"))
    assert (to_phone["to"], to_phone["biz_opaque_callback_data"]) == ("34600111222", "tok")
    assert "recipient" not in to_phone
    to_user = orjson.loads(body(Contact(user_id="ES.1"), {"text": {"body": "a"}}, "tok"))
    assert (to_user["recipient"], to_user["type"]) == ("ES.1", "text")
    assert "to" not in to_user


def test_the_callers_message_stands_unchanged_in_the_envelope():
    message = {"type": "image", "image": {"id": "7"}, "context": {"message_id": "wamid.0"}}
    sent = orjson.loads(body(Contact(wa_id="1555"), message, "tok"))
    assert {key: sent[key] for key in message} == message
    assert sent["messaging_product"] == "whatsapp"


async def test_a_request_carries_the_token_and_goes_to_the_numbers_address():
    seen = []

    def handler(request):
        seen.append(request)
        return httpx.Response(200, json=ACCEPTED)

    answer = await answer_to(handler)
    assert (seen[0].method, str(seen[0].url)) == ("POST", "https://graph.test/v26.0/8/messages")
    assert seen[0].headers["authorization"] == "Bearer secret"
    assert (answer.outcome, answer.message_id) == ("accepted", "wamid.1")
    assert answer.contact == Contact(wa_id="34600111222", user_id="ES.1")


# --- what did not come back


@pytest.mark.parametrize("problem", [httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout])
async def test_a_request_that_never_left_is_not_sent(problem):
    def handler(request):
        raise problem("x", request=request)

    assert (await answer_to(handler)).outcome == "not_sent"


@pytest.mark.parametrize(
    "problem",
    [httpx.ReadTimeout, httpx.WriteTimeout, httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError],
)
async def test_a_request_whose_answer_was_lost_is_ambiguous(problem):
    def handler(request):
        raise problem("x", request=request)

    assert (await answer_to(handler)).outcome == "ambiguous"


async def test_a_redirect_is_not_followed():
    calls = []

    def handler(request):
        calls.append(request)
        return httpx.Response(307, headers={"location": "https://elsewhere.test/"})

    assert (await answer_to(handler)).outcome == "ambiguous"
    assert len(calls) == 1


# --- what an answer means


@pytest.mark.parametrize(
    ("status", "content"),
    [
        (200, b"{}"),
        (200, b""),
        (200, b"<html>"),
        (200, b'{"messages":[]}'),
        (200, b'{"messages":[{"id":7}]}'),
        (200, b"[]"),
        (500, b"gateway"),
        (502, b""),
        (504, b'{"message":"timeout"}'),
        (503, b'{"error":"text"}'),
        (500, refusal(1)),
        (500, refusal(2)),
        (400, refusal(131000)),
        (500, refusal(131016)),
        (400, b"nonsense"),
        (404, b"nonsense"),
    ],
)
def test_what_says_neither_yes_nor_no_is_ambiguous(status, content):
    assert classify(status, content).outcome == "ambiguous"


@pytest.mark.parametrize(
    ("status", "code", "action"),
    [
        (400, 131047, Action.TEMPLATE),
        (401, 190, Action.PAUSE_TOKEN),
        (400, 131056, Action.PAIR),
        (200, 100, Action.FIX),
    ],
)
def test_an_error_object_is_a_refusal_whatever_the_status(status, code, action):
    answer = classify(status, refusal(code))
    assert (answer.outcome, answer.code, answer.action) == ("rejected", code, action)
    assert orjson.loads(answer.error)["fbtrace_id"] == "t"


def test_codes_may_be_text():
    answer = classify(400, b'{"error":{"code":"131026","error_subcode":"1"}}')
    assert (answer.code, answer.action) == (131026, Action.DEAD)


def test_429_without_a_graph_error_is_a_limit():
    answer = classify(429, b"slow down")
    assert (answer.outcome, answer.action) == ("rejected", Action.SLOW)


@pytest.mark.parametrize("contacts", [None, [], ["x"], [{"wa_id": None}]])
def test_an_acceptance_without_a_contact_is_one_all_the_same(contacts):
    answer = classify(200, orjson.dumps(ACCEPTED | {"contacts": contacts}))
    assert (answer.outcome, answer.message_id) == ("accepted", "wamid.1")


# --- quotas


ACCOUNT_USAGE = (
    '{"7":[{"type":"whatsapp_business_management","call_count":12,"total_cputime":3,"total_time":91,'
    '"estimated_time_to_regain_access":0}]}'
)


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({}, (0, 0)),
        ({"x-app-usage": '{"call_count":37,"total_cputime":11,"total_time":19}'}, (37, 0)),
        ({"x-app-usage": '{"call_count":37}', "x-business-use-case-usage": ACCOUNT_USAGE}, (91, 0)),
        ({"x-business-use-case-usage": ACCOUNT_USAGE.replace('access":0', 'access":15')}, (91, 900)),
        ({"retry-after": "30"}, (0, 30)),
        ({"x-app-usage": "{", "x-business-use-case-usage": "[1]", "retry-after": "Mon, 1 Jan"}, (0, 0)),
        ({"x-app-usage": '{"call_count":"37","total_time":true}', "retry-after": "-1"}, (0, 0)),
        ({"x-business-use-case-usage": '{"7":{"call_count":1},"8":[3]}'}, (0, 0)),
    ],
)
def test_the_headers_tell_of_the_fullest_quota_and_when_it_is_given_back(headers, told):
    assert quota(headers) == told


async def test_an_answer_carries_what_its_headers_tell():
    def handler(_):
        return httpx.Response(200, json=ACCEPTED, headers={"X-App-Usage": '{"call_count":80}'})

    answer = await answer_to(handler)
    assert (answer.outcome, answer.usage, answer.regain_s) == ("accepted", 80, 0)


async def test_many_requests_at_once_are_spread_over_small_pools_and_few_over_few():
    made, everybody = [], asyncio.Barrier(1)

    async def handler(_):
        await everybody.wait()
        return httpx.Response(200, json=ACCEPTED)

    def make():
        made.append(client(httpx.MockTransport(handler)))
        return made[-1]

    graph = Graph(make, "https://graph.test", "v26.0")
    await graph.send("8", "secret", b"{}")
    await graph.send("8", "secret", b"{}")
    assert len(made) == 1
    everybody = asyncio.Barrier(30)
    async with asyncio.timeout(SOON_S):
        await asyncio.gather(*(graph.send("8", "secret", b"{}") for _ in range(30)))
    assert len(made) == -(-30 // PER_CLIENT)
    await graph.aclose()
    assert all(one.is_closed for one in made)
