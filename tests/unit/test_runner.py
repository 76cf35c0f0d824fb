"""The only loop: one commit per batch, calls after it, poison set aside, timers that wait for evidence."""

import asyncio
from contextlib import asynccontextmanager
from itertools import pairwise
from time import monotonic, sleep

import orjson
import pytest

from schemas.ports import Commit, Decision, Event, Fenced, Record, Row, State, Timer, Unreadable, foreign
from schemas.topics import DEAD_LETTERS, HISTORY, INBOUND, OUTBOUND, TIMELINE, partition_of
from services.runner import (
    BATCH_RECORDS_MAX,
    BATCHES_PASSED_MAX,
    BEHIND_RESTS,
    BEHIND_S,
    LATELY_S,
    PATIENT_RECORDS_MAX,
    REST_S_MAX,
    TIMERS_MAX,
    Runner,
    Seen,
    _Loop,
)
from services.shard import Shard
from tests.conformance.adapters import PARTITIONS, SqlitePlace
from tests.harness import NUMBER, T0

SHARD = partition_of(NUMBER, PARTITIONS)
SOON_S = 60.0


class Count(State):
    seen: list[str] = []


class Counting:
    """Counts what it is told in one state per subject; what it is told decides what it does."""

    name = "counting"
    inputs = (INBOUND, OUTBOUND, HISTORY)

    def __init__(self):
        self.fired = []

    def parse(self, event, topic=""):
        data = orjson.loads(event.data)
        if data.get("bad"):
            raise ValueError("not what it should be")
        return data or None

    def keys(self, event, item):
        return [event.subject]

    def follow(self, key, state):
        return []

    def state_type(self, key):
        return Count

    def decide(self, states, event, item, now):
        if isinstance(event, Timer):
            self.fired.append((event.key, now))
            return Decision(states={event.key: Count(seen=[*states.get(event.key).seen, "fired"])})
        sleep(item.get("work_s", 0))
        if item.get("poison"):
            raise RuntimeError("poison")
        for key in item.get("chain", ()):
            states.get(key)
        known = states.get(event.subject)
        other = states.get(item["reads"]) if "reads" in item else None
        seen = [*(known.seen if known else []), event.id, *(other.seen if other else [])]
        heads = [key for key, _ in states.heads("line", 10.0, 3)] if item.get("heads") else []
        state = Count(wake_at=item.get("wake_at"), line=item.get("line"), place=item.get("place"), seen=seen + heads)
        return Decision(
            states={event.subject: state},
            emit=[(TIMELINE, Event(f"out:{event.id}", "x", NUMBER, b"{}", now, now))],
            calls=[event.id] if item.get("call") else [],
            notes=["noted"],
        )


class Told:
    def __init__(self):
        self.batches, self.times, self.notes, self.dead = [], [], [], []

    def committed(self, batch):
        self.batches.append(len(batch.records))
        self.times.append(monotonic())

    def noted(self, processor, notes):
        self.notes.extend(notes)

    def dead_lettered(self, processor, reason):
        self.dead.append(reason)


class Running:
    def __init__(self, place, perform=None):
        self.place, self.told, self.processor = place, Told(), Counting()
        self.runner = Runner(
            self.processor, place.log, place.store, place.clock, self.told, foreign=lambda _: Count, perform=perform
        )

    async def start(self, owner="a"):
        self.lease = await self.place.store.acquire("counting", SHARD, owner, 0.0)
        self.task = asyncio.create_task(self.runner.serve(self.lease))

    async def tell(self, *data, topic=INBOUND, subject="s"):
        count = await self.place.log.end(topic, SHARD)
        entries = [
            (topic, Event(f"{topic}{count + n}", "t", NUMBER, orjson.dumps(one), T0, T0, one.get("subject", subject)))
            for n, one in enumerate(data)
        ]
        await self.place.log.append(entries)
        return [event.id for _, event in entries]

    async def read(self):
        await until(self._all_read)

    async def _all_read(self):
        return sum(self.told.batches) == sum([await self.place.log.end(topic, SHARD) for topic in Counting.inputs])

    async def state(self, key):
        from services.shard import decode_state

        found = await self.place.store.load("counting", SHARD, [key])
        return decode_state(Count, found[key]) if key in found else None


async def until(true):
    async with asyncio.timeout(SOON_S):
        while not await true():  # noqa: ASYNC110 - looks at the store, which tells nobody
            await asyncio.sleep(0.005)


