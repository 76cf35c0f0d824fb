"""From the bytes of one webhook to the facts in it: each item of each change comes out, known or as `webhook.unknown`.

Pure, and it never raises: whatever was signed is kept. Ids of facts derive from the facts alone, so that the same
item in a later, differently cut batch has the same id (Meta contract 1.4).
"""

from base64 import b64encode
from collections.abc import Callable
from hashlib import blake2b
from typing import Any

from msgspec import Raw, Struct

from ingest.accounts import ACCOUNT_FIELDS, account, error, preference
from ingest.contacts import synced_contact
from ingest.envelope import Change, Unreadable, changes
from ingest.facts import Facts, Webhook
from ingest.imports import chunk, late_inbound, late_outbound
from ingest.messages import customer_message, echo, status
from ingest.wire import ChunkProgress, ErrorCode, Message, Preference, StateSync, Status, parts, read_all
from schemas.items import Item, encode
from schemas.ports import Event
from schemas.topics import INBOUND

Handlers = dict[str, tuple[type[Struct], Callable[[Facts, Any, Raw], None]]]

LIVE: Handlers = {
    "messages": (Message, customer_message),
    "message_echoes": (Message, echo),
    "statuses": (Status, status),
    "errors": (ErrorCode, error),
    "history": (ChunkProgress, chunk),
    "state_sync": (StateSync, synced_contact),
    "user_preferences": (Preference, preference),
}
"""The arrays of a value, and what one of their elements is."""

IMPORTED: Handlers = {**LIVE, "messages": (Message, late_inbound), "message_echoes": (Message, late_outbound)}

HANDLERS: dict[str, Handlers] = {
    "messages": LIVE,
    "smb_message_echoes": LIVE,
    "message_echoes": LIVE,
    "smb_app_state_sync": LIVE,
    "user_preferences": LIVE,
    "history": IMPORTED,
}

UNUSED = frozenset(
    {
        "calls",
        "group_lifecycle_update",
        "group_participants_update",
        "group_settings_update",
        "group_status_update",
        "messaging_handovers",
        "standby",
    }
)
"""Fields we keep but draw nothing from: a coexistence number has no calls and no API groups (Meta contract 9.6)."""
UNUSED_FIELD = "unused_field"
"""The reason of what came under them: that nothing is made of it needs nobody."""

ENVELOPE = frozenset({"messaging_product", "metadata", "contacts"})


def normalize(body: bytes, received_at: float) -> list[tuple[str, Event]]:
    """The facts of a webhook body as pairs of topic and event, in the order in which they stand.

    `received_at` is in seconds since 1970. A body that holds no JSON, nests deeper than 64, or holds more than 20,000
    items is one `webhook.unknown` with its bytes in base64.
    """
    webhook = Webhook(body, received_at)
    try:
        for change in changes(body):
            _change(change, webhook)
    except Unreadable as unreadable:
        return [_kept(body, unreadable.reason, received_at)]
    except RecursionError:
        return [_kept(body, "too_deep", received_at)]
    except Exception:  # noqa: BLE001 - a mistake of ours must not cost a message that Meta will not send twice
        return [_kept(body, "defect", received_at)]
    return webhook.found


def _change(change: Change, webhook: Webhook) -> None:
    value = parts(change.value)
    facts = Facts(change, value or {}, webhook)
    if value is None:
        return facts.unknown(change.value, change.reason or "not_an_object")
    if reason := change.reason or facts.reason:
        return facts.unknown(change.value, reason)
    handlers: Handlers | None = HANDLERS.get(change.field)
    if handlers is not None:
        return _items(facts, value, handlers)
    if change.field in ACCOUNT_FIELDS:
        return account(facts)
    return facts.unknown(change.value, UNUSED_FIELD if change.field in UNUSED else "unknown_field")


def _items(facts: Facts, value: dict[str, Raw], handlers: Handlers) -> None:
    understood = False
    for key, fragment in value.items():
        if key in ENVELOPE:
            continue
        handler = handlers.get(key)
        if handler is not None:
            understood = True
            kind, handle = handler
            for item, element in read_all(kind, fragment):
                if item is None:
                    facts.unknown(element, "not_an_object")
                else:
                    handle(facts, item, element)
        elif bytes(fragment)[:1] in b"{[":
            understood = True
            facts.unknown(fragment, "unknown_key")
    if not understood:
        facts.unknown(facts.change.value, "no_items")


def _kept(body: bytes, reason: str, received_at: float) -> tuple[str, Event]:
    item = Item(number="unknown", at=received_at, received_at=received_at, reason=reason)
    item.raw_base64 = b64encode(body).decode()
    fact_id = f"u:{blake2b(body, digest_size=16).hexdigest()}"
    event = Event(fact_id, "webhook.unknown", "unknown", encode(item), received_at, received_at)
    return INBOUND, event
