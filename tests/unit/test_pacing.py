"""The bucket: never more than it allows in any window, never less than it promises, and debts that end."""

from hypothesis import given
from hypothesis import strategies as st

from sender.pacing import DEBT_S_MAX, charged, spent, wait_s

intervals = st.sampled_from([0.001, 0.05, 1.0, 6.0])
bursts = st.integers(1, 45)


def take(times, interval_s, burst):
    """The instants at which something leaves that asks at these times and waits for its turn."""
    tat, now, left = 0.0, 0.0, []
    for gap in times:
        now += gap
        now += wait_s(tat, now, interval_s, burst)
        tat = spent(tat, now, interval_s)
        left.append(now)
    return left


@given(st.lists(st.floats(0, 20), min_size=1, max_size=80), intervals, bursts, st.floats(0.01, 100))
def test_no_window_holds_more_than_the_burst_and_the_rate(gaps, interval_s, burst, window_s):
    left = take(gaps, interval_s, burst)
    for start in left:
        inside = sum(1 for at in left if start <= at < start + window_s)
        assert inside <= burst + window_s / interval_s + 1e-6


@given(intervals, bursts)
def test_a_full_burst_leaves_at_once_and_then_one_by_one(interval_s, burst):
    left = take([1000.0] + [0.0] * (burst + 4), interval_s, burst)
    assert left[burst - 1] == left[0]
    assert abs(left[-1] - left[0] - 5 * interval_s) < 1e-6


@given(st.floats(0, 1e9), st.floats(0, 1e9), intervals, bursts)
def test_waiting_as_long_as_told_is_enough(tat, now, interval_s, burst):
    later = now + wait_s(tat, now, interval_s, burst)
    assert wait_s(tat, later, interval_s, burst) <= 1e-6


@given(st.integers(0, 2000), intervals)
def test_what_we_cannot_hold_back_makes_a_debt_that_ends_soon(count, interval_s):
    tat = 0.0
    for _ in range(count):
        tat = charged(tat, 100.0, interval_s)
    assert wait_s(tat, 100.0, interval_s, 2) <= DEBT_S_MAX


def test_time_that_goes_back_takes_nothing_away():
    tat = spent(spent(0.0, 100.0, 1.0), 50.0, 1.0)
    assert tat == 102.0
