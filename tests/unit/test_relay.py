"""The pure parts of a relay: signatures, addresses, waits, order; and its role while the store is away."""

import asyncio
import base64

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook

from schemas.ports import Event, LogUnavailable, Record
from services.media.address import Forbidden
from services.relays.courier import BACKOFF_S_MAX, FAILING_AFTER, Health, Result, backoff_s, client
from services.relays.registry import Registry
from services.relays.role import Relaying
from services.relays.shard import in_conversations
from services.relays.signature import headers, new_secret, secret_bytes
from services.relays.target import WrongAddress, checked, is_own, target
from services.sealing.keys import Sealer

INSTANT = 1_795_000_000.0


async def test_a_receivers_cookie_goes_to_nobody_at_the_same_address():
    cookies = []

    def receiver(request):
        cookies.append(request.headers.get("cookie"))
        return httpx.Response(200, headers={"set-cookie": "session=one; Path=/"})

    async with client(httpx.MockTransport(receiver)) as http:
        for name in ("one.example.com", "other.example.com"):
            await http.post("https://192.0.2.1/hook", headers={"Host": name})
    assert cookies == [None, None]


@given(
    st.binary(max_size=2000),
    st.text("abcdef:._-", min_size=1),
    st.lists(st.binary(min_size=24, max_size=64), min_size=1),
)
def test_the_receivers_library_accepts_what_was_signed_with_any_of_the_secrets(body, event_id, keys):
    secrets = ["whsec_" + base64.b64encode(key).decode() for key in keys[:2]]
    signed = headers(event_id, INSTANT, body, secrets)
    for secret in secrets:
        theirs = Webhook(secret).sign(event_id, _instant(INSTANT), body.decode("latin-1"))
        if body.isascii():
            assert theirs in signed["webhook-signature"].split(" ")


def test_a_new_secret_is_one_and_no_two_are_the_same():
    assert len(secret_bytes(new_secret())) == 32
    assert new_secret() != new_secret()


@pytest.mark.parametrize(
    "secret", ["", "whsec_", "whsec_c2hvcnQ=", "whsec_***", "sk_" + "A" * 40, "whsec_" + "A" * 200]
)
def test_what_is_no_secret_is_refused(secret):
    with pytest.raises(ValueError, match="whsec_"):
        secret_bytes(secret)


@given(st.integers(0, 10_000), st.floats(0, 1))
def test_the_wait_grows_and_never_beyond_its_bound(failures, jitter):
    assert 0 < backoff_s(failures, jitter) <= BACKOFF_S_MAX
    assert backoff_s(failures + 1, jitter) >= backoff_s(failures, jitter)


def test_failures_of_one_moment_count_as_one_and_a_success_ends_them():
    health = Health()
    for _ in range(50):
        health.note(Result(503), INSTANT)
    assert not health.failing
    for _ in range(FAILING_AFTER):
        health.note(Result(503), health.next_at)
    assert health.failing
    assert health.failing_since == INSTANT
    health.note(Result(204), health.next_at)
    assert (health.failing, health.failing_since, health.last) == (False, 0, "204")


def test_a_receiver_may_ask_for_more_time():
    health = Health()
    health.note(Result(429, "", 120.0), INSTANT)
    assert health.next_at == INSTANT + 120


@pytest.mark.parametrize(
    "url",
    ["", "x", "http://example.org/", "ftp://example.org/", "https://u@example.org/", "https:///x", "https://e.org/#f"],
)
def test_what_is_no_address_of_a_receiver_is_refused(url):
    with pytest.raises(WrongAddress):
        checked(url, [])


def test_a_host_the_operator_named_may_speak_http_on_its_port_only():
    assert checked("http://crm.internal:8080/x", ["crm.internal:8080"])
    with pytest.raises(WrongAddress):
        checked("http://crm.internal:8081/x", ["crm.internal:8080"])
    assert is_own(checked("https://crm.internal/x", []), ["crm.internal:443"])


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "fd00::1", "::ffff:10.0.0.1"])
async def test_a_name_that_leads_to_a_private_address_is_not_asked(address):
    async def resolve(_):
        return ["93.184.216.34", address]

    with pytest.raises(Forbidden):
        await target("https://example.org/x", [], resolve)


async def test_the_address_that_was_checked_is_the_one_that_is_asked_under_its_name():
    async def resolve(_):
        return ["93.184.216.34"]

    found = await target("https://example.org:8443/x", [], resolve)
    assert str(found.url) == "https://93.184.216.34:8443/x"
    assert (found.headers, found.extensions) == ({"Host": "example.org:8443"}, {"sni_hostname": "example.org"})


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xyz"))))
def test_every_event_is_in_one_conversation_and_each_keeps_its_order(pairs):
    records = [_record(offset, number, conversation) for offset, (number, conversation) in enumerate(pairs)]
    groups = in_conversations(records)
    assert sorted(record.offset for group in groups for record in group) == list(range(len(records)))
    for group in groups:
        assert len({(record.event.number, record.event.data) for record in group}) == 1
        assert [record.offset for record in group] == sorted(record.offset for record in group)


def _record(offset, number, conversation):
    data = b'{"conversation_id":"%s"}' % conversation.encode()
    return Record("timeline", 0, offset, Event(f"e{offset}", "message.added", number, data, 0, 0), 0)


def _instant(at):
    from datetime import UTC, datetime

    return datetime.fromtimestamp(at, UTC)


class AwayAtFirst:
    """A store that does not answer the first question."""

    def __init__(self):
        self.asked, self.again = 0, asyncio.Event()

    async def heads(self, *_):
        self.asked += 1
        if self.asked == 1:
            raise LogUnavailable("away")
        self.again.set()
        return []


async def test_a_store_that_is_away_at_the_start_does_not_end_the_role():
    store = AwayAtFirst()
    registry = Registry(store, None, lambda: INSTANT, Sealer([]))
    relaying = Relaying(registry, None, store, "owner", 1.0, None, [], None, lambda: INSTANT, None)
    work = asyncio.create_task(relaying.run())
    ended = asyncio.create_task(store.again.wait())
    await asyncio.wait([work, ended], timeout=60, return_when=asyncio.FIRST_COMPLETED)
    assert ended.done()
    assert not work.done()
    work.cancel()
    await asyncio.wait([work])
