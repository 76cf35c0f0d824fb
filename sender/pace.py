"""A number's pace: when it may send one more, what takes from that, and what Graph's answers change of it.

A number is held where Graph said that nothing goes at all (a refused token, a blocked account, a spent quota): its
commands keep their places, and one request at a time tries whether it is over. It is slowed where it was too fast.
"""

import math

from schemas.items import Item
from sender.command import Queue
from sender.errors import Action
from sender.pacing import (
    LEAD_BULK_S,
    LEAD_S,
    RECOVER_S,
    SAME_REFUSAL_S,
    SUDDEN_KEEP_S,
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
)
from sender.turn import Turn
from sender.window import SEND_HOLDS_S, SLOW_PER_S_MAX, heard_one, opening, place_taken

OPEN_MIN = 8
"""Attempts that may be open per number whatever its rate: one crash makes no more of them ambiguous."""
OPEN_S = 0.5
"""Or as many as leave in this time."""
BULK_LEAVES_MIN = 2
"""Of the attempts that may be open, bulk leaves a quarter to what is live, and at least so many."""
ANSWER_WAIT_S = 20.0
"""After this an open attempt without an answer is ambiguous: longer than a request may take."""
HOLD_S = 60.0
"""How long a number rests before it is tried again with one request."""
HOLD_S_MAX = 3600.0
"""A refused number rests twice as long each time, up to this; a refused token is tried every minute."""
PAUSED_LOOK_S = 60.0
"""How often a number that was paused is looked at again; a resume is heard of at once."""

HELD = {Action.PAUSE_TOKEN: "token", Action.PAUSE_NUMBER: "number", Action.THROTTLED: "quota"}
"""What Graph may say of a whole number, and the name of the hold that follows."""


