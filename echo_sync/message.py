"""One message, whatever was heard of it: a state that grows the same in any order, and the facts that follow.

Everything in a `Message` is a maximum, a set or a choice by a total order, so deliveries may be repeated and permuted.
What is published is the difference between what is known now and what was known before: whoever folds the facts in
`seq` order arrives at the state.
"""

import copy
from hashlib import blake2b
from typing import Any

import orjson
from msgspec import UNSET, Raw, UnsetType

from schemas.instants import rfc3339
from schemas.items import Item, Media
from schemas.ports import State

LIVE, ECHO, HISTORY, API = 1, 2, 4, 8

STATUS_RANK = {"sent": 1, "failed": 2, "delivered": 3, "read": 4, "played": 5}
"""`current` is the highest so far: a failure counts only while no delivery is known (Meta contract 4)."""
BEHIND_S_MAX = 999.0
"""How late a message may come and still be put in its order among those of its second."""
HIDDEN_KINDS = frozenset({"", "unsupported", "media_placeholder", "unknown"})
APP_SHOWS = frozenset({"text", "image", "video", "audio", "document", "sticker", "location", "contacts", "reaction"})
"""Kinds that the Business App shows when they are sent through the API."""


class Message(State):
    """What is known of one wamid. Times are seconds since 1970, 0 where unknown; `sources` is a set of bits."""

    number: str = ""
    message_id: str = ""
    conversation: str = ""
    direction: str = ""
    sources: int = 0
    kind: str = ""
    content: bytes = b""
    reply_to: str = ""
    device_at: float = 0
    hook_at: float = 0
    received_at: float = 0
    wa_id: str = ""
    user_id: str = ""
    username: str = ""
    name: str = ""
    command_id: str = ""
    matched: str = ""
    author: str = ""
    edit_at: float = 0
    edit_id: str = ""
    edit_kind: str = ""
    edit_content: bytes = b""
    versions: int = 1
    revoked_at: float = 0
    revoked_by: str = ""
    statuses: list[str] = []
    current: str = ""
    added: bool = False
    awaits: list[str] = []
    raw: bytes = b""
    media: bytes = b""
    automatic: str = ""
    priced: bool = False


def origin(message: Message) -> str:
    """Who wrote it: customer, api (we), business_app (a person with the phone or a companion)."""
    if message.direction == "inbound":
        return "customer"
    if message.sources & API or message.matched:
        return "api"
    return "business_app" if message.sources & (ECHO | HISTORY) else "other"


def sent_at(message: Message) -> float:
    """The device's time where it is known, else the earliest time a webhook gave."""
    return message.device_at or message.hook_at


def place(message: Message) -> float:
    """Where it stands in its conversation, the latest first; within a second, which is all Meta tells, by arrival."""
    behind_s = min(max(message.received_at - sent_at(message), 0.0), BEHIND_S_MAX)
    return -(sent_at(message) + behind_s / (BEHIND_S_MAX + 1))


def historical(message: Message) -> bool:
    """Nothing but the history import has told of it."""
    return message.sources == HISTORY


def raw_bytes(value: Raw | UnsetType) -> bytes:
    """The bytes of a JSON fragment, empty where there is none."""
    return b"" if value is UNSET else bytes(value)


# --- merging: each returns a changed copy


def heard(message: Message, item: Item, source: int, conversation: str) -> Message:
    """The message with one more account of itself: live, echo or history."""
    merged = copy.copy(message)
    merged.sources |= source
    merged.number = item.number
    if source == HISTORY:
        merged.device_at = _earliest(message.device_at, item.at)
    else:
        merged.hook_at = _earliest(message.hook_at, item.at)
    merged.received_at = _earliest(message.received_at, item.received_at)
    merged.direction = merged.direction or ("inbound" if source == LIVE else item.direction or "outbound")
    merged.conversation = merged.conversation or conversation
    merged.reply_to = message.reply_to or item.reply_to
    _take_content(merged, item.kind, raw_bytes(item.content))
    for field in ("wa_id", "user_id", "username", "name"):
        setattr(merged, field, getattr(message, field) or getattr(item.contact, field))
    return merged


def _earliest(known: float, heard_at: float) -> float:
    return min(known or heard_at, heard_at or known)


