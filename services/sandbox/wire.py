"""Webhook bodies exactly as Meta writes them (Meta contract 1.2 and 2 to 5). Pure."""

from __future__ import annotations

import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, NamedTuple

from services.sandbox.config import Number
from services.sandbox.world import Customer, Message

Json = dict[str, Any]


class Ref(NamedTuple):
    """What the ledger knows an update by. `key` is stable: kind, wamid and, for statuses, the status."""

    key: str
    kind: str
    number: str
    contact: str
    wamid: str


@dataclass(frozen=True, slots=True)
class Update:
    """One thing that Meta reports. `item` is an element of `value[array]`, or without `array` the value."""

    refs: tuple[Ref, ...]
    waba: str
    field: str
    number: Number | None
    array: str | None
    item: Json
    contact: Json | None = None
    time_s: int | None = None


def sign(body: bytes, secret: bytes) -> str:
    """Return the value of X-Hub-Signature-256 for these exact bytes (Meta contract 1.2)."""
    return "sha256=" + hmac.new(secret, body, sha256).hexdigest()


def dumps(value: object) -> bytes:
    r"""Return JSON as Meta escapes it: ASCII only, lower-case hex, `/` as `\/` (Meta contract 1.2)."""
    return json.dumps(value, separators=(",", ":")).replace("/", "\\/").encode("ascii")


def metadata(number: Number) -> Json:
    """Return `value.metadata` of a number."""
    return {"display_phone_number": number.display, "phone_number_id": number.phone_number_id}


def contact_card(customer: Customer) -> Json:
    """Return an element of `value.contacts` (Meta contract 2.1); hidden people have no `wa_id`."""
    if customer.hidden:
        username = "@user" + customer.user_id[-8:]
        return {"profile": {"name": customer.name, "username": username}, "user_id": customer.user_id}
    return {"profile": {"name": customer.name}, "wa_id": customer.wa_id, "user_id": customer.user_id}


def _from_customer(customer: Customer) -> Json:
    if customer.hidden:
        return {"from_user_id": customer.user_id}
    return {"from": customer.wa_id, "from_user_id": customer.user_id}


def _to_customer(number: Number, customer: Customer) -> Json:
    if customer.hidden:
        return {"from": number.display, "to_user_id": customer.user_id}
    return {"from": number.display, "to": customer.wa_id, "to_user_id": customer.user_id}


def _make(kind: str, key: str, number: Number, customer: Customer, *, array: str, item: Json) -> Update:
    wamid = item.get("id", "")
    ref = Ref(f"{kind}:{key}", kind, number.phone_number_id, customer.wa_id, wamid)
    where = {"message_echoes": "smb_message_echoes", "state_sync": "smb_app_state_sync"}.get(array, "messages")
    card = None if array == "state_sync" else contact_card(customer)
    return Update((ref,), number.waba, where, number, array, item, card)


def _body_of(kind: str, content: Any) -> Json:
    return {"type": kind} if content is None else {"type": kind, kind: content}


def inbound(number: Number, customer: Customer, message: Message, extra: Json | None = None) -> Update:
    """Return a message that a customer wrote (Meta contract 3); `extra` adds keys such as `errors`."""
    item = {**_from_customer(customer), "id": message.wamid, "timestamp": str(message.at_s)}
    item |= _body_of(message.kind, message.content)
    if message.reply_to:
        item["context"] = {"from": number.display, "id": message.reply_to}
    return _make("message", message.wamid, number, customer, array="messages", item=item | (extra or {}))


def echo(number: Number, customer: Customer, message: Message) -> Update:
    """Return the echo of a message from the Business App or of an API send (Meta contract 5.4)."""
    item = {**_to_customer(number, customer), "id": message.wamid, "timestamp": str(message.at_s)}
    item |= _body_of(message.kind, message.content)
    if message.reply_to:
        item["context"] = {"id": message.reply_to}
    return _make("echo", message.wamid, number, customer, array="message_echoes", item=item)


@dataclass(frozen=True, slots=True)
class Change:
    """An edit or a revoke: its own event id, its target, when, and the new content of an edit."""

    wamid: str
    target: str
    at_s: int
    kind: str = "text"
    content: Any = None


def edit(number: Number, customer: Customer, change: Change, *, by_app: bool) -> Update:
    """Return an edit; the context id is always `M0` (Meta contract 3.12)."""
    inner = {"context": {"id": "M0"}, **_body_of(change.kind, change.content)}
    return _change("edit", number, customer, change, by_app=by_app, more={"message": inner})


