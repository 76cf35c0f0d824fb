"""A rights request written in the chat: it is tagged, never answered, and its month begins.

The AEPD takes a request that was made by WhatsApp for a valid one (reliability 4), so whoever runs the business must
not overlook it. The words are Spanish, Catalan and English; a tag is a hint for a person, so a few too many are fine.
"""

import copy
import re
from typing import Any

import msgspec

from schemas.items import read
from schemas.ports import Event, State

ANSWER_WITHIN_S = 30 * 86_400.0
"""Art. 12.3 GDPR: one month; counted as the shortest of its usual readings."""
KEPT_S = 3 * 365 * 86_400.0
OPEN, CLOSED = "open", "closed"

_HINTS = re.compile(
    b"borr|elimin|supr|esborr|delet|eras|remov|forg|oblid|olvid|rgpd|gdpr|lopd|aepd|apdcat"
    b"|datos|dades|data|informaci|derecho|dret d|right "
)
"""A cheap look at the bytes of the content before they are decoded, at what escapes of accents leave whole: each
right's words hold at least one of them."""
_MINE = r"(mis|mi|meus|meves|les meves|els meus|my|all my)"
_WORDS: tuple[tuple[str, re.Pattern[str]], ...] = (
    (
        "erasure",
        re.compile(
            r"(borr|elimin|supr[ie]m|suprim|esborr|delete|erase|remove|forg|oblid|olvid)\w*\b[^.?!]{0,40}\b"
            + _MINE
            + r"\b[^.?!]{0,20}\b(datos|dades|data|informaci|mensajes|missatges|messages|n[uú]mero)"
            r"|derecho (de|al?) (supresi|olvido)|dret (de|a) (supressi|l'oblit)|right to (be forgotten|erasure)",
            re.IGNORECASE,
        ),
    ),
    (
        "access",
        re.compile(
            r"(copia|c[oò]pia|copy|acceso|acc[eé]s|access|qu[eé] datos|quines dades|what data)\b[^.?!]{0,40}\b"
            r"(datos|dades|data|informaci[oó]n?|information)"
            r"|(qu[eé] datos|quines dades|what data)\b[^.?!]{0,30}\b(ten|have|hold|guard)"
            r"|derecho de acceso|dret d'acc[eé]s|right of access|subject access",
            re.IGNORECASE,
        ),
    ),
    (
        "other",
        re.compile(
            r"\b(rgpd|gdpr|lopd|lopdgdd|aepd|apdcat)\b|derecho de (oposici|rectificaci|portabilidad)"
            r"|dret (d'oposici|de rectificaci|a la portabilitat)|right to (object|rectification|portability)",
            re.IGNORECASE,
        ),
    ),
)


class Said(msgspec.Struct, gc=False):
    """Of an item, what a customer wrote: to read no more of the others than that."""

    content: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_contents = msgspec.json.Decoder(Said)


class Request(State):
    """A message that may be a rights request. `right`: erasure, access or other. It holds none of the message."""

    number: str = ""
    message_id: str = ""
    right: str = ""
    asked_at: float = 0
    due_at: float = 0
    closed_at: float = 0
    closed_by: str = ""


def request_key(request: Request) -> str:
    """Where a request is kept."""
    return f"r/{request.number}/{request.message_id}"


def asked(event: Event) -> Request | None:
    """The rights request that a customer's message may be, or None. Raises msgspec.DecodeError on what is no item."""
    data = event.data or b"{}"
    content = _contents.decode(data).content
    if content is msgspec.UNSET or not _HINTS.search(bytes(content).lower()):
        return None
    right = right_in(_text(bytes(content)))
    item = read(data)
    if not right or not item.message_id:
        return None
    return Request(
        line=f"requests/{event.number}",
        place=item.at,
        number=event.number,
        message_id=item.message_id,
        right=right,
        asked_at=item.at,
        due_at=item.at + ANSWER_WITHIN_S,
    )


def right_in(text: str) -> str:
    """Which right a text seems to call upon; empty where none."""
    return next((right for right, words in _WORDS if words.search(text)), "")


def close(request: Request, by: str, now: float) -> Request:
    """The request, answered: it is kept as long as the audit is, and then forgotten."""
    closed = copy.copy(request)
    closed.closed_at, closed.closed_by, closed.wake_at = closed.closed_at or now, closed.closed_by or by, now + KEPT_S
    return closed


def _text(content: bytes) -> str:
    try:
        said: Any = msgspec.json.decode(content)
    except msgspec.DecodeError:
        return ""
    if not isinstance(said, dict):
        return ""
    return " ".join(str(said[field]) for field in ("body", "caption", "text") if isinstance(said.get(field), str))