@asynccontextmanager
async def running(folder, perform=None):
    async with SqlitePlace(folder) as place:
        run = Running(place, perform)
        await run.start()
        try:
            yield run
        finally:
            run.task.cancel()
            await asyncio.gather(run.task, return_exceptions=True)


async def test_a_batch_is_decided_over_what_its_own_earlier_events_decided(tmp_path):
    async with running(tmp_path) as run:
        ids = await run.tell(*({"n": n} for n in range(50)))
        await run.read()
        assert (await run.state("s")).seen == ids
        assert len(run.told.batches) < 50
        assert await run.place.log.end(TIMELINE, SHARD) == 50


async def test_batches_are_bounded(tmp_path):
    async with running(tmp_path) as run:
        await run.tell(*({"n": n} for n in range(BATCH_RECORDS_MAX * 2)))
        await run.read()
        assert max(run.told.batches) <= BATCH_RECORDS_MAX
        assert len(run.told.notes) == BATCH_RECORDS_MAX * 2


async def test_records_are_taken_in_small_pieces_during_an_import_and_in_large_ones_after_it(tmp_path):
    async with running(tmp_path) as run:
        await run.tell(*({"n": n} for n in range(BATCH_RECORDS_MAX * 2)), topic=HISTORY)
        await run.read()
        gaps = [end - begin for begin, end in pairwise(run.told.times)]
        pieces = [count for count, gap_s in zip(run.told.batches[1:], gaps, strict=True) if gap_s < LATELY_S]
        assert max(pieces) == PATIENT_RECORDS_MAX

        async def large():
            await run.tell(*({"n": n} for n in range(BATCH_RECORDS_MAX)))
            await run.read()
            return run.told.batches[-1] == BATCH_RECORDS_MAX

        await until(large)


async def test_a_live_record_does_not_wait_for_the_end_of_an_import(tmp_path):
    async with running(tmp_path) as run:
        await run.tell(*({"n": n} for n in range(PATIENT_RECORDS_MAX * 40)), topic=HISTORY)
        await until(lambda: _has(run.told.batches))
        (live,) = await run.tell({"n": "live"}, subject="live")

        async def decided():
            return (await run.state("live")) is not None

        await until(decided)
        assert (await run.state("live")).seen == [live]
        await run.read()
        told = [record.event.id for record in await run.place.log.read(TIMELINE, SHARD, 0, PATIENT_RECORDS_MAX * 50)]
        assert told.index(f"out:{live}") < PATIENT_RECORDS_MAX * 30


async def test_a_shard_that_is_behind_rests_a_part_of_the_time_while_another_is_live(tmp_path):
    other = next(n for n in map(str, range(100)) if partition_of(n, PARTITIONS) != SHARD)
    async with SqlitePlace(tmp_path) as place:
        run = Running(place)
        await run.tell(*({"work_s": 0.001} for _ in range(BATCH_RECORDS_MAX * 2)))
        place.clock.now += BEHIND_S * 2
        lease = await place.store.acquire("counting", partition_of(other, PARTITIONS), "a", 0.0)
        serving = asyncio.create_task(run.runner.serve(lease))
        await place.log.append([(INBOUND, Event("live", "t", other, b'{"n": 0}', T0, T0, "live"))])
        await until(lambda: _has(run.told.batches))
        run.runner.live_at += SOON_S  # it was just now, however long the first batch of the backlog takes
        await run.start()
        try:
            await until(lambda: _has(run.told.batches[2:]))
        finally:
            for task in (run.task, serving):
                task.cancel()
            await asyncio.gather(run.task, serving, return_exceptions=True)
        assert run.told.batches == [1, BATCH_RECORDS_MAX, BATCH_RECORDS_MAX]
        assert run.told.times[2] - run.told.times[1] > (1 + BEHIND_RESTS) * 0.001 * BATCH_RECORDS_MAX


@asynccontextmanager
async def loop_over(folder, sweep=None):
    """The loop of one shard that nobody has started."""
    async with SqlitePlace(folder) as place:
        run = Running(place)
        lease = await place.store.acquire("counting", SHARD, "a", 0.0)
        reader = await place.log.reader(Counting.inputs, SHARD, {})
        for topic in Counting.inputs:
            run.runner.seen[topic, SHARD] = Seen(0, 0.0)
        yield _Loop(run.runner, Shard(run.processor, place.store, lease, lambda _: Count, {}), reader, lease, sweep)
        await reader.close()


def read(topic, appended_at):
    return Record(topic, SHARD, 0, Event("e", "t", NUMBER, b"{}", T0, T0), appended_at)


