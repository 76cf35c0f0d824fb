"""`/v1/messages` and `/v1/sends`: commands in, their story out; and the numbers they leave from."""

import uuid
from typing import Annotated, Any

import orjson
from fastapi import Body, FastAPI, Header, HTTPException
from fastapi.responses import JSONResponse
from pydantic import ValidationError

from schemas import items
from schemas.instants import rfc3339
from schemas.items import Item
from schemas.ports import Event, LogUnavailable
from schemas.states import DELIVERY, MESSAGES, Number
from schemas.topics import INBOUND, OUTBOUND, OUTBOUND_BULK
from sender.command import Command, command_key, story_of
from services.runner import decode_state
from services.running import App

ENVELOPE = frozenset({"messaging_product", "recipient_type", "to", "recipient", "biz_opaque_callback_data"})
ABOUT = frozenset(
    {
        *("command_id", "number", "origin", "policy", "not_before", "expires_at", "only_if", "lane"),
        *("defer_until_released", "fallback", "trace"),
    }
)
FAR = float("inf")
NUMBERS_MAX = 10_000

JsonObject = Annotated[dict[str, Any], Body()]
IdempotencyKey = Annotated[str | None, Header()]


def command(body: dict[str, Any], idempotency_key: str | None) -> dict[str, Any]:
    """The data of `send.requested` from a request: Meta's own message object plus what we need to know."""
    about = {name: value for name, value in body.items() if name in ABOUT}
    about.setdefault("command_id", idempotency_key or str(uuid.uuid4()))
    about["to"] = body.get("to") or body.get("recipient") or ""
    about["message"] = {name: value for name, value in body.items() if name not in ABOUT | ENVELOPE}
    return about


def checked(data: dict[str, Any]) -> dict[str, Any]:
    """The command, if it may be written. Raises HTTPException 422 that names the wrong field."""
    from schemas.events import DATA, explain  # noqa: PLC0415 - the models are slow to import

    try:
        DATA["send.requested"].model_validate(data)
    except ValidationError as error:
        fix = "Mend the field and send it again."
        raise HTTPException(422, {"title": explain(error), "fix": fix}) from None
    return data


async def write(app: App, topic: str, event: Event) -> None:
    """Append one event, or answer 503."""
    try:
        await app.log.append([(topic, event)])
    except LogUnavailable:
        raise HTTPException(503, {"title": "the log is not available", "fix": "Send it again in a moment."}) from None


async def find(app: App, processor: str, key: str) -> bytes | None:
    """A state by its key, on whichever shard it lies."""
    for shard in range(app.log.partitions):
        found = await app.store.load(processor, shard, [key])
        if key in found:
            return found[key]
    return None


def add(api: FastAPI, app: App) -> None:
    """Add the routes."""

    @api.post("/v1/messages", status_code=202)
    async def post_message(
        body: JsonObject,
        idempotency_key: IdempotencyKey = None,
    ) -> JSONResponse:
        """Write a send command. 202 once it is durable; what becomes of it is told on `sends`."""
        data = checked(command(body, idempotency_key))
        now = app.clock()
        event = Event(
            f"send:{data['command_id']}",
            "send.requested",
            data["number"],
            orjson.dumps(data),
            now,
            now,
            data["command_id"],
        )
        await write(app, OUTBOUND_BULK if data.get("lane") == "bulk" else OUTBOUND, event)
        return JSONResponse({"command_id": data["command_id"]}, 202)

    @api.get("/v1/sends/{command_id}")
    async def get_send(command_id: str) -> JSONResponse:
        """The story of a command so far, in order."""
        state = await _command(app, command_id)
        return JSONResponse(
            {
                "command_id": state.command_id,
                "number": state.number,
                "state": state.state,
                "attempt": state.attempt,
                "message_id": state.message_id or None,
                "story": [step | {"at": rfc3339(step["at"])} for step in story_of(state)],
            }
        )

    @api.delete("/v1/sends/{command_id}", status_code=202)
    async def cancel_send(command_id: str) -> JSONResponse:
        """Cancel a command that has not gone yet."""
        state = await _command(app, command_id)
        now = app.clock()
        data = orjson.dumps({"command_id": command_id, "number": state.number})
        await write(
            app, OUTBOUND, Event(f"cancel:{command_id}", "send.cancel", state.number, data, now, now, command_id)
        )
        return JSONResponse({"command_id": command_id}, 202)

    _add_numbers(api, app)


async def _command(app: App, command_id: str) -> Command:
    value = await find(app, DELIVERY, command_key(command_id))
    if value is None:
        raise HTTPException(404, {"title": "no such command", "fix": "It may still be on its way; ask again."})
    state: Command = decode_state(Command, value)
    return state


def _add_numbers(api: FastAPI, app: App) -> None:
    @api.get("/v1/numbers")
    async def get_numbers() -> JSONResponse:
        """The business numbers that are known."""
        return JSONResponse({"numbers": [_number(state) for state in await numbers(app)]})

    @api.post("/v1/numbers", status_code=202)
    async def add_number(body: JsonObject) -> JSONResponse:
        """Register a number before its first webhook."""
        if not body.get("number", "").isalnum():
            raise HTTPException(422, {"title": "number is missing", "fix": "Give Meta's phone number id as `number`."})
        await _account_event(app, body["number"], "REGISTERED", body.get("waba", ""))
        return JSONResponse({"number": body["number"]}, 202)

    @api.post("/v1/numbers/{number}/pause", status_code=202)
    async def pause(number: str) -> JSONResponse:
        """Hold all sends of a number until it is resumed."""
        await _account_event(app, number, "PAUSED")
        return JSONResponse({"number": number, "sending": "paused"}, 202)

    @api.post("/v1/numbers/{number}/resume", status_code=202)
    async def resume(number: str) -> JSONResponse:
        """Let a number send again."""
        await _account_event(app, number, "RESUMED")
        return JSONResponse({"number": number, "sending": "on"}, 202)


async def numbers(app: App) -> list[Number]:
    """The numbers of all shards."""
    found: list[Number] = []
    for shard in range(app.log.partitions):
        for _, value in await app.store.heads(MESSAGES, shard, "numbers", FAR, NUMBERS_MAX):
            found.append(decode_state(Number, value))
    return sorted(found, key=lambda state: state.number)


def _number(state: Number) -> dict[str, Any]:
    return {
        "number": state.number,
        "waba": state.waba,
        "business_phone": state.business_phone,
        "rate_per_s": state.rate_per_s,
        "sending": "paused" if state.paused_because else "on",
        "because": state.paused_because or None,
    }


async def _account_event(app: App, number: str, event: str, waba: str = "") -> None:
    now = app.clock()
    item = Item(number=number, waba=waba, field="coexist", event=event, at=now, received_at=now)
    await write(
        app,
        INBOUND,
        Event(f"admin:{number}:{event}:{now}", "webhook.account", number, items.encode(item), now, now, number),
    )
