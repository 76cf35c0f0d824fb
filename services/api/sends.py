"""`/v1/messages` and `/v1/sends`: commands in, their story out."""

import uuid
from functools import partial
from typing import Annotated, Any

import orjson
from fastapi import Body, FastAPI, Header, HTTPException
from fastapi.responses import JSONResponse

from schemas.instants import rfc3339
from schemas.ports import Event, LogUnavailable
from schemas.states import DELIVERY
from schemas.topics import OUTBOUND, OUTBOUND_BULK
from sender.command import Command, command_key, story_of
from services.api.door import checked, refuse_strays
from services.api.patience import SOON_S, soon
from services.running import App
from services.shard import decode_state
from services.telemetry import tracing

ADDRESS = frozenset({"to", "recipient"})
ABOUT = frozenset(
    {
        *("command_id", "number", "origin", "policy", "not_before", "expires_at", "only_if", "lane"),
        *("defer_until_released", "fallback", "trace"),
    }
)
ADDED_SINCE = "What Meta has added since stands inside `message`, with all of Meta's message object."

JsonObject = Annotated[dict[str, Any], Body()]
IdempotencyKey = Annotated[str | None, Header()]
Traceparent = Annotated[str | None, Header()]


def command(body: dict[str, Any], idempotency_key: str | None) -> dict[str, Any]:
    """The data of `send.requested` from a request: Meta's own message object plus what we need to know.

    Or the data as it is, with the message in `message`: there, what Meta has added since passes as well.
    """
    about = {name: value for name, value in body.items() if name in ABOUT}
    about.setdefault("command_id", idempotency_key or str(uuid.uuid4()))
    rest = {name: value for name, value in body.items() if name not in ABOUT | ADDRESS}
    message = rest.get("message", rest)
    to = body.get("to") or body.get("recipient") or ""
    if to or not isinstance(message, dict) or "status" not in message:  # a read receipt may name nobody
        about["to"] = to
    about["message"] = message
    return about


def understood(body: dict[str, Any]) -> None:
    """Raise HTTPException 422 for a field that nobody would read, whether it is meant for us or for Meta."""
    from schemas.bodies import ENVELOPE, MESSAGES, Common, ReadReceipt  # noqa: PLC0415 - the models are slow to import
    from schemas.commands import OnlyIf  # noqa: PLC0415 - see above

    ours = {*ABOUT, *ADDRESS, "message"}
    metas = () if "message" in body else ("type", *Common.model_fields, *MESSAGES, *ReadReceipt.model_fields, *ENVELOPE)
    refuse_strays(body, {*ours, *metas}, else_=ADDED_SINCE)
    if isinstance(body.get("only_if"), dict):
        refuse_strays(body["only_if"], OnlyIf.model_fields, "only_if.")


def encoded(data: dict[str, Any]) -> bytes:
    """The command as it is stored. Raises HTTPException 422 where it would not be read back as the caller wrote it."""
    try:
        content = orjson.dumps(data)
        whole = orjson.loads(content) == data
    except (TypeError, orjson.JSONDecodeError):
        whole = False
    if not whole:
        fix = "Leave out NaN, Infinity, whole numbers beyond 64 bits and halves of surrogate pairs."
        raise HTTPException(422, {"title": "the body has a value that JSON does not carry safely", "fix": fix})
    return content


async def addressed(app: App, number: str) -> None:
    """Raise HTTPException 404 for a number that is not known: a command that cannot go must not lie in the log.

    Where the store cannot be asked it is let in; the sender rejects it then.
    """
    try:
        known = await app.knows(number)
    except LogUnavailable:
        return
    if not known:
        fix = "Give Meta's phone number id: `coexist numbers list` has them. A new one is there in a moment."
        raise HTTPException(404, {"title": "no such number", "fix": fix})


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
        traceparent: Traceparent = None,
    ) -> JSONResponse:
        """Write a send command. 202 once it is durable; what becomes of it is told on `sends`."""
        understood(body)
        data = command(body, idempotency_key)
        checked("send.requested", data, "" if "message" in body else "message.")
        await addressed(app, data["number"])
        content, now, command_id = encoded(data), app.clock(), data["command_id"]
        topic = OUTBOUND_BULK if data.get("lane") == "bulk" else OUTBOUND
        given = data.get("trace") or tracing.traceparent(traceparent)
        with app.tracing.command("POST /v1/messages", topic, given) as trace:
            number, kind = data["number"], "send.requested"
            event = Event(f"send:{command_id}", kind, number, content, now, now, command_id, trace=trace)
            await write(app, topic, event)
        return JSONResponse({"command_id": data["command_id"]}, 202)

    @api.get("/v1/sends/{command_id}")
    async def get_send(command_id: str) -> JSONResponse:
        """The story of a command so far, in order."""
        state = await _command(app, command_id)
        return JSONResponse(_told(state))

    @api.delete("/v1/sends/{command_id}", status_code=202)
    async def cancel_send(command_id: str) -> JSONResponse:
        """Cancel a command that has not gone yet; one that was written just now is waited for."""
        state = await _command(app, command_id, within_s=SOON_S)
        now = app.clock()
        data = orjson.dumps({"command_id": command_id, "number": state.number})
        await write(
            app, OUTBOUND, Event(f"cancel:{command_id}", "send.cancel", state.number, data, now, now, command_id)
        )
        return JSONResponse({"command_id": command_id}, 202)


async def _command(app: App, command_id: str, within_s: float = 0) -> Command:
    value = await soon(partial(find, app, DELIVERY, command_key(command_id)), within_s)
    if value is None:
        raise HTTPException(404, {"title": "no such command", "fix": "It may still be on its way; ask again."})
    state: Command = decode_state(Command, value)
    return state


def _told(state: Command) -> dict[str, Any]:
    return {
        "command_id": state.command_id,
        "number": state.number,
        "state": state.state,
        "attempt": state.attempt,
        "kind": state.kind,
        "template": state.template or None,
        "body": "fallback" if state.fell_back else "message",
        "origin": state.origin,
        "message_id": state.message_id or None,
        "story": [step | {"at": rfc3339(step["at"])} for step in story_of(state)],
    }
