"""What every `EventLog` and its `Reader` must do, whatever they stand on (schemas.ports)."""

import asyncio

import pytest

from schemas.ports import Event
from schemas.topics import DEAD_LETTERS, HISTORY, INBOUND, OUTBOUND, RECORD_BYTES_MAX, TIMELINE, TOPICS, partition_of
from tests.conformance.adapters import LOGS, PARTITIONS, each

SOON_S = 60.0
NUMBERS = [f"10654035224292{n}" for n in range(8)]
ONE = NUMBERS[0]


@pytest.fixture(params=each(LOGS))
async def place(request, tmp_path):
    async with LOGS[request.param](tmp_path) as open_place:
        yield open_place


@pytest.fixture
def log(place):
    return place.log


def made(name, number=ONE, **more):
    return Event(f"id-{name}", "webhook.message", number, b'{"n":1}', 1_790_000_000.5, 1_790_000_001.25, **more)


def where(number=ONE):
    return partition_of(number, PARTITIONS)


async def everything(log, topic, partition):
    return list(await log.read(topic, partition, 0, 10_000))


async def drained(reader, count, limit=100):
    """Poll until `count` records have come."""
    found = []
    async with asyncio.timeout(SOON_S):
        while len(found) < count:
            found.extend(await reader.poll(limit, 1.0))
    return found


async def test_what_was_appended_is_durable_when_append_returns(place):
    await place.log.append([(INBOUND, made("a")), (INBOUND, made("b"))])
    await place.reopen()
    assert [record.event.id for record in await everything(place.log, INBOUND, where())] == ["id-a", "id-b"]


async def test_an_event_comes_back_as_it_was(log):
    event = Event(
        "wamid.1:added", "message.added", ONE, b'{"content":{"body":"Qu\xc3\xa8 tal? \xf0\x9f\x98\x80"}}',
        1_790_000_000.125, 1_790_000_000.25, "wamid.1", "", 0, "m:wamid.1", "00-abc-def-01",
    )  # fmt: skip
    await log.append([(TIMELINE, event)])
    (record,) = await everything(log, TIMELINE, where())
    assert record.event == event
    assert (record.topic, record.partition, record.offset) == (TIMELINE, where(), 0)
    assert record.appended_at > 0


async def test_a_tombstone_and_empty_data_are_told_apart(log):
    gone = Event("c1:retired", "conversation.state", ONE, None, 1.0, 1.0, "c1", "c1")
    await log.append([("conversations", gone), (INBOUND, Event("e", "webhook.unknown", ONE, b"", 1.0, 1.0))])
    assert (await everything(log, "conversations", where()))[0].event.data is None
    assert (await everything(log, INBOUND, where()))[0].event.data == b""


async def test_a_key_lies_on_the_partition_of_its_number(log):
    await log.append([(INBOUND, made(number, number)) for number in NUMBERS])
    for number in NUMBERS:
        found = [record.event.number for record in await everything(log, INBOUND, where(number))]
        assert number in found
    assert log.partitions == PARTITIONS


async def test_a_conversations_record_lies_with_its_number_whatever_its_key(log):
    await log.append([("conversations", made(f"c{n}", key=f"c{n}")) for n in range(20)])
    assert len(await everything(log, "conversations", where())) == 20


async def test_offsets_count_from_0_without_gaps_and_keep_the_order(place):
    for start in range(0, 60, 20):
        await place.log.append([(INBOUND, made(f"{start + n}")) for n in range(20)])
        await place.reopen()
    records = await everything(place.log, INBOUND, where())
    assert [record.offset for record in records] == list(range(60))
    assert [record.event.id for record in records] == [f"id-{n}" for n in range(60)]
    assert await place.log.end(INBOUND, where()) == 60


async def test_appends_of_one_moment_lose_nothing_and_keep_each_callers_order(log):
    async def caller(name):
        for n in range(10):
            await log.append([(INBOUND, made(f"{name}-{n}-{part}")) for part in range(3)])

    async with asyncio.timeout(SOON_S):
        await asyncio.gather(*(caller(name) for name in range(10)))
    ids = [record.event.id for record in await everything(log, INBOUND, where())]
    assert len(set(ids)) == len(ids) == 300
    for name in range(10):
        mine = [i for i in ids if i.startswith(f"id-{name}-")]
        assert mine == [f"id-{name}-{n}-{part}" for n in range(10) for part in range(3)]


async def test_topics_and_partitions_do_not_touch_each_other(log):
    await log.append([(INBOUND, made("a")), (HISTORY, made("b")), (INBOUND, made("c", NUMBERS[1]))])
    assert [record.event.id for record in await everything(log, HISTORY, where())] == ["id-b"]
    for partition in {0, 1, 2} - {where()}:
        assert await everything(log, HISTORY, partition) == []
    assert await log.end(OUTBOUND, where()) == 0


async def test_every_topic_of_the_contract_is_there(log):
    await log.append([(topic, made(topic)) for topic in TOPICS])
    for topic in TOPICS:
        assert await log.end(topic, where()) == 1


async def test_reading_is_bounded_and_begins_where_it_is_asked_to(log):
    await log.append([(INBOUND, made(n)) for n in range(30)])
    records = await log.read(INBOUND, where(), 12, 7)
    assert [record.offset for record in records] == list(range(12, 19))
    assert list(await log.read(INBOUND, where(), 30, 7)) == []


