"""Meta's items as they come over the wire, read leniently: a field of the wrong type is a missing field.

Only what ingest needs is read; every other byte stays where it is, in fragments that are never parsed into numbers,
so an id beyond 2**63 keeps its digits. The shapes are those of Meta contract 2 to 5.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, Raw, UnsetType

Fragment = Raw | UnsetType
"""JSON that stays as it came, or nothing."""

Instant = str | int | float
"""Meta writes times as strings or as numbers (Meta contract, appendix A)."""


class Profile(msgspec.Struct, gc=False):
    """How a contact wants to be called."""

    name: str = ""
    username: str = ""


class ContactEntry(msgspec.Struct, gc=False):
    """One of `contacts[]`, or the context of a history thread (Meta contract 2.1, 5.6)."""

    wa_id: str = ""
    user_id: str = ""
    parent_user_id: str = ""
    username: str = ""
    profile: Profile | None = None


class Context(msgspec.Struct, gc=False):
    """What a message refers to (Meta contract 3.2)."""

    id: str = ""
    forwarded: bool = False
    frequently_forwarded: bool = False


class HistoryContext(msgspec.Struct, gc=False):
    """What is known of an imported message beside its content (Meta contract 5.6)."""

    status: str = ""
    from_me: bool = False


class Message(msgspec.Struct, gc=False):
    """One of `messages[]` or `message_echoes[]`, live or imported (Meta contract 3.1, 5.4, 5.6)."""

    id: str = ""
    sender: str = msgspec.field(name="from", default="")
    from_user_id: str = ""
    from_parent_user_id: str = ""
    to: str = ""
    to_user_id: str = ""
    to_parent_user_id: str = ""
    timestamp: Instant = ""
    type: str = ""
    group_id: str = ""
    context: Context | None = None
    history_context: HistoryContext | None = None
    errors: Fragment = UNSET
    text: Fragment = UNSET
    image: Fragment = UNSET
    video: Fragment = UNSET
    audio: Fragment = UNSET
    document: Fragment = UNSET
    sticker: Fragment = UNSET
    location: Fragment = UNSET
    contacts: Fragment = UNSET
    interactive: Fragment = UNSET
    button: Fragment = UNSET
    order: Fragment = UNSET
    reaction: Fragment = UNSET
    system: Fragment = UNSET
    edit: Fragment = UNSET
    revoke: Fragment = UNSET
    unsupported: Fragment = UNSET


class Change(msgspec.Struct, gc=False):
    """The object under `edit` or `revoke`: which message, and its new content (Meta contract 3.11, 3.12)."""

    original_message_id: str = ""
    message: Fragment = UNSET


class Text(msgspec.Struct, gc=False):
    """The object under `text`. Without a body it is none."""

    body: str


class Reaction(msgspec.Struct, gc=False):
    """The object under `reaction`: no emoji, or an empty one, takes the reaction back (Meta contract 3.10)."""

    message_id: str
    emoji: str = ""


class System(msgspec.Struct, gc=False):
    """The object under `system` (Meta contract 3.13)."""

    type: str = ""
    wa_id: str = ""
    new_wa_id: str = ""
    customer: str = ""
    user_id: str = ""
    parent_user_id: str = ""
    previous_user_id: str = ""
    previous_parent_user_id: str = ""


class Status(msgspec.Struct, gc=False):
    """One of `statuses[]`. The parent's id was renamed in May 2026; both names are read (Meta contract 1.9, 4)."""

    id: str = ""
    status: str = ""
    timestamp: Instant = ""
    recipient_id: str = ""
    recipient_type: str = ""
    recipient_user_id: str = ""
    recipient_parent_user_id: str = ""
    parent_recipient_user_id: str = ""
    recipient_participant_id: str = ""
    recipient_participant_user_id: str = ""
    biz_opaque_callback_data: str = ""
    errors: Fragment = UNSET
    pricing: Fragment = UNSET


class ErrorCode(msgspec.Struct, gc=False):
    """The number of one of `errors[]`."""

    code: Instant = ""


class ChunkProgress(msgspec.Struct, gc=False):
    """How far an import is: `phase` 0 to 2, `chunk_order` in a phase, `progress` in percent (Meta contract 5.6)."""

    phase: int | None = None
    chunk_order: int | None = None
    progress: int | None = None


class SyncedContact(msgspec.Struct, gc=False):
    """An entry of the owner's address book; names are missing on removal (Meta contract 5.7)."""

    full_name: str = ""
    first_name: str = ""
    phone_number: str = ""
    user_id: str = ""
    parent_user_id: str = ""
    username: str = ""


class SyncTime(msgspec.Struct, gc=False):
    """When the owner changed the contact."""

    timestamp: Instant = ""


