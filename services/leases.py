"""Who works for which shard: takes a fair share of leases, keeps them while the work goes on, gives them back.

Every second an owner says that it is there, which also holds its leases, and learns who else is. The shares follow from
that list alone: each of m owners holds n/m of n shards, the first n mod m one more. Whoever holds more gives back,
whoever holds less takes what is free; so shards move within seconds on start and stop, and within `ttl_s` plus a look
on a crash. An owner that comes back under its name (`services.owner`) takes up what it still holds at once.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic

import structlog

from schemas.ports import Attendance, Fenced, Lease, LogUnavailable, Store

LOOK_S = 1.0
"""How often an owner says that it is there and looks who else is."""
RETRY_S = 0.5
"""How soon a shard is taken anew after its work broke off."""

log = structlog.get_logger()
Work = Callable[[Lease], Awaitable[None]]


def fair_share(shards: int, owners: Sequence[str], owner: str) -> int:
    """How many shards `owner` holds when all is even. `owners` in order; one that is not listed holds none."""
    if owner not in owners:
        return 0
    return shards // len(owners) + (owners.index(owner) < shards % len(owners))


class LeaseKeeper:
    """Holds the owner's share of one processor's shards, and runs `serve` for each while it is held.

    `drain(lease)` waits for what `serve` left under way, such as requests to Graph; only then the lease is given back.
    """

    def __init__(
        self,
        processor: str,
        store: Store,
        owner: str,
        ttl_s: float,
        serve: Work,
        drain: Work | None = None,
    ) -> None:
        self._processor = processor
        self._store = store
        self._owner = owner
        self._ttl_s = ttl_s
        self._serve = serve
        self._drain = drain
        self._share = -1
        self._until = 0.0
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._again_at: dict[int, float] = {}
        self.held: dict[int, Lease] = {}

    async def run(self, shards: int) -> None:
        """Hold and serve until cancelled; an unforeseen failure of one shard ends it all."""
        try:
            while True:
                await self._look(shards)
                await self._wait()
        finally:
            await self._stop(list(self._tasks))
            await asyncio.gather(self._store.depart(self._processor, self._owner), return_exceptions=True)

    def holds(self, lease: Lease, for_s: float) -> bool:
        """Is this lease certainly ours for another `for_s` seconds, by our own clock?"""
        return self.held.get(lease.shard) == lease and self._until - monotonic() > for_s

    def settled(self) -> bool:
        """Does this owner hold its share?"""
        return 0 <= self._share <= len(self.held)

    async def _look(self, shards: int) -> None:
        asked_at = monotonic()
        try:
            async with asyncio.timeout(self._ttl_s):
                now = await self._store.attend(self._processor, self._owner, self._ttl_s)
        except (LogUnavailable, TimeoutError) as problem:
            log.warning("leases_not_renewed", processor=self._processor, error=type(problem).__name__)
            return
        lost = [shard for shard, lease in self.held.items() if now.held.get(shard) != lease.epoch]
        for shard in lost:
            del self.held[shard]
        self._until = asked_at + self._ttl_s
        await self._stop(lost)
        self._share = fair_share(shards, now.owners, self._owner)
        await self._give_back(now)
        await self._take(shards, now)

    async def _give_back(self, now: Attendance) -> None:
        surplus = sorted(self._tasks)[max(self._share, 0) :]
        if surplus:
            log.info("shards_given_back", processor=self._processor, count=len(surplus))
            await self._stop(surplus)
        strays = [shard for shard in now.held if shard not in self._tasks and len(self._tasks) >= self._share]
        for shard in strays:
            await self._release(Lease(self._processor, shard, self._owner, now.held[shard]))

    async def _take(self, shards: int, now: Attendance) -> None:
        free = [
            shard
            for shard in self._order(shards, now)
            if shard not in self._tasks and shard not in now.taken and self._again_at.get(shard, 0) < monotonic()
        ]
        missing = max(0, self._share - len(self._tasks))
        await asyncio.gather(*(self._acquire(shard) for shard in free[:missing]))

    def _order(self, shards: int, now: Attendance) -> list[int]:
        """All shards: first those that are ours from a former life, then from where this owner's would stand.

        So a process that comes back moves nothing, and two who start together seldom collide.
        """
        first = now.owners.index(self._owner) * shards // len(now.owners) if self._owner in now.owners else 0
        return sorted(((first + shard) % shards for shard in range(shards)), key=lambda shard: shard not in now.held)

    async def _acquire(self, shard: int) -> None:
        asked_at = monotonic()
        try:
            lease = await self._store.acquire(self._processor, shard, self._owner, self._ttl_s)
        except LogUnavailable:
            return
        if lease is not None:
            self._until = min(self._until, asked_at + self._ttl_s)
            self.held[shard] = lease
            self._tasks[shard] = asyncio.create_task(self._work(lease), name=f"{self._processor}/{shard}")

    async def _work(self, lease: Lease) -> None:
        try:
            await self._serve(lease)
        except Fenced:
            log.warning("fenced", processor=self._processor, shard=lease.shard)
        except LogUnavailable as problem:
            log.warning("shard_dropped", processor=self._processor, shard=lease.shard, error=type(problem).__name__)
        finally:
            self.held.pop(lease.shard, None)
            if self._drain is not None:
                await self._drain(lease)
            await self._release(lease)

    async def _release(self, lease: Lease) -> None:
        try:
            await self._store.release(lease)
        except LogUnavailable:
            log.warning("lease_not_given_back", processor=self._processor, shard=lease.shard, reason="it expires")

    async def _stop(self, shards: Sequence[int]) -> None:
        tasks = [self._tasks.pop(shard) for shard in shards if shard in self._tasks]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _wait(self) -> None:
        """Until the next look. A shard whose work broke off is taken anew a little later."""
        look_s = min(LOOK_S, self._ttl_s / 4)
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=look_s, return_when=asyncio.FIRST_COMPLETED)
        else:
            await asyncio.sleep(look_s)
        for shard, task in list(self._tasks.items()):
            if task.done():
                del self._tasks[shard]
                self._again_at[shard] = monotonic() + RETRY_S
                task.result()
