"""What a message says: its kind, and the object under that kind's key (Meta contract 3)."""

import msgspec
from msgspec import UNSET, Raw, UnsetType

from ingest.wire import Fragment, Message, Reaction, Text, is_object, parts, read, scalar, sound

MEDIA = frozenset({"image", "video", "audio", "document", "sticker"})
BODIES = (*sorted(MEDIA), "location", "contacts", "interactive", "button", "order", "reaction", "text")
"""The kinds we know. Each demands an object (`contacts`: an array) under its own name."""

_KNOWN = frozenset(BODIES)
_TEXT = msgspec.json.Decoder(Text)


def content_of(message: Message, raw: Raw) -> tuple[str, Fragment]:
    """The kind and the content of a message.

    A kind without the object it demands is `unsupported`; a type that we do not know is `unknown`, with its object if
    it has one; Meta's own `unsupported` and `media_placeholder` keep their names. Content that stands here parses.
    """
    kind = message.type or _kind_by_key(message)
    if kind == "text":
        try:
            _TEXT.decode(message.text)  # type: ignore[arg-type]
        except (msgspec.DecodeError, TypeError):  # TypeError: nothing stands there
            return "unsupported", UNSET
        return kind, message.text
    if kind in _KNOWN:
        return _body(kind, getattr(message, kind))
    if kind == "media_placeholder":
        return kind, UNSET
    if kind in ("unsupported", "errors"):
        return "unsupported", _object(message.unsupported)
    return "unknown", _object((parts(raw) or {}).get(kind, UNSET))


def _kind_by_key(message: Message) -> str:
    present = (kind for kind in BODIES if not isinstance(getattr(message, kind), UnsetType))
    return next(present, "unsupported" if message.errors else "")


def _body(kind: str, fragment: Fragment) -> tuple[str, Fragment]:
    if isinstance(fragment, UnsetType) or isinstance(sound(fragment), UnsetType):
        return "unsupported", UNSET
    if kind == "contacts":
        return (kind, fragment) if bytes(fragment)[:1] == b"[" else ("unsupported", UNSET)
    members = parts(fragment)
    if members is None:
        return "unsupported", UNSET
    if kind == "reaction":
        return _reaction(fragment)
    if kind in MEDIA and "url" in members:
        return kind, _without_url(members)
    return kind, fragment


def _reaction(fragment: Raw) -> tuple[str, Fragment]:
    reaction = read(Reaction, fragment)
    if reaction is None or not reaction.message_id:
        return "unsupported", UNSET
    return "reaction", Raw(msgspec.json.encode(reaction))


def _without_url(members: dict[str, Raw]) -> Raw:
    """A media URL lives five minutes and opens only with our token: useless to anybody else (Meta contract 3.4)."""
    return Raw(msgspec.json.encode({key: value for key, value in members.items() if key != "url"}))


def _object(fragment: Fragment) -> Fragment:
    return sound(fragment) if is_object(fragment) else UNSET


def error_code(errors: Fragment) -> str:
    """The code of the first of `errors[]`, as text; empty when there is none."""
    if isinstance(errors, UnsetType):
        return ""
    try:
        first = msgspec.json.decode(errors, type=list[Raw])[0]
    except (msgspec.DecodeError, IndexError):
        return ""
    return scalar((parts(first) or {}).get("code"))
