"""Whom and what a record or a state names, as marks; and the tombstones that keep out what was erased.

A mark is a kind and a value: `p:` a phone's match key, `u:` a user id, `m:` a wamid, `t:` a send's token, `k:` a
command, `c:` a conversation. Of what was erased only keyed digests of marks are kept, for the numbers that phones
come from are few enough to be tried one by one (reliability 4).
"""

import contextlib
import re
from base64 import b64decode
from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Any

import msgspec

from schemas.items import Contact
from schemas.phones import digits, match_key
from schemas.ports import NOWHERE, Event, State, foreign
from schemas.topics import DAY_S

PRIVACY = "privacy"
"""The processor that keeps tombstones and rights requests."""
TOMBSTONE_KEEP_S = 200 * DAY_S
"""A history import reaches back 180 days (Meta contract 5.6), and Meta repeats a webhook for seven more."""
ERASED = "record.erased"
"""The type of a record whose content was erased: its offset and its `seq` stay, nothing else does."""
BOOK_ACTIONS = frozenset({"add", "remove"})
TEXT_MARKS_MAX = 1_000

Digest = Callable[[str, str], str]
"""From a number and a mark to the digest under which it is kept."""


class About(msgspec.Struct, frozen=True, gc=False):
    """What a record or a state names. `things` belong to one person for ever; `people` do until `at`.

    `at`: when it happened; NOWHERE where it counts as having happened before everything. `refs`: kept media.
    `kind`, `born`: whose retention holds for a state, and since when. `shared`: it names several people, so that what
    is erased in it says nothing of the rest.
    """

    number: str = ""
    things: tuple[str, ...] = ()
    people: tuple[Contact, ...] = ()
    at: float = 0
    refs: tuple[str, ...] = ()
    kind: str = ""
    born: float = 0
    shared: bool = False


NOBODY = About()


class Tombstone(State):
    """A mark of what was erased. What names a person is kept out when it happened until `at`; a thing always is.

    `by_user`: the person has a user id as well, so a stranger's user id beside the phone shows somebody else.
    `erasure`: whose erasure it was. `stop`: what the person wanted no more of, MARKETING or ALL; such a one stays.
    """

    at: float = 0
    by_user: bool = False
    erasure: str = ""
    stop: str = ""


class Ledger(State):
    """The erasures of a shard that are under way; `newest_at`: when one last took effect; 0: there never was one.

    `generation` rises with every new mark; `swept`: the generation for which each processor has found nothing left.
    """

    open: list[str] = []
    newest_at: float = 0
    generation: int = 0
    swept: dict[str, int] = {}
    purging: int = -1


LEDGER_KEY = "o/ledger"


def tombstone_key(digest: str) -> str:
    """Where a tombstone is kept."""
    return f"t/{digest}"


def digest_of(key: bytes, number: str, mark: str) -> str:
    """The keyed digest of a mark at a number."""
    return blake2b(f"{number}|{mark}".encode(), digest_size=15, key=key).hexdigest()


def stone_key(key: bytes, number: str, mark: str) -> str:
    """Where another processor finds the tombstone of a mark."""
    return foreign(PRIVACY, tombstone_key(digest_of(key, number, mark)))


def users(contact: Contact) -> list[str]:
    """The marks of a contact's user ids."""
    return [f"u:{user_id}" for user_id in (contact.user_id, contact.parent_user_id) if user_id]


def phone(contact: Contact) -> str:
    """The mark of a contact's phone, whatever its variant; empty where none is known."""
    return f"p:{match_key(contact.wa_id)}" if contact.wa_id else ""


def marks(about: About) -> list[str]:
    """Every mark that decides whether something is kept out."""
    found = list(about.things)
    for person in about.people:
        found += users(person)
        if person.wa_id:
            found.append(phone(person))
    return found


def barring(about: About, known: Mapping[str, Tombstone]) -> Tombstone | None:
    """The tombstone that keeps it out, `known` being by mark; None where nothing does."""
    for thing in about.things:
        if thing in known:
            return known[thing]
    for person in about.people:
        own = [known[mark] for mark in users(person) if mark in known]
        found = next((one for one in own if about.at <= one.at), None)
        stone = known.get(phone(person)) if found is None and person.wa_id else None
        stranger = bool(users(person)) and not own
        if stone is not None and about.at <= stone.at and not (stranger and stone.by_user):
            found = stone
        if found is not None:
            return found
    return None


# --- what records name


class _Named(msgspec.Struct, gc=False):
    message_id: str = ""
    event_id: str = ""
    command_id: str = ""
    token: str = ""
    conversation_id: str = ""
    survivor: str = ""
    retired: str = ""
    contact: Contact | None = None
    previous: Contact | None = None
    recipient: Contact | None = None
    participant: str = ""
    to: str = ""
    action: str = ""


_THINGS = (
    *(("m:", "message_id"), ("m:", "event_id"), ("k:", "command_id"), ("t:", "token")),
    *(("c:", "conversation_id"), ("c:", "survivor"), ("c:", "retired")),
)
_named = msgspec.json.Decoder(_Named)
_TEXTUAL = frozenset({"webhook.unknown", "dead.letter", "record.unreadable"})
_WORDS = re.compile(r"wamid\.[0-9A-Za-z+/=_-]+|[A-Z]{2}\.[0-9A-Za-z]{4,}|[0-9]{7,15}")


def named(event: Event) -> About:
    """Whom and what a record names. The words of an erasure itself, and what tells of one, name nobody."""
    if event.data is None or event.type.startswith("privacy.") or event.type in ("contact.erased", ERASED):
        return NOBODY
    if event.type.startswith("send.") and b'"reason":"erased"' in event.data:
        return NOBODY
    if event.type in _TEXTUAL:
        return in_text(event)
    try:
        found = _named.decode(event.data)
    except msgspec.DecodeError:
        return in_text(event)
    people = [person for person in (found.contact, found.previous, found.recipient) if person is not None]
    people += [_person(text) for text in (found.participant, found.to) if text]
    book = event.type == "webhook.contact" and found.action in BOOK_ACTIONS
    things = tuple(prefix + value for prefix, field in _THINGS if (value := getattr(found, field)))
    return About(event.number, things, tuple(people), NOWHERE if book else event.at)


def in_text(event: Event) -> About:
    """Whatever looks like an id or a phone in a record that nobody understood."""
    text = _plain(event.data or b"")
    found = dict.fromkeys(match.group() for match in _WORDS.finditer(text))
    words = list(found)[:TEXT_MARKS_MAX]
    things = tuple(f"m:{word}" for word in words if word.startswith("wamid."))
    people = tuple(_person(word) for word in words if not word.startswith("wamid."))
    return About(event.number, things, people, event.at)


def _plain(data: bytes) -> str:
    """The text of a record, what travels in base64 included, with slashes as they are."""
    text = data.decode(errors="replace")
    try:
        told: Any = msgspec.json.decode(data)
    except msgspec.DecodeError:
        told = None
    if isinstance(told, dict):
        if isinstance(told.get("raw"), str):
            text += told["raw"]
        if isinstance(told.get("raw_base64"), str):
            with contextlib.suppress(ValueError):
                text += b64decode(told["raw_base64"]).decode(errors="replace")
    return text.replace("\\/", "/")


def _person(text: str) -> Contact:
    """Whoever is meant by a phone or a user id."""
    if len(text) > 3 and text[2] == "." and text[:2].isalpha():
        return Contact(user_id=text)
    return Contact(wa_id=digits(text) or text)
