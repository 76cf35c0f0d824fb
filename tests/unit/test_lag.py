import asyncio
from types import SimpleNamespace

from schemas.ports import Event, Record
from services.runner import Seen
from services.telemetry.lag import lag

NOW = 1_000.0


class Log:
    """The ends of places, and the record that stands at a position; `looked_at` are the places that were read."""

    def __init__(self, ends, appended_at):
        self.ends, self.appended_at, self.looked_at = ends, appended_at, []

    async def end(self, topic, partition):
        return self.ends[topic, partition]

    async def read(self, topic, partition, offset, limit):
        self.looked_at.append((topic, partition))
        event = Event("a", "b", "c", b"{}", 0, 0)
        return [Record(topic, partition, offset, event, self.appended_at[topic, partition])]


class Runner:
    def __init__(self, **seen):
        self.processor = SimpleNamespace(inputs=("inbound", "history"))
        self.seen = {("inbound", int(shard[1:])): one for shard, one in seen.items()}


def at(shard):
    return "inbound", shard


def told(runner, log):
    return asyncio.run(lag(runner, log, NOW))


def test_nobody_is_behind_where_nothing_stands_beyond_what_was_read():
    runner = Runner(s0=Seen(5, 100.0))
    assert told(runner, Log({at(0): 5}, {})).events == {"inbound": 0, "history": 0}
    assert runner.seen[at(0)].read_until == NOW


def test_events_are_counted_over_all_shards_and_the_oldest_unread_one_says_the_seconds():
    runner = Runner(s0=Seen(5, 700.0), s1=Seen(2, 900.0), s2=Seen(9, 10.0))
    log = Log({at(0): 8, at(1): 4, at(2): 9}, {at(0): 960.0, at(1): 950.0})
    found = told(runner, log)
    assert (found.events, found.seconds) == ({"inbound": 5, "history": 0}, 50.0)


def test_only_shards_that_may_be_worse_are_looked_at():
    runner = Runner(s0=Seen(0, 900.0), s1=Seen(0, 980.0))
    log = Log({at(0): 1, at(1): 1}, {at(0): 910.0, at(1): 990.0})
    assert told(runner, log).seconds == 90.0
    assert log.looked_at == [at(0)]


def test_a_shard_that_is_given_back_meanwhile_counts_no_more():
    runner = Runner(s0=Seen(0, 900.0))
    log = Log({at(0): 5}, {})

    async def end(topic, partition):
        runner.seen.clear()
        return 5

    log.end = end
    assert told(runner, log).events == {"inbound": 0, "history": 0}
