"""The files of the operator page and the headers they travel with; no build, no outside host."""

from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from importlib.resources import files

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
"""`no-cache` with an ETag: a browser always asks, and an upgrade is seen at once."""
MEDIA_TYPES = {
    "html": "text/html",
    "js": "text/javascript",
    "css": "text/css",
    "json": "application/json",
    "svg": "image/svg+xml",
}
FILES_MAX = 64
"""Files kept in memory; the page has about twenty."""


@dataclass(frozen=True, slots=True)
class Asset:
    """A file of the page. `etag` is a digest of its bytes, quoted as HTTP wants it."""

    body: bytes
    media_type: str
    etag: str


def asset(path: str) -> Asset | None:
    """The file of the page under a path such as `views/sends.js`; None when there is none of that name."""
    if path.rpartition(".")[2] not in MEDIA_TYPES or any(part in {"", ".", ".."} for part in path.split("/")):
        return None
    return _read(path)


@lru_cache(FILES_MAX)
def _read(path: str) -> Asset | None:
    found = files("services.console").joinpath(*path.split("/"))
    if not found.is_file():
        return None
    body = found.read_bytes()
    return Asset(body, MEDIA_TYPES[path.rpartition(".")[2]], f'"{blake2b(body, digest_size=12).hexdigest()}"')
