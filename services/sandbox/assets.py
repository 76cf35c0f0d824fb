"""The files of the sandbox page and the headers they travel with; no build, no outside host."""

from __future__ import annotations

from importlib.resources import files

PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
MEDIA_TYPES = {
    "html": "text/html",
    "js": "text/javascript",
    "css": "text/css",
    "json": "application/json",
    "svg": "image/svg+xml",
}


def page_file(path: str) -> tuple[bytes, str] | None:
    """Return the bytes and media type of a file of the page, None if there is none of that name."""
    media_type = MEDIA_TYPES.get(path.rpartition(".")[2])
    if media_type is None or any(part in {"", ".", ".."} for part in path.split("/")):
        return None
    found = files("services.sandbox").joinpath("page", *path.split("/"))
    return (found.read_bytes(), media_type) if found.is_file() else None
