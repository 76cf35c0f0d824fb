"""Erasures under way, the tombstones that they leave, and rights requests: the processor `privacy`.

An erasure is a durable state. Its tombstones come first, so that nothing more of the person comes in; then every
processor walks over its own states and forgets what the tombstones name (`services.privacy.sweep`). What that brings
to light, such as another identity or a wamid, becomes a tombstone too, and all walk again; once all have walked without
a find, the rest is purged: records, media, the write-ahead log. A crash at any point is a walk that begins again.

States: `o/` the shard's ledger, `e/` an erasure, `t/` a tombstone, `r/` a rights request.
"""

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from echo_sync.rights import Request, asked, close, request_key
from schemas.deciding import Deciding
from schemas.marks import LEDGER_KEY, NOBODY, PRIVACY, TOMBSTONE_KEEP_S, About, Ledger, Tombstone, tombstone_key
from schemas.ports import Decision, Event, Forget, State, States, Timer
from schemas.topics import INBOUND

NO_STOP = "none"
PURGE_AGAIN_S = 60.0
"""A purge without a word is asked for again."""


class Erasure(State):
    """One person's erasure: who asked, since when it holds, what has gone so far, and what was left to age out."""

    id: str = ""
    number: str = ""
    by: str = ""
    asked_at: float = 0
    at: float = 0
    counts: dict[str, int] = {}
    refs: list[str] = []
    done_at: float = 0
    marks: list[str] = []


class Mark(msgspec.Struct, array_like=True, gc=False):
    """A digest to be kept. `person`: it bars what happened until the erasure; else it always bars.

    `stop`: what the person wants no more of, MARKETING or ALL; NO_STOP where they do; empty where nobody knows.
    """

    digest: str
    person: bool = False
    by_user: bool = False
    stop: str = ""


class Word(msgspec.Struct, omit_defaults=True):
    """The data of the events `privacy.…`, of whichever type."""

    id: str = ""
    number: str = ""
    by: str = ""
    at: float = 0
    marks: list[Mark] = []
    counts: dict[str, int] = {}
    refs: list[str] = []
    processor: str = ""
    generation: int = 0
    ids: list[str] = []
    message_id: str = ""


class Purge(msgspec.Struct, frozen=True):
    """A call: remove what is no state. `ids`: the erasures that every processor has swept for."""

    number: str
    ids: tuple[str, ...]
    generation: int


_words = msgspec.json.Decoder(Word)
_encoder = msgspec.json.Encoder()


def erasure_key(erasure_id: str) -> str:
    """Where an erasure is kept."""
    return f"e/{erasure_id}"


def encode(word: Word) -> bytes:
    """A word as the data of its event."""
    return _encoder.encode(word)


def word_event(kind: str, word: Word, now: float, event_id: str) -> Event:
    """An event `privacy.…` as it stands on `inbound`: it names nobody."""
    return Event(event_id, kind, word.number, encode(word), now, now)


class Erasures:
    """The processor `privacy`. `processors` are those that must have swept before an erasure is done."""

    name = PRIVACY
    inputs = (INBOUND,)

    def __init__(self, processors: Sequence[str]) -> None:
        self.processors = tuple(processors)

    def parse(self, event: Event, topic: str = "") -> Any:
        """See `Processor.parse`. A customer's message is looked at for the words of a rights request."""
        if event.type in HANDLERS:
            return _words.decode(event.data or b"{}")
        return asked(event) if event.type == "webhook.message" else None

    def keys(self, event: Event, item: Any) -> Iterable[str]:
        """See `Processor.keys`."""
        if isinstance(item, Word):
            yield LEDGER_KEY
            yield from (tombstone_key(mark.digest) for mark in item.marks)

    def follow(self, key: str, state: Any) -> Iterable[str]:
        """See `Processor.follow`."""
        return ()

    def state_type(self, key: str) -> type[State]:
        """See `Processor.state_type`."""
        return KINDS[key[0]]

    def about(self, key: str, state: Any) -> About:
        """See `Processor.about`."""
        return About(state.number, (f"m:{state.message_id}",)) if isinstance(state, Request) else NOBODY

    def decide(self, states: States, event: Event | Timer | Forget, item: Any, now: float) -> Decision:
        """See `Processor.decide`."""
        desk = Desk(states, now, self.processors)
        if isinstance(event, Forget):
            desk.put(event.key, None)
        elif isinstance(event, Timer):
            _fire(desk, event.key)
        elif isinstance(item, Word):
            HANDLERS[event.type](desk, item)
        elif isinstance(item, Request) and desk.get(request_key(item)) is None:
            desk.put(request_key(item), item)
            desk.decision.notes.append("rights_request")
        return desk.decision


