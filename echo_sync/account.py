"""What is told on `account` and `contacts`: numbers, templates, preferences, history's progress, contacts."""

from collections.abc import Iterator
from hashlib import blake2b
from typing import Any

import orjson
from msgspec import UNSET

from echo_sync.contacts import contact_data
from echo_sync.identity import find
from echo_sync.imports import is_declined
from echo_sync.lifecycle import raw_object
from echo_sync.message import Fact, raw_bytes
from schemas.instants import rfc3339
from schemas.items import Item
from schemas.ports import State, States

SEEN_KEEP_S = 8 * 86_400.0
"""Meta repeats webhooks for seven days."""


class Seen(State):
    """A fact without a state of its own was told: a repeat is known for as long as Meta may repeat it."""


def seen_key(number: str, event_id: str) -> str:
    """Where it is kept that an event was told."""
    return f"s/{number}/{event_id}"


def account_facts(item: Item) -> Iterator[Fact]:
    """The fact of a webhook about an account, a template, a preference, or a number whose standing stays as it is."""
    kind = _account_kind(item)
    data: dict[str, Any] = {
        "waba": item.waba,
        "field": item.field,
        "event": item.event,
        "at": rfc3339(item.at or item.received_at),
        "details": orjson.Fragment(raw_bytes(item.raw) or b"{}"),
    }
    if item.number and item.number != item.waba:
        data["number"] = item.number
    elif kind == "number.changed":
        kind = "account.changed"
    if kind == "template.changed":
        data |= _template(item)
    if item.errors is not UNSET and kind == "history.declined":
        data["errors"] = orjson.Fragment(raw_bytes(item.errors))
    yield kind, f"{item.field}:{_digest(item)}", data


_TEMPLATE = {
    "template_id": "message_template_id",
    "name": "message_template_name",
    "language": "message_template_language",
    "category": "message_template_category",
    "quality": "new_quality_score",
    "reason": "reason",
}


def _template(item: Item) -> dict[str, str]:
    """Which template, in our words; its language as sends write it, en_US (Meta contract 9.1)."""
    value = raw_object(item)
    told = {ours: str(value[theirs]) for ours, theirs in _TEMPLATE.items() if value.get(theirs) not in (None, "NONE")}
    if "category" not in told and isinstance(value.get("new_category"), str):
        told["category"] = value["new_category"]
    if "language" in told:
        told["language"] = told["language"].replace("-", "_")
    return told


def preference_data(states: States, item: Item) -> dict[str, Any]:
    """Whose preference it is, and about what (Meta contract 9.4)."""
    person = find(states, item.number, item.contact)
    found: dict[str, Any] = {"contact": contact_data(item.contact)}
    if person is not None:
        found["conversation_id"] = person.conversation_id
    category = raw_object(item).get("category")
    return found | ({"category": category} if isinstance(category, str) else {})


def _account_kind(item: Item) -> str:
    if item.field in ("history", "") and is_declined(item):
        return "history.declined"
    if item.field.startswith(("message_template", "template_")):
        return "template.changed"
    if item.field == "user_preferences":
        return "preference.changed"
    if item.field.startswith(("phone_number", "business_username")) or item.field == "security":
        return "number.changed"
    return "account.changed"


def contact_fact(states: States, item: Item) -> Fact:
    """What a contact sync or a system message tells of a person."""
    person = find(states, item.number, item.contact)
    data: dict[str, Any] = {
        "number": item.number,
        "contact": contact_data(item.contact),
        "action": item.action,
        "at": rfc3339(item.at or item.received_at),
    }
    if person is not None:
        data["conversation_id"] = person.conversation_id
    kind = "contact.removed" if item.action == "remove" else "contact.changed"
    return kind, f"contact:{item.action}:{_digest(item)}", data


def _digest(item: Item) -> str:
    raw = b"" if item.raw is UNSET else raw_bytes(item.raw)
    return blake2b(raw + str(item.at).encode(), digest_size=8).hexdigest()
