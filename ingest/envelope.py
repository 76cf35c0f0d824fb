"""From the bytes of a webhook to its changes: what Meta's envelope says, or as much of it as there is.

The straight way reads exactly the documented envelope. Whatever differs goes the long way, which recovers the
malformed samples of Meta's own pages (Meta contract 1.9, appendix A). Bytes that no JSON reader would take (unpaired
surrogates, NUL, control characters, broken UTF-8, another encoding) are mended first: then, and only then, the
fragments are not the bytes that came.
"""

import json
from typing import Any, Literal

import msgspec
from msgspec import Raw

from ingest.wire import Instant, elements, parts, scalar

DEPTH_MAX = 64
"""Meta nests about 12 deep; a reader's stack must never depend on what came over the wire."""

COMMAS_MAX = 400_000
"""Twenty per item at the most items we take: a body with more holds nothing but elements, and is not expanded."""

OBJECT = "whatsapp_business_account"


class Unreadable(Exception):
    """The body as a whole is kept as bytes. `reason` says why: not_json, too_deep, too_many_items, too_large."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Change(msgspec.Struct, gc=False):
    """One change: the WABA, the field, when Meta wrote it, and its value. `reason`: why it is known to be unknown."""

    waba: str
    field: str
    time: Instant
    value: Raw
    reason: str = ""


class _WireChange(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    field: str
    value: Raw


class _WireEntry(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    id: str
    changes: list[_WireChange]
    time: Instant = ""


class _WireBody(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    object: Literal["whatsapp_business_account"]
    entry: list[_WireEntry]


_BODY = msgspec.json.Decoder(_WireBody)


def changes(body: bytes) -> list[Change]:
    """The changes of a body, in order. Raises Unreadable when there is no JSON in it or too much of it."""
    if not _is_clean(body):
        body = _mended(body)
    if len(body) > COMMAS_MAX and body.count(b",") > COMMAS_MAX:
        raise Unreadable("too_many_items")
    try:
        return _straight(body)
    except msgspec.DecodeError:  # of shape, or of grammar somewhere behind
        return _recovered(body if _is_json(body) else _mended(body))


def _is_json(body: bytes) -> bool:
    try:
        msgspec.json.decode(body, type=Raw)
    except msgspec.DecodeError:
        return False
    return True


def _is_clean(body: bytes) -> bool:
    """Whether this is UTF-8 without NUL. The decoder sees to the rest: surrogates, control characters, grammar."""
    if b"\\" in body and b"\\u0000" in body:
        return False
    return body.isascii() or _is_utf8(body)


def _is_utf8(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _straight(body: bytes) -> list[Change]:
    return [
        Change(entry.id, change.field, entry.time, change.value)
        for entry in _BODY.decode(body).entry
        for change in entry.changes
    ]


_NOT_BRACKETS = bytes(byte for byte in range(256) if byte not in b"{}[]")
_BRACE, _BRACKET = b"{["
_ROUND = bytes.maketrans(b"{}[]", b"()()")


def openings(text: bytes) -> int:
    """How many objects and arrays begin here at most: a bound on how deep they nest."""
    return text.count(_BRACE) + text.count(_BRACKET)


def deeper_than(limit: int, text: bytes) -> bool:
    """Whether objects and arrays nest deeper than `limit`: each pass takes the innermost level away."""
    if b"\\" in text:
        text = text.replace(rb"\\", b"").replace(rb"\"", b"")
    levels = b"".join(text.split(b'"')[::2]).translate(_ROUND, _NOT_BRACKETS)
    for _ in range(limit):
        levels = levels.replace(b"()", b"")
    return b"()" in levels


def _mended(body: bytes) -> bytes:
    """The same document as JSON that every reader takes. Raises Unreadable when there is none in the body."""
    try:
        text = body.decode(json.detect_encoding(body), "replace").removeprefix("\ufeff")
        document = json.loads(text, strict=False, parse_int=_number, parse_float=_number, parse_constant=str)
        return msgspec.json.encode(_clean(document))
    except RecursionError:
        raise Unreadable("too_deep") from None
    except ValueError:
        raise Unreadable("not_json") from None


def _number(digits: str) -> Raw:
    return Raw(digits.encode())


def _clean(value: Any) -> Any:
    """Without NUL, which Postgres refuses, and with U+FFFD for surrogates that have no partner."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", "")
    if isinstance(value, list):
        return [_clean(element) for element in value]
    if isinstance(value, dict):
        return {_clean(key): _clean(member) for key, member in value.items()}
    return value


def _recovered(body: bytes) -> list[Change]:
    top = parts(body)
    if top is None:
        return [Change("", "", "", Raw(body), "not_an_object")]
    if "entry" not in top:
        return [_change({}, Raw(body), top)]
    kind = scalar(top["object"]) if "object" in top else OBJECT
    found = [change for entry in elements(top["entry"]) for change in _entry_changes(entry, kind)]
    return found + _leftovers(top, {"object", "entry"}, "", "")


def _entry_changes(entry: Raw, kind: str) -> list[Change]:
    members = parts(entry)
    if members is None or kind != OBJECT:
        return [Change("", "", "", entry, "not_an_object" if members is None else "unknown_object")]
    if "changes" not in members:
        known = "value" in members or _field_of(members)
        return [
            _change(members, entry, members)
            if known
            else Change(scalar(members.get("id")), "", "", entry, "no_changes")
        ]
    found = [_change(members, change, parts(change)) for change in elements(members["changes"])]
    return found + _leftovers(members, {"id", "time", "changes", "field"}, scalar(members.get("id")), "")


def _change(entry: dict[str, Raw], fragment: Raw, members: dict[str, Raw] | None) -> Change:
    """A change whose field may stand on the entry, on the change, inside the value, or nowhere."""
    waba, time = scalar(entry.get("id")), scalar(entry.get("time"))
    if members is None:
        return Change(waba, scalar(entry.get("field")), time, fragment, "not_an_object")
    value = members.get("value", fragment)
    inside = parts(value) or {}
    field = (
        scalar(members.get("field")) or scalar(entry.get("field")) or scalar(inside.get("field")) or _field_of(inside)
    )
    return Change(waba, field, time, value)


_FIELD_BY_KEY = {
    "history": "history",
    "state_sync": "smb_app_state_sync",
    "message_echoes": "smb_message_echoes",
    "user_preferences": "user_preferences",
    "messages": "messages",
    "statuses": "messages",
    "disconnection_info": "account_update",
    "waba_info": "account_update",
    "new_quality_score": "message_template_quality_update",
}


def _field_of(value: dict[str, Raw]) -> str:
    """The field that a value without one belongs to, told by its keys."""
    return next((field for key, field in _FIELD_BY_KEY.items() if key in value), "")


def _leftovers(members: dict[str, Raw], known: set[str], waba: str, field: str) -> list[Change]:
    return [
        Change(waba, field, "", value, "unknown_key")
        for key, value in members.items()
        if key not in known and bytes(value)[:1] in b"{["
    ]
