"""Pacing by GCRA (ITU-T I.371): one number per bucket says all, and says *when*, which counters cannot.

The number is the theoretical arrival time, `tat`: the instant at which the bucket will be full again. All pure; the
time is an argument, so what was spent survives a restart with the state that holds it.

A number's limit is taken for what a window of any second may hold, in and out together. Each send gets its slot, an
instant `interval_s` after the one before, and attempts are opened up to `LEAD_S` before their slot, so that waking,
deciding and making durable cost no pace. With `interval_s` no window of `WINDOW_S + SLACK_S` that ends with a send of
ours holds more than the limit; the slack is for requests that travel longer than the one before.
A slow number's window is kept to the message besides (`sender.window`).
What comes in is charged when it is heard of, which is later than Meta counts it: while it comes evenly the count is
right all the same, and where it has changed lately `reserve` keeps the difference free.
"""

import math
from collections.abc import Sequence

WINDOW_S = 1.0
"""Limits are per second; which second Meta means it does not say, so any."""
SLACK_S = 0.025
LEAD_S = 0.020
LEAD_BULK_S = 0.010
"""Bulk opens later, so that what is live comes before it."""
BURST = 5
"""Messages that may pass back to back after a lull as long as they would have taken."""
DEBT_S_MAX = 1.0
"""Inbound traffic holds outbound back by no more than this."""

PAIR_INTERVAL_S = 6.0
"""One message per 6 s to one user (Meta contract 7.1)."""
PAIR_BURST = 20
"""Meta lends up to 45; we borrow less, as app-sent messages may draw on the same pair."""
PAIR_BURST_BULK = 10
"""Bulk leaves the other half of a pair's burst to what is live."""

SECONDS_COUNTED = 60
EVEN = 2
"""Seconds whose counts differ by no more than this are even."""
SUDDEN_KEEP_S = 900.0
"""What came suddenly within this time may come again."""
NEW_S, NEW_SUDDEN = 60.0, 15
"""A number of which nothing is known yet is taken for one with so much sudden traffic, for so long."""
HEARD_LATE_S = 0.11
"""How much later than Meta we count, as far as we provide for it: the webhook, its reading, our own request's way."""

SLOWED_TO = 0.75
"""After a refusal: this part of the pace that was refused."""
RECOVER_S = 20.0
"""So long until the pace is back just below the one that was refused."""
BELOW = 0.95
PROBE_PER_S = 0.002
"""From there it is tried how much more goes: a twentieth of the limit in 25 s."""
SHARE_MIN = 0.1
SAME_REFUSAL_S = 2.0
"""Refusals so close to each other say one thing."""

USAGE_FREE = 75.0
"""Percent of an app's or account's quota up to which it is no matter."""
USAGE_SHARE_MIN = 0.05
USAGE_KEEP_S = 300.0
"""What an answer said of a quota counts so long: quotas are by the hour, and roll."""


def wait_s(tat: float, now: float, interval_s: float, burst: int) -> float:
    """Seconds until the bucket allows one more; 0 when it does now."""
    return max(0.0, tat - (burst - 1) * interval_s - now)


def spent(tat: float, now: float, interval_s: float) -> float:
    """The bucket after one more was taken."""
    return max(tat, now) + interval_s


def charged(tat: float, now: float, interval_s: float) -> float:
    """The bucket after something passed that we could not hold back, such as an inbound message."""
    return min(spent(tat, now, interval_s), max(tat, now + DEBT_S_MAX))


def credit_after(credit: int, tat: float, now: float, interval_s: float) -> int:
    """How many more may pass at once after one that passes at `now`.

    What was not used lately may be, but is not forgotten: the bucket counts it all the same, so what follows waits.
    """
    if tat > now:
        return max(0, credit - 1)
    return min(BURST - 1, int((now - tat) / interval_s))


def interval_s(limit: float, kept_free: float = 0.0, share: float = 1.0) -> float:
    """Seconds from one message of a number to the next: of `limit` per second some kept free, of the rest a share."""
    return (WINDOW_S + SLACK_S) / max(1.0, (limit - kept_free) * share)


# --- what came in


def counted(counts: Sequence[int], last_s: int, now: float) -> list[int]:
    """Inbound messages per second, up to that of `now`, after one more; `last_s` was the newest second before."""
    passed = min(max(0, int(now) - last_s), SECONDS_COUNTED) if counts else 0
    found = [*counts, *([0] * passed)][-SECONDS_COUNTED - 2 :] or [0]
    found[-1] += 1
    return found


def sudden(counts: Sequence[int]) -> int:
    """The most that came in one second, where the seconds differ; 0 where they are even.

    The first second is left out, for it began before we counted, and the last, which is not over.
    """
    whole = counts[1:-1]
    return max(whole) if whole and max(whole) - min(whole) > EVEN else 0


def reserve(most: int) -> int:
    """Messages of the window to keep free for what Meta has counted and we have not heard of yet.

    Beside an even flow none: what comes now was counted as what came a moment ago.
    """
    return math.ceil(most * HEARD_LATE_S)


# --- what Graph says


def share_after(refused: float, age_s: float) -> float:
    """The part of a number's limit that is used `age_s` after the pace `refused` (1 is the limit) was too fast.

    Down by a quarter at once, back to just below what was refused within 20 s, then slowly on: so a limit that is
    lower than we were told is found, and left alone for most of the time, and one that was not is used again.
    """
    near = BELOW * refused
    if age_s < RECOVER_S:
        low = SLOWED_TO * refused
        return max(SHARE_MIN, low + (near - low) * max(0.0, age_s) / RECOVER_S)
    return min(1.0, max(SHARE_MIN, near + (age_s - RECOVER_S) * PROBE_PER_S))


def share_of_quota(usage: float, age_s: float) -> float:
    """The part that is used when so many percent of a quota are gone: all up to 75, next to nothing at 100."""
    if age_s >= USAGE_KEEP_S or usage <= USAGE_FREE:
        return 1.0
    return max(USAGE_SHARE_MIN, (100.0 - usage) / (100.0 - USAGE_FREE))
