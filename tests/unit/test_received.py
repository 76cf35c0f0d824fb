"""Packed messages tell the same as a list of them, whatever came in whichever order."""

import random

from hypothesis import given
from hypothesis import strategies as st

from schemas.received import RECEIVED_MAX, _place, count_after, newest_at, united, with_message

MESSAGES = st.lists(st.tuples(st.integers(0, 50).map(float), st.integers(0, 40).map(str)), max_size=80)
MANY = st.lists(st.floats(0, 1e12), min_size=RECEIVED_MAX, max_size=RECEIVED_MAX + 30)


def packed(messages):
    received = b""
    for at, message_id in messages:
        received = with_message(received, at, message_id)
    return received


@given(MESSAGES, st.integers(-1, 51))
def test_the_latest_instant_of_each_message_counts(messages, after):
    received, latest = packed(messages), {message_id: at for at, message_id in messages}
    assert count_after(received, after) == sum(at > after for at in latest.values())
    assert newest_at(received) == max(latest.values(), default=0)


@given(MESSAGES, st.randoms())
def test_no_order_of_different_messages_matters(messages, dice: random.Random):
    different = list({message_id: (at, message_id) for at, message_id in messages}.values())
    mixed = dice.sample(different, len(different))
    assert packed(mixed) == packed(different)


@given(MANY)
def test_the_newest_hundred_are_kept(times):
    received = packed((at, str(place)) for place, at in enumerate(times))
    kept = sorted(times)[-RECEIVED_MAX:]
    assert count_after(received, -1) == RECEIVED_MAX
    assert newest_at(received) == kept[-1]
    assert count_after(received, kept[0]) == sum(at > kept[0] for at in times)


@given(MESSAGES, MESSAGES)
def test_two_conversations_that_are_one_have_the_messages_of_both(one, other):
    theirs = [(at, f"other {message_id}") for at, message_id in other]
    assert united(packed(one), packed(theirs)) == packed([*one, *theirs])


def test_only_bytes_that_stand_where_a_fingerprint_stands_are_one():
    """Every run of eight bytes of a packing is looked for, those across two messages too."""
    received = packed((float(place), str(place)) for place in range(4))
    for begin in range(len(received) - 7):
        found = _place(received, received[begin : begin + 8])
        assert found == (begin - 8 if begin % 16 == 8 else -1), begin
