"""The life of a number: offboarded, reconnected, removed, banned, restricted, paused (Meta contract 5.8, 5.10).

A number stands somewhere in several respects at once, and in each of them the newest word counts, by Meta's own time.
So late and repeated events change nothing, whatever their order; a tie goes to the word that lets the number send,
because a number that should not send is refused by Graph, and one that should would stay silent for ever.
"""

import copy
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec
import orjson

from echo_sync.message import Fact, raw_bytes
from schemas.fragments import object_of
from schemas.instants import rfc3339, wire_instant
from schemas.items import Item
from schemas.states import RESTRICTED_INITIATED, RESTRICTION, Number, Standing

OURS = "coexist"
"""The field of words that are our own: an operator's, or of one shard to another."""

LIFE, BAN, OPERATOR, TOKEN = "life", "ban", "operator", "token"
CONNECTED, ONBOARDING, RECONNECTING = "connected", "onboarding", "reconnecting"
GONE = frozenset({"offboarded", "removed", "deleted"})
SILENT = GONE | {RECONNECTING}
"""A number that is said to be back sends once Graph confirms it (Meta contract 5.10)."""
PAUSING = (
    (LIFE, SILENT),
    (BAN, frozenset({"disabled"})),
    (RESTRICTION, frozenset({"restricted"})),
    (OPERATOR, frozenset({"operator"})),
)
"""What holds up every send of a number, the gravest first. A refused token does not: the sender tries it by itself."""

CONFIRM_EVERY_S = 60.0
ONBOARDING_S = 24 * 3600.0
"""How long contacts and history may be asked for (Meta contract 5.3)."""

_RANKS = {"offboarded": 0, "removed": 1, "disabled": 1, "restricted": 1, "operator": 1, "token": 1, "deleted": 9}
_RANKS[RECONNECTING] = 4
_RANK_OTHERS = 5


class Confirm(msgspec.Struct, frozen=True):
    """A call: ask Graph whether a number that was said to be back at `at` really is; if so, say CONFIRMED of `at`."""

    number: str
    at: float


class Word(NamedTuple):
    """What an event says of a number in one respect. `until`: 0 for good. `why`: Meta's reason in snake case."""

    respect: str
    value: str
    until: float = 0
    why: str = ""


_PLAIN: dict[tuple[str, str], tuple[Word, ...]] = {
    (OURS, "PAUSED"): (Word(OPERATOR, "operator"),),
    (OURS, "RESUMED"): (
        *(Word(respect, "") for respect in (OPERATOR, BAN, RESTRICTION, TOKEN)),
        Word(LIFE, CONNECTED),
    ),
    (OURS, "REGISTERED"): (Word(LIFE, CONNECTED),),
    (OURS, "TOKEN_SET"): (Word(TOKEN, ""),),
    ("account_update", "ACCOUNT_OFFBOARDED"): (Word(LIFE, "offboarded"),),
    (OURS, "CONFIRMED"): (Word(LIFE, CONNECTED),),
    ("account_update", "ACCOUNT_RECONNECTED"): (Word(LIFE, RECONNECTING),),
    ("account_update", "ACCOUNT_DELETED"): (Word(LIFE, "deleted"),),
}
_FIELDS = frozenset({"account_update", OURS})


def words(item: Item) -> tuple[Word, ...]:
    """What an account event says of its number, none where it is about something else."""
    if item.field not in _FIELDS:
        return ()
    plain = _PLAIN.get((item.field, item.event))
    if plain is not None:
        return plain
    read = _READERS.get(item.event)
    return read(item, raw_object(item)) if read is not None and item.field != OURS else ()


def _removed(item: Item, value: dict[str, Any]) -> tuple[Word, ...]:
    told = value.get("disconnection_info")
    reason = told.get("reason") if isinstance(told, dict) else None
    return (Word(LIFE, "removed", why=reason.lower() if isinstance(reason, str) else ""),)


def _added(item: Item, value: dict[str, Any]) -> tuple[Word, ...]:
    return (Word(LIFE, ONBOARDING, item.at + ONBOARDING_S),)


def _ban(item: Item, value: dict[str, Any]) -> tuple[Word, ...]:
    told = value.get("ban_info")
    state = told.get("waba_ban_state") if isinstance(told, dict) else None
    if isinstance(state, list):  # one of Meta's samples (Meta contract 1.9)
        state = state[0] if state else None
    named = {"DISABLE": "disabled", "REINSTATE": "", "SCHEDULE_FOR_DISABLE": "to_be_disabled"}
    return (Word(BAN, named[state]),) if isinstance(state, str) and state in named else ()


