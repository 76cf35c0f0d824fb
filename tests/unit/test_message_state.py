"""One message's state: every merge commutes, repeats and regroups; what is told folds to what is kept."""

from itertools import permutations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, Raw

from echo_sync import message as msg
from echo_sync.message import ECHO, HISTORY, LIVE, Message
from schemas import items
from schemas.items import Contact, Item
from tests import harness as h
from tests.harness import NUMBER, T0

contents = st.sampled_from([("text", b'{"body":"a"}'), ("text", b'{"body":"b"}'), ("unsupported", b""), ("", b"")])
accounts = st.tuples(st.sampled_from([ECHO, HISTORY]), contents, st.integers(0, 5))


def item(kind="text", content=b'{"body":"a"}', at=T0, **more):
    raw = Raw(content) if content else UNSET
    return Item(number=NUMBER, message_id="w", contact=Contact(wa_id="1"), at=at, received_at=at, kind=kind,
                content=raw, **more)  # fmt: skip


def kept(message):
    """What of a message must not depend on the order."""
    return (
        message.sources,
        message.kind,
        message.content,
        msg.sent_at(message),
        message.received_at,
        message.direction,
        (message.edit_at, message.edit_id, message.edit_content),
        (message.revoked_at, message.revoked_by),
        message.statuses,
        message.current,
    )


def apply(message, change):
    what, detail = change
    if what == "heard":
        source, (kind, content), late = detail
        return msg.heard(message, item(kind, content, T0 + late, direction="outbound"), source, "c")
    if what == "edited":
        at, name = detail
        return msg.edited(message, item("text", b'{"body":"%d"}' % at, T0 + at, event_id=name))
    if what == "revoked":
        at, side = detail
        return msg.revoked(message, item("", b"", T0 + at, side=side))
    return msg.with_status(message, items.decode(h.status("w", detail, Contact(), T0)))


changes = st.one_of(
    st.tuples(st.just("heard"), accounts),
    st.tuples(st.just("edited"), st.tuples(st.integers(1, 3), st.sampled_from(["e1", "e2"]))),
    st.tuples(st.just("revoked"), st.tuples(st.integers(1, 3), st.sampled_from(["business", "customer"]))),
    st.tuples(st.just("status"), st.sampled_from(["sent", "failed", "delivered", "read", "played", "new"])),
)


@given(st.lists(changes, max_size=8), st.randoms(use_true_random=False))
def test_every_order_and_repetition_leads_to_the_same_state(script, pick):
    one = other = Message(number=NUMBER, message_id="w")
    for change in script:
        one = apply(one, change)
    shuffled = [*script, *script]
    pick.shuffle(shuffled)
    for change in shuffled:
        other = apply(other, change)
    assert kept(one) == kept(other)


@pytest.mark.parametrize("order", list(permutations(["sent", "delivered", "read"])))
def test_the_current_status_never_goes_back(order):
    message, seen = Message(), []
    for name in order:
        message = apply(message, ("status", name))
        seen.append(msg.STATUS_RANK[message.current])
    assert seen == sorted(seen)
    assert message.current == "read"


def test_a_failure_counts_only_while_no_delivery_is_known():
    failed = apply(apply(Message(), ("status", "sent")), ("status", "failed"))
    assert failed.current == "failed"
    assert apply(failed, ("status", "delivered")).current == "delivered"
    assert apply(apply(Message(), ("status", "delivered")), ("status", "failed")).current == "delivered"


def test_a_status_of_each_participant_and_each_error_is_a_fact_of_its_own():
    message = Message()
    told = [
        h.status("w", "delivered", Contact(), T0, participant="1"),
        h.status("w", "delivered", Contact(), T0, participant="2"),
        h.status("w", "failed", Contact(), T0, code=131026),
        h.status("w", "failed", Contact(), T0, code=131047),
        h.status("w", "failed", Contact(), T0, code=131047),
    ]
    for event in told:
        message = msg.with_status(message, items.decode(event))
    assert message.statuses == ["delivered|1", "delivered|2", "failed|131026", "failed|131047"]


def test_real_content_beats_a_placeholder_and_the_richer_beats_the_poorer():
    poor = msg.heard(Message(), item("media_placeholder", b""), HISTORY, "c")
    rich = msg.heard(poor, item("image", b'{"id":"7","caption":"x"}'), HISTORY, "c")
    assert (rich.kind, orjson.loads(rich.content)["id"]) == ("image", "7")
    assert msg.heard(rich, item("media_placeholder", b""), ECHO, "c").kind == "image"


def test_the_devices_time_is_preferred_and_the_earliest_of_its_kind_counts():
    message = msg.heard(Message(), item(at=T0 + 5), LIVE, "c")
    assert msg.sent_at(message) == T0 + 5
    message = msg.heard(message, item(at=T0 + 3), LIVE, "c")
    assert msg.sent_at(message) == T0 + 3
    message = msg.heard(message, item(at=T0 - 9, direction="inbound"), HISTORY, "c")
    assert msg.sent_at(message) == T0 - 9
    assert not msg.historical(message)


@pytest.mark.parametrize(
    ("sources", "direction", "matched", "origin"),
    [
        (LIVE, "inbound", "", "customer"),
        (HISTORY, "inbound", "", "customer"),
        (ECHO, "outbound", "", "business_app"),
        (HISTORY, "outbound", "", "business_app"),
        (ECHO, "outbound", "tok", "api"),
        (msg.API, "outbound", "", "api"),
        (msg.API | ECHO | HISTORY, "outbound", "", "api"),
        (0, "outbound", "", "other"),
    ],
)
def test_the_author_follows_from_where_it_was_heard(sources, direction, matched, origin):
    assert msg.origin(Message(sources=sources, direction=direction, matched=matched)) == origin


# --- facts


def test_nothing_is_told_before_a_message_is_added():
    assert msg.facts(Message(), Message(statuses=["sent"], edit_id="e", revoked_at=1)) == []


def test_a_change_that_nobody_sees_is_not_told():
    before = msg.heard(Message(added=True), item(), ECHO, "c")
    now = msg.heard(before, item(), ECHO, "c")
    assert msg.facts(before, now) == []


def test_what_is_withdrawn_again_is_told_without_empty_fields():
    before = Message(added=True, sources=ECHO, direction="outbound", kind="text", content=b"{}", matched="t",
                     command_id="c1", author="bot", hook_at=T0)  # fmt: skip
    now = Message(added=True, sources=ECHO, direction="outbound", kind="text", content=b"{}", hook_at=T0)
    ((kind, _, data),) = msg.facts(before, now)
    assert (kind, data["origin"]) == ("message.completed", "business_app")
    assert "command_id" not in data
    assert "author" not in data


def test_the_app_does_not_show_what_only_the_api_can_send():
    shown = Message(sources=msg.API, direction="outbound", kind="text", hook_at=T0)
    hidden = Message(sources=msg.API, direction="outbound", kind="interactive", hook_at=T0)
    assert msg.added_data(shown)["visible_in_app"] is True
    assert msg.added_data(hidden)["visible_in_app"] is False


def test_facts_have_ids_that_follow_from_the_fact_alone():
    before = Message(added=True, number=NUMBER, message_id="w", kind="unsupported", hook_at=T0)
    now = msg.with_content(before, "text", b'{"body":"a"}')
    assert [suffix for _, suffix, _ in msg.facts(before, now)] == [suffix for _, suffix, _ in msg.facts(before, now)]
