"""What a file is by its first bytes, and whether that is what its sender said. Pure.

The sender's phone declares the type of a document, so it may be anything; it is then kept without that claim. An
image, video, audio or sticker has passed Meta's own conversion: if it is something else, it is not what was sent.
"""

HEAD_BYTES = 1024
"""How much of a file is looked at: a PDF's mark may stand anywhere in it."""
ANY_TYPE = "application/octet-stream"
DOCUMENT = "document"
ZIPPED, OLE = frozenset({"zip"}), frozenset({"ole"})
ISO_MEDIA = frozenset({"iso_media"})

_MARKS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\xff\xd8\xff", "jpeg"),
    (0, b"\x89PNG\r\n\x1a\n", "png"),
    (0, b"GIF8", "gif"),
    (8, b"WEBP", "webp"),
    (8, b"WAVE", "wave"),
    (4, b"ftyp", "iso_media"),
    (0, b"OggS", "ogg"),
    (0, b"ID3", "mpeg_audio"),
    (0, b"#!AMR", "amr"),
    (0, b"PK\x03\x04", "zip"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "ole"),
    (0, b"\x1a\x45\xdf\xa3", "matroska"),
    (0, b"MZ", "program"),
    (0, b"\x7fELF", "program"),
)
_PAGES = (b"<!doctype html", b"<html", b"<script", b"<svg", b"<?xml")
_OFFICE = "application/vnd.openxmlformats-officedocument."
_FAMILIES: dict[str, frozenset[str]] = {
    "image/jpeg": frozenset({"jpeg"}),
    "image/png": frozenset({"png"}),
    "image/gif": frozenset({"gif"}),
    "image/webp": frozenset({"webp"}),
    "video/mp4": ISO_MEDIA,
    "video/3gpp": ISO_MEDIA,
    "video/quicktime": ISO_MEDIA,
    "audio/mp4": ISO_MEDIA,
    "audio/ogg": frozenset({"ogg"}),
    "audio/opus": frozenset({"ogg"}),
    "audio/mpeg": frozenset({"mpeg_audio"}),
    "audio/aac": frozenset({"aac", "iso_media"}),
    "audio/amr": frozenset({"amr"}),
    "application/pdf": frozenset({"pdf"}),
    "application/zip": ZIPPED,
    "application/msword": OLE,
    "application/vnd.ms-excel": OLE,
    "application/vnd.ms-powerpoint": OLE,
    f"{_OFFICE}wordprocessingml.document": ZIPPED,
    f"{_OFFICE}spreadsheetml.sheet": ZIPPED,
    f"{_OFFICE}presentationml.presentation": ZIPPED,
}


def believed(kind: str, declared: str, head: bytes) -> str | None:
    """The type to keep for a file of a message of this kind, or None when the file must be refused.

    `declared` may carry parameters (`audio/ogg; codecs=opus`); `head`: the first HEAD_BYTES, or all there is.
    """
    essence = declared.partition(";")[0].strip().lower()
    seen = family(head)
    wanted = _FAMILIES.get(essence)
    good = seen in wanted if wanted is not None else seen not in ("page", "program") or essence.startswith("text/")
    if good:
        return declared or ANY_TYPE
    return ANY_TYPE if kind == DOCUMENT else None


def family(head: bytes) -> str:
    """What the first bytes say: jpeg, pdf, zip, page (a browser would run it), …; empty when they say nothing."""
    for at, mark, name in _MARKS:
        if head.startswith(mark, at):
            return name
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:
        return "aac" if head[1] & 0x06 == 0 else "mpeg_audio"
    if b"%PDF-" in head[:HEAD_BYTES]:
        return "pdf"
    return "page" if head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(_PAGES) else ""
