"""`coexist verify` after a restore: what was told before it may come again, once, and nothing else may."""

import json

import pytest

from schemas.ports import Event, Record
from schemas.topics import TIMELINE
from services.settings import Settings
from services.verify import verify

NUMBER = "106540352242922"
RESTORED_AT = 1_790_000_000.0
BEFORE, AFTER, LATER = (RESTORED_AT + offset for offset in (-10, 10, 20))


def added(wamid, seq, appended_at):
    """A message as timeline tells it."""
    data = {"conversation_id": "c1", "origin": "customer", "direction": "inbound", "historical": False}
    data |= {"kind": "text", "content": {"body": "Hola"}}
    event = Event(f"{wamid}:added", "message.added", NUMBER, json.dumps(data).encode(), 1.0, 1.0, wamid, seq=seq)
    return Record(TIMELINE, 0, seq - 1, event, appended_at)


class Told:
    """The books of an installation that has told these facts and stores nothing."""

    partitions = 1
    repeats_allowed = True

    def __init__(self, records, retold_since):
        self.retold_since = retold_since
        self._told = records

    async def begin(self, topic, partition):
        return 0

    async def records(self, topic, partition):
        if topic == TIMELINE:
            yield self._told

    async def states(self, processor, shard):
        return {}

    async def positions(self, processor, shard):
        return {}

    async def sequences(self):
        return {(TIMELINE, NUMBER): len(self._told)}

    async def installation_key(self):
        return b"k" * 32

    def stored_key(self, key):
        return key


@pytest.mark.parametrize(
    ("told_at", "since", "repeats"),
    [
        ([BEFORE, AFTER], RESTORED_AT, 1),
        ([BEFORE, AFTER, LATER], RESTORED_AT, 1),
        ([BEFORE, BEFORE, AFTER], RESTORED_AT, 2),
        ([AFTER, LATER], RESTORED_AT, 0),
        ([BEFORE, AFTER], 0.0, 0),
    ],
)
async def test_only_what_was_told_before_the_restore_may_come_again_and_once_since(told_at, since, repeats):
    books = Told([added("wamid.1", seq, at) for seq, at in enumerate(told_at, 1)], since)
    verdict = await verify(Settings(), books, LATER, lambda what: None)
    assert verdict.repeats == repeats
