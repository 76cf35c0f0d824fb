"""What Meta charged for: messages by category, type and country, per number and month (Meta contract 4, 5.9).

Statuses carry the price's kind, twice for most messages; the first one counts. It is what Meta told, not an invoice.
"""

import copy
from typing import Any

from echo_sync.message import Message, raw_bytes
from echo_sync.turn import Turn
from schemas.countries import country_of
from schemas.fragments import object_of
from schemas.instants import rfc3339
from schemas.items import Item
from schemas.ports import State

CATEGORIES = frozenset(
    {
        *("authentication", "authentication_international", "marketing", "marketing_lite", "utility", "service"),
        *("referral_conversion", "general_purpose_ai", "group_marketing", "group_utility", "group_service"),
    }
)
TYPES = frozenset({"regular", "free_customer_service", "free_entry_point"})
OTHER = "other"


class Costs(State):
    """A number's month: how many messages by kind, `category|type|billable|country`."""

    number: str = ""
    month: str = ""
    counts: dict[str, int] = {}


def costs_key(number: str, month: str) -> str:
    """Where the messages of a month, 2026-11, are counted."""
    return f"e/{number}/{month}"


def on_price(turn: Turn, message: Message, item: Item) -> None:
    """A status that tells what kind of price a message has. Counted once per message; the month is the status's."""
    kind = kind_of(item, message)
    month = rfc3339(item.at)[:7]
    key = costs_key(message.number, month)
    known: Costs | None = turn.get(key)
    found = copy.copy(known) if known is not None else Costs(number=message.number, month=month)
    found.counts = {**found.counts, kind: found.counts.get(kind, 0) + 1}
    turn.put(key, found)
    turn.note(f"price:{kind}")


def kind_of(item: Item, message: Message) -> str:
    """What distinguishes one price from another, out of closed sets: `category|type|billable|country`."""
    value = object_of(raw_bytes(item.pricing))
    category = _word(value.get("category"))
    kind = _word(value.get("type"))
    wa_id, user_id = item.contact.wa_id or message.wa_id, item.contact.user_id or message.user_id
    parts = (
        category if category in CATEGORIES else OTHER,
        kind if kind in TYPES else OTHER,
        "billable" if value.get("billable") is True else "free",
        country_of(wa_id, user_id),
    )
    return "|".join(parts)


def _word(value: Any) -> str:
    """Meta writes authentication-international in two ways (Meta contract 4)."""
    return value.lower().replace("-", "_") if isinstance(value, str) else ""