class StateSync(msgspec.Struct, gc=False):
    """One of `state_sync[]` (Meta contract 5.7)."""

    type: str = ""
    action: str = ""
    contact: SyncedContact | None = None
    metadata: SyncTime | None = None


class Preference(msgspec.Struct, gc=False):
    """One of `user_preferences[]` (Meta contract 9.4)."""

    wa_id: str = ""
    user_id: str = ""
    parent_user_id: str = ""
    value: str = ""
    timestamp: Instant = ""


class WabaInfo(msgspec.Struct, gc=False):
    """Which WABA a partner event is about: its entry may name a portfolio instead (Meta contract 2)."""

    waba_id: str = ""


class AccountValue(msgspec.Struct, gc=False):
    """What the management fields have in common (Meta contract 5.8, 9)."""

    event: str = ""
    decision: str = ""
    status: str = ""
    phone_number: str = ""
    display_phone_number: str = ""
    timestamp: Instant = ""
    waba_info: WabaInfo | None = None
    new_quality_score: Fragment = UNSET


class Metadata(msgspec.Struct, gc=False):
    """Which business number a value belongs to (Meta contract 2)."""

    display_phone_number: str = ""
    phone_number_id: str = ""


T = TypeVar("T", bound=msgspec.Struct)

_PARTS = msgspec.json.Decoder(dict[str, Raw])
_LIST = msgspec.json.Decoder(list[Raw])


@lru_cache(maxsize=64)
def _decoder(kind: type[T]) -> msgspec.json.Decoder[T]:
    return msgspec.json.Decoder(kind)


def read(kind: type[T], fragment: Raw) -> T | None:
    """The fragment as `kind`; where a field has the wrong type, field by field. None when it is no JSON object."""
    try:
        found: T = _decoder(kind).decode(fragment)
    except msgspec.DecodeError:
        return _read_piecewise(kind, fragment)
    return found


def _read_piecewise(kind: type[T], fragment: Raw) -> T | None:
    found = parts(fragment)
    if found is None:
        return None
    values: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        if field.encode_name in found:
            part = found[field.encode_name]
            try:
                values[field.name] = msgspec.json.decode(part, type=field.type)
            except msgspec.DecodeError:
                if field.type is str:
                    values[field.name] = scalar(part)
    return kind(**values) if all(field.name in values for field in _required(kind)) else None


@lru_cache(maxsize=64)
def _required(kind: type[msgspec.Struct]) -> list[msgspec.structs.FieldInfo]:
    return [field for field in msgspec.structs.fields(kind) if field.required]


def read_all(kind: type[T], array: Raw) -> Iterator[tuple[T | None, Raw]]:
    """Every element of a JSON array beside its fragment; None where it is no JSON object."""
    return zip(read_list(kind, array), elements(array), strict=True)


def read_list(kind: type[T], array: Raw) -> Sequence[T | None]:
    """Every element of a JSON array; None where it is no JSON object."""
    try:
        found: list[T] = _list_decoder(kind).decode(array)
    except msgspec.DecodeError:
        return [read(kind, fragment) for fragment in elements(array)]
    return found


@lru_cache(maxsize=64)
def _list_decoder(kind: type[T]) -> msgspec.json.Decoder[list[T]]:
    return msgspec.json.Decoder(list[kind])  # type: ignore[valid-type]


def parts(fragment: Raw | bytes) -> dict[str, Raw] | None:
    """The members of a JSON object as fragments, or None when it is something else. Of equal keys the last wins."""
    try:
        return _PARTS.decode(fragment)
    except msgspec.ValidationError:
        return None


def elements(fragment: Raw) -> list[Raw]:
    """The elements of a JSON array; something that stands where an array should is its one element, null is none."""
    try:
        return _LIST.decode(fragment)
    except msgspec.ValidationError:
        return [] if bytes(fragment) == b"null" else [fragment]


def scalar(fragment: Raw | None) -> str:
    """A JSON string, or a JSON number digit by digit as it came; empty for anything else."""
    if fragment is None:
        return ""
    written = bytes(fragment)
    if written[:1] == b'"':
        return msgspec.json.decode(written, type=str)
    return written.decode() if written[:1] in b"-0123456789" else ""


def is_object(fragment: Fragment) -> bool:
    """Whether a JSON object stands here."""
    return not isinstance(fragment, UnsetType) and bytes(fragment)[:1] == b"{"


def sound(fragment: Fragment) -> Fragment:
    """The fragment if every reader can parse it, else nothing: 1e999 is JSON, but no double."""
    if isinstance(fragment, UnsetType) or bytes(fragment) == b"null":
        return UNSET
    try:
        msgspec.json.decode(fragment)
    except (msgspec.DecodeError, RecursionError):
        return UNSET
    return fragment
