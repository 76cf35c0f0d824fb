"""Whoever was refused too often waits; what is signed never does, even from there (reliability E13, E15)."""

import asyncio

import pytest

from ingest.bodies import Bodies
from ingest.deadlines import Deadlines
from ingest.refusals import Allowance, Clients, Refusals
from services.edge import Limits
from tests.app.edge_rig import body_of, listening, request
from tests.app.test_edge_contract import GOOD, get, is_problem

WRONG = GOOD.replace("our-own-string", "wrong")
PLAIN = [("content-type", "application/json")]


BURST, EVERY_S = 40, 60.0
"""Nothing is forgotten while a test runs, however slow the machine is."""


def remembering(proxies=0):
    clients = Clients(proxies)
    clients.handshakes = Refusals(Allowance(BURST, EVERY_S))
    clients.unsigned = Refusals(Allowance(BURST, EVERY_S))
    return clients


@pytest.fixture
async def rig():
    async with listening(clients=remembering()) as found:
        yield found


async def answers(rig, *requests):
    """The answers on one connection, each awaited before the next request."""
    client = await rig.connect()
    found = []
    for one in requests:
        client.writer.write(one)
        found.append(await client.answer())
    await client.close()
    return found


async def test_a_guesser_of_the_verify_token_is_held_up_and_told_for_how_long(rig):
    guesses = await answers(rig, *[get(WRONG)] * BURST)
    assert {status for status, _, _ in guesses} == {403}
    for query in (WRONG, GOOD):  # the right one too: else a guesser would learn it all the same
        answer = await rig.exchange(get(query))
        assert is_problem(answer, 429)
        assert 1 <= int(answer[1]["retry-after"]) <= EVERY_S
    assert (await rig.post())[0] == 200
    assert rig.recorded.refusals.count("too_many") == 2


async def test_right_handshakes_and_webhooks_with_a_wrong_secret_use_up_no_handshake(rig):
    await answers(rig, *[get(GOOD)] * 50, *[request(body_of(), sign_with=b"wrong")] * 50)
    assert (await rig.exchange(get(GOOD)))[0] == 200


async def test_a_flood_without_signature_is_turned_away_before_its_bodies_and_signed_webhooks_are_not(rig):
    unsigned = request(body_of(), headers=PLAIN)
    flood = await answers(rig, *[unsigned] * BURST)
    assert {status for status, _, _ in flood} == {401}
    head = unsigned.partition(b"\r\n\r\n")[0].replace(b"content-length: ", b"content-length: 1000")
    answer = await rig.exchange(head + b"\r\n\r\n")
    assert is_problem(answer, 429)
    assert (answer[1]["retry-after"], answer[1]["connection"]) == ("60", "close")
    assert is_problem(await rig.exchange(b"GET /admin HTTP/1.1\r\nhost: x\r\n\r\n"), 429)
    assert is_problem(await rig.exchange(get("", "PUT")), 429)
    signed = await answers(rig, *[request(body_of().ljust(100_000))] * 60)
    assert {status for status, _, _ in signed} == {200}
    assert len(rig.recorded.appended) == 60
    assert is_problem(await rig.post(sign_with=b"wrong"), 401)


async def test_behind_a_trusted_proxy_each_client_has_an_allowance_of_its_own():
    async with listening(clients=remembering(1)) as rig:
        flooding, other = (
            request(body_of(), headers=PLAIN, more=[("x-forwarded-for", f"9.9.9.9, {address}")])
            for address in ("203.0.113.7", "203.0.113.8")
        )
        await answers(rig, *[flooding] * BURST)
        assert [(await rig.exchange(one))[0] for one in (flooding, other)] == [429, 401]


async def test_an_address_that_was_refused_keeps_few_connections_and_signed_webhooks_still_come_through():
    async with listening(Limits(strangers_max=20), clients=remembering()) as rig:
        kept = await rig.connect()
        kept.writer.write(request(body_of()))
        assert (await kept.answer())[0] == 200
        await answers(rig, *[request(body_of(), headers=PLAIN)] * (BURST * 3 // 4))
        slow = []
        for _ in range(60):
            slow.append(await rig.connect())
            slow[-1].writer.write(request(body_of())[:-1])
            assert (await rig.post())[0] == 200
        await slow[0].closed()
        await rig.until(lambda: len(rig.edge._server.server_state.connections) <= 22)
        kept.writer.write(request(body_of()))
        assert (await kept.answer())[0] == 200
        for client in (kept, *slow):
            await client.close()
        await rig.until(lambda: not rig.edge._server.config.strangers)


async def test_an_address_that_was_never_refused_has_as_many_connections_as_it_likes():
    async with listening(Limits(strangers_max=5)) as rig:
        clients = [await rig.connect() for _ in range(60)]
        for client in clients:
            client.writer.write(request(body_of()))
            assert (await client.answer())[0] == 200
        for client in clients:
            await client.close()


def pieces(*more, then=None):
    """A `receive` that gives a piece for each of `more`, and then waits for `then`."""
    left = list(more)

    async def receive():
        await asyncio.sleep(0)
        if not left:
            await then.wait()
        return {"type": "http.request", "body": b" " * 30_000, "more_body": left.pop(0)}

    return receive


async def test_bodies_that_grow_too_large_together_cost_the_one_that_began_first():
    bodies, deadlines = Bodies(held_bytes_max=140_000), Deadlines()

    async def read(receive):
        with deadlines.within(8) as deadline:
            return len(await bodies.read(receive, deadline))

    stuck = asyncio.ensure_future(read(pieces(True, then=asyncio.Event())))
    for _ in range(5):
        await asyncio.sleep(0)
    assert bodies._bytes == 30_000
    assert await asyncio.gather(*(read(pieces(True, True, False)) for _ in range(2))) == [90_000] * 2
    with pytest.raises(TimeoutError):
        await stuck
    assert bodies._bytes == 0
