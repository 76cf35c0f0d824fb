"""The last looks before the socket and before the first byte, where time has passed since the attempt was committed."""

import asyncio

import pytest
from msgspec import UNSET

from schemas.items import Contact, decode
from schemas.ports import Lease
from sender.graph import ANSWER_S, CONNECT_S, Graph, client
from sender.pace import ANSWER_WAIT_S
from sender.turn import Send
from services.sending import STALE_S, Sending
from services.telemetry.tracing import Tracing

OPENED_AT = 1_790_000_000.0
LEASE = Lease("sender.delivery", 0, "me", 1)


class Log:
    """Keeps what is appended."""

    def __init__(self):
        self.items = []

    async def append(self, entries):
        self.items.extend(decode(event) for _, event in entries)


class Tokens:
    """Everybody's is the same."""

    async def of(self, _number):
        return "token"


def sending(log, now, posts):
    async def post(*_):
        posts.append(now)

    class Graph:
        send = staticmethod(post)

    return Sending(log, None, Graph(), Tokens(), lambda *_: True, lambda: now, lambda *_: None, Tracing())


def call():
    to = Contact(wa_id="34600111222")
    return Send("1", "c", 1, "t", to, "text", b'{"text":{"body":"hi"}}', "bot", None, OPENED_AT)


async def test_an_attempt_that_waited_too_long_does_not_leave_and_says_so():
    log, posts = Log(), []
    await sending(log, OPENED_AT + STALE_S + 0.1, posts)(call(), LEASE)
    assert posts == []
    assert (log.items[-1].outcome, log.items[-1].reason) == ("not_sent", "stale")
    assert log.items[-1].error is UNSET


def test_an_attempt_that_may_still_leave_is_answered_before_it_is_given_up():
    assert ANSWER_WAIT_S - STALE_S > 15


def test_a_request_whose_first_byte_may_leave_is_answered_before_its_attempt_is_given_up():
    assert STALE_S + CONNECT_S + ANSWER_S < ANSWER_WAIT_S


# --- the first byte


class Meta:
    """Listens, and keeps what it is sent."""

    def __init__(self):
        self.received = b""
        self.connected = asyncio.Event()

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_):
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader, writer):
        self.connected.set()
        while (line := await reader.readline()).strip():
            self.received += line
        if self.received:
            content = b'{"messages":[{"id":"wamid.1"}]}'
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(content) + content)
        writer.close()


class Passing:
    """A clock and a lease for which time passes, once, while the connection is made."""

    def __init__(self, seconds, held_s):
        self.seconds, self.held_s, self.looks = seconds, held_s, 0

    def holds(self, lease, for_s):
        self.looks += 1
        return self.looks == 1 or self.held_s >= for_s

    def clock(self):
        return OPENED_AT + (self.seconds if self.looks else 0)


@pytest.mark.parametrize(
    ("passing", "reason"),
    [(Passing(1, held_s=-1), "lease_ends"), (Passing(STALE_S + CONNECT_S + 1, held_s=1), "stale")],
)
async def test_a_process_frozen_while_it_connects_sends_not_one_byte(passing, reason):
    log = Log()
    async with Meta() as meta, client() as http:
        graph = Graph(lambda: http, meta.url, "v26.0")
        sending = Sending(log, Nobody(), graph, Tokens(), passing.holds, passing.clock, lambda *_: None, Tracing())
        await sending(call(), LEASE)
        assert (log.items[-1].outcome, log.items[-1].reason) == ("not_sent", reason)
        await asyncio.wait_for(meta.connected.wait(), 60)
        assert meta.received == b""
        passing.looks = 0
        passing.held_s, passing.seconds = 5, 0
        await sending(call(), LEASE)
        assert log.items[-1].outcome == "accepted"


class Nobody:
    """A store of which no conversation is known."""

    async def load(self, processor, shard, keys):
        return {}
