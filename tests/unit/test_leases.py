"""How shards are shared: evenly, by everybody's own reckoning, and never by two at once."""

import asyncio
from collections import Counter
from time import monotonic

import pytest

from schemas.ports import Attendance, Fenced, Lease
from services.leases import LeaseKeeper, fair_share

SHARDS = 12
SOON_S = 60.0
TTL_S = 1.0
GRACE_S = 60.0
"""So much longer a lease lasts in the store: the loop may stand still for a while, and nobody is overtaken."""


async def until(check):
    async with asyncio.timeout(SOON_S):
        while True:
            if check():
                return
            await asyncio.sleep(0.01)


class Leases:
    """A `Store` of leases alone, with a clock that runs."""

    def __init__(self):
        self.leases = {}
        self.members = {}

    async def attend(self, processor, owner, ttl_s):
        now = monotonic()
        self.members[owner] = now + ttl_s + GRACE_S
        held = {}
        for shard, (holder, epoch, expires_at) in self.leases.items():
            if holder == owner and expires_at > 0:
                self.leases[shard] = (owner, epoch, now + ttl_s + GRACE_S)
                held[shard] = epoch
        owners = tuple(sorted(name for name, until in self.members.items() if until > now))
        taken = {shard for shard, (holder, _, until) in self.leases.items() if holder != owner and until > now}
        return Attendance(owners, held, frozenset(taken))

    async def depart(self, processor, owner):
        self.members.pop(owner, None)

    async def acquire(self, processor, shard, owner, ttl_s):
        holder, epoch, expires_at = self.leases.get(shard, ("", 0, 0))
        if holder not in ("", owner) and expires_at > monotonic():
            return None
        self.leases[shard] = (owner, epoch + 1, monotonic() + ttl_s + GRACE_S)
        return Lease(processor, shard, owner, epoch + 1)

    async def release(self, lease):
        holder, epoch, _ = self.leases[lease.shard]
        if (holder, epoch) == (lease.owner, lease.epoch):
            self.leases[lease.shard] = (holder, epoch, 0)


class Owners:
    """Keepers that share the shards; `serving` is who works for what just now."""

    def __init__(self):
        self.store = Leases()
        self.serving = Counter()
        self.tasks = {}
        self.keepers = {}

    def start(self, name):
        async def serve(lease):
            self.serving[lease.shard] += 1
            assert self.serving[lease.shard] == 1, "two owners work for one shard"
            try:
                await asyncio.Event().wait()
            finally:
                self.serving[lease.shard] -= 1

        keeper = self.keepers[name] = LeaseKeeper("p", self.store, name, TTL_S, serve)
        self.tasks[name] = asyncio.create_task(keeper.run(SHARDS))

    async def stop(self, name):
        task = self.tasks.pop(name)
        del self.keepers[name]
        task.cancel()
        await asyncio.wait([task])

    async def shares(self, *wanted):
        """Wait until the keepers hold so many each, and work for all of them: a task begins a moment later."""

        def so():
            held = sorted(len(keeper.held) for keeper in self.keepers.values())
            return held == sorted(wanted) and +self.serving == Counter(range(SHARDS))

        await until(so)


@pytest.fixture
async def owners():
    owners = Owners()
    yield owners
    for name in list(owners.tasks):
        await owners.stop(name)


@pytest.mark.parametrize("shards", [1, 7, 12, 100])
@pytest.mark.parametrize("count", [1, 2, 5, 13])
def test_shares_are_even_and_add_up(shards, count):
    names = tuple(f"o{n:02}" for n in range(count))
    shares = [fair_share(shards, names, name) for name in names]
    assert sum(shares) == shards
    assert max(shares) - min(shares) <= 1
    assert fair_share(shards, names, "stranger") == 0


async def test_one_owner_holds_all(owners):
    owners.start("a")
    await owners.shares(12)


