"""Topics as server-sent events: a reader that lost its connection goes on where it was, by `Last-Event-ID`."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Annotated

import orjson
from fastapi import FastAPI, Header, HTTPException, Query
from fastapi.responses import StreamingResponse

from schemas.cloudevents import cloudevent
from schemas.ports import LogUnavailable, Record
from schemas.topics import TOPICS
from services.running import App

PUBLIC = ("timeline", "conversations", "contacts", "account", "sends")
BATCH_RECORDS_MAX = 200
QUEUE_BATCHES_MAX = 64
"""A reader slower than this holds up its own stream, and nobody else's."""
KEEP_ALIVE_S = 15.0
NO_STORE = {"Cache-Control": "no-store"}
"""Browsers keep a 410 and answer the same address from it, whatever place is asked for, unless told not to."""
OFFSETS = 1 << 63
"""Beyond every offset that there can be."""

FromStart = Annotated[bool | None, Query()]
LastId = Annotated[str | None, Header()]


def add(api: FastAPI, app: App) -> None:
    """Add the routes."""

    @api.get("/v1/topics/{topic}/events")
    async def get_topic(topic: str, from_start: FromStart = None, last_event_id: LastId = None) -> StreamingResponse:
        """The events of a topic as they come, or from its start."""
        name = topic.removeprefix(f"{app.settings.topic_prefix}.")
        if name not in TOPICS:
            raise HTTPException(404, {"title": "no such topic", "fix": f"There are: {', '.join(TOPICS)}."})
        return await stream(app, [name], last_event_id, from_start=bool(from_start))

    @api.get("/v1/events")
    async def get_events(from_start: FromStart = None, last_event_id: LastId = None) -> StreamingResponse:
        """The events of all public topics."""
        return await stream(app, PUBLIC, last_event_id, from_start=bool(from_start))


async def stream(app: App, topics: Sequence[str], last_event_id: str | None, *, from_start: bool) -> StreamingResponse:
    """Server-sent events of some topics; the id of each is the position after it on every partition.

    The place where it begins comes first, as an id without an event: who loses the connection before the first event
    goes on from there, too.
    """
    positions = await _positions(app, topics, last_event_id, from_start=from_start)
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return StreamingResponse(_lines(app, topics, positions), media_type="text/event-stream", headers=headers)


async def _lines(app: App, topics: Sequence[str], positions: dict[tuple[str, int], int]) -> AsyncIterator[bytes]:
    batches: asyncio.Queue[Sequence[Record]] = asyncio.Queue(QUEUE_BATCHES_MAX)
    readers = [
        asyncio.create_task(_read(app, topics, partition, dict(positions), batches))
        for partition in range(app.log.partitions)
    ]
    try:
        yield b": connected\nid: %b\n\n" % (_place(positions) or f"{topics[0]}/0:0".encode())
        while not app.stopping.is_set():
            try:
                async with asyncio.timeout(KEEP_ALIVE_S):
                    records = await batches.get()
            except TimeoutError:
                yield b": alive\n\n"
                continue
            yield b"".join(_line(record, positions) for record in records)
    finally:
        for task in readers:
            task.cancel()
        await asyncio.gather(*readers, return_exceptions=True)


def _line(record: Record, positions: dict[tuple[str, int], int]) -> bytes:
    positions[record.topic, record.partition] = record.offset + 1
    return b"id: %b\ndata: %b\n\n" % (_place(positions), orjson.dumps(cloudevent(record)))


def _place(positions: dict[tuple[str, int], int]) -> bytes:
    """As `Last-Event-ID` has it; what is at the start is left out."""
    return ",".join(
        f"{topic}/{partition}:{offset}" for (topic, partition), offset in positions.items() if offset
    ).encode()


async def _read(
    app: App,
    topics: Sequence[str],
    partition: int,
    positions: dict[tuple[str, int], int],
    batches: asyncio.Queue[Sequence[Record]],
) -> None:
    own = {topic: positions.get((topic, partition), 0) for topic in topics}
    reader = await app.log.reader(topics, partition, own)
    try:
        while True:
            records = await reader.poll(BATCH_RECORDS_MAX, KEEP_ALIVE_S)
            if records:
                await batches.put(records)
    finally:
        await reader.close()


async def _positions(
    app: App, topics: Sequence[str], last: str | None, *, from_start: bool
) -> dict[tuple[str, int], int]:
    """Where to begin: after the last event that was seen, at the start, or at the end.

    Raises HTTPException: 400 for what is no place, 410 for one that the log has not reached, 503 where it is away.
    """
    if last:
        return await _reached(app, _places(topics, last, app.log.partitions))
    if last is not None or from_start:
        return {}
    partitions = range(app.log.partitions)
    return {(topic, partition): await _end(app, topic, partition) for topic in topics for partition in partitions}


def _places(topics: Sequence[str], last: str, partitions: int) -> dict[tuple[str, int], int]:
    found: dict[tuple[str, int], int] = {}
    for part in last.split(","):
        place, _, offset = part.rpartition(":")
        topic, _, partition_text = place.rpartition("/")
        known = topic in topics and is_one_of(partition_text, partitions) and is_one_of(offset, OFFSETS)
        if not known:
            raise HTTPException(400, {"title": "Last-Event-ID is not one of ours", "fix": "Send it as it came."})
        found[topic, int(partition_text)] = int(offset)
    return found


async def _reached(app: App, places: dict[tuple[str, int], int]) -> dict[tuple[str, int], int]:
    """The places. One ahead of the log is of another log: whoever waited there would miss what stands before it."""
    for (topic, partition), offset in places.items():
        if offset > await _end(app, topic, partition):
            title = f"{topic}/{partition}:{offset} lies ahead of the log: was the service put back from a backup?"
            fix = "Read from the start (from_start=1), or from the end, without Last-Event-ID."
            raise HTTPException(410, {"title": title, "fix": fix}, NO_STORE)
    return places


async def _end(app: App, topic: str, partition: int) -> int:
    try:
        return await app.log.end(topic, partition)
    except LogUnavailable:
        raise HTTPException(503, {"title": "the log is not available", "fix": "Ask again in a moment."}) from None


def is_one_of(text: str, count: int) -> bool:
    """Whether a text is one of so many numbers from 0 on. Text of any length is safe."""
    return text.isascii() and text.isdecimal() and len(text) <= len(str(count)) and int(text) < count