def _take_content(message: Message, kind: str, content: bytes) -> None:
    """Real content beats a placeholder; among equals the longer, then the greater, so that order never matters."""
    if _content_rank(kind, content) > _content_rank(message.kind, message.content):
        message.kind, message.content = kind, content


def _content_rank(kind: str, content: bytes) -> tuple[bool, bool, int, bytes, str]:
    return kind not in HIDDEN_KINDS, kind != "", len(content), content, kind


def sent_by_us(message: Message, command_id: str, author: str) -> Message:
    """The message with proof that one of our attempts is it."""
    merged = copy.copy(message)
    merged.sources |= API
    merged.direction = "outbound"
    merged.command_id = command_id
    merged.author = merged.author or author
    merged.matched = ""
    return merged


def with_content(message: Message, kind: str, content: bytes) -> Message:
    """The message with another account of its content."""
    merged = copy.copy(message)
    _take_content(merged, kind, content)
    return merged


def edited(message: Message, item: Item) -> Message:
    """The message with an edit, if that is the newest so far (Meta contract 3.12)."""
    if (item.at, item.event_id) <= (message.edit_at, message.edit_id):
        return message
    merged = copy.copy(message)
    merged.edit_at, merged.edit_id = item.at, item.event_id
    merged.edit_kind, merged.edit_content = item.kind, raw_bytes(item.content)
    merged.versions += 1
    return merged


def revoked(message: Message, item: Item) -> Message:
    """The message, deleted for everyone. The earliest deletion counts; a tie goes to the smaller side."""
    this = (item.at, item.side)
    if message.revoked_at and this >= (message.revoked_at, message.revoked_by):
        return message
    merged = copy.copy(message)
    merged.revoked_at, merged.revoked_by = this
    return merged


def with_media(message: Message, item: Item) -> Message:
    """The message with word of where its media is, or why it is nowhere. Kept beats failed, then the greater."""
    media = item.media or Media()
    told: dict[str, Any] = {"id": media.id}
    if media.ref:
        told |= {"ref": media.ref, "sha256": media.sha256, "bytes": media.bytes, "mime_type": media.mime_type}
    else:
        told["failed"] = item.reason
    merged = copy.copy(message)
    merged.media = max(message.media, orjson.dumps(told), key=lambda known: (b'"ref":' in known, known))
    return merged


def status_key(item: Item) -> str:
    """What makes two statuses of one message the same fact."""
    code = _error_code(item.errors)
    return "|".join(part for part in (item.status, item.participant, code) if part)


def with_status(message: Message, item: Item) -> Message:
    """The message with one more status; unchanged when this one was known."""
    key = status_key(item)
    if key in message.statuses:
        return message
    merged = copy.copy(message)
    merged.statuses = sorted([*message.statuses, key])
    merged.current = max((item.status, message.current), key=lambda status: (STATUS_RANK.get(status, 0), status))
    return merged


def _error_code(errors: Raw | UnsetType) -> str:
    if errors is UNSET:
        return ""
    try:
        return str(orjson.loads(bytes(errors))[0].get("code", ""))
    except (orjson.JSONDecodeError, IndexError, AttributeError, TypeError, KeyError):
        return ""


# --- facts: what a change tells


Fact = tuple[str, str, dict[str, Any]]
"""Type, what distinguishes its id, data."""


def facts(before: Message, now: Message) -> list[Fact]:
    """What is to be published when a message changed from `before` to `now`; nothing until it is added."""
    if not now.added:
        return []
    told: list[Fact] = []
    if not before.added:
        told.append(("message.added", "added", added_data(now)))
    elif completed := _completed(before, now):
        told.append(("message.completed", f"completed:{_digest(completed)}", completed))
    edit_is_new = now.edit_id and (not before.added or now.edit_id != before.edit_id)
    revoke_is_new = now.revoked_at and (not before.added or not before.revoked_at)
    if edit_is_new and (revoke_is_new or not now.revoked_at):
        told.append(("message.edited", f"edited:{now.edit_id}", _edited_data(now)))
    if revoke_is_new:
        told.append(("message.revoked", "revoked", _revoked_data(now)))
    media_is_new = now.media != (before.media if before.added else b"")
    if media_is_new and not now.revoked_at:
        told.append(("message.completed", f"media:{blake2b(now.media, digest_size=8).hexdigest()}", _media_data(now)))
    return told


