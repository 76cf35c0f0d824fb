"""The window of a slow number: what is held, what is expected, when the next place is free."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from sender.pacing import WINDOW_S
from sender.window import (
    EXPECT_S,
    HEARD_KEPT,
    HOLDS_MAX,
    OVERDUE_S,
    SEND_HOLDS_S,
    expected,
    heard_one,
    opening,
    place_taken,
)

LIMIT = 20
GAPS = st.lists(st.floats(0, 0.3), min_size=1, max_size=120)


def flow(*gaps):
    heard = []
    for at in itertools.accumulate(gaps, initial=100.0):
        heard = heard_one(heard, at)
    return heard


@given(st.lists(st.tuples(st.floats(0, 0.3), st.booleans()), max_size=80), st.integers(1, LIMIT))
def test_no_window_that_ends_with_a_send_holds_more_than_the_limit(steps, limit):
    now, holds, heard, passed = 100.0, [], [], []
    for gap, comes_in in steps:
        now += gap
        if comes_in:
            holds, heard = place_taken(holds, now, now + WINDOW_S), heard_one(heard, now)
            passed.append((now, False))
        elif (slot := opening(holds, heard, limit, now, now)) == now:
            holds = place_taken(holds, now, slot + SEND_HOLDS_S)
            passed.append((slot, True))
    for place, (end, ours) in enumerate(passed):
        assert not ours or sum(1 for at, _ in passed[: place + 1] if end - WINDOW_S < at) <= limit


@given(GAPS, st.integers(1, LIMIT))
def test_a_send_never_waits_for_longer_than_a_window(gaps, limit):
    now, holds = 100.0, []
    for gap in gaps:
        now += gap
        slot = opening(holds, [], limit, now, now)
        assert now <= slot <= now + SEND_HOLDS_S * len(gaps) / limit + SEND_HOLDS_S
        holds = place_taken(holds, now, slot + SEND_HOLDS_S)
        assert len(holds) <= HOLDS_MAX


def test_what_comes_evenly_is_expected_a_moment_before_it_is_heard():
    first, gap = expected(flow(0.2, 0.2, 0.2, 0.2), 101.0)
    assert abs(first - (101.0 - EXPECT_S)) < 1e-9
    assert abs(gap - 0.2) < 1e-9


def test_what_comes_unevenly_is_not_expected():
    assert expected(flow(0.2, 0.4, 0.1, 0.2), 100.9) is None
    assert expected(flow(*[0.2] * (HEARD_KEPT - 2)), 100.6) is None


def test_what_is_overdue_is_not_expected_any_more():
    heard = flow(0.2, 0.2, 0.2, 0.2)
    assert expected(heard, 101.0 + OVERDUE_S - 0.001) is not None
    assert expected(heard, 101.0 + OVERDUE_S + 0.001) is None


def test_a_place_is_kept_for_what_is_expected():
    heard, full = flow(0.2, 0.2, 0.2, 0.2), [101.05, 103.0]
    assert opening(full, heard, 3, 100.9, 100.9) == 100.9
    assert opening(full, heard, 3, 100.99, 100.99) == 101.05
