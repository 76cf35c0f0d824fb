"""Message contents per kind, as webhooks carry them (Meta contract 3.4 to 3.10). Pure."""

from __future__ import annotations

import base64
from hashlib import sha256
from typing import Any

from services.sandbox.dice import Dice

_MIME = {
    "image": "image/jpeg",
    "video": "video/mp4",
    "audio": "audio/ogg; codecs=opus",
    "document": "application/pdf",
    "sticker": "image/webp",
}
KINDS = (
    "text", *_MIME, "location", "contacts", "reaction", "interactive", "button", "order", "unsupported",
)  # fmt: skip
UNSUPPORTED = {
    "code": 131051,
    "title": "Message type unknown",
    "message": "Message type unknown",
    "error_data": {"details": "Message type is currently not supported."},
}


_MARKS = (b"\xff\xd8\xff\xe0", b"\0\0\0\x18ftypmp42", b"OggS", b"%PDF-1.7\n", b"RIFF\x20\0\0\0WEBP")


def media_id(kind: str, dice: Dice, purpose: str, key: str) -> str:
    """Return a made-up media id; its third digit says which kind of file it holds."""
    return f"92{list(_MIME).index(kind)}{dice.digits(12, purpose, key)}"


def media_file(media_id: str) -> tuple[str, bytes]:
    """Return type and bytes of what a made-up media id holds: the same in every run, with the kind's first bytes."""
    kind = int(media_id[2:3]) % len(_MIME) if media_id[2:3].isdecimal() else 0
    return list(_MIME.values())[kind], _MARKS[kind] + f" sandbox media {media_id}".encode()


def media_object(
    kind: str, media_id: str, caption: str | None, file: tuple[str, bytes] | None = None
) -> dict[str, Any]:
    """Return the media object of a webhook; `sha256` is base64 there (Meta contract 3.4). `file`: if not made up."""
    mime, data = file or (_MIME[kind], media_file(media_id)[1])
    digest = base64.b64encode(sha256(data).digest()).decode()
    media: dict[str, Any] = {"mime_type": mime, "sha256": digest, "id": media_id}
    if caption and kind in {"image", "video", "document"}:
        media["caption"] = caption
    if kind == "audio":
        media["voice"] = True
    if kind == "document":
        media["filename"] = "comanda-1042.pdf"
    if kind == "sticker":
        media["animated"] = False
    return media


def content(kind: str, text: str, dice: Dice, key: str, target: str | None = None) -> Any:
    """Return the content of a new message of this kind; `target` is the wamid that a reaction is about.

    Raises ValueError for a kind that nobody can write.
    """
    if kind == "text":
        return {"body": text}
    if kind in _MIME:
        return media_object(kind, media_id(kind, dice, "media", key), text or None)
    if kind == "location":
        return {"latitude": 41.3874, "longitude": 2.1686, "name": text or "Plaça de Catalunya"}
    if kind == "contacts":
        name = text or "Bo Sample"
        return [{"name": {"formatted_name": name, "first_name": name}, "phones": [{"phone": "+34 600 000 000"}]}]
    if kind == "reaction":
        return {"message_id": target or "", "emoji": text or "👍"}
    if kind == "interactive":
        return {"type": "button_reply", "button_reply": {"id": "opt-1", "title": text or "Sí"}}
    if kind == "button":
        return {"payload": "OPT-1", "text": text or "Sí"}
    if kind == "order":
        item = {"product_retailer_id": "SKU-7", "quantity": 2, "item_price": 30, "currency": "EUR"}
        return {"catalog_id": "930000000000001", "text": text, "product_items": [item]}
    if kind == "unsupported":
        return {"type": "poll_creation"}
    raise ValueError(f"{kind} is not a kind of message here. One of: {', '.join(KINDS)}.")


def edited(kind: str, old: Any, text: str) -> Any:
    """Return the content after an edit: a new text body or a new caption (Meta contract 3.12)."""
    if kind == "text":
        return {"body": text}
    if kind in {"image", "video", "document"} and isinstance(old, dict):
        return {**old, "caption": text}
    raise ValueError("Only texts and captions can be edited.")
