"""The last look before the socket, where time has passed since the attempt was committed."""

from msgspec import UNSET

from schemas.items import Contact, decode
from schemas.ports import Lease
from sender.pace import ANSWER_WAIT_S
from sender.turn import Send
from services.sending import STALE_S, Sending

OPENED_AT = 1_790_000_000.0
LEASE = Lease("sender.delivery", 0, "me", 1)


class Log:
    """Keeps what is appended."""

    def __init__(self):
        self.items = []

    async def append(self, entries):
        self.items.extend(decode(event) for _, event in entries)


def sending(log, now, posts):
    async def post(*_):
        posts.append(now)

    class Graph:
        send = staticmethod(post)

    return Sending(log, None, Graph(), lambda _: "token", lambda *_: True, lambda: now, lambda *_: None)


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
