"""`/v1/media`: a file goes to Meta, so that a command can carry its id; what was kept is read back.

Files come from strangers. So they are found by a message or by a reference of ours alone, never by a path, and are
handed out as attachments that no browser runs.
"""

import re
from collections.abc import AsyncIterator
from typing import Annotated

import orjson
from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.responses import JSONResponse, StreamingResponse

from echo_sync.message import Message
from schemas.states import MESSAGES, message_key
from services.media.type import ANY_TYPE
from services.media.worker import MediaWorker, Refused
from services.running import App
from services.shard import decode_state

TYPE = re.compile(r"[a-z0-9.+-]+/[a-z0-9.+-]+(; ?codecs=[a-z0-9.,-]+)?", re.IGNORECASE)

REF = re.compile(r"([0-9a-f]{2})/\1[0-9a-f]{62}")
GUARDED = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Content-Disposition": "attachment",
    "Cache-Control": "private, no-store",
}
NOT_HERE = {"title": "no such media", "fix": "`message.completed` tells when media is kept, and under which ref."}

Number = Annotated[str, Query(pattern="^[0-9A-Za-z]{1,64}$")]


def add(api: FastAPI, app: App) -> None:
    """Add the routes."""

    @api.post("/v1/media", status_code=201)
    async def post_media(request: Request, number: Number) -> JSONResponse:
        """Upload the body, of the type that Content-Type says, for messages of `number`: `{"id": …}`, for 30 days."""
        mime_type = request.headers.get("content-type", "")
        if not TYPE.fullmatch(mime_type):
            fix = "Send the file itself as the body, with its type as Content-Type."
            raise HTTPException(415, {"title": "not the type of a file", "fix": fix})
        try:
            media_id = await _worker(app).upload(number, mime_type, request.stream())
        except Refused as refused:
            raise HTTPException(refused.status, {"title": refused.title, "fix": refused.fix}) from None
        return JSONResponse({"id": media_id}, 201)

    @api.get("/v1/media")
    async def get_media(number: Number = "", message: str = "", ref: str = "") -> StreamingResponse:
        """A kept file: that of a `message` of `number`, or the one under a `ref` (of which no type is known)."""
        worker, mime_type = _worker(app), ANY_TYPE
        if message:
            ref, mime_type = await _kept(app, number, message)
        if not REF.fullmatch(ref):
            raise HTTPException(404, NOT_HERE)
        chunks = worker.store.read(ref)
        try:
            first = await anext(chunks, b"")
        except FileNotFoundError:
            raise HTTPException(404, NOT_HERE) from None
        except OSError:
            raise HTTPException(503, {"title": "the store does not answer", "fix": "Ask again in a moment."}) from None
        media_type = mime_type if TYPE.fullmatch(mime_type) else ANY_TYPE
        return StreamingResponse(_from(first, chunks), media_type=media_type, headers=GUARDED)


def _worker(app: App) -> MediaWorker:
    if app.media is None:
        raise HTTPException(503, {"title": "no media here", "fix": "Ask a process that runs the role media."})
    return app.media


async def _kept(app: App, number: str, message_id: str) -> tuple[str, str]:
    """Reference and type of a message's media. Raises HTTPException 404; what was deleted for everyone is gone."""
    key = message_key(number, message_id)
    found = await app.store.load(MESSAGES, app.shard_of(number), [key])
    message = decode_state(Message, found[key]) if key in found else Message()
    media = orjson.loads(message.media or b"{}")
    if "ref" not in media or message.revoked_at:
        raise HTTPException(404, NOT_HERE)
    return media["ref"], media.get("mime_type") or ANY_TYPE


async def _from(first: bytes, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for chunk in chunks:
        yield chunk