async def test_a_batch_that_stood_is_no_work_to_rest_from(tmp_path):
    async with loop_over(tmp_path) as loop:
        loop._runner.live_at = monotonic()
        loop._give_way([read(HISTORY, T0)], T0, 60.0)
        assert loop._rest_until < monotonic() + REST_S_MAX


async def test_a_topic_with_a_backlog_rests_and_its_fresh_neighbour_does_not(tmp_path):
    async with loop_over(tmp_path) as loop:
        loop._give_way([read(OUTBOUND, T0 - BEHIND_S - 1), read(INBOUND, T0)], T0, 0.05)
        assert loop._leaving == {HISTORY, OUTBOUND}
        assert loop._rest_until > loop._runner.live_at > 0


async def test_a_walk_that_finds_nothing_lets_others_have_their_turn(tmp_path):
    class Walking:
        busy = True

        async def turn(self, shard):
            return False

    async with loop_over(tmp_path, Walking()) as loop:
        walking = asyncio.create_task(loop.run())
        try:
            async with asyncio.timeout(SOON_S):
                for _ in range(100):
                    await asyncio.sleep(0)
        finally:
            walking.cancel()
            await asyncio.gather(walking, return_exceptions=True)


async def test_what_nothing_follows_from_is_committed_in_a_quiet_moment(tmp_path):
    async with running(tmp_path) as run:
        await run.tell({}, {}, {})

        async def stored():
            return (await run.place.store.positions("counting", SHARD)).get(INBOUND) == 3

        await until(stored)
        await until(lambda: _has(run.told.batches))
        assert run.told.batches == [0]


async def test_what_nothing_follows_from_is_committed_at_the_latest_after_some_batches(tmp_path):
    async with SqlitePlace(tmp_path) as place:
        run = Running(place)
        await run.tell(*({} for _ in range(BATCH_RECORDS_MAX * BATCHES_PASSED_MAX)))
        await run.start()
        try:
            await until(lambda: _has(run.told.batches))
        finally:
            run.task.cancel()
            await asyncio.gather(run.task, return_exceptions=True)
        assert run.told.batches[0] > 0


async def test_what_cannot_be_parsed_or_decided_is_a_dead_letter_and_stops_nobody(tmp_path):
    async with running(tmp_path) as run:
        await run.tell({"n": 1}, {"bad": 1}, {"poison": 1}, {"n": 2})
        await run.read()
        letters = await run.place.log.read(DEAD_LETTERS, SHARD, 0, 10)
        told = [orjson.loads(record.event.data) for record in letters]
        assert [(one["offset"], one["reason"]) for one in told] == [
            (1, "counting: ValueError"),
            (2, "counting: RuntimeError"),
        ]
        assert len((await run.state("s")).seen) == 2
        assert run.told.dead == ["ValueError", "RuntimeError"]


@pytest.mark.parametrize("about", [{"subject": "torn"}, {"chain": ["torn"]}], ids=["known before", "asked for"])
async def test_a_state_that_cannot_be_read_ends_the_work_and_makes_nobody_a_dead_letter(tmp_path, about):
    async with SqlitePlace(tmp_path) as place:
        run = Running(place)
        lease = await place.store.acquire("counting", SHARD, "a", 0.0)
        await place.store.commit(Commit(lease, rows={"torn": Row(b"not a state")}))
        await run.tell({"ok": True, **about})
        await run.start()
        with pytest.raises(Unreadable):
            await asyncio.wait_for(run.task, SOON_S)
        assert await place.log.end(DEAD_LETTERS, SHARD) == 0
        assert (await place.store.positions("counting", SHARD)).get(INBOUND, 0) == 0


async def test_states_that_a_decider_asks_for_later_are_loaded_and_it_is_asked_again(tmp_path):
    async with running(tmp_path) as run:
        (first,) = await run.tell({"n": 1}, subject="a")
        await run.read()
        await run.tell({"reads": "a"}, subject="b")
        await run.tell({"reads": foreign("counting", "a")}, subject="c")
        await run.read()
        assert (await run.state("b")).seen[1:] == [first]
        assert (await run.state("c")).seen[1:] == [first]


async def test_heads_show_the_line_as_committed(tmp_path):
    async with running(tmp_path) as run:
        await run.tell(*({"line": "line", "place": float(n), "subject": f"k{n}"} for n in range(5)))
        await run.read()
        await run.tell({"heads": 1})
        await run.read()
        assert (await run.state("s")).seen[1:] == ["k0", "k1", "k2"]


