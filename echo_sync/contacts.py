"""The owner's address book: contacts that were added, edited or removed, in the order of Meta's own time.

Changes come in bursts, late and repeated (Meta contract 5.7), so what is kept per person is the newest one, and a
removal beats an addition of the same second. Whose book may be kept at all is decided before anything is appended.
"""

from hashlib import blake2b

import orjson

from schemas.items import Contact, Item
from schemas.ports import State, States

ADD, REMOVE = "add", "remove"
SYNC_ACTIONS = frozenset({ADD, REMOVE})
FIELDS = ("wa_id", "user_id", "username", "name")


class Entry(State):
    """The newest change of one person's entry: when, what, and a digest of what it said."""

    at: float = 0
    action: str = ""
    digest: bytes = b""


def entry_key(number: str, conversation_id: str) -> str:
    """Where the entry of a person is kept."""
    return f"b/{number}/{conversation_id}"


def contact_data(contact: Contact) -> dict[str, str]:
    """What an entry says of a person."""
    return {field: value for field in FIELDS if (value := getattr(contact, field))}


def entry_of(item: Item) -> Entry:
    """A change of the address book as it is kept."""
    said = orjson.dumps(contact_data(item.contact)) if item.action == ADD else b""
    return Entry(at=item.at, action=item.action, digest=blake2b(said, digest_size=8).digest())


def is_newer(entry: Entry, known: Entry | None) -> bool:
    """Whether a change comes after the one that is known."""
    return known is None or _order(entry) > _order(known)


def is_news(entry: Entry, known: Entry | None) -> bool:
    """Whether a newer change changes anything: not a repeat of what was said, nor the removal of nobody."""
    if known is None:
        return entry.action == ADD
    return (entry.action, entry.digest) != (known.action, known.digest)


def _order(entry: Entry) -> tuple[float, bool, bytes]:
    return entry.at, entry.action == REMOVE, entry.digest


def merged(states: States, number: str, kept: str, retired: str) -> dict[str, State | None]:
    """What becomes of two entries when their people turn out to be one: the newer change stays."""
    old: Entry | None = states.get(entry_key(number, retired))
    if old is None:
        return {}
    changed: dict[str, State | None] = {entry_key(number, retired): None}
    if is_newer(old, states.get(entry_key(number, kept))):
        changed[entry_key(number, kept)] = old
    return changed
