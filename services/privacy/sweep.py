"""Walks over a shard's states in its owner's loop, a page at a time between batches, and forgets who was erased.

The owner alone writes its states, so nothing is locked and nothing runs beside it. A walk that forgot something is
followed by another one; a walk without a find is told on `inbound`, with the generation of tombstones it looked for.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from echo_sync.erasures import Erasure, Mark, Word, erasure_key, word_event
from schemas.marks import PRIVACY, About, Ledger, Tombstone, barring, marks, phone, users
from schemas.ports import Decision, Event, Forget, Lease, Processor, Reader, State, Store
from schemas.topics import INBOUND, OUTBOUND, OUTBOUND_BULK
from services.privacy.bars import Bars
from services.shard import Shard, decode_state

PAGE = 200
"""States looked at between two batches: about a millisecond."""
AGE_FIRST_S, AGE_EVERY_S = 60.0, 3600.0
"""When a shard is first looked over for states that are too old, and how often."""
COMMANDS = frozenset({OUTBOUND, OUTBOUND_BULK})
TOLD_AS: Mapping[str, str] = {
    "Alias": "identities",
    "Attempt": "attempts",
    "Command": "commands",
    "Conversation": "conversations",
    "Entry": "address_book",
    "Job": "media_jobs",
    "Lane": "lanes",
    "Message": "messages",
    "Person": "people",
    "Reach": "wishes",
    "Request": "rights_requests",
    "Saying": "repeated_texts",
    "Seen": "repeats",
}
"""What states are called in a report, by their kinds."""


def told_as(state: State) -> str:
    """What a state is called in a report."""
    return TOLD_AS.get(type(state).__name__, "others")


Found = list[tuple[State, About]]


class Sweep:
    """One shard of one processor."""

    def __init__(
        self,
        processor: Processor,
        store: Store,
        lease: Lease,
        reader: Reader,
        bars: Bars,
        clock: Callable[[], float],
    ) -> None:
        self._processor = processor
        self._store = store
        self._lease = lease
        self._reader = reader
        self._bars = bars
        self._clock = clock
        self._walking = False
        self._aging = False
        self._age_at = clock() + AGE_FIRST_S
        self._after = ""
        self._found = 0
        self._generation = 0
        self._swept = -1
        self._number = ""
        self._stones: dict[str, Tombstone] = {}
        self._until: Mapping[str, int] | None = None

    @property
    def busy(self) -> bool:
        """Is there more to walk over at once?"""
        return self._walking or self._aging

    async def turn(self, shard: Shard) -> bool:
        """Look whether there is something to do, and decide a page of it. True when that is to be committed."""
        ledger = await self._bars.ledger(self._lease.shard)
        if not ledger.open:
            self._walking, self._swept, self._until = False, -1, None
            return await self._age(shard)
        self._aging = False
        if not self._walking:
            if self._swept == ledger.generation or not await self._has_read():
                return False
            await self._begin(ledger)
        await self._page(shard)
        return not shard.is_clean()

    async def _age(self, shard: Shard) -> bool:
        """Once an hour, walk over all states and let go of those that have been kept for long enough."""
        now = self._clock()
        if not self._aging:
            if now < self._age_at:
                return False
            self._aging, self._after, self._age_at = True, "", now + AGE_EVERY_S
        lease = self._lease
        page = await self._store.scan(lease.processor, lease.shard, "", self._after, PAGE)
        refs: set[str] = set()
        for key, value in page:
            about = self._processor.about(key, decode_state(self._processor.state_type(key), value))
            kept_s = self._bars.kept_s.get(about.kind)
            if kept_s is not None and about.born + kept_s < now:
                shard.add(Decision(states={key: None}))
                refs.update(about.refs)
        if refs:
            self._bars.unused(refs)
        self._after, self._aging = (page[-1][0], True) if len(page) == PAGE else ("", False)
        return not shard.is_clean()

    async def _has_read(self) -> bool:
        """Commands that were written before are read first, so that they are told as cancelled."""
        if self._until is None:
            ends = await self._reader.ends()
            self._until = {topic: end for topic, end in ends.items() if topic in COMMANDS}
        positions = self._reader.positions()
        return all(positions[topic] >= end for topic, end in self._until.items())

    async def _begin(self, ledger: Ledger) -> None:
        """Look for every tombstone there is, under the generation that was known before they were read."""
        self._walking, self._after, self._found, self._generation = True, "", 0, ledger.generation
        self._stones = await self._bars.tombstones(self._lease.shard)
        key = erasure_key(ledger.open[0])
        value = (await self._store.load(PRIVACY, self._lease.shard, [key])).get(key)
        erasure: Erasure | None = None if value is None else decode_state(Erasure, value)
        self._number = "" if erasure is None else erasure.number

    async def _page(self, shard: Shard) -> None:
        lease = self._lease
        page = await self._store.scan(lease.processor, lease.shard, "", self._after, PAGE)
        gone: dict[str, Found] = {}
        for key, value in page:
            state = decode_state(self._processor.state_type(key), value)
            about = self._processor.about(key, state)
            stone = barring(about, self._bars.by_mark(about.number, marks(about), self._stones))
            if stone is not None and await self._forget(shard, key, about):
                gone.setdefault(stone.erasure, []).append((state, about))
        self._found += sum(map(len, gone.values()))
        emit = [self._marked(erasure, found) for erasure, found in gone.items()]
        if len(page) == PAGE:
            self._after = page[-1][0]
        else:
            emit += self._end()
        if emit:
            shard.add(Decision(emit=[(INBOUND, event) for event in emit]))

    async def _forget(self, shard: Shard, key: str, about: About) -> bool:
        """Let the processor forget a state; whether it did."""
        if shard.is_gone(key):
            return False
        barred = frozenset(self._bars.by_mark(about.number, about.things, self._stones))
        await shard.decide(Forget(key, barred), None, self._clock())
        return shard.has_changed(key)

    def _end(self) -> Sequence[Event]:
        """The walk is over. Without a find the processor has nothing left for this generation."""
        self._walking = False
        if self._found or not self._number:
            return ()
        self._swept = self._generation
        lease, now = self._lease, self._clock()
        word = Word(number=self._number, processor=lease.processor, generation=self._generation, at=now)
        event_id = f"swept:{lease.processor}:{lease.shard}:{lease.epoch}:{self._generation}:{now}"
        return (word_event("privacy.swept", word, now, event_id),)

    def _marked(self, erasure: str, found: Found) -> Event:
        """What the forgotten states named, as digests."""
        now, number = self._clock(), found[0][1].number
        told = {mark.digest: mark for _, about in found for mark in self._marks(about)}
        counts = Counter(told_as(state) for state, _ in found)
        refs = sorted({ref for _, about in found for ref in about.refs})
        word = Word(id=erasure, number=number, at=now, marks=list(told.values()), counts=dict(counts), refs=refs)
        event_id = f"marked:{erasure}:{self._lease.processor}:{self._lease.epoch}:{now}:{len(found)}"
        return word_event("privacy.marked", word, now, event_id)

    def _marks(self, about: About) -> list[Mark]:
        digest = self._bars.digest
        if about.shared:
            return []
        things = [Mark(digest(about.number, thing)) for thing in about.things]
        known = [mark for person in about.people for mark in (*users(person), phone(person)) if mark]
        return [*things, *(Mark(digest(about.number, mark), person=True) for mark in known)]