async def test_calls_are_made_only_after_the_commit(tmp_path):
    seen = []

    async def perform(call, lease):
        at = await run.place.store.positions("counting", SHARD)
        seen.append((call, at[INBOUND], lease))

    async with running(tmp_path, perform) as run:
        (call,) = await run.tell({"call": 1})
        await run.read()
        await run.runner.drain(run.lease)
        assert seen == [(call, 1, run.lease)]


async def test_a_call_that_fails_does_not_stop_the_loop(tmp_path):
    async def perform(call, lease):
        raise RuntimeError("the network is gone")

    async with running(tmp_path, perform) as run:
        await run.tell({"call": 1})
        await run.read()
        await run.tell({"n": 1})
        await run.read()
        assert len((await run.state("s")).seen) == 2


async def test_an_owner_that_was_overtaken_stops_at_its_next_commit(tmp_path):
    async with running(tmp_path) as run:
        await run.tell({"n": 1})
        await run.read()
        other = await run.place.store.acquire("counting", SHARD, "b", 60.0)
        await run.tell({"n": 2})
        with pytest.raises(Fenced):
            async with asyncio.timeout(SOON_S):
                await run.task
        assert other.epoch == run.lease.epoch + 1
        assert len((await run.state("s")).seen) == 1
        assert await run.place.log.end(TIMELINE, SHARD) == 1


async def test_a_new_owner_goes_on_where_the_old_one_stood(tmp_path):
    async with running(tmp_path) as run:
        first = await run.tell({"n": 1}, {"n": 2})
        await run.read()
        run.task.cancel()
        await asyncio.gather(run.task, return_exceptions=True)
        second = await run.tell({"n": 3})
        await run.start("b")
        await run.read()
        assert (await run.state("s")).seen == first + second


async def test_a_timer_fires_when_its_time_has_come_and_not_before(tmp_path):
    async with running(tmp_path) as run:
        await run.tell({"wake_at": T0 + 60})
        await run.read()
        assert run.processor.fired == []
        run.place.clock.now = T0 + 60
        await until(lambda: _has(run.processor.fired))
        assert run.processor.fired == [("s", T0 + 60)]
        await until(lambda: _seen(run, "fired"))


async def test_a_timer_waits_until_everything_that_came_before_it_was_read(tmp_path):
    """After a stop of an hour the evidence lies in `inbound`: it is read before any timer fires."""
    async with running(tmp_path) as run:
        await run.tell({"wake_at": T0 + 60})
        await run.read()
        run.task.cancel()
        await asyncio.gather(run.task, return_exceptions=True)
        evidence = await run.tell(*({"n": n, "subject": "other"} for n in range(1_000)))
        await run.tell({"wake_at": None})
        run.place.clock.now = T0 + 3600
        await run.start("b")
        await run.read()
        assert (await run.state("other")).seen == evidence
        assert run.processor.fired == []


async def test_many_timers_fire_in_batches(tmp_path):
    async with running(tmp_path) as run:
        await run.tell(*({"wake_at": T0 + 1, "subject": f"k{n}"} for n in range(TIMERS_MAX + 50)))
        await run.read()
        run.place.clock.now = T0 + 2
        await until(lambda: _has(run.processor.fired, TIMERS_MAX + 50))
        assert len(set(run.processor.fired)) == TIMERS_MAX + 50


async def _has(fired, count=1):
    return len(fired) >= count


async def _seen(run, what):
    return (await run.state("s")).seen[-1] == what


async def test_a_decider_may_ask_for_any_number_of_states_one_after_the_other(tmp_path):
    async with running(tmp_path) as run:
        await run.tell({"chain": [f"k{n}" for n in range(300)]})
        await run.read()
        assert run.told.dead == []


class SlowStore:
    """Commits when it is let go."""

    def __init__(self, store):
        self._store, self.began, self.go = store, asyncio.Event(), asyncio.Event()

    def __getattr__(self, name):
        return getattr(self._store, name)

    async def commit(self, commit):
        self.began.set()
        await self.go.wait()
        await self._store.commit(commit)


async def test_a_stop_in_the_middle_of_a_commit_still_makes_the_calls_it_asked_for(tmp_path):
    made = []

    async def perform(call, _lease):
        made.append(call)

    async with SqlitePlace(tmp_path) as place:
        run = Running(place, perform)
        run.runner._store = slow = SlowStore(place.store)
        await run.start()
        (event_id,) = await run.tell({"call": True})
        await slow.began.wait()
        run.task.cancel()
        slow.go.set()
        await asyncio.gather(run.task, return_exceptions=True)
        await run.runner.drain(run.lease)
    assert made == [event_id]
