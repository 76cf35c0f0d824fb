"""What is told on `account` and `contacts`: numbers, templates, preferences, history's progress, contacts."""

from collections.abc import Iterator
from hashlib import blake2b
from typing import Any

import orjson
from msgspec import UNSET

from echo_sync.identity import find
from echo_sync.message import Fact, raw_bytes
from schemas.instants import rfc3339
from schemas.items import Item
from schemas.ports import States
from schemas.states import Number

TOKEN_REFUSED = frozenset({0, 3, 10, 190, 131005})
"""Codes after which the credential sends nothing more (Meta contract 8.3, PAUSE-TOKEN)."""


def number_facts(number: Number | None, answer: Item | None = None) -> Iterator[Fact]:
    """A number met for the first time; or, after an answer of Graph, a number that cannot send any more."""
    if number is None:
        return
    data: dict[str, Any] = {"number": number.number, "waba": number.waba}
    if answer is None:
        yield "number.onboarded", "onboarded", data | {"registration": "auto"}
    elif answer.code in TOKEN_REFUSED and answer.outcome == "rejected":
        paused = {"sending": "paused", "because": "token", "at": rfc3339(answer.at)}
        yield "number.changed", f"token:{answer.token}", data | paused


def account_facts(item: Item) -> Iterator[Fact]:
    """The facts of a webhook about an account, a template, a preference or the progress of a history import."""
    if item.progress is not None or item.phase is not None:
        progress = {"phase": item.phase, "chunk_order": item.chunk_order, "progress": item.progress}
        suffix = f"history:{item.phase}:{item.chunk_order}:{item.progress}"
        yield "history.progress", suffix, {"number": item.number} | progress
        return
    kind = _account_kind(item)
    if kind.startswith("number.") and not item.number:
        kind = "account.changed"
    details = orjson.Fragment(raw_bytes(item.raw) or b"{}")
    data: dict[str, Any] = {
        "waba": item.waba,
        "field": item.field,
        "event": item.event,
        "at": rfc3339(item.at or item.received_at),
        "details": details,
    }
    if item.number:
        data["number"] = item.number
    yield kind, f"{item.field}:{_digest(item)}", data


def _account_kind(item: Item) -> str:
    if item.event in {"ACCOUNT_OFFBOARDED", "PARTNER_REMOVED"}:
        return "number.offboarded"
    if item.event == "ACCOUNT_RECONNECTED":
        return "number.reconnected"
    if item.event in ("PAUSED", "RESUMED", "REGISTERED"):
        return "number.changed"
    if item.field == "history":
        return "history.declined"
    if item.field.startswith(("message_template", "template_")):
        return "template.changed"
    if item.field == "user_preferences":
        return "preference.changed"
    if item.field.startswith("phone_number") or item.field == "security":
        return "number.changed"
    return "account.changed"


def contact_fact(states: States, item: Item) -> Fact:
    """What a contact sync or a system message tells of a person."""
    person = find(states, item.number, item.contact)
    contact = {
        field: value for field in ("wa_id", "user_id", "username", "name") if (value := getattr(item.contact, field))
    }
    data: dict[str, Any] = {
        "number": item.number,
        "contact": contact,
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