def revoke(number: Number, customer: Customer, change: Change, *, by_app: bool) -> Update:
    """Return a deletion for everyone (Meta contract 3.11)."""
    return _change("revoke", number, customer, change, by_app=by_app, more={})


def _change(kind: str, number: Number, customer: Customer, change: Change, *, by_app: bool, more: Json) -> Update:
    who = _to_customer(number, customer) if by_app else _from_customer(customer)
    item = {**who, "id": change.wamid, "timestamp": str(change.at_s), "type": kind}
    item[kind] = {"original_message_id": change.target, **more}
    array = "message_echoes" if by_app else "messages"
    return _make(kind, change.wamid, number, customer, array=array, item=item)


def status(
    number: Number, customer: Customer, message: Message, name: str, *, at_s: int, errors: Sequence[Json] = ()
) -> Update:
    """Return a status of one of our messages (Meta contract 4); pricing on `sent` and `delivered`."""
    item: Json = {"id": message.wamid, "status": name, "timestamp": str(at_s)}
    if not customer.hidden:
        item["recipient_id"] = customer.wa_id
    if name != "failed" or customer.hidden:
        item["recipient_user_id"] = customer.user_id
    if message.callback is not None:
        item["biz_opaque_callback_data"] = message.callback
    if name in {"sent", "delivered"}:
        item["pricing"] = pricing(message.kind)
    if errors:
        item["errors"] = list(errors)
    update = _make("status", f"{message.wamid}:{name}", number, customer, array="statuses", item=item)
    return replace(update, contact=None) if name == "failed" else update


def pricing(kind: str) -> Json:
    """Return what a message costs: service messages are charged since October 2026 (Meta contract 5.9)."""
    category = "utility" if kind == "template" else "service"
    return {"billable": True, "pricing_model": "PMP", "type": "regular", "category": category}


def app_contact(number: Number, customer: Customer, action: str, at_s: int) -> Update:
    """Return a change of the owner's address book (Meta contract 5.7); `action` is add or remove."""
    phone = {} if customer.hidden else {"phone_number": customer.wa_id}
    card: Json = {**phone, "user_id": customer.user_id}
    if action == "add":
        card = {"full_name": customer.name, "first_name": customer.name.split(" ")[0], **card}
    item = {
        "type": "contact", "contact": card, "action": action, "metadata": {"timestamp": str(at_s)},
    }  # fmt: skip
    key = f"{number.phone_number_id}:{customer.wa_id}:{action}:{at_s}"
    return _make("contact", key, number, customer, array="state_sync", item=item)


def whole(kind: str, key: str, number: Number, field: str, value: Json, *, time_s: int | None = None) -> Update:
    """Return an update with this `value`: account, template, unknown fields (Meta contract 9)."""
    ref = Ref(f"{kind}:{key}", kind, number.phone_number_id, "", "")
    return Update((ref,), number.waba, field, None, None, value, None, time_s)


@dataclass(slots=True)
class _Entry:
    time_s: int | None
    changes: list[Json] = field(default_factory=list)
    open: dict[tuple[str, str, str], Json] = field(default_factory=dict)


def body(updates: Sequence[Update], *, merged: bool = True, side_by_side: bool = False) -> bytes:
    """Return one POST body with all the updates.

    Merged, updates of the same number and kind share a `value`, else each has its own `changes` element.
    `side_by_side` lets messages and statuses share one too. WABAs have an `entry` each (Meta contract 1.5).
    """
    entries: dict[tuple[str, int | None], _Entry] = {}
    for update in updates:
        entry = entries.setdefault((update.waba, update.time_s), _Entry(update.time_s))
        _put(entry, update, merged=merged, side_by_side=side_by_side)
    listed = [
        {"id": waba, **({} if time_s is None else {"time": time_s}), "changes": entry.changes}
        for (waba, time_s), entry in entries.items()
    ]
    return dumps({"object": "whatsapp_business_account", "entry": listed})


def _put(entry: _Entry, update: Update, *, merged: bool, side_by_side: bool) -> None:
    if update.array is None or update.number is None:
        entry.changes.append({"field": update.field, "value": update.item})
        return
    group = (update.field, update.number.phone_number_id, "" if side_by_side else update.array)
    value = entry.open.get(group) if merged else None
    if value is None:
        value = {"messaging_product": "whatsapp", "metadata": metadata(update.number)}
        entry.open[group] = value
        entry.changes.append({"field": update.field, "value": value})
    if update.contact is not None:
        cards = value.setdefault("contacts", [])
        if update.contact not in cards:
            cards.append(update.contact)
    value.setdefault(update.array, []).append(update.item)
