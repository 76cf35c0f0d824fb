"""`/v1/suppressions`, `/v1/opt-ins`: who is not to be written to, and who asked for marketing.

A word is about a person at a number, however they are named: phone or user id. It goes to `inbound` like any other, so
it has its place among what the person says themselves, and the newest word counts.
"""

from typing import Annotated, Any

import orjson
from fastapi import Body, FastAPI, HTTPException, Query
from fastapi.responses import JSONResponse
from msgspec import Raw

from echo_sync.consent import OPTED_IN, SCOPES, SUPPRESSED, UNSUPPRESSED
from echo_sync.contacts import contact_data
from echo_sync.identity import Person, person_key
from echo_sync.reach import suppressed_line
from schemas.instants import rfc3339
from schemas.items import Contact, Item
from schemas.ports import FAR, NOWHERE
from schemas.states import MARKETING, MESSAGES, STOP, Reach
from schemas.topics import partition_of
from sender.command import recipient
from services.api.numbers import known, say
from services.running import App
from services.shard import decode_state

PAGE_MAX = 1_000

Limit = Annotated[int, Query(ge=1, le=PAGE_MAX)]
Asked = Annotated[dict[str, Any], Body()]


def add(api: FastAPI, app: App) -> None:
    """Add the routes."""

    @api.get("/v1/suppressions")
    async def get_suppressions(number: str, limit: Limit = 100, after: float = NOWHERE) -> JSONResponse:
        """Who is not to be written to, by whose word and about what, the newest first; `after` as on conversations."""
        await known(app, number)
        shard = partition_of(number, app.log.partitions)
        found = await app.store.heads(MESSAGES, shard, suppressed_line(number), FAR, limit, after)
        reaches: list[Reach] = [decode_state(Reach, value) for _, value in found]
        shown = [one for reach in reaches if (one := await _shown(app, shard, reach))["stops"]]
        last = reaches[-1].place if len(reaches) == limit else None
        return JSONResponse({"suppressions": shown, "after": last})

    @api.post("/v1/suppressions", status_code=202)
    async def suppress(body: Asked) -> JSONResponse:
        """Send a person nothing more: `{number, contact, scope?}`; `scope` is marketing or all."""
        return await _say(app, body, SUPPRESSED)

    @api.delete("/v1/suppressions", status_code=202)
    async def lift(body: Asked) -> JSONResponse:
        """Take a suppression back, whoever asked for it: `{number, contact, scope?}`; all lifts a block, too."""
        return await _say(app, body, UNSUPPRESSED)

    @api.post("/v1/opt-ins", status_code=202)
    async def opt_in(body: Asked) -> JSONResponse:
        """Remember that a person asked for marketing: `{number, contact}`."""
        return await _say(app, {**body, "scope": MARKETING}, OPTED_IN)


async def _say(app: App, body: dict[str, Any], event: str) -> JSONResponse:
    number, contact = body.get("number"), body.get("contact")
    scope = body.get("scope", MARKETING)
    person = recipient(contact) if isinstance(contact, str) else None
    if not isinstance(number, str) or person is None:
        fix = "Give `number` and `contact`, a phone or a user id."
        raise HTTPException(422, {"title": "nobody is named", "fix": fix})
    if scope not in SCOPES:
        raise HTTPException(422, {"title": "no such scope", "fix": f"There are: {', '.join(sorted(SCOPES))}."})
    await known(app, number)
    raw = Raw(orjson.dumps({"scope": scope}))
    await say(app, Item(number=number, contact=person, event=event, raw=raw))
    return JSONResponse({"number": number, "scope": scope}, 202)


async def _shown(app: App, shard: int, reach: Reach) -> dict[str, Any]:
    key = person_key(reach.conversation)
    found = await app.store.load(MESSAGES, shard, [key])
    person: Person = decode_state(Person, found[key]) if key in found else Person()
    contact = Contact(wa_id=person.wa_id, user_id=person.user_id, username=person.username, name=person.name)
    now = app.clock()
    stops = {
        scope: wish for scope, wish in sorted(reach.wishes.items()) if wish.value == STOP and not 0 < wish.until <= now
    }
    return {
        "conversation_id": reach.conversation,
        "contact": contact_data(contact),
        "stops": [
            {"scope": scope, "because": wish.why, "at": rfc3339(wish.at)}
            | ({"until": rfc3339(wish.until)} if wish.until else {})
            for scope, wish in stops.items()
        ],
    }
