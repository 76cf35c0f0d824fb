"""The `Store` port with the values of its states sealed: a thin layer over either edition's store.

Keys, lines, places and timers stay as they are, for the store searches and sorts by them. So what is not sealed is who
and which: phones, user ids and wamids where they are part of a key, and when.
"""

from collections.abc import Iterable
from dataclasses import replace

from msgspec.structs import replace as changed

from schemas.ports import NOWHERE, Attendance, Commit, Lease, Row, Store
from services.sealing.content import Seals, about_state


class SealedStore:
    """See `Store`. Values are sealed as they are committed and opened as they are read. Raises CannotUnseal."""

    def __init__(self, store: Store, seals: Seals) -> None:
        self._store = store
        self._seals = seals

    # --- what holds values

    async def load(self, processor: str, shard: int, keys: Iterable[str]) -> dict[str, bytes]:
        """See `Store.load`."""
        found = await self._store.load(processor, shard, keys)
        return {key: self._opened(processor, shard, key, value) for key, value in found.items()}

    async def heads(
        self, processor: str, shard: int, line: str, until: float, limit: int, after: float = NOWHERE
    ) -> list[tuple[str, bytes]]:
        """See `Store.heads`."""
        found = await self._store.heads(processor, shard, line, until, limit, after)
        return [(key, self._opened(processor, shard, key, value)) for key, value in found]

    async def scan(self, processor: str, shard: int, prefix: str, after: str, limit: int) -> list[tuple[str, bytes]]:
        """See `Store.scan`."""
        found = await self._store.scan(processor, shard, prefix, after, limit)
        return [(key, self._opened(processor, shard, key, value)) for key, value in found]

    async def commit(self, commit: Commit) -> None:
        """See `Store.commit`."""
        rows = {key: None if row is None else self._sealed(commit.lease, key, row) for key, row in commit.rows.items()}
        await self._store.commit(replace(commit, rows=rows))

    def _opened(self, processor: str, shard: int, key: str, value: bytes) -> bytes:
        return self._seals.open(value, about_state(processor, shard, key))

    def _sealed(self, lease: Lease, key: str, row: Row) -> Row:
        return changed(row, value=self._seals.seal(row.value, about_state(lease.processor, lease.shard, key)))

    # --- what holds none

    async def installation_key(self) -> bytes:
        """See `Store.installation_key`."""
        return await self._store.installation_key()

    async def acquire(self, processor: str, shard: int, owner: str, ttl_s: float) -> Lease | None:
        """See `Store.acquire`."""
        return await self._store.acquire(processor, shard, owner, ttl_s)

    async def renew(self, lease: Lease, ttl_s: float) -> None:
        """See `Store.renew`."""
        await self._store.renew(lease, ttl_s)

    async def release(self, lease: Lease) -> None:
        """See `Store.release`."""
        await self._store.release(lease)

    async def attend(self, processor: str, owner: str, ttl_s: float) -> Attendance:
        """See `Store.attend`."""
        return await self._store.attend(processor, owner, ttl_s)

    async def depart(self, processor: str, owner: str) -> None:
        """See `Store.depart`."""
        await self._store.depart(processor, owner)

    async def positions(self, processor: str, shard: int) -> dict[str, int]:
        """See `Store.positions`."""
        return await self._store.positions(processor, shard)

    async def due(self, processor: str, shard: int, until: float, limit: int) -> list[str]:
        """See `Store.due`."""
        return await self._store.due(processor, shard, until, limit)

    async def next_wake(self, processor: str, shard: int) -> float | None:
        """See `Store.next_wake`."""
        return await self._store.next_wake(processor, shard)

    async def sequence(self, topic: str, key: str) -> int:
        """See `Store.sequence`."""
        return await self._store.sequence(topic, key)

    async def count(self, processor: str, shard: int, prefix: str) -> int:
        """See `Store.count`."""
        return await self._store.count(processor, shard, prefix)
