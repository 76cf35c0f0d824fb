"""Dead letters as an operator meets them: look, replay, discard.

What was done with a letter is a state of its own in the store, under its place on the topic: durable in both editions
by the contract that they are tested for, without a table or an event type of its own, and the lease's epoch keeps two
operators apart. A replay is appended first and marked then. A crash between the two leaves the letter open, and a
record that is appended twice is what its topic promises anyway: at least once, known by its id. (As an output of the
same commit it would wait in the cluster's outbox, which only the processors' own shards publish.)
"""

from dataclasses import dataclass
from typing import Any

import msgspec
import orjson
from fastapi import HTTPException

from schemas.instants import rfc3339
from schemas.ports import Commit, Event, Fenced, LogUnavailable, Record, Row, State
from schemas.topics import DEAD_LETTERS, TOPICS
from services.api.topics import is_one_of
from services.running import App
from services.shard import decode_state

NAME = "services.dead_letters"
"""The owner of these states, as a processor is."""
OWNER = "console"
LEASE_S = 10.0
LETTERS_MAX = 1_000
"""Letters of a partition that are looked at, the newest; more of them than that are one problem, not many."""
OFFSETS = 1 << 40
"""Beyond every offset that there can be."""
OPEN, REPLAYED, DISCARDED = "open", "replayed", "discarded"
NOWHERE = {
    "title": "no such dead letter",
    "fix": "`coexist dead-letters list` and GET /v1/dead-letters show those that there are.",
}
SETTLED = {"title": "it was settled already", "fix": "Nothing is left to do; the letter says what was done, and when."}
AGAIN = {"title": "the store is busy", "fix": "Try it again in a moment."}


class Settled(State):
    """What was done with a letter, and when."""

    action: str = ""
    at: float = 0


@dataclass(frozen=True, slots=True)
class Letter:
    """A record of `dead-letters` and what was done with it. `id` is its place: partition and offset."""

    record: Record
    settled: Settled | None

    @property
    def id(self) -> str:
        """What the address of a letter ends with."""
        return f"{self.record.partition}-{self.record.offset}"

    @property
    def state(self) -> str:
        """open, replayed or discarded."""
        return self.settled.action if self.settled is not None else OPEN


async def letters(app: App) -> list[Letter]:
    """The letters that are kept, newest first."""
    found: list[Letter] = []
    for partition in range(app.log.partitions):
        end = await app.log.end(DEAD_LETTERS, partition)
        records = await _records(app, partition, max(0, end - LETTERS_MAX), end)
        settled = await app.store.load(NAME, partition, [_key(record.offset) for record in records])
        found.extend(_letter(record, settled.get(_key(record.offset))) for record in records)
    return sorted(found, key=lambda letter: -letter.record.appended_at)


async def letter(app: App, letter_id: str) -> Letter:
    """One letter. Raises HTTPException 404."""
    partition, _, offset = letter_id.partition("-")
    if is_one_of(partition, app.log.partitions) and is_one_of(offset, OFFSETS):
        records = await app.log.read(DEAD_LETTERS, int(partition), int(offset), 1)
        if records and records[0].offset == int(offset):
            settled = await app.store.load(NAME, int(partition), [_key(int(offset))])
            return _letter(records[0], settled.get(_key(int(offset))))
    raise HTTPException(404, NOWHERE)


async def replay(app: App, letter_id: str) -> None:
    """Append the record that could not be handled to its topic once more.

    Raises HTTPException 409 when the letter is settled, or when its topic tells each fact once: whoever follows
    `timeline` would otherwise meet the fact twice.
    """
    found = await letter(app, letter_id)
    told = orjson.loads(found.record.event.data or b"{}")
    topic = str(told["topic"])
    if topic not in TOPICS:
        raise HTTPException(409, {"title": f"{topic} is no topic any more", "fix": "Discard the letter."})
    if TOPICS[topic].sequenced:
        fix = f"States are rebuilt from {topic}, which still holds the fact. Discard the letter."
        raise HTTPException(409, {"title": f"each fact stands on {topic} once", "fix": fix})
    event = await _original(app, told, found.record.event)
    await _settle(app, found, REPLAYED, [(topic, event)])


async def discard(app: App, letter_id: str) -> None:
    """Mark a letter as done with. Raises HTTPException 409 when it is settled."""
    await _settle(app, await letter(app, letter_id), DISCARDED, [])


def view(found: Letter, *, raw: bool = False) -> dict[str, Any]:
    """A letter for the page; `raw`: with the record's data as text."""
    told: dict[str, Any] = orjson.loads(found.record.event.data or b"{}")
    if not raw:
        told.pop("raw", None)
    about = {"id": found.id, "state": found.state, "number": found.record.event.number}
    about["at"] = rfc3339(found.record.appended_at)
    if found.settled is not None:
        about["settled_at"] = rfc3339(found.settled.at)
    return told | about


async def _settle(app: App, found: Letter, action: str, again: list[tuple[str, Event]]) -> None:
    shard, key = found.record.partition, _key(found.record.offset)
    try:
        lease = await app.store.acquire(NAME, shard, OWNER, LEASE_S)
        if lease is None:
            raise HTTPException(503, AGAIN)
        if await app.store.load(NAME, shard, [key]):
            raise HTTPException(409, SETTLED)
        row = Row(msgspec.msgpack.encode(Settled(action=action, at=app.clock())))
        if again:
            await app.log.append(again)
        await app.store.commit(Commit(lease, rows={key: row}))
        await app.store.release(lease)
    except (Fenced, LogUnavailable):
        raise HTTPException(503, AGAIN) from None


async def _original(app: App, told: dict[str, Any], letter_event: Event) -> Event:
    """The record as it stood, from its own topic while that keeps it, else from what the letter keeps."""
    stood = "offset" in told
    records = await app.log.read(told["topic"], told["partition"], told["offset"], 1) if stood else []
    if records and records[0].event.id == told["event_id"]:
        return records[0].event
    now = app.clock()
    data = str(told["raw"]).encode()
    return Event(told["event_id"], told["type"], letter_event.number, data, letter_event.at, now, letter_event.subject)


async def _records(app: App, partition: int, offset: int, end: int) -> list[Record]:
    found: list[Record] = []
    while offset < end and (records := await app.log.read(DEAD_LETTERS, partition, offset, end - offset)):
        found.extend(records)
        offset = records[-1].offset + 1
    return found


def _letter(record: Record, settled: bytes | None) -> Letter:
    return Letter(record, None if settled is None else decode_state(Settled, settled))


def _key(offset: int) -> str:
    return f"d/{offset:012d}"