def added_data(message: Message) -> dict[str, Any]:
    """The data of `message.added`: the message as it was sent, before edits."""
    data: dict[str, Any] = {
        "message_id": message.message_id,
        "conversation_id": message.conversation,
        "number": message.number,
        "contact": contact_data(message),
        "direction": message.direction,
        "origin": origin(message),
        "kind": message.kind or "unknown",
        "content": _json(message.content),
        "sent_at": rfc3339(sent_at(message)),
        "received_at": rfc3339(message.received_at),
        "historical": historical(message),
        "possibly_automatic": bool(message.automatic),
        "visible_in_app": not message.sources & API or message.kind in APP_SHOWS,
    }
    if message.reply_to:
        data["reply_to"] = message.reply_to
    if message.command_id:
        data["command_id"] = message.command_id
    if message.author:
        data["author"] = message.author
    if message.automatic:
        data["automatic_because"] = message.automatic
    if message.raw:
        data["raw"] = _json(message.raw)
    return data


def _completed(before: Message, now: Message) -> dict[str, Any]:
    news: dict[str, Any] = {}
    if (before.kind, before.content) != (now.kind, now.content):
        news |= {"kind": now.kind, "content": _json(now.content)}
    if now.command_id and before.command_id != now.command_id:
        news["command_id"] = now.command_id
    if before.reply_to != now.reply_to:
        news["reply_to"] = now.reply_to
    if not news and all(told(before) == told(now) for told in (origin, sent_at, historical, _automatic)):
        return {}
    about = {"direction": now.direction, "sent_at": rfc3339(sent_at(now)), "historical": historical(now)}
    about["possibly_automatic"] = bool(now.automatic)
    if now.automatic:
        about["automatic_because"] = now.automatic
    if now.author:
        about["author"] = now.author
    return _about(now) | about | news


def _automatic(message: Message) -> str:
    return message.automatic


def _media_data(message: Message) -> dict[str, Any]:
    about = {"direction": message.direction, "sent_at": rfc3339(sent_at(message)), "historical": historical(message)}
    return _about(message) | about | {"media": _json(message.media)}


def _edited_data(message: Message) -> dict[str, Any]:
    return _about(message) | {
        "kind": message.edit_kind or message.kind,
        "content": _json(message.edit_content),
        "edited_at": rfc3339(message.edit_at),
        "version": message.versions,
    }


def _revoked_data(message: Message) -> dict[str, Any]:
    return _about(message) | {"revoked_at": rfc3339(message.revoked_at), "revoked_by": message.revoked_by}


def status_data(message: Message, item: Item) -> dict[str, Any]:
    """The data of `status.changed`; who the message is by and where it belongs only where that is known."""
    data: dict[str, Any] = {
        "message_id": item.message_id,
        "number": item.number,
        "status": item.status,
        "current": message.current,
        "at": rfc3339(item.at),
    }
    if message.conversation:
        data["conversation_id"] = message.conversation
    if message.added:
        data["origin"] = origin(message)
    recipient = {field: value for field in ("wa_id", "user_id") if (value := getattr(item.contact, field))}
    if recipient:
        data["recipient"] = recipient
    if item.errors is not UNSET:
        data["errors"] = _json(bytes(item.errors))
    if item.pricing is not UNSET:
        data["pricing"] = _json(bytes(item.pricing))
    if message.command_id:
        data["command_id"] = message.command_id
    return data


def contact_data(message: Message) -> dict[str, str]:
    """The customer's side, as far as this message tells."""
    fields = ("wa_id", "user_id", "username", "name")
    return {field: value for field in fields if (value := getattr(message, field))}


def _about(message: Message) -> dict[str, Any]:
    return {
        "message_id": message.message_id,
        "conversation_id": message.conversation,
        "number": message.number,
        "origin": origin(message),
    }


def _json(fragment: bytes) -> Any:
    return orjson.Fragment(fragment or b"{}")


def _digest(data: dict[str, Any]) -> str:
    return blake2b(orjson.dumps(data, option=orjson.OPT_SORT_KEYS), digest_size=8).hexdigest()
