"""The role `relay`: keeps a courier and a share of the shards for every relay that works.

It looks at the registry once a second, so a relay that was added, paused or given another secret anywhere in the
installation is served accordingly everywhere.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import httpx
import structlog

from schemas.ports import EventLog, Lease, LogUnavailable, Store
from services.leases import LeaseKeeper
from services.media.address import Resolve
from services.relays.courier import Courier
from services.relays.registry import Busy, Registry
from services.relays.shard import RelayShard, name_of
from services.relays.state import Relay
from services.telemetry.metrics import Metrics

LOOK_S = 1.0

log = structlog.get_logger()


@dataclass(slots=True)
class _Served:
    courier: Courier
    task: asyncio.Task[None]
    shards: dict[int, RelayShard] = field(default_factory=dict)


@dataclass(slots=True)
class Relaying:
    """Serves all relays. `owner` and `lease_ttl_s` as the edition has them."""

    registry: Registry
    log: EventLog
    store: Store
    owner: str
    lease_ttl_s: float
    client: httpx.AsyncClient
    hosts: list[str]
    resolve: Resolve | None
    clock: Callable[[], float]
    metrics: Metrics
    _served: dict[str, _Served] = field(default_factory=dict)

    async def run(self) -> None:
        """Serve until cancelled; an unforeseen failure of one relay ends it all."""
        try:
            await self._seal_anew()
            while True:
                try:
                    await self._look()
                except LogUnavailable:
                    log.warning("relays_not_read", reason="the store did not answer")
                tasks = [served.task for served in self._served.values()]
                if tasks:
                    done, _ = await asyncio.wait(tasks, timeout=LOOK_S, return_when=asyncio.FIRST_COMPLETED)
                    for task in done:
                        task.result()
                else:
                    await asyncio.sleep(LOOK_S)
        finally:
            await self._stop(list(self._served))

    async def _seal_anew(self) -> None:
        try:
            await self.registry.seal_anew()
        except (Busy, LogUnavailable):
            log.info("relays_not_sealed_anew", reason="tried again at the next start")

    def backlog(self) -> dict[str, int]:
        """Events not yet delivered by this process's shards, by relay."""
        return {
            relay_id: sum(shard.backlog for shard in served.shards.values())
            for relay_id, served in self._served.items()
        }

    def secrets_of(self, relay_id: str) -> list[str]:
        """The secrets with which a relay is signed here now; none where it is not served."""
        served = self._served.get(relay_id)
        return served.courier.relay.secrets if served is not None else []

    async def _look(self) -> None:
        relays = {relay.relay_id: relay for relay in await self.registry.relays() if not relay.paused_because}
        await self._stop([relay_id for relay_id in self._served if relay_id not in relays])
        for relay_id, relay in relays.items():
            if relay_id in self._served:
                self._served[relay_id].courier.relay = relay
            else:
                self._start(relay)

    def _start(self, relay: Relay) -> None:
        courier = self.courier(relay)
        shards: dict[int, RelayShard] = {}
        name = name_of(relay.relay_id)
        keeper = LeaseKeeper(
            name, self.store, self.owner, self.lease_ttl_s, partial(self._serve, courier=courier, shards=shards)
        )
        task = asyncio.create_task(keeper.run(self.log.partitions), name=name)
        self._served[relay.relay_id] = _Served(courier, task, shards)

    def courier(self, relay: Relay) -> Courier:
        """Who carries a relay's events."""
        return Courier(relay, self.registry, self.client, self.hosts, self.resolve, self.clock, self.metrics.relayed)

    async def _serve(self, lease: Lease, *, courier: Courier, shards: dict[int, RelayShard]) -> None:
        shard = shards[lease.shard] = RelayShard(courier, self.log, self.store, lease)
        try:
            await shard.serve()
        finally:
            shards.pop(lease.shard, None)

    async def _stop(self, relay_ids: list[str]) -> None:
        """End the work first and the rest of a courier last: to a shard at work a rest that ended is a delivery."""
        ended = [self._served.pop(relay_id) for relay_id in relay_ids]
        for served in ended:
            served.task.cancel()
        if ended:
            await asyncio.wait([served.task for served in ended])
        for served in ended:
            served.courier.close()
