"""`/v1/relays`: topics as signed webhooks, for those who speak no Kafka."""

import difflib
import time
import uuid
from collections.abc import Awaitable
from typing import Any, TypeVar

from fastapi import FastAPI, HTTPException
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from schemas.events import DATA
from schemas.instants import rfc3339
from schemas.ports import Event, LogUnavailable, Record
from schemas.topics import TIMELINE, TOPICS
from services.relays.courier import body_of
from services.relays.registry import RELAYS_MAX, Busy, Registry, TooMany, UnknownRelay, Wanted
from services.relays.role import Relaying
from services.relays.shard import TROUBLE_KEY, Trouble, name_of
from services.relays.signature import secret_bytes
from services.relays.state import GONE, PAUSED, SEALED, WORKING, Relay
from services.relays.target import WrongAddress, reachable
from services.relays.waiting import waits
from services.running import App
from services.shard import decode_state

STATES = {PAUSED: "paused", GONE: "gone", SEALED: "sealed"}
T = TypeVar("T")


class NewRelay(BaseModel):
    """What a relay shall do. `types` and `numbers` narrow `topics` down; a `secret` is made if none is given."""

    model_config = ConfigDict(extra="forbid")

    url: str
    topics: list[str] = Field(default=[TIMELINE], min_length=1)
    types: list[str] = []
    numbers: list[str] = []
    from_start: bool = False
    secret: str = ""


class WantedReplay(BaseModel):
    """Send a number's events of a topic again, from a `seq` on."""

    model_config = ConfigDict(extra="forbid")

    number: str
    topic: str = TIMELINE
    from_seq: int = Field(ge=1)


class Skipped(BaseModel):
    """Leave out the event of this id."""

    model_config = ConfigDict(extra="forbid")

    event_id: str


def add(api: FastAPI, app: App) -> None:
    """Add the routes."""
    assert app.relaying is not None  # noqa: S101 - made before the listeners
    relaying = app.relaying
    registry = relaying.registry

    @api.get("/v1/relays")
    async def relays() -> JSONResponse:
        """All relays and how each fares; without their secrets."""
        found = [await _view(app, relay) for relay in await registry.relays()]
        return JSONResponse({"relays": found})

    @api.post("/v1/relays")
    async def create(wanted: NewRelay) -> JSONResponse:
        """Make a relay. The answer holds its secret, which is not shown again."""
        await _judge(wanted, app, relaying)
        made = await _held(
            registry.add(
                Wanted(
                    wanted.url,
                    tuple(wanted.topics),
                    tuple(wanted.types),
                    tuple(wanted.numbers),
                    wanted.from_start,
                    wanted.secret,
                )
            )
        )
        return JSONResponse(await _view(app, made) | {"secret": made.secrets[0]}, 201)

    @api.get("/v1/relays/{relay_id}")
    async def relay(relay_id: str) -> JSONResponse:
        """One relay and how it fares."""
        return JSONResponse(await _view(app, await _held(registry.relay(relay_id))))

    @api.delete("/v1/relays/{relay_id}")
    async def remove(relay_id: str) -> JSONResponse:
        """Forget a relay."""
        await _held(registry.remove(relay_id))
        return JSONResponse({"relay_id": relay_id, "state": "removed"})

    @api.post("/v1/relays/{relay_id}/test")
    async def test(relay_id: str) -> JSONResponse:
        """Post one signed `relay.test` event and say what the receiver answered."""
        return JSONResponse(await _tested(relaying, await _held(registry.relay(relay_id)), app.clock()))

    _add_actions(api, app, registry)


def _add_actions(api: FastAPI, app: App, registry: Registry) -> None:
    @api.post("/v1/relays/{relay_id}/pause")
    async def pause(relay_id: str) -> JSONResponse:
        """Send nothing more until it is resumed."""
        return JSONResponse(await _view(app, await _held(registry.pause(relay_id, PAUSED))))

    @api.post("/v1/relays/{relay_id}/resume")
    async def resume(relay_id: str) -> JSONResponse:
        """Go on where it stood."""
        return JSONResponse(await _view(app, await _held(registry.pause(relay_id, WORKING))))

    @api.post("/v1/relays/{relay_id}/rotate")
    async def rotate(relay_id: str) -> JSONResponse:
        """A new secret, told once; events are signed with both until the next rotation."""
        relay = await _held(registry.rotate(relay_id))
        return JSONResponse(await _view(app, relay) | {"secret": relay.secrets[0]})

    @api.post("/v1/relays/{relay_id}/replay")
    async def replay(relay_id: str, wanted: WantedReplay) -> JSONResponse:
        """Send a number's events of a topic again, from a `seq` on up to now, beside what goes on."""
        relay = await _held(registry.relay(relay_id))
        await _judge_replay(wanted, relay, app)
        again = await _held(registry.replay(relay_id, wanted.number, wanted.topic, wanted.from_seq))
        return JSONResponse(await _view(app, again), 202)

    @api.post("/v1/relays/{relay_id}/skip")
    async def skip(relay_id: str, wanted: Skipped) -> JSONResponse:
        """Leave out an event that its receiver will never take: one that is tried now, or comes next."""
        relay = await _held(registry.relay(relay_id))
        known = wanted.event_id in relay.skips or await _held(waits(wanted.event_id, relay, app.log, app.store))
        if not known:
            fix = "What is not taken stands among the relay's troubles: `coexist relay list`."
            raise HTTPException(404, {"title": "no such event is tried now or comes next", "fix": fix})
        return JSONResponse(await _view(app, await _held(registry.skip(relay_id, wanted.event_id))))