async def test_the_largest_record_passes(log):
    body = b'"' + b"x" * (RECORD_BYTES_MAX - 65_536) + b'"'
    await log.append([(DEAD_LETTERS, Event("big", "dead.letter", ONE, body, 1.0, 1.0))])
    (record,) = await everything(log, DEAD_LETTERS, where())
    assert record.event.data == body


# --- readers


async def test_a_reader_without_positions_begins_at_the_start(log):
    await log.append([(INBOUND, made(n)) for n in range(5)])
    reader = await log.reader([INBOUND], where(), {})
    assert [record.offset for record in await drained(reader, 5)] == list(range(5))
    assert dict(reader.positions()) == {INBOUND: 5}
    await reader.close()


async def test_a_reader_goes_on_from_its_positions(log):
    await log.append([(INBOUND, made(n)) for n in range(5)])
    reader = await log.reader([INBOUND, HISTORY], where(), {INBOUND: 3})
    assert [record.offset for record in await drained(reader, 2)] == [3, 4]
    assert reader.positions()[HISTORY] == 0
    await reader.close()


async def test_a_reader_hands_out_each_record_once_in_order_however_small_the_pieces(log):
    await log.append([(INBOUND, made(n)) for n in range(50)])
    reader = await log.reader([INBOUND], where(), {})
    found = await drained(reader, 50, limit=7)
    assert [record.offset for record in found] == list(range(50))
    assert list(await reader.poll(7, 0)) == []
    await reader.close()


async def test_poll_hands_out_no_more_than_its_limit(log):
    await log.append([(INBOUND, made(n)) for n in range(50)])
    reader = await log.reader([INBOUND], where(), {})
    async with asyncio.timeout(SOON_S):
        while not (first := await reader.poll(7, 1.0)):
            pass
    assert len(first) <= 7
    await reader.close()


async def test_a_reader_prefers_the_first_topic_and_starves_none(log):
    await log.append([(topic, made(f"{topic}{n}")) for n in range(200) for topic in (HISTORY, INBOUND)])
    reader = await log.reader([INBOUND, HISTORY], where(), {})
    found = await drained(reader, 200, limit=10)
    half = [record.topic for record in found[:200]]
    assert half.count(INBOUND) > half.count(HISTORY) > 0
    found += await drained(reader, 400 - len(found), limit=10)
    for topic in (INBOUND, HISTORY):
        assert [record.offset for record in found if record.topic == topic] == list(range(200))
    await reader.close()


async def test_poll_waits_for_the_first_record_and_wakes_with_it(log):
    reader = await log.reader([INBOUND, HISTORY], where(), {})
    waiting = asyncio.create_task(reader.poll(10, SOON_S))
    await asyncio.sleep(0)
    assert not waiting.done()
    await log.append([(HISTORY, made("a"))])
    async with asyncio.timeout(SOON_S):
        assert [record.event.id for record in await waiting] == ["id-a"]
    await reader.close()


async def test_poll_neither_takes_from_nor_wakes_for_topics_that_it_leaves(log):
    reader = await log.reader([INBOUND, HISTORY], where(), {})
    waiting = asyncio.create_task(reader.poll(10, SOON_S, frozenset({HISTORY})))
    await log.append([(HISTORY, made("a"))])
    await log.append([(INBOUND, made("b"))])
    async with asyncio.timeout(SOON_S):
        assert [record.event.id for record in await waiting] == ["id-b"]
        assert list(await reader.poll(10, 0.01, frozenset({HISTORY}))) == []
        assert [record.event.id for record in await drained(reader, 1)] == ["id-a"]
    await reader.close()


async def test_poll_gives_up_when_nothing_comes(log):
    reader = await log.reader([INBOUND], where(), {})
    async with asyncio.timeout(SOON_S):
        assert list(await reader.poll(10, 0.01)) == []
        assert list(await reader.poll(10, 0)) == []
    await reader.close()


async def test_a_record_of_another_partition_is_not_handed_out(log):
    other = next(number for number in NUMBERS if where(number) != where())
    reader = await log.reader([INBOUND], where(), {})
    await log.append([(INBOUND, made("other", other)), (INBOUND, made("mine"))])
    assert [record.event.id for record in await drained(reader, 1)] == ["id-mine"]
    await reader.close()


async def test_ends_are_what_was_durable_when_asked(log):
    reader = await log.reader([INBOUND, HISTORY], where(), {})
    for n in range(1, 6):
        await log.append([(INBOUND, made(n))])
        ends = await reader.ends()
        assert (ends[INBOUND], ends[HISTORY]) == (n, 0)
    await reader.close()


async def test_ends_do_not_move_the_position(log):
    await log.append([(INBOUND, made("a"))])
    reader = await log.reader([INBOUND], where(), {})
    await reader.ends()
    assert reader.positions()[INBOUND] == 0
    assert len(await drained(reader, 1)) == 1
    await reader.close()


async def test_closing_twice_and_while_nobody_polls_is_silent(log):
    reader = await log.reader([INBOUND], where(), {})
    async with asyncio.timeout(SOON_S):
        await reader.close()
        await reader.close()
    await log.append([(INBOUND, made("a"))])
