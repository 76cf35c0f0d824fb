"""The window of a slow number, to the message: a coexistence number passes 20 a second, so one more or less is a lot.

Everything that passed holds one of the limit's places for as long as Meta may count it: a send from its slot on, for a
window and the slack; an inbound message for a window from when it was heard, which is after Meta counted it. Where
inbound messages come evenly the next one is expected, and its place kept from a moment before. All pure.
"""

from bisect import insort
from collections.abc import Sequence
from itertools import pairwise

from sender.pacing import WINDOW_S

SLOW_PER_S_MAX = 40
"""Faster numbers are paced evenly by one number (`sender.pacing`): there one message is next to nothing."""
SEND_HOLDS_S = WINDOW_S + 0.030
"""The slack is for requests that travel longer than the one before."""
HEARD_KEPT = 5
"""Inbound messages whose times say whether more come evenly."""
EVEN_S, EVEN_PART = 0.150, 0.75
"""Gaps that differ by no more, and by no larger part of themselves, are even: a process stands still at times."""
EXPECT_S = 0.028
"""So long before it is heard an expected message may have been counted."""
OVERDUE_S = 0.150
"""An expected message that is later does not come: people have stopped writing, or write differently."""
HOLDS_MAX = 128


def place_taken(holds: Sequence[float], now: float, until: float) -> list[float]:
    """The places that are held, by when each is free again, after one more; those that are free are left out."""
    kept = [end for end in holds if end > now]
    insort(kept, until)
    return kept[-HOLDS_MAX:]


def heard_one(heard: Sequence[float], now: float) -> list[float]:
    """The times of the last inbound messages, after one more."""
    return [*heard[1 - HEARD_KEPT :], now]


def expected(heard: Sequence[float], now: float) -> tuple[float, float] | None:
    """From when on the next inbound message may count, and the seconds between them; None where none is expected."""
    if len(heard) < HEARD_KEPT:
        return None
    gaps = [later - sooner for sooner, later in pairwise(heard)]
    gap, uneven = sum(gaps) / len(gaps), max(gaps) - min(gaps)
    if uneven > min(EVEN_S, EVEN_PART * gap) or now > heard[-1] + gap + uneven + OVERDUE_S:
        return None
    soonest = min(at + (HEARD_KEPT - nth) * gap for nth, at in enumerate(heard))
    return soonest - uneven - EXPECT_S, gap


def opening(holds: Sequence[float], heard: Sequence[float], limit: int, now: float, soonest: float) -> float:
    """The first instant from `soonest` on at which a place of the limit is free, as far as is known at `now`."""
    at, coming = _free_at(holds, limit, soonest), expected(heard, now)
    if coming is None:
        return at
    first, gap = coming
    for more in range(1, limit):
        if at < first + (more - 1) * gap:
            break
        at = max(at, _free_at(holds, limit - more, soonest))
    return at


def _free_at(holds: Sequence[float], limit: int, soonest: float) -> float:
    over = len(holds) - limit
    return max(soonest, holds[over]) if over >= 0 else soonest