async def test_a_newcomer_gets_its_share_and_a_leaver_gives_it_back(owners):
    owners.start("a")
    await owners.shares(12)
    owners.start("b")
    await owners.shares(6, 6)
    owners.start("c")
    await owners.shares(4, 4, 4)
    await owners.stop("a")
    await owners.shares(6, 6)
    await owners.stop("c")
    await owners.shares(12)


async def test_shards_of_an_owner_that_vanished_are_taken_once_they_expire(owners):
    owners.store.members["ghost"] = monotonic() + TTL_S
    for shard in range(SHARDS):
        owners.store.leases[shard] = ("ghost", 1, monotonic() + TTL_S)
    owners.start("a")
    await owners.shares(12)


async def test_an_owner_that_comes_back_under_its_name_takes_up_its_old_shards_at_once(owners):
    owners.start("a")
    owners.start("b")
    await owners.shares(6, 6)
    before = set(owners.keepers["b"].held)
    epochs = {shard: lease.epoch for shard, lease in owners.keepers["b"].held.items()}
    leases, members = dict(owners.store.leases), dict(owners.store.members)
    over_at = min(expires_at for _, _, expires_at in leases.values())
    await owners.stop("b")
    owners.store.leases, owners.store.members = leases, members  # it was killed: nothing was given back
    owners.start("b")
    await until(lambda: owners.keepers["b"].held)
    assert monotonic() < over_at
    held = owners.keepers["b"].held
    assert set(held) == before
    assert all(lease.epoch > epochs[shard] for shard, lease in held.items())
    await owners.shares(6, 6)


async def test_a_lease_that_was_lost_is_not_held_while_its_work_is_being_stopped():
    store, certain = Leases(), []

    async def serve(lease):
        try:
            await asyncio.Event().wait()
        finally:
            certain.append(keeper.holds(lease, 0))

    keeper = LeaseKeeper("p", store, "a", TTL_S, serve)
    task = asyncio.create_task(keeper.run(1))
    await until(lambda: keeper.held)
    store.leases[0] = ("b", 2, monotonic() + 60)  # as after a freeze: another owner has taken over meanwhile
    await until(lambda: certain)
    assert certain == [False]
    task.cancel()
    await asyncio.wait([task])


async def test_a_fenced_shard_is_dropped_and_taken_again(owners):
    told = asyncio.Event()
    served = []

    async def serve(lease):
        served.append(lease)
        if len(served) == 1:
            raise Fenced("elsewhere")
        told.set()
        await asyncio.Event().wait()

    keeper = LeaseKeeper("p", Leases(), "a", TTL_S, serve)
    task = asyncio.create_task(keeper.run(1))
    async with asyncio.timeout(SOON_S):
        await told.wait()
    assert served[1].epoch > served[0].epoch
    await until(lambda: keeper.holds(served[1], 0))
    assert not keeper.holds(served[0], 0)
    task.cancel()
    await asyncio.wait([task])


async def test_a_lease_is_not_held_for_longer_than_it_lasts(owners):
    owners.start("a")
    await owners.shares(12)
    keeper = owners.keepers["a"]
    lease = keeper.held[0]
    await until(lambda: keeper.holds(lease, 0))
    assert not keeper.holds(lease, TTL_S)


async def test_a_shard_is_given_back_only_when_its_calls_have_ended():
    store, ended, order = Leases(), asyncio.Event(), []

    async def serve(lease):
        await asyncio.Event().wait()

    async def drain(lease):
        order.append("drain")
        await ended.wait()
        order.append("drained")

    keeper = LeaseKeeper("p", store, "a", 60.0, serve, drain)
    task = asyncio.create_task(keeper.run(1))
    await until(lambda: keeper.held)
    task.cancel()
    await until(lambda: order)
    assert store.leases[0][2] > monotonic()
    ended.set()
    await asyncio.wait([task])
    assert order == ["drain", "drained"]
    assert store.leases[0][2] == 0
