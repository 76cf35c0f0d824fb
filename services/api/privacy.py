"""`/v1/privacy`: erase a person, see how far that is, and the rights requests that stand in chats."""

from typing import Annotated, Any

from fastapi import Body, FastAPI, HTTPException
from fastapi import Request as HttpRequest
from fastapi.responses import JSONResponse, StreamingResponse

from echo_sync.erasures import Word, word_event
from echo_sync.message import Message
from echo_sync.rights import CLOSED, OPEN, Request
from schemas.instants import rfc3339
from schemas.items import Contact
from schemas.marks import PRIVACY
from schemas.ports import FAR, LogUnavailable
from schemas.states import MESSAGES, message_key
from schemas.topics import INBOUND, partition_of
from sender.command import recipient
from services.api.audit import WHO_CHARS_MAX, person, who
from services.api.numbers import numbers
from services.api.sends import write
from services.media.store import CHUNK_BYTES
from services.privacy.erasing import begin, erasure, person_of, report
from services.privacy.export import archive, chunks, held
from services.running import App
from services.shard import decode_state

REQUESTS_MAX = 1_000

JsonObject = Annotated[dict[str, Any], Body()]


def add(api: FastAPI, app: App) -> None:
    """Add the routes."""

    @api.post("/v1/privacy/erase", status_code=202)
    async def post_erase(request: HttpRequest, body: JsonObject) -> JSONResponse:
        """Erase one person at one number: `{number, contact, by?}`. 202 once nothing more of them comes in."""
        number, contact = await whom(app, body)
        try:
            erasure_id = await begin(app, number, contact, _by(request, body))
            about = {"person": person(app, number, contact), "about": erasure_id}
            await app.audit.record(_by(request, body), "person.erased", number, **about)
        except (LogUnavailable, OSError) as problem:
            unwritten = isinstance(problem, OSError)
            fix = (
                "COEXIST_ERASURE_LEDGER cannot be written: mend that, then ask again."
                if unwritten
                else "Ask for it again in a moment."
            )
            raise HTTPException(503, {"title": "the erasure could not be made durable", "fix": fix}) from None
        return JSONResponse({"erasure_id": erasure_id, "number": number}, 202)

    @api.post("/v1/privacy/export")
    async def post_export(request: HttpRequest, body: JsonObject) -> StreamingResponse:
        """Everything that is held about one person at one number, `{number, contact, by?}`, as a zip archive."""
        number, contact = await whom(app, body)
        try:
            await app.audit.record(_by(request, body), "person.exported", number, person=person(app, number, contact))
        except LogUnavailable:
            raise HTTPException(503, {"title": "the audit is not available", "fix": "Ask for it again."}) from None
        file = await archive(app, await held(app, number, contact))
        headers = {"Content-Disposition": 'attachment; filename="export.zip"'}
        return StreamingResponse(chunks(file, CHUNK_BYTES), media_type="application/zip", headers=headers)

    @api.get("/v1/privacy/erasures/{erasure_id}")
    async def get_erasure(erasure_id: str, number: str) -> JSONResponse:
        """How far an erasure is, and what it has removed."""
        found = await erasure(app, erasure_id, number)
        if found is None:
            raise HTTPException(404, {"title": "no such erasure", "fix": "Use the erasure_id that was answered."})
        return JSONResponse(report(app, found))


def add_requests(api: FastAPI, app: App) -> None:
    """Add the routes of rights requests."""

    @api.get("/v1/privacy/requests")
    async def get_requests(state: str = OPEN, number: str = "") -> JSONResponse:
        """Messages that may be rights requests, the oldest first: `open`, `closed` or, with an empty state, all."""
        found = [request for request in await requests(app, number) if state in ("", _state(request))]
        return JSONResponse({"requests": [await _shown(app, request) for request in found]})

    @api.post("/v1/privacy/requests/{number}/{message_id:path}/close", status_code=202)
    async def close_request(
        number: str, message_id: str, body: Annotated[dict[str, Any] | None, Body()] = None
    ) -> JSONResponse:
        """Say that a request was answered, or is none."""
        now = app.clock()
        word = Word(number=number, message_id=message_id, by=str((body or {}).get("by") or ""), at=now)
        await write(app, INBOUND, word_event("privacy.request_closed", word, now, f"closed:{message_id}"))
        return JSONResponse({"message_id": message_id}, 202)


def _by(request: HttpRequest, body: dict[str, Any]) -> str:
    return str(body.get("by") or "")[:WHO_CHARS_MAX] or who(request)


async def whom(app: App, body: dict[str, Any]) -> tuple[str, Contact]:
    """The number and the person that a request means. Raises HTTPException 422 or 404.

    With COEXIST_REGISTRATION=listed people write to numbers that nobody has added; what is held of them is theirs, too.
    """
    number, written = body.get("number"), body.get("contact")
    contact = recipient(written) if isinstance(written, str) else None
    if not isinstance(number, str) or not number or contact is None:
        fix = "Send a number's id and a phone with its country code, or a user id."
        raise HTTPException(422, {"title": "number and contact are needed", "fix": fix})
    if not await app.knows(number) and await person_of(app, number, contact) is None:
        raise HTTPException(404, {"title": "no such number", "fix": "List them at /v1/numbers."})
    return number, contact


async def requests(app: App, number: str = "") -> list[Request]:
    """The rights requests of all numbers or of one, the oldest first."""
    found: list[Request] = []
    for known in {state.number for state in await numbers(app)}:
        if number in ("", known):
            shard = partition_of(known, app.log.partitions)
            rows = await app.store.heads(PRIVACY, shard, f"requests/{known}", FAR, REQUESTS_MAX)
            found += [decode_state(Request, value) for _, value in rows]
    return sorted(found, key=lambda request: request.asked_at)


def is_overdue(request: Request, now: float) -> bool:
    """Should it have been answered by now?"""
    return not request.closed_at and request.due_at < now


def _state(request: Request) -> str:
    return CLOSED if request.closed_at else OPEN


async def _shown(app: App, request: Request) -> dict[str, Any]:
    key = message_key(request.number, request.message_id)
    found = await app.store.load(MESSAGES, partition_of(request.number, app.log.partitions), [key])
    shown: dict[str, Any] = {
        "number": request.number,
        "message_id": request.message_id,
        "right": request.right,
        "state": _state(request),
        "asked_at": rfc3339(request.asked_at),
        "due_at": rfc3339(request.due_at),
        "overdue": is_overdue(request, app.clock()),
    }
    if key in found:
        shown["conversation_id"] = decode_state(Message, found[key]).conversation
    if request.closed_at:
        shown |= {"closed_at": rfc3339(request.closed_at), "closed_by": request.closed_by}
    return shown
