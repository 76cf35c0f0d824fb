"""The facts of one webhook as they are found: what those of one change share, and the form in which they leave."""

import re
from functools import lru_cache
from hashlib import blake2b

import msgspec
from msgspec import Raw, UnsetType

from ingest.envelope import DEPTH_MAX, Change, Unreadable, deeper_than, openings
from ingest.people import People, from_entry
from ingest.wire import ContactEntry, Instant, Metadata, read, read_list
from schemas.instants import wire_instant
from schemas.items import Contact, Item, encode
from schemas.phones import digits
from schemas.ports import Event
from schemas.topics import HISTORY, INBOUND, RECORD_BYTES_MAX

ITEMS_MAX = 20_000
"""Per webhook. Meta announces 1,000; a history chunk may describe some thousands."""

DATA_BYTES_MAX = RECORD_BYTES_MAX - 64 * 1024
"""What a record has room for beside its headers."""

OPENINGS_MAX = DEPTH_MAX - 16
"""An item with no more brackets than this cannot be too deep, however they nest: the envelope's share is under 16."""

BODY_BYTES_SMALL = 8192
DATA_BYTES_SMALL = 1024
"""In a batch, an item no longer than this is not looked at again: it cannot nest deep enough to hurt a reader."""

SLOW_LANE = frozenset({"history", "smb_app_state_sync"})
"""Fields whose items, known or not, must never delay a live one."""

AHEAD_S_MAX = 3600.0
"""A time further ahead is wrong, and would be the newest word on everything until it comes."""

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class Webhook:
    """The facts of one body, in order. `received_at` is in seconds since 1970."""

    __slots__ = ("_body", "_unchecked_bytes", "found", "received_at")

    def __init__(self, body: bytes, received_at: float) -> None:
        self.received_at = received_at
        self.found: list[tuple[str, Event]] = []
        self._body = body
        self._unchecked_bytes = DATA_BYTES_SMALL
        if len(body) < BODY_BYTES_SMALL:
            self._unchecked_bytes = DATA_BYTES_MAX if openings(body) <= DEPTH_MAX else 0

    def file(self, topic: str, kind: str, fact_id: str, item: Item) -> None:
        """Take one fact. Raises Unreadable where the body breaks a limit of shape."""
        data = encode(item)
        if len(data) > self._unchecked_bytes:
            self._check(item.raw, len(data))
        if len(self.found) >= ITEMS_MAX:
            raise Unreadable("too_many_items")
        event = Event(fact_id, kind, item.number, data, item.at, item.received_at, item.message_id)
        self.found.append((topic, event))

    def _check(self, raw: Raw | UnsetType, data_bytes: int) -> None:
        if data_bytes > DATA_BYTES_MAX:
            raise Unreadable("too_large")
        if isinstance(raw, UnsetType) or openings(bytes(raw)) <= OPENINGS_MAX:
            return
        if deeper_than(DEPTH_MAX, self._body):
            raise Unreadable("too_deep")


class Facts:
    """What the items of one change have in common, and the way to file them. `reason`: why they belong to no number."""

    __slots__ = (
        "business_phone",
        "change",
        "lane",
        "number",
        "parts",
        "people",
        "reason",
        "received_at",
        "waba",
        "webhook",
    )

    def __init__(self, change: Change, parts: dict[str, Raw], webhook: Webhook) -> None:
        self.change = change
        self.parts = parts
        self.webhook = webhook
        self.received_at = webhook.received_at
        self.waba = change.waba
        self.lane = HISTORY if change.field in SLOW_LANE else INBOUND
        metadata = parts.get("metadata")
        number, self.business_phone = ("", "") if metadata is None else _number(bytes(metadata))
        named = number or change.waba
        self.reason = "not_a_number" if named and not is_id(named) else ""
        self.number = next((one for one in (number, change.waba) if is_id(one)), "unknown")
        self.people = People(self.business_phone, _contacts(parts))

    def add(self, topic: str, kind: str, fact_id: str, item: Item, at: float) -> None:
        """File one fact that happened `at`. Raises Unreadable where the body breaks a limit of shape."""
        item.number = self.number
        item.waba = self.waba
        item.business_phone = self.business_phone
        item.at = at
        item.received_at = self.received_at
        self.webhook.file(topic, kind, fact_id, item)

    def instant(self, written: Instant) -> float:
        """The time of an item, or of its receipt where it has none, or one that has not come yet."""
        if isinstance(written, str) and len(written) == 10 and written.isdecimal():
            found: int | None = int(written)  # the form that nearly all have
        else:
            found = wire_instant(written)
        return found if found and found <= self.received_at + AHEAD_S_MAX else self.received_at

    def unknown(self, fragment: Raw, reason: str) -> None:
        """File something that nobody understands, as it came."""
        item = Item(field=self.change.field, reason=reason, raw=fragment)
        fact_id = f"u:{self.digest(fragment)}"
        self.add(self.lane, "webhook.unknown", fact_id, item, self.instant(self.change.time))

    def digest(self, fragment: Raw) -> str:
        """What tells a fact without an id of its own from others: where it was said, when, and its content."""
        change = self.change
        said = "\0".join((self.waba, self.number, change.field, str(change.time)))
        return blake2b(said.encode() + b"\0" + canonical(fragment), digest_size=16).hexdigest()


def is_id(written: str) -> bool:
    """Whether this can be the id of a number or a WABA. What cannot would be a number that is there for ever.

    Meta's are digits, and are not to be taken for numbers (Meta contract, appendix A): so are letters and `_.-` inside.
    """
    return _ID.fullmatch(written) is not None


def canonical(fragment: Raw) -> bytes:
    """The same bytes for the same JSON, however its keys are ordered and its text is escaped."""
    try:
        return msgspec.json.encode(msgspec.json.decode(fragment), order="sorted")
    except msgspec.DecodeError:  # a number beyond every double
        return bytes(fragment)


@lru_cache(maxsize=4096)
def _number(metadata: bytes) -> tuple[str, str]:
    """The phone number id and the business's own digits. The same few fragments come again and again."""
    found = read(Metadata, Raw(metadata))
    return (found.phone_number_id, digits(found.display_phone_number)) if found else ("", "")


def _contacts(parts: dict[str, Raw]) -> list[Contact]:
    if "contacts" not in parts:
        return []
    return [from_entry(entry) for entry in read_list(ContactEntry, parts["contacts"]) if entry is not None]
