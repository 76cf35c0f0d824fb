"""What a number may send: messages a second, and how many people a day it may write to first (Meta contract 7, 9.3).

A number is a coexistence number with 20 a second until told otherwise: by an operator, or by Meta's word of an upgrade.
The newest word counts, by its own time.
"""

import copy
from typing import Any

from echo_sync.lifecycle import OURS, raw_object
from schemas.items import Item
from schemas.states import Number

UPGRADED_PER_S = 1_000
"""Where Meta says THROUGHPUT_UPGRADE (Meta contract 7.1)."""
PER_S_MAX = 1_000
UNLIMITED = -1
_SAID = frozenset({"phone_number_quality_update", "business_capability_update"})
_PEOPLE = ("max_daily_conversations_per_business", "current_limit", "max_daily_conversation_per_phone")


def heard(number: Number, item: Item) -> Number:
    """The number after a word on its limits; itself where the word is about something else, or stale."""
    found = copy.copy(number)
    if item.field == OURS:
        found.rate_per_s = _rate(raw_object(item).get("rate_per_s")) or number.rate_per_s
    elif item.field in _SAID:
        found.rate_per_s = UPGRADED_PER_S if item.event == "THROUGHPUT_UPGRADE" else number.rate_per_s
        found.people_per_day = _people(raw_object(item)) or number.people_per_day
    same = (found.rate_per_s, found.people_per_day) == (number.rate_per_s, number.people_per_day)
    if same or item.at < number.limits_at:
        return number
    found.limits_at = item.at
    return found


def _rate(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= PER_S_MAX else 0


def _people(value: dict[str, Any]) -> int:
    """A tier as a number of people; -1 without limit, 0 where none is told. Both forms are Meta's."""
    for name in _PEOPLE:
        told = value.get(name)
        if isinstance(told, int) and not isinstance(told, bool) and (told > 0 or told == UNLIMITED):
            return told
        if isinstance(told, str) and told.startswith("TIER_"):
            return _tier(told.removeprefix("TIER_"))
    return 0


def _tier(text: str) -> int:
    if text == "UNLIMITED":
        return UNLIMITED
    digits, thousands = text.removesuffix("K"), text.endswith("K")
    return int(digits) * (1_000 if thousands else 1) if digits.isdecimal() and len(digits) < 8 else 0