class Desk(Deciding):
    """One event's decision in the making."""

    def __init__(self, states: States, now: float, processors: Sequence[str]) -> None:
        super().__init__(states, now)
        self.processors = processors

    def ledger(self) -> Ledger:
        """The shard's ledger, to be changed."""
        found = copy.copy(self.get(LEDGER_KEY)) or Ledger()
        self.put(LEDGER_KEY, found)
        return found

    def erasure(self, erasure_id: str) -> Erasure | None:
        """An erasure, to be changed; None where there is none."""
        found: Erasure | None = copy.copy(self.get(erasure_key(erasure_id)))
        if found is not None:
            self.put(erasure_key(erasure_id), found)
        return found


def _on_erase(desk: Desk, word: Word) -> None:
    if desk.get(erasure_key(word.id)) is not None:
        return
    ledger = desk.ledger()
    ledger.open = [*ledger.open, word.id]
    ledger.newest_at = max(ledger.newest_at, word.at)
    ledger.generation += 1
    digests = [mark.digest for mark in word.marks if mark.person]
    erasure = Erasure(id=word.id, number=word.number, by=word.by, asked_at=word.at, at=word.at, marks=digests)
    desk.put(erasure_key(word.id), erasure)
    for mark in word.marks:
        _bury(desk, mark, word)


def _on_marked(desk: Desk, word: Word) -> None:
    """What a walk brought to light. A mark that is new, or holds for longer than was known, lets all walk again."""
    new = [_bury(desk, mark, word) for mark in word.marks]
    if any(new):
        ledger = desk.ledger()
        ledger.generation += 1
        ledger.newest_at = max(ledger.newest_at, word.at)
    erasure = desk.erasure(word.id)
    if erasure is not None:
        erasure.at = max(erasure.at, word.at)
        erasure.refs = sorted({*erasure.refs, *word.refs})
        for kind, count in word.counts.items():
            erasure.counts = {**erasure.counts, kind: erasure.counts.get(kind, 0) + count}
        erasure.marks = sorted({*erasure.marks, *(mark.digest for mark in word.marks if mark.person)})


def _bury(desk: Desk, mark: Mark, word: Word) -> bool:
    """Keep a tombstone; whether it bars more than the one that was there."""
    key = tombstone_key(mark.digest)
    known: Tombstone | None = desk.get(key)
    before = known or Tombstone()
    at = max(before.at, word.at) if mark.person else 0
    stop = "" if mark.stop == NO_STOP else mark.stop or before.stop
    wake_at = None if stop else desk.now + TOMBSTONE_KEEP_S
    by_user = before.by_user or mark.by_user
    stone = Tombstone(wake_at=wake_at, at=at, by_user=by_user, erasure=word.id, stop=stop)
    desk.put(key, stone)
    return known is None or at > known.at


def _on_swept(desk: Desk, word: Word) -> None:
    ledger = desk.ledger()
    ledger.swept = {**ledger.swept, word.processor: word.generation}
    _purge(desk, ledger, word.number)


def _purge(desk: Desk, ledger: Ledger, number: str) -> None:
    """Ask for the rest, once every processor has found nothing left for all marks there are."""
    swept = all(ledger.swept.get(name) == ledger.generation for name in desk.processors)
    if ledger.open and swept:
        ledger.wake_at = desk.now + PURGE_AGAIN_S
        desk.decision.calls.append(Purge(number, tuple(ledger.open), ledger.generation))


def _on_erased(desk: Desk, word: Word) -> None:
    ledger = desk.ledger()
    ledger.open = [erasure_id for erasure_id in ledger.open if erasure_id not in word.ids]
    if not ledger.open:
        ledger.wake_at = None
    for erasure_id in word.ids:
        erasure = desk.erasure(erasure_id)
        if erasure is not None and not erasure.done_at:
            erasure.done_at, erasure.refs = desk.now, []
            erasure.counts = {**erasure.counts, **word.counts}
            erasure.wake_at = desk.now + TOMBSTONE_KEEP_S


def _on_closed(desk: Desk, word: Word) -> None:
    key = f"r/{word.number}/{word.message_id}"
    known: Request | None = desk.get(key)
    if known is not None:
        desk.put(key, close(known, word.by, desk.now))


def _fire(desk: Desk, key: str) -> None:
    """A purge gave no word, or something was kept for long enough."""
    state = desk.get(key)
    if state is None or state.wake_at is None or state.wake_at > desk.now:
        return
    if not isinstance(state, Ledger):
        desk.put(key, None)
        return
    ledger = desk.ledger()
    ledger.wake_at = None
    erasure = desk.erasure(ledger.open[0]) if ledger.open else None
    if erasure is not None:
        _purge(desk, ledger, erasure.number)


KINDS: dict[str, type[State]] = {"o": Ledger, "e": Erasure, "t": Tombstone, "r": Request}
HANDLERS: dict[str, Callable[[Desk, Word], None]] = {
    "privacy.erase": _on_erase,
    "privacy.marked": _on_marked,
    "privacy.swept": _on_swept,
    "privacy.erased": _on_erased,
    "privacy.request_closed": _on_closed,
}