def number_wait_s(queue: Queue, rate_per_s: int, now: float, *, paused: bool = False, bulk: bool = False) -> float:
    """Seconds until the number may send one more message; bulk leaves some of what may be open to others."""
    if paused:
        return PAUSED_LOOK_S
    if queue.held_until > now:
        return queue.held_until - now
    open_max = 1 if queue.held_because else max(OPEN_MIN, int(rate_per_s * OPEN_S))
    if bulk and not queue.held_because:
        open_max -= max(BULK_LEAVES_MIN, open_max // 4)
    if queue.open >= open_max:
        return ANSWER_WAIT_S
    return max(0.0, _slot(queue, rate_per_s, now, bulk=bulk) - (LEAD_BULK_S if bulk else LEAD_S) - now)


def wait_of_number(turn: Turn, queue: Queue, *, bulk: bool = False) -> float:
    """The same, for a decision."""
    rate, paused = turn.rate(queue.number), turn.paused(queue.number)
    return number_wait_s(queue, rate, turn.now, paused=paused, bulk=bulk)


def room(turn: Turn, queue: Queue) -> int:
    """How many attempts of the number may be opened at one instant, at the most."""
    return 1 + queue.credit + int(LEAD_S / _interval_s(queue, turn.rate(queue.number), turn.now))


def take(turn: Turn, queue: Queue, *, bulk: bool = False, counts: bool = True) -> float:
    """One attempt was opened: the instant at which its request may leave. A read receipt counts for nothing."""
    queue.open += 1
    if not counts:
        return turn.now
    rate = turn.rate(queue.number)
    interval, slot = _interval_s(queue, rate, turn.now), _slot(queue, rate, turn.now, bulk=bulk)
    queue.credit = credit_after(queue.credit, queue.tat, turn.now, interval)
    queue.tat = spent(queue.tat, slot if rate <= SLOW_PER_S_MAX else turn.now, interval)
    if rate <= SLOW_PER_S_MAX:
        queue.holds_until = place_taken(queue.holds_until, turn.now, slot + SEND_HOLDS_S)
    return slot


def _slot(queue: Queue, rate_per_s: int, now: float, *, bulk: bool) -> float:
    """The instant at which the number's next request may leave."""
    soonest = now if queue.credit and not bulk else max(queue.tat, now)
    if rate_per_s > SLOW_PER_S_MAX:
        return soonest
    heard = [] if _sudden_of_late(queue, now) else queue.heard  # else what is kept free is enough
    return opening(queue.holds_until, heard, _places(queue, rate_per_s, now), now, soonest)


def charge(turn: Turn, queue: Queue) -> None:
    """A message passed that nobody asked us about: a customer's, or one that a person wrote in the app."""
    now, rate = turn.now, turn.rate(queue.number)
    if rate <= SLOW_PER_S_MAX:
        queue.holds_until = place_taken(queue.holds_until, now, now + WINDOW_S)
        queue.heard = heard_one(queue.heard, now)
    else:
        interval = _interval_s(queue, rate, now)
        queue.credit = credit_after(queue.credit, queue.tat, now, interval)
        queue.tat = charged(queue.tat, now, interval)
    another_second = int(now) > queue.counted_s
    queue.counts, queue.counted_s = counted(queue.counts, queue.counted_s, now), max(queue.counted_s, int(now))
    if another_second and (most := sudden(queue.counts)):
        queue.sudden, queue.sudden_at = max(most, _sudden_of_late(queue, now)), now


def heed(queue: Queue, item: Item, now: float) -> None:
    """What an answer says of the quotas of the app and the account (Meta contract 7.4)."""
    if item.usage or queue.usage:
        queue.usage, queue.usage_at = item.usage, now
    if item.regain_s > 0:
        queue.held_because = queue.held_because or HELD[Action.THROTTLED]
        queue.held_until = max(queue.held_until, now + min(item.regain_s, HOLD_S_MAX))


def slow(queue: Queue, now: float) -> None:
    """The number was too fast (130429): rest until Meta's window is empty, then go on more slowly and recover."""
    age = now - queue.refused_at
    if age > SAME_REFUSAL_S:
        queue.refused_share = share_after(queue.refused_share, age)
        queue.refused_at = now
    queue.slowed_until = queue.refused_at + RECOVER_S
    queue.tat, queue.credit = max(queue.tat, now + WINDOW_S), 0


def hold(queue: Queue, action: str, now: float, for_s: float = HOLD_S) -> float:
    """The number cannot send: nothing leaves for a while, then one request. Returns until when."""
    queue.held_because = HELD[Action(action)]
    if queue.held_until <= now:
        queue.holds += 1
    grown = HOLD_S if action == Action.PAUSE_TOKEN else HOLD_S * 2.0 ** min(queue.holds - 1, 10)
    queue.held_until = max(queue.held_until, now + min(max(for_s, grown), HOLD_S_MAX))
    return queue.held_until


def retry_now(queue: Queue, now: float) -> None:
    """Somebody mended what held the number, or says so: one request tries it now."""
    queue.held_until, queue.holds = min(queue.held_until, now), 0


def free(queue: Queue) -> None:
    """Graph took a message: nothing holds the number."""
    queue.held_because, queue.held_until, queue.holds = "", 0, 0


def _interval_s(queue: Queue, rate_per_s: int, now: float) -> float:
    return interval_s(_limit(queue, rate_per_s, now))


def _places(queue: Queue, rate_per_s: int, now: float) -> int:
    """The same as whole messages. What is left of a message the bucket keeps, which goes by the limit as it is."""
    return math.ceil(_limit(queue, rate_per_s, now) - 1e-6)


def _limit(queue: Queue, rate_per_s: int, now: float) -> float:
    """Messages that any second of the number may hold, as far as they are used now."""
    quota = share_of_quota(queue.usage, now - queue.usage_at)
    share = share_after(queue.refused_share, now - queue.refused_at) * quota
    return max(1.0, (rate_per_s - reserve(min(_sudden_of_late(queue, now), rate_per_s))) * share)


def _sudden_of_late(queue: Queue, now: float) -> int:
    return queue.sudden if now - queue.sudden_at < SUDDEN_KEEP_S else 0
