"""What every `Store` must do, whatever it stands on (schemas.ports)."""

import asyncio

import pytest

from schemas.ports import Commit, Event, Fenced, Lease, Row
from schemas.topics import CONVERSATIONS, SENDS, TIMELINE, partition_of
from tests.conformance.adapters import PARTITIONS, STORES, each

SOON_S = 60.0
NAME = "echo_sync.messages"
ONE, TWO = "106540352242922", "106540352242923"
SHARD = partition_of(ONE, PARTITIONS)


@pytest.fixture(params=each(STORES))
async def place(request, tmp_path):
    async with STORES[request.param](tmp_path) as open_place:
        yield open_place


@pytest.fixture
def store(place):
    return place.store


async def taken(store, owner="a", processor=NAME, ttl_s=60.0):
    lease = await store.acquire(processor, SHARD, owner, ttl_s)
    assert lease is not None
    return lease


def told(name, number=ONE, key=""):
    return Event(f"id-{name}", "message.added", number, b"{}", 1.0, 1.0, f"wamid.{name}", key)


async def read(place, topic, number=ONE, count=0):
    """The events of a topic, once `count` are there: outputs may follow their commit by a moment."""
    async with asyncio.timeout(SOON_S):
        while True:
            found = await place.log.read(topic, partition_of(number, PARTITIONS), 0, 1_000)
            mine = [record.event for record in found if record.event.number == number]
            if len(mine) >= count:
                return mine
            await asyncio.sleep(0.01)


# --- all or nothing


async def test_a_commit_is_durable_as_a_whole_when_it_returns(place):
    lease = await taken(place.store)
    rows = {"m/1": Row(b"one"), "m/2": Row(b"two", 5.0)}
    await place.store.commit(Commit(lease, {"inbound": 7, "history": 3}, rows, [(TIMELINE, told("a"))]))
    await place.reopen()
    assert await place.store.positions(NAME, SHARD) == {"inbound": 7, "history": 3}
    assert await place.store.load(NAME, SHARD, ["m/1", "m/2"]) == {"m/1": b"one", "m/2": b"two"}
    assert [event.id for event in await read(place, TIMELINE, count=1)] == ["id-a"]


async def test_an_old_epoch_is_fenced_and_leaves_nothing(place):
    store = place.store
    old = await taken(store)
    await store.commit(Commit(old, {"inbound": 1}, {"m/1": Row(b"mine")}))
    place.clock.now += 61
    new = await taken(store, "b")
    assert new.epoch > old.epoch
    with pytest.raises(Fenced):
        await store.commit(Commit(old, {"inbound": 9}, {"m/1": Row(b"zombie"), "m/9": Row(b"x")}, [(SENDS, told("z"))]))
    assert await store.positions(NAME, SHARD) == {"inbound": 1}
    assert await store.load(NAME, SHARD, ["m/1", "m/9"]) == {"m/1": b"mine"}
    await store.commit(Commit(new, {}, {}, [(SENDS, told("y"))]))
    assert [(event.id, event.seq) for event in await read(place, SENDS, count=1)] == [("id-y", 1)]


