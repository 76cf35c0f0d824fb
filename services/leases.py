"""Who works for which shard: takes leases, keeps them while the work goes on, gives them back at the end."""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic

import structlog

from schemas.ports import Fenced, Lease, Store

RETRY_S = 1.0
"""How soon a shard that another owner holds is asked for again."""

log = structlog.get_logger()


class LeaseKeeper:
    """Holds every shard of one processor that can be had, and runs `serve` for each while it is held."""

    def __init__(
        self, processor: str, store: Store, owner: str, ttl_s: float, serve: Callable[[Lease], Awaitable[None]]
    ) -> None:
        self._processor = processor
        self._store = store
        self._owner = owner
        self._ttl_s = ttl_s
        self._serve = serve
        self.held: dict[int, Lease] = {}
        self._until: dict[int, float] = {}

    async def run(self, shards: int) -> None:
        """Hold and serve until cancelled; an unforeseen failure of one shard ends it all."""
        try:
            async with asyncio.TaskGroup() as group:
                for shard in range(shards):
                    group.create_task(self._keep(shard), name=f"{self._processor}/{shard}")
        finally:
            await asyncio.gather(*(self._store.release(lease) for lease in self.held.values()), return_exceptions=True)

    def holds(self, lease: Lease, for_s: float) -> bool:
        """Is this lease certainly ours for another `for_s` seconds, by our own clock?"""
        return self.held.get(lease.shard) == lease and self._until[lease.shard] - monotonic() > for_s

    async def _keep(self, shard: int) -> None:
        while True:
            lease = await self._store.acquire(self._processor, shard, self._owner, self._ttl_s)
            if lease is None:
                await asyncio.sleep(RETRY_S)
                continue
            self.held[shard] = lease
            self._until[shard] = monotonic() + self._ttl_s
            try:
                await self._work(lease)
            except* Fenced:
                log.warning("fenced", processor=self._processor, shard=shard)
                self.held.pop(shard, None)

    async def _work(self, lease: Lease) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._renew(lease))
            group.create_task(self._serve_one(lease))

    async def _serve_one(self, lease: Lease) -> None:
        await self._serve(lease)

    async def _renew(self, lease: Lease) -> None:
        while True:
            await asyncio.sleep(self._ttl_s / 3)
            asked_at = monotonic()
            await self._store.renew(lease, self._ttl_s)
            self._until[lease.shard] = asked_at + self._ttl_s