async def _held(change: Awaitable[T]) -> T:
    """What the registry returns; what it raises as an answer."""
    try:
        return await change
    except UnknownRelay:
        raise HTTPException(404, {"title": "no such relay", "fix": "List them at /v1/relays."}) from None
    except (Busy, LogUnavailable):
        raise HTTPException(503, {"title": "the store is busy", "fix": "Try it again in a moment."}) from None
    except TooMany:
        fix = "Remove one that is not used any more."
        raise HTTPException(409, {"title": f"there are {RELAYS_MAX} relays", "fix": fix}) from None


async def _judge(wanted: NewRelay, app: App, relaying: Relaying) -> None:
    """Raises HTTPException 422 with what is wrong."""
    try:
        await reachable(wanted.url, relaying.hosts, relaying.resolve)
        if wanted.secret:
            secret_bytes(wanted.secret)
    except (WrongAddress, ValueError) as problem:
        raise HTTPException(422, {"title": str(problem), "fix": "Mend it and send it again."}) from None
    prefix = f"{app.settings.topic_prefix}."
    wanted.topics = [topic.removeprefix(prefix) for topic in wanted.topics]
    for kind, given, known in (("topics", wanted.topics, TOPICS), ("types", wanted.types, DATA)):
        for name in given:
            if name not in known:
                near = difflib.get_close_matches(name, list(known), 1)
                fix = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(known)}."
                raise HTTPException(422, {"title": f"{kind}: {name[:64]} is none", "fix": fix})


async def _judge_replay(wanted: WantedReplay, relay: Relay, app: App) -> None:
    """Raises HTTPException 422 with what is wrong."""
    if wanted.topic not in relay.topics:
        fix = f"It has {', '.join(relay.topics)}."
        raise HTTPException(422, {"title": "topic: not one of this relay's", "fix": fix})
    if not TOPICS[wanted.topic].sequenced:
        fix = "Make a relay from the start of what is kept in its place."
        raise HTTPException(422, {"title": f"topic: {wanted.topic} counts no seq", "fix": fix})
    newest = await app.store.sequence(wanted.topic, wanted.number)
    if wanted.from_seq > newest:
        title = f"from_seq: beyond the newest of this number, which is {newest}" if newest else "number: has no events"
        raise HTTPException(422, {"title": title, "fix": "Nothing is sent again."})


async def _view(app: App, relay: Relay) -> dict[str, Any]:
    name = name_of(relay.relay_id)
    troubles = [await app.store.load(name, shard, [TROUBLE_KEY]) for shard in range(app.log.partitions)]
    found = [_trouble(decode_state(Trouble, state[TROUBLE_KEY])) for state in troubles if state]
    return {
        "relay_id": relay.relay_id,
        "state": STATES.get(relay.paused_because) or ("failing" if found else "working"),
        "url": relay.url,
        "topics": relay.topics,
        "types": relay.types,
        "numbers": relay.numbers,
        "created_at": rfc3339(relay.created_at),
        "troubles": found,
    }


def _trouble(trouble: Trouble) -> dict[str, Any]:
    about = {name: getattr(trouble, name) for name in ("event_id", "type", "topic", "number", "attempts", "last")}
    instants = {name: rfc3339(at) for name in ("since", "next_at") if (at := getattr(trouble, name))}
    return about | {"seq": str(trouble.seq)} | instants


async def _tested(relaying: Relaying, relay: Relay, now: float) -> dict[str, Any]:
    event = Event(
        f"test:{uuid.uuid4()}", "relay.test", "test", b'{"relay_id":"%s"}' % relay.relay_id.encode(), now, now
    )
    if not relay.secrets:
        fix = "Put its key back into COEXIST_ENCRYPTION_KEYS and start again, or rotate the relay's secret."
        raise HTTPException(409, {"title": "no key opens the relay's secret", "fix": fix})
    body = body_of(Record("test", 0, 0, event, now))
    started = time.monotonic()
    result = await relaying.courier(relay).attempt(event, body)
    return {"taken": result.taken, "answer": result.told, "seconds": round(time.monotonic() - started, 3)}
