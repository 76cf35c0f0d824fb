"""What changes about people: numbers, ids, and the owner's address book (Meta contract 3.13, 5.7)."""

from msgspec import Raw, UnsetType

from ingest.facts import Facts
from ingest.people import is_nobody
from ingest.wire import Message, StateSync, SyncedContact, System, read
from schemas.items import Contact, Item
from schemas.phones import digits

ACTIONS = {
    "user_changed_number": "changed_number",
    "customer_changed_number": "changed_number",
    "user_changed_user_id": "changed_user_id",
    "customer_identity_changed": "identity_changed",
}
"""`system.type` and what it says (Meta contract 3.13)."""

SYNC_ACTIONS = {"add": "add", "edit": "add", "remove": "remove"}


def system_event(facts: Facts, message: Message, raw: Raw) -> None:
    """A `system` message: a customer has another number, another business-scoped id, or another device."""
    system = None if isinstance(message.system, UnsetType) else read(System, message.system)
    action = ACTIONS.get(system.type) if system else None
    if system is None or action is None:
        return facts.unknown(raw, "unknown_system_type")
    contact, previous = _before_and_after(message, system, action)
    if is_nobody(contact):
        return facts.unknown(raw, "no_contact")
    item = Item(event_id=message.id, action=action, contact=contact, previous=previous, raw=raw)
    fact_id = f"c:{message.id or facts.digest(raw)}"
    return facts.add(facts.lane, "webhook.contact", fact_id, item, facts.instant(message.timestamp))


def _before_and_after(message: Message, system: System, action: str) -> tuple[Contact, Contact | None]:
    sender = digits(message.sender)
    if action == "identity_changed":
        return Contact(sender, message.from_user_id, message.from_parent_user_id), None
    after = Contact(digits(system.wa_id or system.new_wa_id), system.user_id, system.parent_user_id)
    old_phone = sender or digits(system.customer)
    before = Contact(
        "" if old_phone == after.wa_id else old_phone,
        system.previous_user_id or _other(message.from_user_id, system.user_id),
        system.previous_parent_user_id,
    )
    return after, None if is_nobody(before) else before


def _other(old: str, new: str) -> str:
    return "" if old == new else old


def synced_contact(facts: Facts, sync: StateSync, raw: Raw) -> None:
    """One of `state_sync[]`: the owner added, edited or removed a contact in the app."""
    if sync.contact is None or sync.action not in SYNC_ACTIONS:
        return facts.unknown(raw, "unknown_sync")
    contact = _as_contact(sync.contact)
    if is_nobody(contact):
        return facts.unknown(raw, "no_contact")
    item = Item(action=SYNC_ACTIONS[sync.action], contact=contact, raw=raw)
    at = facts.instant(sync.metadata.timestamp if sync.metadata else "")
    return facts.add(facts.lane, "webhook.contact", f"c:{facts.digest(raw)}", item, at)


def _as_contact(entry: SyncedContact) -> Contact:
    return Contact(
        wa_id=digits(entry.phone_number),
        user_id=entry.user_id,
        parent_user_id=entry.parent_user_id,
        username=entry.username.removeprefix("@"),
        name=entry.full_name or entry.first_name,
    )