def _restricted(item: Item, value: dict[str, Any]) -> tuple[Word, ...]:
    """The gravest of the restrictions: all sends, those that open a conversation, or none that concerns sends."""
    told = value.get("restriction_info")
    ends = {}
    for one in told if isinstance(told, list) else ():
        if isinstance(one, dict):
            ends[one.get("restriction_type")] = float(wire_instant(one.get("expiration")) or 0)
    kinds = {
        "RESTRICTED_CUSTOMER_INITIATED_MESSAGING": "restricted",
        "RESTRICTED_BIZ_INITIATED_MESSAGING": RESTRICTED_INITIATED,
    }
    return next(((Word(RESTRICTION, value, ends[kind]),) for kind, value in kinds.items() if kind in ends), ())


_READERS = {
    "PARTNER_REMOVED": _removed,
    "PARTNER_ADDED": _added,
    "DISABLED_UPDATE": _ban,
    "ACCOUNT_RESTRICTION": _restricted,
}


def heard(number: Number, said: tuple[Word, ...], at: float, now: float) -> Number:
    """The number after these words of `at`; itself when all of them are stale or known."""
    changed = copy.copy(number)
    changed.standings = dict(number.standings)
    for word in said:
        known = number.standings.get(word.respect)
        if known is None or (known.at, _rank(known.value), known.value) < (at, _rank(word.value), word.value):
            changed.standings[word.respect] = Standing(at=at, value=word.value, until=word.until, why=word.why)
    if changed.standings == number.standings:
        return number
    changed.changed_at = max(number.changed_at, at)
    return settled(changed, now)


def _rank(value: str) -> int:
    return _RANKS.get(value, _RANK_OTHERS)


def settled(number: Number, now: float) -> Number:
    """The number with what follows from its standings now: whether it sends, and when to look again."""
    number.paused_because = next((v for respect, gone in PAUSING if (v := value_of(number, respect, now)) in gone), "")
    ends = [standing.until for standing in number.standings.values() if standing.until > now]
    if life(number, now) == RECONNECTING:
        ends.append(now + CONFIRM_EVERY_S)
    number.wake_at = min(ends, default=None)
    return number


def value_of(number: Number, respect: str, now: float) -> str:
    """Where a number stands in a respect now; nothing once its time is over."""
    standing = number.standings.get(respect)
    return standing.value if standing is not None and not 0 < standing.until <= now else ""


def life(number: Number, now: float) -> str:
    """Connected, onboarding, offboarded, reconnecting, removed or deleted."""
    return value_of(number, LIFE, now) or CONNECTED


def confirmation(number: Number, now: float) -> Confirm | None:
    """What to ask Graph of a number, if anything."""
    return Confirm(number.number, number.standings[LIFE].at) if life(number, now) == RECONNECTING else None


def facts(before: Number, after: Number, item: Item | None, now: float, told_at: float) -> Iterator[Fact]:
    """What a change of a number is to the world: one fact. `told_at` is the now of the last look at `before`."""
    old, new = _view(before, told_at), _view(after, now)
    if old == new or (old[0] in GONE and new == (RECONNECTING, *old[1:])):  # that it is back is told once confirmed
        return
    data: dict[str, Any] = {"number": after.number, "waba": after.waba, "sending": "active"}
    if because := after.paused_because or value_of(after, TOKEN, now):
        data |= {"sending": "paused", "because": because}
    kind, at = "number.changed", now
    if old[0] != new[0] and new[0] in GONE:
        kind = "number.offboarded"
        if why := after.standings[LIFE].why:
            data["reason"] = why
    elif old[0] in SILENT and new[0] not in SILENT:
        kind = "number.reconnected"
    if item is not None:
        at = item.at
        data |= {"field": item.field, "event": item.event} if item.event else {}
        if raw := raw_bytes(item.raw):
            data["details"] = orjson.Fragment(raw)
    yield kind, f"{kind}:{'/'.join(new)}:{at}", data | {"at": rfc3339(at)}


def _view(number: Number, now: float) -> tuple[str, ...]:
    others = (value_of(number, respect, now) for respect in (BAN, RESTRICTION, OPERATOR, TOKEN))
    return (life(number, now), *others)


def raw_object(item: Item) -> dict[str, Any]:
    """Meta's own value of an item, empty where it is none."""
    return object_of(raw_bytes(item.raw))