async def test_a_fenced_commit_hurts_nobody_who_commits_at_the_same_moment(place):
    store = place.store
    old = await taken(store)
    place.clock.now += 61
    new = await taken(store, "b")
    results = await asyncio.gather(
        store.commit(Commit(old, {}, {"m/1": Row(b"old")})),
        store.commit(Commit(new, {}, {"m/2": Row(b"new")})),
        store.commit(Commit(old, {}, {"m/3": Row(b"old")})),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [Fenced, type(None), Fenced]
    assert await store.load(NAME, SHARD, ["m/1", "m/2", "m/3"]) == {"m/2": b"new"}


async def test_a_lease_that_was_never_given_is_fenced(store):
    await taken(store)
    with pytest.raises(Fenced):
        await store.commit(Commit(Lease(NAME, SHARD, "a", 99)))
    with pytest.raises(Fenced):
        await store.commit(Commit(Lease(NAME, SHARD, "somebody", 1)))


async def test_a_commit_without_anything_still_checks_the_fence(place):
    old = await taken(place.store)
    await place.store.commit(Commit(old))
    place.clock.now += 61
    await taken(place.store, "b")
    with pytest.raises(Fenced):
        await place.store.commit(Commit(old))


# --- leases


async def test_a_shard_has_one_owner_until_the_lease_is_over(place):
    store = place.store
    lease = await taken(store, "a", ttl_s=10)
    assert await store.acquire(NAME, SHARD, "b", 10) is None
    place.clock.now += 9
    assert await store.acquire(NAME, SHARD, "b", 10) is None
    place.clock.now += 2
    assert (await taken(store, "b")).epoch == lease.epoch + 1


async def test_shards_and_processors_are_leased_by_themselves(store):
    await taken(store, "a")
    assert await store.acquire(NAME, (SHARD + 1) % PARTITIONS, "b", 10) is not None
    assert await store.acquire("sender.delivery", SHARD, "b", 10) is not None


async def test_renewing_holds_the_lease(place):
    store = place.store
    lease = await taken(store, "a", ttl_s=10)
    for _ in range(5):
        place.clock.now += 8
        await store.renew(lease, 10)
    assert await store.acquire(NAME, SHARD, "b", 10) is None


async def test_renewing_a_lost_lease_is_fenced(place):
    lease = await taken(place.store, "a", ttl_s=10)
    place.clock.now += 11
    await taken(place.store, "b")
    with pytest.raises(Fenced):
        await place.store.renew(lease, 10)


async def test_what_was_given_back_is_free_at_once_and_its_old_lease_is_worthless(store):
    lease = await taken(store, "a")
    await store.release(lease)
    new = await taken(store, "b")
    assert new.epoch > lease.epoch
    with pytest.raises(Fenced):
        await store.commit(Commit(lease))
    await store.release(lease)  # lost already: silent
    await store.commit(Commit(new))


async def test_an_owner_that_comes_back_gets_a_new_epoch(place):
    first = await taken(place.store, "a")
    await place.reopen()
    second = await taken(place.store, "a")
    assert second.epoch > first.epoch
    with pytest.raises(Fenced):
        await place.store.commit(Commit(first))


# --- seq


async def test_seq_counts_by_key_and_topic_without_gaps_across_commits_and_restarts(place):
    for round_ in range(3):
        lease = await taken(place.store)
        for n in range(4):
            outputs = [(TIMELINE, told(f"{round_}-{n}-{i}")) for i in range(3)]
            await place.store.commit(Commit(lease, {}, {}, [*outputs, (SENDS, told(f"s{round_}-{n}"))]))
        await place.reopen()
    timeline = await read(place, TIMELINE, count=36)
    assert [event.seq for event in timeline] == list(range(1, 37))
    assert [event.seq for event in await read(place, SENDS, count=12)] == list(range(1, 13))


async def test_each_number_has_its_own_seq(place):
    lease = await taken(place.store)
    outputs = [(TIMELINE, told(f"{number}-{n}", number)) for n in range(3) for number in (ONE, TWO)]
    await place.store.commit(Commit(lease, {}, {}, outputs))
    for number in (ONE, TWO):
        assert [event.seq for event in await read(place, TIMELINE, number, 3)] == [1, 2, 3]


async def test_the_last_seq_of_a_key_is_known_and_0_before_its_first(place):
    lease = await taken(place.store)
    await place.store.commit(Commit(lease, {}, {}, [(TIMELINE, told(f"n{n}")) for n in range(3)]))
    assert await place.store.sequence(TIMELINE, ONE) == 3
    assert await place.store.sequence(TIMELINE, TWO) == 0
    assert await place.store.sequence(SENDS, ONE) == 0


async def test_states_are_counted_by_the_beginning_of_their_keys(place):
    lease = await place.store.acquire("p", 0, "owner", 10)
    await place.store.commit(Commit(lease, rows={key: Row(b"v") for key in ("x/1", "x/2", "x/é\uffff", "y/1", "x")}))
    await place.store.commit(Commit(lease, rows={"x/1": None}))
    assert [await place.store.count("p", 0, prefix) for prefix in ("x/", "y/", "z/", "")] == [2, 1, 0, 4]
    assert await place.store.count("p", 1, "x/") == 0
    assert await place.store.count("never met", 0, "x/") == 0


async def test_a_topic_that_is_not_sequenced_has_no_seq_and_keeps_its_keys(place):
    lease = await taken(place.store)
    state = Event("c1:1", "conversation.state", ONE, b"{}", 1.0, 1.0, "c1", "c1")
    gone = Event("c2:retired", "conversation.state", ONE, None, 1.0, 1.0, "c2", "c2")
    await place.store.commit(Commit(lease, {}, {}, [(CONVERSATIONS, state), (CONVERSATIONS, gone)]))
    found = await read(place, CONVERSATIONS, count=2)
    assert [(event.key, event.seq, event.data) for event in found] == [("c1", 0, b"{}"), ("c2", 0, None)]


async def test_outputs_keep_their_order_and_all_their_fields(place):
    lease = await taken(place.store)
    event = Event("i", "message.added", ONE, b'{"a":1}', 1.5, 2.5, "wamid.1", "", 0, "m:wamid.1", "00-t-s-01")
    await place.store.commit(Commit(lease, {}, {}, [(TIMELINE, event), (TIMELINE, told("b"))]))
    first, second = await read(place, TIMELINE, count=2)
    assert (first.id, first.data, first.at, first.recorded_at) == ("i", b'{"a":1}', 1.5, 2.5)
    assert (first.subject, first.cause, first.trace, first.seq) == ("wamid.1", "m:wamid.1", "00-t-s-01", 1)
    assert second.id == "id-b"


# --- states, timers, lines


async def test_a_row_is_replaced_as_a_whole_and_removed_as_a_whole(store):
    lease = await taken(store)
    await store.commit(Commit(lease, {}, {"k/1": Row(b"a", 10.0, "line", 1.0), "k/2": Row(b"b")}))
    await store.commit(Commit(lease, {}, {"k/1": Row(b"c"), "k/2": None, "k/3": None}))
    assert await store.load(NAME, SHARD, ["k/1", "k/2", "k/3"]) == {"k/1": b"c"}
    assert await store.next_wake(NAME, SHARD) is None
    assert await store.heads(NAME, SHARD, "line", 1e12, 10) == []


async def test_loading_gives_what_exists_and_no_more(store):
    lease = await taken(store)
    await store.commit(Commit(lease, {}, {f"m/{n}": Row(str(n).encode()) for n in range(500)}))
    wanted = [f"m/{n}" for n in range(250, 750)]
    found = await store.load(NAME, SHARD, wanted)
    assert set(found) == {f"m/{n}" for n in range(250, 500)}
    assert found["m/300"] == b"300"
    assert await store.load(NAME, SHARD, []) == {}


async def test_before_the_first_commit_there_is_nothing(store):
    assert await store.positions(NAME, SHARD) == {}
    assert await store.load(NAME, SHARD, ["m/1"]) == {}
    assert await store.due(NAME, SHARD, 1e12, 10) == []
    assert await store.next_wake(NAME, SHARD) is None
    assert await store.heads(NAME, SHARD, "line", 1e12, 10) == []


async def test_keys_and_values_of_any_bytes_and_letters_come_back(store):
    lease = await taken(store)
    rows = {"m/wamid.HBgLÀ=+/é😀": Row(bytes(range(256))), "m/%_'\"\\": Row(b"")}
    await store.commit(Commit(lease, {}, rows))
    assert await store.load(NAME, SHARD, list(rows)) == {key: row.value for key, row in rows.items()}


async def test_processors_and_shards_do_not_see_each_others_states(store):
    other_shard = (SHARD + 1) % PARTITIONS
    lease = await taken(store)
    other = await store.acquire(NAME, other_shard, "a", 60)
    sender = await taken(store, processor="sender.delivery")
    for owner, value in ((lease, b"one"), (other, b"two"), (sender, b"three")):
        await store.commit(Commit(owner, {"inbound": len(value)}, {"k": Row(value, 1.0, "l", 1.0)}))
    assert await store.load(NAME, SHARD, ["k"]) == {"k": b"one"}
    assert await store.load(NAME, other_shard, ["k"]) == {"k": b"two"}
    assert await store.load("sender.delivery", SHARD, ["k"]) == {"k": b"three"}
    assert await store.heads("sender.delivery", SHARD, "l", 2.0, 5) == [("k", b"three")]
    assert await store.positions("sender.delivery", SHARD) == {"inbound": 5}


async def test_timers_come_earliest_first_up_to_the_instant_and_the_limit(store):
    lease = await taken(store)
    wakes = {"a": 30.0, "b": 10.0, "c": 20.0, "d": None, "e": 20.5}
    await store.commit(Commit(lease, {}, {key: Row(b"x", at) for key, at in wakes.items()}))
    assert await store.due(NAME, SHARD, 20.0, 10) == ["b", "c"]
    assert await store.due(NAME, SHARD, 100.0, 3) == ["b", "c", "e"]
    assert await store.due(NAME, SHARD, 9.9, 10) == []
    assert await store.next_wake(NAME, SHARD) == 10.0
    await store.commit(Commit(lease, {}, {"b": Row(b"x"), "c": None}))
    assert await store.next_wake(NAME, SHARD) == 20.5


async def test_heads_are_in_order_between_the_bounds_and_up_to_the_limit(store):
    lease = await taken(store)
    places = {"a": 3.0, "b": -1.0, "c": 2.0, "d": 1.0, "e": 7.0}
    rows = {key: Row(key.encode(), None, "line", at) for key, at in places.items()}
    rows["x"] = Row(b"x", None, "other", 0.0)
    rows["y"] = Row(b"y")
    await store.commit(Commit(lease, {}, rows))
    assert await store.heads(NAME, SHARD, "line", 3.0, 10) == [("b", b"b"), ("d", b"d"), ("c", b"c"), ("a", b"a")]
    assert await store.heads(NAME, SHARD, "line", 100.0, 2) == [("b", b"b"), ("d", b"d")]
    assert await store.heads(NAME, SHARD, "line", 100.0, 10, after=2.0) == [("a", b"a"), ("e", b"e")]
    assert await store.heads(NAME, SHARD, "nobody", 100.0, 10) == []


async def test_positions_are_those_of_the_last_commit_and_the_others_stay(store):
    lease = await taken(store)
    await store.commit(Commit(lease, {"inbound": 5, "history": 2}))
    await store.commit(Commit(lease, {"inbound": 6}))
    assert await store.positions(NAME, SHARD) == {"inbound": 6, "history": 2}


async def test_the_installations_key_stays_the_same_for_ever(place):
    key = await place.store.installation_key()
    assert len(key) >= 32
    assert await place.store.installation_key() == key
    await place.reopen()
    assert await place.store.installation_key() == key


# --- attendance


async def test_attendance_names_the_one_who_asks_and_what_it_holds(place):
    lease = await taken(place.store, "a", ttl_s=10)
    seen = await place.store.attend(NAME, "a", 10)
    assert "a" in seen.owners
    assert (dict(seen.held), SHARD in seen.taken) == ({SHARD: lease.epoch}, False)


async def test_attendance_holds_all_leases_of_its_owner(place):
    store = place.store
    await store.attend(NAME, "a", 10)
    await taken(store, "a", ttl_s=10)
    for _ in range(3):
        place.clock.now += 8
        await store.attend(NAME, "a", 10)
    assert await store.acquire(NAME, SHARD, "b", 10) is None


async def test_who_departs_may_come_back(place):
    await place.store.attend(NAME, "a", 10)
    await place.store.depart(NAME, "a")
    await place.store.depart(NAME, "a")
    assert "a" in (await place.store.attend(NAME, "a", 10)).owners


# --- walking over states


async def test_a_scan_goes_over_all_states_of_a_prefix_once_in_the_order_of_their_keys(store):
    lease = await taken(store)
    keys = [f"m/{n:03}" for n in range(25)] + ["a/1", "n/é", "n/z"]
    await store.commit(Commit(lease, rows={key: Row(key.encode()) for key in keys}))
    found, after = [], ""
    while page := await store.scan(NAME, SHARD, "", after, 10):
        assert len(page) <= 10
        found += page
        after = page[-1][0]
    assert found == [(key, key.encode()) for key in sorted(keys, key=str.encode)]
    assert [key for key, _ in await store.scan(NAME, SHARD, "n/", "", 10)] == ["n/z", "n/é"]
    assert [key for key, _ in await store.scan(NAME, SHARD, "m/", "m/023", 10)] == ["m/024"]
    assert await store.scan("nobody", SHARD, "", "", 10) == []
