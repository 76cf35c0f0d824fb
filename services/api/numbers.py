"""`/v1/numbers`: the business numbers, how each stands, its history import, and what an operator says of them."""

import uuid
from contextlib import suppress
from functools import partial
from typing import Annotated, Any

import orjson
from fastapi import Body, FastAPI, HTTPException
from fastapi.responses import JSONResponse
from msgspec import UNSET, Raw, UnsetType

from echo_sync import imports, lifecycle
from echo_sync.imports import CONTACTS_ASKED, HISTORY_ASKED, Import, import_key
from echo_sync.lifecycle import LIFE, OURS, TOKEN
from echo_sync.limits import PER_S_MAX, UNLIMITED
from ingest.facts import is_id
from schemas import items
from schemas.instants import rfc3339
from schemas.items import Item
from schemas.ports import FAR, Event, LogUnavailable
from schemas.states import DELIVERY, MESSAGES, Number, number_key
from schemas.topics import INBOUND, partition_of
from sender.people import People, counting, people_key
from services.api.door import refuse_strays
from services.api.patience import soon
from services.api.sends import write
from services.api.token_desk import drop_token, keep_token, whose_token
from services.running import App
from services.shard import decode_state

NUMBERS_MAX = 10_000
UNLIMITED_SAID = "unlimited"
TOKEN_SET = "TOKEN_SET"  # noqa: S105 - the name of an event
"""What is said once a number has another token: what held it because of the old one ends."""

Added = Annotated[dict[str, Any], Body()]
Asked = Annotated[dict[str, Any] | None, Body()]


def add(api: FastAPI, app: App) -> None:
    """Add the routes."""

    @api.get("/v1/numbers")
    async def get_numbers() -> JSONResponse:
        """The business numbers that are known."""
        return JSONResponse({"numbers": [view(state, app.clock()) for state in await numbers(app)]})

    @api.get("/v1/numbers/{number}")
    async def get_number(number: str) -> JSONResponse:
        """One number: how it stands, and how far its history import is."""
        state = await known(app, number)
        history: Import | None = await _load(app, number, import_key(number), Import)
        begun: People | None = await _load(app, number, people_key(number), People, DELIVERY)
        return JSONResponse(
            view(state, app.clock())
            | {"history": imports.view(history or Import()), "changed_at": _at(state)}
            | {"token": await whose_token(app, number)}
            | {"people_begun": sum(counting(begun.begun, app.clock()).values()) if begun is not None else 0}
        )

    @api.post("/v1/numbers", status_code=202)
    async def add_number(body: Added) -> JSONResponse:
        """Register a number before its first webhook: `{number, waba?, business_phone?, rate_per_s?, token?}`.

        The answer waits a moment until the number is known, so that what is asked of it next is not refused.
        """
        refuse_strays(body, ("number", "waba", "business_phone", "rate_per_s", "token"))
        number, waba, phone = (body.get(name, "") for name in ("number", "waba", "business_phone"))
        if not all(isinstance(text, str) for text in (number, waba, phone)) or not is_id(number):
            raise HTTPException(422, {"title": "number is missing", "fix": "Give Meta's phone number id as `number`."})
        item = Item(number=number, waba=waba, business_phone=phone, event="REGISTERED", raw=_rate(body))
        if body.get("token") is not None:
            await keep_token(app, number, body["token"])
        await say(app, item)
        if body.get("token") is not None:
            await say(app, Item(number=number, event=TOKEN_SET))
        with suppress(LogUnavailable):
            await soon(partial(app.knows, number))
        return JSONResponse({"number": number}, 202)

    _add_token(api, app)
    _add_words(api, app)


def _add_token(api: FastAPI, app: App) -> None:
    @api.put("/v1/numbers/{number}/token", status_code=202)
    async def set_token(number: str, body: Added) -> JSONResponse:
        """Give a number an access token of its own, `{token}`; it is sealed, used from now on, and ends a refusal."""
        await known(app, number)
        await keep_token(app, number, body.get("token"))
        await say(app, Item(number=number, event=TOKEN_SET))
        return JSONResponse({"number": number, "token": "own"}, 202)

    @api.delete("/v1/numbers/{number}/token", status_code=202)
    async def unset_token(number: str) -> JSONResponse:
        """Take a number's own access token away; the installation's is used instead, where there is one."""
        await known(app, number)
        await drop_token(app, number)
        await say(app, Item(number=number, event=TOKEN_SET))
        return JSONResponse({"number": number, "token": await whose_token(app, number)}, 202)


