"""Pacing by GCRA (ITU-T I.371): one number per bucket says all, and says *when*, which counters cannot.

The number is the theoretical arrival time, `tat`: the instant at which the bucket will be full again. All pure; the
time is an argument, so what was spent survives a restart with the state that holds it.
"""

PAIR_INTERVAL_S = 6.0
"""One message per 6 s to one user (Meta contract 7.1)."""
PAIR_BURST = 20
"""Meta lends up to 45; we borrow less, as app-sent messages may draw on the same pair."""
NUMBER_BURST = 2
"""Messages that may leave a number back to back. Meta's window is not stated, so the flow is kept even."""
DEBT_S_MAX = 1.0
"""Inbound traffic holds outbound back by no more than this."""


def wait_s(tat: float, now: float, interval_s: float, burst: int) -> float:
    """Seconds until the bucket allows one more; 0 when it does now."""
    return max(0.0, tat - (burst - 1) * interval_s - now)


def spent(tat: float, now: float, interval_s: float) -> float:
    """The bucket after one more was taken."""
    return max(tat, now) + interval_s


def charged(tat: float, now: float, interval_s: float) -> float:
    """The bucket after something passed that we could not hold back, such as an inbound message."""
    return min(spent(tat, now, interval_s), now + DEBT_S_MAX)
