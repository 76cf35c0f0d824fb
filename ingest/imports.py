"""The imported past: history chunks, their messages, and media that comes after them (Meta contract 5.6)."""

from msgspec import Raw

from ingest.facts import Facts
from ingest.messages import BUSINESS, CUSTOMER, correction, message_item
from ingest.people import People, from_entry, is_nobody
from ingest.wire import ChunkProgress, ContactEntry, Message, elements, parts, read, read_all, scalar, sound
from schemas.items import Contact, Item
from schemas.topics import HISTORY

INBOUND = "inbound"
OUTBOUND = "outbound"


def chunk(facts: Facts, _: ChunkProgress, raw: Raw) -> None:
    """One of `history[]`: every message of every thread, and one fact for how far the import is or why it ended."""
    members = parts(raw) or {}
    if "threads" in members:
        for thread in elements(members["threads"]):
            _thread(facts, thread)
    for key, fragment in members.items():
        if key not in ("metadata", "threads", "errors") and bytes(fragment)[:1] in b"{[":
            facts.unknown(fragment, "unknown_key")
    return _progress(facts, members)


def _progress(facts: Facts, members: dict[str, Raw]) -> None:
    metadata = members.get("metadata")
    found = (read(ChunkProgress, metadata) if metadata is not None else None) or ChunkProgress()
    item = Item(phase=found.phase, chunk_order=found.chunk_order, progress=found.progress)
    told = members.get("errors", metadata)
    if told is None:
        return
    item.raw = told
    if "errors" in members:
        item.errors = sound(members["errors"])
    fact_id = f"hc:{found.phase}:{found.chunk_order}:{facts.digest(told)}"
    facts.add(HISTORY, "webhook.history", fact_id, item, facts.instant(facts.change.time))


def _thread(facts: Facts, raw: Raw) -> None:
    members = parts(raw)
    if members is None:
        return facts.unknown(raw, "not_an_object")
    people = People(facts.business_phone, _thread_contacts(members))
    for message, fragment in read_all(Message, members["messages"]) if "messages" in members else ():
        if message is None:
            facts.unknown(fragment, "not_an_object")
        else:
            _message(facts, message, fragment, people, None)
    for key, fragment in members.items():
        if key not in ("id", "context", "messages") and bytes(fragment)[:1] in b"{[":
            facts.unknown(fragment, "unknown_key")
    return None


def _thread_contacts(members: dict[str, Raw]) -> list[Contact]:
    entry = (read(ContactEntry, members["context"]) if "context" in members else None) or ContactEntry()
    thread_id = scalar(members.get("id"))
    if not entry.wa_id and "." not in thread_id:
        entry.wa_id = thread_id
    elif not entry.user_id and "." in thread_id:
        entry.user_id = thread_id
    contact = from_entry(entry)
    return [] if is_nobody(contact) else [contact]


def late_inbound(facts: Facts, message: Message, raw: Raw) -> None:
    """One of `messages[]` on the field `history`: media of an imported message, under the same message id."""
    _message(facts, message, raw, facts.people, INBOUND)


def late_outbound(facts: Facts, message: Message, raw: Raw) -> None:
    """One of `message_echoes[]` on the field `history`."""
    _message(facts, message, raw, facts.people, OUTBOUND)


def _message(facts: Facts, message: Message, raw: Raw, people: People, direction: str | None) -> None:
    direction = direction or _direction(message, people)
    contact = people.customer(message) if direction == INBOUND else people.addressee(message)
    if message.type in ("edit", "revoke"):
        return correction(facts, message, raw, contact, CUSTOMER if direction == INBOUND else BUSINESS)
    if not message.id or is_nobody(contact):
        return facts.unknown(raw, "no_contact" if message.id else "no_id")
    item = message_item(facts, message, raw, contact)
    item.direction = direction
    item.status = message.history_context.status.upper() if message.history_context else ""
    fact_id = f"h:{message.id}:{item.kind}"
    return facts.webhook.file(HISTORY, "webhook.history", fact_id, item)


def _direction(message: Message, people: People) -> str:
    """Meta's own sample leaves `to` out on messages of the business; relays say it with `from_me`."""
    if people.is_business(message.sender) or (message.history_context and message.history_context.from_me):
        return OUTBOUND
    if people.is_business(message.to) or message.sender or message.from_user_id:
        return INBOUND
    return OUTBOUND if message.to or message.to_user_id else INBOUND
