"""Messages of both sides, their edits, revokes and statuses, as facts (Meta contract 3, 4, 5.4)."""

from msgspec import UNSET, Raw, UnsetType

from ingest.contacts import system_event
from ingest.content import content_of, error_code
from ingest.facts import Facts
from ingest.people import NOBODY, is_nobody
from ingest.wire import Change, Message, Status, read, sound
from schemas.items import Contact, Item
from schemas.topics import INBOUND

CUSTOMER = "customer"
BUSINESS = "business"
CORRECTIONS = ("edit", "revoke")


def customer_message(facts: Facts, message: Message, raw: Raw) -> None:
    """One of `messages[]`: from a customer."""
    contact = facts.people.customer(message)
    if message.type == "system":
        return system_event(facts, message, raw)
    if message.type in CORRECTIONS:
        return correction(facts, message, raw, contact, CUSTOMER)
    return _added(facts, message, raw, contact, "webhook.message", "m:")


def echo(facts: Facts, message: Message, raw: Raw) -> None:
    """One of `message_echoes[]`: from the business, by way of its app. Nobody knows which person sent it."""
    contact = facts.people.addressee(message)
    if message.type in CORRECTIONS:
        return correction(facts, message, raw, contact, BUSINESS)
    return _added(facts, message, raw, contact, "webhook.echo", "e:")


def _added(facts: Facts, message: Message, raw: Raw, contact: Contact, kind: str, prefix: str) -> None:
    fact_id = prefix + message.id
    if not message.id or is_nobody(contact):
        return facts.unknown(raw, "no_contact" if message.id else "no_id")
    item = message_item(facts, message, raw, contact)
    if item.kind == "unsupported":  # the content may follow under the same id (Meta contract 3.15)
        fact_id += ":unsupported"
    return facts.webhook.file(INBOUND, kind, fact_id, item)


def message_item(facts: Facts, message: Message, raw: Raw, contact: Contact) -> Item:
    """What a message, an echo and an imported message have in common."""
    kind, content = content_of(message, raw)
    item = Item(
        number=facts.number,
        waba=facts.waba,
        business_phone=facts.business_phone,
        message_id=message.id,
        contact=contact,
        at=facts.instant(message.timestamp),
        received_at=facts.received_at,
        kind=kind,
        content=content,
        raw=raw,
    )
    if message.context is not None:
        item.reply_to = message.context.id
        item.forwarded = message.context.forwarded or message.context.frequently_forwarded
    if message.group_id:
        item.group_id = message.group_id
    if message.errors is not UNSET:
        item.errors = sound(message.errors)
    return item


def correction(facts: Facts, message: Message, raw: Raw, contact: Contact, side: str) -> None:
    """An edit or a revoke of a message that may not have come yet. In an edit, `context.id` is no reply (3.12)."""
    fragment = message.edit if message.type == "edit" else message.revoke
    change = None if isinstance(fragment, UnsetType) else read(Change, fragment)
    if change is None or not change.original_message_id:
        return facts.unknown(raw, "no_target")
    original = change.original_message_id
    item = Item(message_id=original, event_id=message.id, side=side, contact=contact, raw=raw)
    at = facts.instant(message.timestamp)
    if message.type == "revoke":
        return facts.add(facts.lane, "webhook.revoke", f"r:{original}:{side}", item, at)
    edited = None if isinstance(change.message, UnsetType) else read(Message, change.message)
    if edited is None or isinstance(change.message, UnsetType):
        item.kind = "unsupported"
    else:
        item.kind, item.content = content_of(edited, change.message)
    return facts.add(facts.lane, "webhook.edit", f"d:{original}:{message.id or facts.digest(raw)}", item, at)


def status(facts: Facts, found: Status, raw: Raw) -> None:
    """One of `statuses[]`: what became of something the business sent."""
    if not found.id or not found.status:
        return facts.unknown(raw, "no_status")
    item = Item(message_id=found.id, status=found.status.lower(), token=found.biz_opaque_callback_data, raw=raw)
    item.participant = found.recipient_participant_id or found.recipient_participant_user_id
    if found.recipient_type == "group":
        item.group_id, item.contact = found.recipient_id, NOBODY
    else:
        item.contact = _recipient(facts, found)
    item.errors = sound(found.errors)
    item.pricing = sound(found.pricing)
    fact_id = f"s:{found.id}:{item.status}:{item.participant}:{error_code(found.errors)}"
    return facts.add(facts.lane, "webhook.status", fact_id, item, facts.instant(found.timestamp))


def _recipient(facts: Facts, found: Status) -> Contact:
    parent = found.recipient_parent_user_id or found.parent_recipient_user_id
    if not (found.recipient_id or found.recipient_user_id or parent or "contacts" in facts.parts):
        return NOBODY
    return facts.people.of(found.recipient_id, found.recipient_user_id, parent)
