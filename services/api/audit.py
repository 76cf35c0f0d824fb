"""The audit of the admin listener: what is recorded of which request, and `GET /v1/audit`."""

import re
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse, Response

from schemas.items import Contact
from schemas.marks import phone, users
from schemas.ports import LogUnavailable
from schemas.states import CONVERSATIONS, Conversation, conversation_key
from sender.command import recipient
from services.api.sends import find
from services.audit import records, verify
from services.running import App
from services.shard import decode_state

WHO = "Coexist-User"
WHO_CHARS_MAX = 64
NOBODY_NAMED = "admin"
READS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"/v1/conversations"), "conversations.listed"),
    (re.compile(r"/v1/conversations/(?P<conversation>[^/]+)"), "conversation.read"),
    (re.compile(r"/v1/conversations/(?P<conversation>[^/]+)/(timeline|events|sends|owners)"), "conversation.read"),
    (re.compile(r"/v1/dead-letters/(?P<about>[^/]+)"), "dead_letter.read"),
    (re.compile(r"/v1/topics/(?P<about>[^/]+)/(newest|events)"), "topic.read"),
    (re.compile(r"/v1/events"), "topics.read"),
    (re.compile(r"/v1/media/.+"), "media.read"),
)
WRITES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"/v1/conversations/(?P<conversation>[^/]+)/(?P<about>takeover|release|assign)"), "conversation.taken"),
    (re.compile(r"/v1/dead-letters/(?P<about>[^/]+)/replay"), "dead_letter.replayed"),
    (re.compile(r"/v1/dead-letters/(?P<about>[^/]+)/discard"), "dead_letter.discarded"),
    (re.compile(r"/v1/privacy/requests/(?P<number>[^/]+)/.+/close"), "rights_request.closed"),
)
"""What is recorded by its path alone; an erasure and an export say more themselves."""


def who(request: Request) -> str:
    """What the caller says of itself, in printable characters; the listener's token is one for all."""
    said = request.headers.get(WHO, "")[:WHO_CHARS_MAX]
    return said if said.isprintable() and said else NOBODY_NAMED


def person(app: App, number: str, contact: Contact) -> str:
    """The digest under which a person stands in the audit."""
    mark = next((mark for mark in (*users(contact), phone(contact)) if mark), "")
    return app.known_bars.digest(number, mark)


def watch(api: FastAPI, app: App) -> None:
    """Record every request that reads or changes somebody's data, before it is answered."""

    async def audited(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        answer = await call_next(request)
        if answer.status_code < 400:
            try:
                await _record(app, request)
            except LogUnavailable:
                told = {
                    "type": "about:blank",
                    "title": "the audit is not available",
                    "status": 503,
                    "fix": "Try again.",
                }
                return JSONResponse(told, 503, media_type="application/problem+json")
        return answer

    api.middleware("http")(audited)


async def _record(app: App, request: Request) -> None:
    reading = request.method in ("GET", "HEAD")
    for path, what in READS if reading else WRITES:
        found = path.fullmatch(request.url.path)
        if found is not None:
            about = {"number": request.query_params.get("number", "")} | found.groupdict()
            number = str(about.pop("number"))
            told = {name: str(value)[:WHO_CHARS_MAX] for name, value in about.items() if value}
            if "conversation" in told:
                number, told["person"] = await _whose(app, told["conversation"])
            await (app.audit.read if reading else app.audit.record)(who(request), what, number, **told)
            return


async def _whose(app: App, conversation: str) -> tuple[str, str]:
    """The number of a conversation and the digest of its person, by the phone where that is known."""
    value = await find(app, CONVERSATIONS, conversation_key(conversation))
    if value is None:
        return "", ""
    state: Conversation = decode_state(Conversation, value)
    contact = Contact(wa_id=state.wa_id) if state.wa_id else Contact(user_id=state.user_id)
    return state.number, person(app, state.number, contact)


def add(api: FastAPI, app: App) -> None:
    """Add the route."""

    @api.get("/v1/audit")
    async def get_audit(number: str = "", contact: str = "", what: str = "") -> JSONResponse:
        """Who did what to whose data, oldest first; of one person where `number` and `contact` are given.

        `broken`: places at which a record was changed or is missing.
        """
        whom = recipient(contact) if contact else None
        if contact and (whom is None or not number):
            fix = "Give the number, and a phone with its country code or a user id."
            raise HTTPException(422, {"title": "contact needs a number", "fix": fix})
        digest = person(app, number, whom) if whom is not None else ""
        kept = [record.event.data or b"{}" async for record in records(app.log)]
        told: list[dict[str, Any]] = [orjson.loads(body) for body in kept]
        wanted = [
            one
            for one in told
            if number in ("", one.get("number")) and what in ("", one["what"]) and digest in ("", one.get("person"))
        ]
        wanted.sort(key=lambda one: (one["at"], one["place"]))
        return JSONResponse({"audit": wanted, "broken": verify(kept)})
