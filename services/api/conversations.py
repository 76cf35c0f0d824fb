"""`/v1/conversations`: who owns each, what was said, and how a person takes one or gives it back."""

import uuid
from functools import partial
from typing import Annotated, Any

import orjson
from fastapi import Body, FastAPI, HTTPException, Query
from fastapi.responses import JSONResponse

from echo_sync.message import Message, added_data
from schemas.instants import rfc3339
from schemas.ports import FAR, NOWHERE, Event
from schemas.states import CONVERSATIONS, MESSAGES, Conversation, conversation_key
from schemas.topics import OUTBOUND, TIMELINE, partition_of
from services.api import pages
from services.api.door import checked, refuse_strays
from services.api.patience import soon
from services.api.sends import encoded, find, write
from services.console.conversations import page, search
from services.running import App
from services.shard import decode_state

PAGE_MAX = 1_000
FIELDS = {"takeover": ("minutes", "by"), "release": ("by",), "assign": ("assignee", "by")}
"""What may be said beside each action."""

Limit = Annotated[int, Query(ge=1, le=PAGE_MAX)]
Optional = Annotated[dict[str, Any] | None, Body()]


def add(api: FastAPI, app: App) -> None:
    """Add the routes."""

    @api.get("/v1/conversations")
    async def get_conversations(number: str, limit: Limit = 100, after: float = NOWHERE, q: str = "") -> JSONResponse:
        """The conversations of a number, the latest first. `after`: the `after` of the page before, while there is one.

        `q` searches instead: a conversation id, a phone, a user id, or a part of a name.
        """
        if q.strip():
            return JSONResponse({"conversations": [view(state) for state in await search(app, number, q, limit)]})
        found = await page(app, number, limit, after)
        return JSONResponse({"conversations": [view(state) for state in found.states], "after": found.after})

    @api.get("/v1/conversations/{conversation_id}")
    async def get_conversation(conversation_id: str) -> JSONResponse:
        """The state of one conversation; a merged one answers under its old id too."""
        return JSONResponse(view(await conversation(app, conversation_id)))

    @api.get("/v1/conversations/{conversation_id}/timeline")
    async def get_timeline(conversation_id: str, limit: Limit = 100, after: float = NOWHERE) -> JSONResponse:
        """The newest messages of a conversation, in the order in which they were sent.

        `after`: the `after` of the page before, while there is one, for what is older. `seq`: everything the number's
        `timeline` tells up to there is in it; whoever goes on with the topic from there misses nothing.
        """
        state = await conversation(app, conversation_id)
        shard = partition_of(state.number, app.log.partitions)
        seq = await app.store.sequence(TIMELINE, state.number)
        found = await pages.page(app.store, MESSAGES, shard, state.conversation_id, Message, limit, after)
        told = [shown(message) for message in reversed(found.states)]
        body = {"conversation_id": state.conversation_id, "seq": str(seq), "messages": told, "after": found.after}
        return JSONResponse(body)

    @api.post("/v1/conversations/{conversation_id}/{action}", status_code=202)
    async def act(conversation_id: str, action: str, body: Optional = None) -> JSONResponse:
        """Take over (`{minutes?, by?}`), release (`{by?}`) or assign (`{assignee}`) a conversation."""
        if action not in FIELDS:
            raise HTTPException(404, {"title": "no such action", "fix": "Use takeover, release or assign."})
        state = await conversation(app, conversation_id)
        now = app.clock()
        kind = f"conversation.{action}"
        refuse_strays(body or {}, FIELDS[action])
        told = {"conversation_id": state.conversation_id, "number": state.number, **(body or {})}
        checked(kind, told)
        data = encoded(told)
        event = Event(f"{action}:{uuid.uuid4()}", kind, state.number, data, now, now, state.conversation_id)
        await write(app, OUTBOUND, event)
        return JSONResponse({"conversation_id": state.conversation_id}, 202)


async def conversation(app: App, conversation_id: str) -> Conversation:
    """The conversation under an id or an alias. Raises HTTPException 404.

    Its messages are told of before it is written down, so whoever asks for one that was just told of waits a moment.
    """
    key = conversation_key(conversation_id)
    value = await find(app, CONVERSATIONS, key)
    if value is None and await _is_told_of(app, conversation_id):
        value = await soon(partial(find, app, CONVERSATIONS, key))
    if value is None:
        raise HTTPException(404, {"title": "no such conversation", "fix": "List them at /v1/conversations?number=…"})
    state: Conversation = decode_state(Conversation, value)
    return await conversation(app, state.merged_into) if state.merged_into else state


async def _is_told_of(app: App, conversation_id: str) -> bool:
    for shard in range(app.log.partitions):
        if await app.store.heads(MESSAGES, shard, conversation_id, FAR, 1):
            return True
    return False


def view(state: Conversation) -> dict[str, Any]:
    """What was last told of a conversation, with its version."""
    told: dict[str, Any] = orjson.loads(state.told or b"{}")
    return told | {"version": state.version}


def shown(message: Message) -> dict[str, Any]:
    """A message as it stands now: edits, media, a revoke and its status included."""
    told: dict[str, Any] = orjson.loads(orjson.dumps(added_data(message)))
    if message.edit_id:
        told |= {"content": orjson.loads(message.edit_content or b"{}"), "edited_at": rfc3339(message.edit_at)}
    if message.media:
        told["media"] = orjson.loads(message.media)
    if message.revoked_at:
        told.pop("media", None)
        told |= {"content": {}, "revoked_at": rfc3339(message.revoked_at)}
    if message.current:
        told["status"] = message.current
    return told