def _add_words(api: FastAPI, app: App) -> None:
    @api.post("/v1/numbers/{number}/pause", status_code=202)
    async def pause(number: str) -> JSONResponse:
        """Hold all sends of a number until it is resumed."""
        await known(app, number)
        await say(app, Item(number=number, event="PAUSED"))
        return JSONResponse({"number": number, "sending": "paused"}, 202)

    @api.post("/v1/numbers/{number}/resume", status_code=202)
    async def resume(number: str) -> JSONResponse:
        """Let a number send again, whoever had paused it: a person says that it may."""
        await known(app, number)
        await say(app, Item(number=number, event="RESUMED"))
        return JSONResponse({"number": number, "sending": "on"}, 202)

    @api.post("/v1/numbers/{number}/syncs/{kind}", status_code=202)
    async def synced(number: str, kind: str, body: Asked = None) -> JSONResponse:
        """Remember that Meta was asked for `history` or `contacts`, once; `{request_id?}` is its answer."""
        named = {"history": HISTORY_ASKED, "contacts": CONTACTS_ASKED}
        if kind not in named:
            raise HTTPException(404, {"title": "no such sync", "fix": "There are: history, contacts."})
        await known(app, number)
        raw = Raw(orjson.dumps(body)) if body else UNSET
        await say(app, Item(number=number, event=named[kind], raw=raw))
        return JSONResponse({"number": number, "asked": kind}, 202)


async def numbers(app: App) -> list[Number]:
    """The numbers of all shards."""
    found: list[Number] = []
    for shard in range(app.log.partitions):
        for _, value in await app.store.heads(MESSAGES, shard, "numbers", FAR, NUMBERS_MAX):
            found.append(decode_state(Number, value))
    return sorted(found, key=lambda state: state.number)


def view(state: Number, now: float) -> dict[str, Any]:
    """A number as the API shows it. `people_per_day`: its messaging tier; None where Meta has told none."""
    standing = state.standings.get(LIFE)
    because = state.paused_because or lifecycle.value_of(state, TOKEN, now)
    return {
        "number": state.number,
        "waba": state.waba,
        "business_phone": state.business_phone,
        "rate_per_s": state.rate_per_s,
        "people_per_day": UNLIMITED_SAID if state.people_per_day == UNLIMITED else state.people_per_day or None,
        "sending": "paused" if because else "on",
        "because": because or None,
        "life": lifecycle.life(state, now),
        "phone_seen_at": rfc3339(state.phone_at) if state.phone_at else None,
        "reason": (standing.why if standing is not None else "") or None,
    }


def _rate(body: dict[str, Any]) -> Raw | UnsetType:
    """What a registration says of the rate. Raises HTTPException 422."""
    rate = body.get("rate_per_s")
    if rate is None:
        return UNSET
    if not isinstance(rate, int) or isinstance(rate, bool) or not 1 <= rate <= PER_S_MAX:
        raise HTTPException(422, {"title": "rate_per_s is not a rate", "fix": "Give 1 to 1000, such as 20 or 80."})
    return Raw(orjson.dumps({"rate_per_s": rate}))


def _at(state: Number) -> str | None:
    return rfc3339(state.changed_at) if state.changed_at else None


async def known(app: App, number: str) -> Number:
    """The number. Raises HTTPException 404."""
    state: Number | None = await _load(app, number, number_key(number), Number)
    if state is None:
        fix = "Add it: `coexist numbers add`, or `coexist onboard`."
        raise HTTPException(404, {"title": "no such number", "fix": fix})
    return state


async def _load(app: App, number: str, key: str, kind: Any, processor: str = MESSAGES) -> Any:
    shard = partition_of(number, app.log.partitions)
    found = await app.store.load(processor, shard, [key])
    return decode_state(kind, found[key]) if key in found else None


async def say(app: App, item: Item) -> None:
    """Append an operator's word about a number or a person; it is durable when this returns."""
    now, number = app.clock(), item.number
    item.field, item.at, item.received_at = OURS, now, now
    event_id = f"admin:{number}:{item.event}:{now}:{uuid.uuid4().hex[:8]}"
    event = Event(event_id, "webhook.account", number, items.encode(item), now, now, number)
    await write(app, INBOUND, event)
