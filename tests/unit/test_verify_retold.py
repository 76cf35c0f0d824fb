"""`coexist verify` after a restore: what was told before it may come again, once, and nothing else may."""

import json

import pytest

from schemas.ports import Event, Record
from schemas.topics import TIMELINE
from services.settings import Settings
from services.verify.verdict import verify

NUMBER = "106540352242922"
NOW = 1_790_000_000.0
SKEW_S = 5.0


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

    def __init__(self, records, told_until):
        self.told_until = told_until
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
    ("times", "until", "repeats"),
    [
        (2, (1,), 1),
        (3, (1,), 1),
        (3, (2,), 2),
        (2, (0,), 0),
        (2, (), 0),
    ],
)
@pytest.mark.parametrize("step_s", [SKEW_S, 0, -SKEW_S])
async def test_only_what_was_told_before_the_restore_may_come_again_and_once_whatever_the_clocks(
    times, until, repeats, step_s
):
    records = [added("wamid.1", seq, NOW + seq * step_s) for seq in range(1, times + 1)]
    verdict = await verify(Settings(), Told(records, until), NOW, lambda what: None)
    assert verdict.repeats == repeats
