"""The bucket: never more than it allows in any window, never less than it promises, and debts that end."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from sender.pacing import (
    BELOW,
    DEBT_S_MAX,
    HEARD_LATE_S,
    LEAD_S,
    RECOVER_S,
    SECONDS_COUNTED,
    SHARE_MIN,
    SLACK_S,
    SLOWED_TO,
    USAGE_KEEP_S,
    WINDOW_S,
    charged,
    counted,
    credit_after,
    interval_s,
    reserve,
    share_after,
    share_of_quota,
    spent,
    sudden,
    wait_s,
)

intervals = st.sampled_from([0.001, 0.05, 1.0, 6.0])
bursts = st.integers(1, 45)
limits = st.sampled_from([20, 80, 1000])


def take(times, interval, burst_):
    """The instants at which something leaves that asks at these times and waits for its turn."""
    tat, now, left = 0.0, 0.0, []
    for gap in times:
        now += gap
        now += wait_s(tat, now, interval, burst_)
        tat = spent(tat, now, interval)
        left.append(now)
    return left


@given(st.lists(st.floats(0, 20), min_size=1, max_size=80), intervals, bursts, st.floats(0.01, 100))
def test_no_window_holds_more_than_the_burst_and_the_rate(gaps, interval, burst_, window_s):
    left = take(gaps, interval, burst_)
    for start in left:
        inside = sum(1 for at in left if start <= at < start + window_s)
        assert inside <= burst_ + window_s / interval + 1e-6


@given(intervals, bursts)
def test_a_full_burst_leaves_at_once_and_then_one_by_one(interval, burst_):
    left = take([1000.0] + [0.0] * (burst_ + 4), interval, burst_)
    assert left[burst_ - 1] == left[0]
    assert abs(left[-1] - left[0] - 5 * interval) < 1e-6


@given(st.floats(0, 1e9), st.floats(0, 1e9), intervals, bursts)
def test_waiting_as_long_as_told_is_enough(tat, now, interval, burst_):
    later = now + wait_s(tat, now, interval, burst_)
    assert wait_s(tat, later, interval, burst_) <= 1e-6


@given(st.integers(0, 2000), intervals)
def test_what_we_cannot_hold_back_makes_a_debt_that_ends_soon(count, interval):
    tat = 0.0
    for _ in range(count):
        tat = charged(tat, 100.0, interval)
    assert wait_s(tat, 100.0, interval, 2) <= DEBT_S_MAX


def test_time_that_goes_back_takes_nothing_away():
    tat = spent(spent(0.0, 100.0, 1.0), 50.0, 1.0)
    assert tat == 102.0


def test_a_debt_that_is_larger_already_is_not_forgiven_by_one_more_message():
    assert charged(200.0, 100.0, 0.05) == 200.0


# --- a number's window


@given(
    limits,
    st.lists(st.tuples(st.booleans(), st.floats(0, 0.2)), min_size=1, max_size=120),
    st.lists(st.floats(0, SLACK_S - 1e-6), min_size=120, max_size=120),
)
def test_no_second_that_ends_with_a_send_holds_more_than_the_limit_in_and_out(limit, steps, travel_s):
    """`steps`: whether it comes in or wants out, and how long after the one before."""
    interval = interval_s(limit)
    tat, now, passed, credit = 990.0, 1000.0, [], 0
    for (comes_in, gap), travel in zip(steps, travel_s, strict=False):
        now += gap
        if not comes_in and not credit:
            now += max(0.0, tat - LEAD_S - now)
        passed.append((now, False) if comes_in else ((now if credit else max(tat, now)) + travel, True))
        credit = credit_after(credit, tat, now, interval)
        tat = spent(tat, now, interval)
    for end in (at for at, ours in passed if ours):
        assert sum(1 for at, _ in passed if end - WINDOW_S < at <= end) <= limit


@given(limits, st.floats(0, LEAD_S - 0.001))
def test_a_decision_that_is_made_a_little_late_costs_no_pace(limit, late_s):
    interval = interval_s(limit)
    tat, now, slots = 0.0, 1000.0, []
    while len(slots) < 400:
        now += max(0.0, tat - LEAD_S - now) + late_s
        while tat <= now + LEAD_S:
            slots.append(max(tat, now))
            tat = spent(tat, now, interval)
    assert len(slots) / (slots[-1] - slots[0]) >= 0.97 * limit


# --- what came in


@given(st.lists(st.floats(0, 5), max_size=300))
def test_seconds_are_counted_and_forgotten(gaps):
    counts, last_s, now, times = [], 0, 1000.0, []
    for gap in gaps:
        now += gap
        counts, last_s = counted(counts, last_s, now), int(now)
        times.append(int(now))
    expected = [times.count(second) for second in range(times[0], times[-1] + 1)] if times else []
    assert counts[-10:] == expected[-10:]
    assert len(counts) <= SECONDS_COUNTED + 2


@given(st.integers(0, 30), st.lists(st.integers(-1, 1), min_size=3, max_size=62))
def test_beside_an_even_flow_nothing_is_kept_free(per_s, jitter):
    assert reserve(sudden([max(0, per_s + by) for by in jitter])) == 0


@given(st.integers(3, 200), st.integers(3, 60))
def test_beside_sudden_traffic_enough_is_kept_free_for_as_much_again(most, quiet):
    kept = reserve(sudden([0] * quiet + [most, 0]))
    assert most * HEARD_LATE_S <= kept <= most * HEARD_LATE_S + 1


# --- what Graph says


@given(st.floats(SHARE_MIN, 1), st.lists(st.floats(0, 1000), min_size=2, max_size=20))
def test_after_a_refusal_the_pace_falls_by_a_quarter_and_only_rises_from_there(refused, ages):
    shares = [share_after(refused, age) for age in sorted(ages)]
    assert share_after(refused, 0) == max(SHARE_MIN, SLOWED_TO * refused)
    assert all(later >= earlier for earlier, later in itertools.pairwise(shares))
    assert all(SHARE_MIN <= share <= 1 for share in shares)


@given(st.floats(0.5, 1))
def test_it_is_soon_just_below_what_was_refused_and_much_later_beyond(refused):
    assert share_after(refused, RECOVER_S) >= BELOW * refused - 1e-9
    assert share_after(refused, RECOVER_S + 10) < refused
    assert share_after(refused, RECOVER_S + 1000) == 1


@given(st.floats(0, 200), st.floats(0, 1000))
def test_a_quota_slows_down_before_it_is_spent_and_never_to_a_stand(usage, age):
    share = share_of_quota(usage, age)
    assert 0.05 <= share <= 1
    assert share == 1 or (usage > 75 and age < USAGE_KEEP_S)
