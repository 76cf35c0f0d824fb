"""Meta's media endpoints: upload, an id's URL, the download, removal (Meta contract 6.6), and what goes wrong there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from email import message_from_bytes
from hashlib import sha256

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse

from services.sandbox import answers, contents
from services.sandbox.graph import Graph, answer

UPLOAD_BYTES_MAX = 100 << 20  # Meta's largest document
METADATA_SERVICE = "http://169.254.169.254/latest/meta-data/"
BLOCK = bytes(1 << 16)
DRIBBLE_S = 0.05


class MediaDesk:
    """Answers media requests over one `Meta`; `faults.media_trouble` says what goes wrong with every download."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._meta = graph.meta
        self._downloads = 0
        self._urls = 0

    async def upload(self, request: Request) -> Response:
        """Store an uploaded file; its id lives as long as the sandbox."""
        if request.path_params["node"] not in self._meta.world.numbers:
            return self._graph.refuse(answers.UNKNOWN_OBJECT)
        raw = await request.body()
        if len(raw) > UPLOAD_BYTES_MAX:
            return self._graph.refuse(answers.invalid("The file is too large."))
        mime, data = _file_of(request.headers.get("content-type", ""), raw)
        if data is None:
            return self._graph.refuse(answers.missing("file"))
        media = "95" + str(len(self._meta.uploads) + 1).zfill(13)
        self._meta.uploads[media] = (mime, data)
        return answer({"id": media})

    def about(self, request: Request, media: str) -> Response | None:
        """Answer for a media id with a URL of its own, None if there is none."""
        if (found := self._file(media)) is None:
            return None
        mime, data = found
        self._urls += 1
        url = f"{request.url.scheme}://{request.url.netloc}/sandbox/media/{media}?url={self._urls}"
        size = UPLOAD_BYTES_MAX + 1 if self._meta.faults.media_trouble == "too_large" else len(data)
        told = {"url": url, "mime_type": mime, "sha256": sha256(data).hexdigest(), "file_size": size, "id": media}
        return answer({"messaging_product": "whatsapp", **told})

    async def download(self, request: Request) -> Response:
        """Return the bytes of a media id, or what the trouble of the day makes of them."""
        media = request.path_params["media"]
        self._downloads += 1
        missing = self._meta.dice.hits(self._meta.faults.media_missing_p, "media", f"{media}:{self._downloads}")
        found = None if missing else self._file(media)
        trouble = self._meta.faults.media_trouble
        expired = trouble == "expired" and request.query_params.get("url") == "1"
        if found is None or expired:
            return Response(status_code=404)
        mime, data = found
        if trouble in {"endless", "slow"}:
            return StreamingResponse(self._dribble(0 if trouble == "endless" else DRIBBLE_S), media_type=mime)
        if trouble == "cut":
            return Response(data[: len(data) // 2], media_type=mime, headers={"content-length": str(len(data))})
        return _plain(trouble, mime, data)

    async def remove(self, request: Request) -> Response:
        """Forget an upload."""
        gone = self._meta.uploads.pop(request.path_params["node"], None)
        return answer({"success": True}) if gone else self._graph.refuse(answers.UNKNOWN_OBJECT)

    async def _dribble(self, wait_s: float) -> AsyncIterator[bytes]:
        while not self._meta.leaving:
            yield BLOCK if not wait_s else b"."
            await self._meta.pause(wait_s)

    def _file(self, media: str) -> tuple[str, bytes] | None:
        if media in self._meta.uploads:
            return self._meta.uploads[media]
        return contents.media_file(media) if media.startswith("92") and media.isdigit() else None


def _plain(trouble: str, mime: str, data: bytes) -> Response:
    if trouble == "redirect":
        return RedirectResponse(METADATA_SERVICE, 302)
    if trouble == "error500":
        return Response(status_code=500)
    if trouble == "wrong_hash":
        return Response(data[:-1] + b"!", media_type=mime)
    return Response(data, media_type=mime)


def _file_of(content_type: str, raw: bytes) -> tuple[str, bytes | None]:
    """Return type and bytes of the part named `file` of a multipart body."""
    form = message_from_bytes(b"Content-Type: " + content_type.encode("latin-1") + b"\r\n\r\n" + raw)
    for part in form.walk():
        if part.get_param("name", header="content-disposition") == "file":
            data = part.get_payload(decode=True)
            return part.get_content_type(), data if isinstance(data, bytes) else None
    return "", None
