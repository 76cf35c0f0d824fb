"""A process that stands still for a moment does not bring requests together that were planned apart."""

import heapq
import itertools

from hypothesis import given
from hypothesis import strategies as st

from sender.departures import APART_S, ROUNDING_S, Departures
from sender.pacing import SLACK_S, WINDOW_S, interval_s

NUMBER = "1"
INTERVAL_S = interval_s(20)
STALLS = st.lists(st.tuples(st.floats(0.2, 2.0), st.floats(0.0, 0.3)), max_size=3)
"""Less than a second in all: a number has no more attempts open than that (`sender.pace.OPEN_S`)."""


def left(slots, stalls):
    """Slot and departure of requests whose process stands still: after so many seconds, for so many."""
    still, at = [], 0.0
    for after, lasts in stalls:
        still.append((at + after, at + after + lasts))
        at += after + lasts
    departures, order, found = Departures(), itertools.count(), []
    due = [(slot, next(order), slot, False) for slot in slots]
    heapq.heapify(due)
    while due:
        now, _, slot, looked = heapq.heappop(due)
        awake = next((end for start, end in still if start <= now < end), now)
        free_at = 0 if looked else departures.free_at(NUMBER, slot)
        if awake > now or free_at > awake:
            heapq.heappush(due, (max(awake, free_at), next(order), slot, looked or free_at > awake))
        else:
            departures.note(NUMBER, slot, now)
            found.append((slot, now))
    return found


def most(times, window_s):
    return max(sum(1 for at in times if end - window_s < at <= end) for end in times)


@given(STALLS, st.sets(st.integers(0, 119), max_size=40))
def test_no_second_holds_more_departures_than_the_slots_of_a_window(stalls, not_taken):
    slots = [n * INTERVAL_S for n in range(120) if n not in not_taken]
    planned = most(slots, WINDOW_S + SLACK_S - ROUNDING_S)
    assert most([at for _, at in left(slots, stalls)], APART_S - ROUNDING_S) <= planned


def test_without_stalls_every_request_leaves_at_its_slot():
    slots = [n * INTERVAL_S for n in range(100)]
    assert left(slots, []) == [(slot, slot) for slot in slots]


def test_lateness_goes_away():
    found = left([n * INTERVAL_S for n in range(400)], [(1.0, 0.1)])
    late = [at - slot for slot, at in found]
    assert max(late) > 0.05
    assert late[200:] == [0] * len(late[200:])
    assert sum(late) < 400 * 0.02


def test_numbers_do_not_wait_for_each_other():
    departures = Departures()
    departures.note("1", 10.0, 10.3)
    assert departures.free_at("1", 11.1) == 10.3 + APART_S
    assert departures.free_at("2", 11.1) == 0
