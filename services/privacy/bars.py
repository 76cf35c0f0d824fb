"""Keeps out what was erased: at the door, before anything is stored, and again when records are read.

Both ask the tombstones of the shard, which are states of the processor `privacy`. An installation that never erased
anybody pays for one look a second and shard.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache

from schemas.marks import (
    LEDGER_KEY,
    PRIVACY,
    About,
    Digest,
    Ledger,
    Tombstone,
    barring,
    digest_of,
    marks,
    named,
    tombstone_key,
)
from schemas.ports import Event, EventLog, LogUnavailable, Reader, Record, Store
from schemas.topics import HISTORY, INBOUND, OUTBOUND, OUTBOUND_BULK, partition_of
from services.shard import decode_state

LOOK_S = 1.0
"""How old a known ledger may be: so long the door may let in what readers then keep out, and the purge removes."""
MARGIN_S = 60.0
"""Records appended so long after the newest erasure have passed a door that knew of it."""
GUARDED = frozenset({INBOUND, HISTORY, OUTBOUND, OUTBOUND_BULK})
"""Topics that are written from outside; the others are written by processors, which read guarded ones."""
PAGE = 2_000
DIGESTS_KEPT = 65_536

Clock = Callable[[], float]
Dropped = Callable[[Sequence[Event]], None]


class Bars:
    """The tombstones of all shards, as the store has them. `dropped` hears of what was kept out at the door.

    `kept_s`: how long states are kept by kind; `unused` hears of media whose message was let go.
    """

    def __init__(
        self,
        store: Store,
        key: bytes,
        clock: Clock,
        dropped: Dropped,
        *,
        kept_s: Mapping[str, float],
        unused: Callable[[set[str]], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._ledgers: dict[int, tuple[float, Ledger]] = {}
        self.dropped = dropped
        self.kept_s = kept_s
        self.unused = unused
        self.digest: Digest = lru_cache(DIGESTS_KEPT)(lambda number, mark: digest_of(key, number, mark))

    async def ledger(self, shard: int) -> Ledger:
        """The shard's ledger, at most a second old."""
        known = self._ledgers.get(shard)
        now = self._clock()
        if known is None or not 0 <= now - known[0] < LOOK_S:
            value = (await self._store.load(PRIVACY, shard, [LEDGER_KEY])).get(LEDGER_KEY)
            known = now, Ledger() if value is None else decode_state(Ledger, value)
            self._ledgers[shard] = known
        return known[1]

    def look_again(self) -> None:
        """Forget how the ledgers stood: one has changed."""
        self._ledgers.clear()

    async def find(self, shard: int, abouts: Iterable[About]) -> list[Tombstone | None]:
        """For each of what is named, the tombstone that keeps it out."""
        asked = [(about, marks(about)) for about in abouts]
        keys = {tombstone_key(self.digest(about.number, mark)) for about, found in asked for mark in found}
        stones = await self._store.load(PRIVACY, shard, keys) if keys else {}
        known = {key: decode_state(Tombstone, value) for key, value in stones.items()}
        return [barring(about, self.by_mark(about.number, found, known)) if known else None for about, found in asked]

    def by_mark(self, number: str, found: Sequence[str], known: Mapping[str, Tombstone]) -> dict[str, Tombstone]:
        """Those of the tombstones, by key, that concern some marks, by mark."""
        keys = ((mark, tombstone_key(self.digest(number, mark))) for mark in found)
        return {mark: known[key] for mark, key in keys if key in known}

    async def tombstones(self, shard: int) -> dict[str, Tombstone]:
        """Every tombstone of a shard, by key."""
        found: dict[str, Tombstone] = {}
        after = ""
        while page := await self._store.scan(PRIVACY, shard, "t/", after, PAGE):
            found.update((key, decode_state(Tombstone, value)) for key, value in page)
            after = page[-1][0]
        return found

    async def admitted(self, shard: int, records: Sequence[Record]) -> Sequence[Record]:
        """The records that a processor may still decide.

        While an erasure is under way commands pass, so that the sender tells that they are cancelled.
        """
        ledger = await self.ledger(shard)
        if not ledger.newest_at:
            return records
        asked = [record for record in records if record.appended_at <= ledger.newest_at + MARGIN_S]
        if ledger.open:
            asked = [record for record in asked if record.event.type not in ("send.requested", "send.cancel")]
        stones = await self.find(shard, (named(record.event) for record in asked))
        barred = {id(record) for record, stone in zip(asked, stones, strict=True) if stone is not None}
        return [record for record in records if id(record) not in barred] if barred else records


class GuardedLog:
    """The `EventLog` whose `append` leaves out what was erased: it is acknowledged, counted and never stored."""

    def __init__(self, log: EventLog, bars: Bars) -> None:
        self._log = log
        self._bars = bars
        self.partitions = log.partitions

    async def append(self, entries: Sequence[tuple[str, Event]]) -> None:
        """See `EventLog.append`. Raises LogUnavailable for an attempt to send to somebody who has been erased."""
        wanted = await self._wanted(entries)
        if wanted or not entries:
            await self._log.append(wanted)

    async def _wanted(self, entries: Sequence[tuple[str, Event]]) -> Sequence[tuple[str, Event]]:
        shards: dict[int, list[tuple[str, Event]]] = {}
        for entry in entries:
            shard = partition_of(entry[1].number, self.partitions)
            if entry[0] in GUARDED and (await self._bars.ledger(shard)).newest_at:
                shards.setdefault(shard, []).append(entry)
        barred: set[int] = set()
        for shard, asked in shards.items():
            stones = await self._bars.find(shard, (named(event) for _, event in asked))
            barred |= {id(event) for (_, event), stone in zip(asked, stones, strict=True) if stone is not None}
        if not barred:
            return entries
        if any(event.type == "send.attempted" for _, event in entries if id(event) in barred):
            raise LogUnavailable("whom it is for was erased")
        self._bars.dropped([event for _, event in entries if id(event) in barred])
        return [entry for entry in entries if id(entry[1]) not in barred]

    async def reader(self, topics: Sequence[str], partition: int, positions: Mapping[str, int]) -> Reader:
        """See `EventLog.reader`."""
        return await self._log.reader(topics, partition, positions)

    async def read(self, topic: str, partition: int, offset: int, limit: int) -> Sequence[Record]:
        """See `EventLog.read`."""
        return await self._log.read(topic, partition, offset, limit)

    async def end(self, topic: str, partition: int) -> int:
        """See `EventLog.end`."""
        return await self._log.end(topic, partition)
