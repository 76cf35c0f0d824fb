"""The last step of an erasure, once no state names the person any more: records, media, the write-ahead log.

The embedded log is rewritten in place: a record that a tombstone bars becomes a hole, which keeps its offset and its
`seq` and says `record.erased`, so that nobody who counts either of them finds a gap. Kafka's records cannot be
rewritten; they are kept out when they are read and age out by retention.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import structlog
from msgspec.structs import replace

from echo_sync.erasures import Erasure, Purge, Word, erasure_key, word_event
from echo_sync.message import Message
from schemas import items
from schemas.marks import ERASED, PRIVACY, About, Tombstone, barring, marks, named
from schemas.ports import Event, EventLog, Lease, LogUnavailable, Store
from schemas.states import MESSAGES, number_key
from schemas.topics import INBOUND, TOPICS
from services.media.store import MediaStore
from services.privacy.bars import PAGE, Bars
from services.shard import decode_state
from services.sqlite.log import SqliteLog

RECORDS_AT_ONCE = 256
"""Records looked at before others get their turn: about a millisecond."""
NUMBERS = number_key("")
"""What the key of a number begins with."""
NOWHERE_NUMBERS = frozenset({"unknown", ""})
"""What could not be understood lies under these instead of its number."""

log = structlog.get_logger()


class Purging:
    """Performs the calls of `privacy`. `file_log`: the embedded log, which can be rewritten; `media`: where files are.

    `scrub()` lets nothing of what was removed remain in the file and its write-ahead log.
    """

    def __init__(
        self,
        log_: EventLog,
        store: Store,
        bars: Bars,
        clock: Callable[[], float],
        *,
        file_log: SqliteLog | None = None,
        scrub: Callable[[], Any] | None = None,
        media: MediaStore | None = None,
    ) -> None:
        self._log = log_
        self._store = store
        self._bars = bars
        self._clock = clock
        self._file_log = file_log
        self._scrub = scrub
        self.media = media

    async def __call__(self, call: Purge, lease: Lease) -> None:
        """Purge, and say so on `inbound`. What breaks off is asked for again by the ledger's timer."""
        counts: Counter[str] = Counter()
        try:
            stones = await self._bars.tombstones(lease.shard)
            erasures = await self._erasures(call, lease.shard)
            refs = {ref for erasure in erasures for ref in erasure.refs}
            if self.media is not None and refs:
                counts["media"] = await self._remove(self.media, refs)
            if self._file_log is not None:
                numbers = sorted({erasure.number for erasure in erasures})
                known = Known(self._bars, numbers, stones, await self._ours())
                counts["records"] = await self._rewrite(self._file_log, known)
            if self._scrub is not None:
                await self._scrub()
            word = Word(number=call.number, ids=list(call.ids), at=self._clock(), counts=dict(counts))
            event_id = f"erased:{call.ids[0]}:{call.generation}:{len(call.ids)}"
            await self._log.append([(INBOUND, word_event("privacy.erased", word, self._clock(), event_id))])
        except (LogUnavailable, OSError) as problem:
            log.warning("purge_broken_off", error=type(problem).__name__, reason="asked for again")

    async def _erasures(self, call: Purge, shard: int) -> list[Erasure]:
        keys = [erasure_key(erasure_id) for erasure_id in call.ids]
        found = await self._store.load(PRIVACY, shard, keys)
        return [decode_state(Erasure, value) for value in found.values()]

    async def _ours(self) -> set[str]:
        """Every business number that is known."""
        found: set[str] = set()
        for shard in range(self._log.partitions):
            after = ""
            while page := await self._store.scan(MESSAGES, shard, NUMBERS, after, PAGE):
                found.update(key.removeprefix(NUMBERS) for key, _ in page)
                after = page[-1][0]
        return found

    # --- media

    async def remove_strays(self, events: Iterable[Event]) -> None:
        """Remove the files that were fetched for somebody who was erased meanwhile."""
        stored = [items.decode(event).media for event in events if event.type == "media.stored"]
        await self.remove_unused({media.ref for media in stored if media is not None and media.ref})

    async def remove_unused(self, refs: set[str]) -> None:
        """Remove those of the files that no message refers to."""
        if refs and self.media is not None:
            await self._remove(self.media, refs)

    async def _remove(self, media: MediaStore, refs: set[str]) -> int:
        """Remove the files that no message of anybody refers to any more."""
        gone = refs - await self._used(refs)
        for ref in gone:
            await media.remove(ref)
        return len(gone)

    async def _used(self, refs: set[str]) -> set[str]:
        used: set[str] = set()
        wanted = [ref.encode() for ref in refs]
        for shard in range(self._log.partitions):
            after = ""
            while page := await self._store.scan(MESSAGES, shard, "m/", after, PAGE):
                for _, value in page:
                    if any(ref in value for ref in wanted):
                        media = decode_state(Message, value).media
                        used |= {ref for ref in refs if ref.encode() in media}
                after = page[-1][0]
                await asyncio.sleep(0)
        return used

    # --- records

    async def _rewrite(self, file_log: SqliteLog, known: "Known") -> int:
        """Make holes of the records that are barred. All partitions: what nobody could place lies anywhere."""
        made = 0
        for topic in TOPICS:
            for partition in range(file_log.partitions):
                made += await self._rewrite_partition(file_log, (topic, partition), known)
        return made

    async def _rewrite_partition(self, file_log: SqliteLog, place: tuple[str, int], known: "Known") -> int:
        made, offset = 0, 0
        while records := file_log.read_now(*place, offset, RECORDS_AT_ONCE):
            changed = {record.offset: left for record in records if (left := known.left_of(record.event)) is not None}
            if changed:
                made += sum(event.type == ERASED for event in changed.values())
                await file_log.rewrite(*place, changed)
            offset = records[-1].offset + 1
            await asyncio.sleep(0)
        return made


class Known:
    """The tombstones of some numbers, asked about records. `ours`: every business number that is known.

    A command for a number that is not known goes with whomever it is for, at whichever number they are erased: nobody
    can be erased at a number that there is not.
    """

    def __init__(
        self, bars: Bars, numbers: Sequence[str], stones: Mapping[str, Tombstone], ours: Collection[str]
    ) -> None:
        self._bars = bars
        self._numbers = numbers
        self._stones = stones
        self._ours = ours

    def left_of(self, event: Event) -> Event | None:
        """What is left of a record: a hole, or the record without its cause; None where it stays as it is."""
        about = named(event)
        own = event.number in self._numbers
        if own and self._bars_out(about):
            return hole(event)
        if self._is_nobodys(event) and self._of_any(about):
            return hole(event)
        if event.cause and self._of_any(About(things=tuple(f"m:{part}" for part in event.cause.split(":")[1:]))):
            return replace(event, cause="")
        return None

    def _is_nobodys(self, event: Event) -> bool:
        stray = event.type == "send.requested" and event.number not in self._ours
        return stray or event.number in NOWHERE_NUMBERS

    def _of_any(self, about: About) -> bool:
        return any(self._bars_out(replace(about, number=number)) for number in self._numbers)

    def _bars_out(self, about: About) -> bool:
        return barring(about, self._bars.by_mark(about.number, marks(about), self._stones)) is not None


def hole(event: Event) -> Event:
    """What stands in the place of an erased record: its number and its `seq`, and nothing that was in it."""
    event_id = f"erased:{event.number}:{event.seq}" if event.seq else "erased"
    return Event(event_id, ERASED, event.number, b"{}", 0, 0, seq=event.seq)
