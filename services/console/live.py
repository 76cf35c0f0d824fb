"""One conversation as it happens: its facts, its states and the outcomes of its sends, as server-sent events."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from time import monotonic
from typing import Any

import orjson
from fastapi.responses import StreamingResponse

from schemas.cloudevents import cloudevent
from schemas.instants import rfc3339
from schemas.ports import Record
from schemas.states import Conversation
from schemas.topics import CONVERSATIONS, SENDS, TIMELINE, partition_of
from services.running import App

TOPICS = (TIMELINE, CONVERSATIONS, SENDS)
RECORDS_MAX = 200
BACK_MAX = 5_000
"""States of a partition that are looked at for changes of the owner."""
KEEP_ALIVE_S = 15.0
STREAM_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


async def follow(app: App, conversation: Conversation) -> StreamingResponse:
    """The events of a conversation from now on, so from before the answer begins. Only its own partition is read.

    Every outcome of a send from its number is among them: an outcome need not name the conversation, and the place of
    a command in its line may change with any of them.
    """
    partition = partition_of(conversation.number, app.log.partitions)
    ends = {topic: await app.log.end(topic, partition) for topic in TOPICS}
    lines = _lines(app, conversation, partition, ends)
    return StreamingResponse(lines, media_type="text/event-stream", headers=STREAM_HEADERS)


async def _lines(app: App, conversation: Conversation, partition: int, ends: Mapping[str, int]) -> AsyncIterator[bytes]:
    reader = await app.log.reader(TOPICS, partition, ends)
    try:
        yield b": connected\n\n"
        silent_until = monotonic() + KEEP_ALIVE_S
        while not app.stopping.is_set():
            records = await reader.poll(RECORDS_MAX, KEEP_ALIVE_S)
            wanted = [record for record in records if concerns(record, conversation)]
            if wanted or monotonic() > silent_until:
                yield b"".join(map(_line, wanted)) or b": alive\n\n"
                silent_until = monotonic() + KEEP_ALIVE_S
            await asyncio.sleep(0)
    finally:
        await reader.close()


async def owners(app: App, conversation: Conversation) -> list[dict[str, Any]]:
    """Who owned the conversation from when on, oldest first, as far as the newest states of its partition tell."""
    partition = partition_of(conversation.number, app.log.partitions)
    end = await app.log.end(CONVERSATIONS, partition)
    offset = max(0, end - BACK_MAX)
    found: list[dict[str, Any]] = []
    while offset < end and (records := await app.log.read(CONVERSATIONS, partition, offset, RECORDS_MAX)):
        offset = records[-1].offset + 1
        own = (record.event for record in records if record.event.key == conversation.conversation_id)
        for event in own:
            state = orjson.loads(event.data or b"{}")
            change = {name: state.get(name) for name in ("owner", "assignee", "version")}
            if not found or any(found[-1][name] != change[name] for name in ("owner", "assignee")):
                found.append(change | {"at": rfc3339(event.at)})
        await asyncio.sleep(0)
    return found


def concerns(record: Record, conversation: Conversation) -> bool:
    """Whether a record may change what the page shows of the conversation."""
    event = record.event
    if event.number != conversation.number:
        return False
    named = b'"%b"' % conversation.conversation_id.encode()
    return record.topic == SENDS or event.key == conversation.conversation_id or named in (event.data or b"")


def _line(record: Record) -> bytes:
    return b"data: %b\n\n" % orjson.dumps(cloudevent(record))
