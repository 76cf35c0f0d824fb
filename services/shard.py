"""One shard of one processor in its owner's hands: the states a decider sees, and what a batch leaves to commit."""

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

import msgspec

from schemas.ports import (
    FOREIGN,
    Decision,
    Event,
    Forget,
    Lease,
    Missing,
    Processor,
    Row,
    State,
    Store,
    Timer,
    Unreadable,
)

CACHE_STATES_MAX = 3_072
"""States kept decoded per processor; an owner alone changes them, so they cannot be stale."""
CACHE_EXCESS_MAX = 512
"""So many more before the oldest go, all at once: a dict that loses one after the other from its front gets slow."""

Foreign = Callable[[str], type[State]]

_encoder = msgspec.msgpack.Encoder()
_decoders: dict[type[State], msgspec.msgpack.Decoder[Any]] = {}


def decode_state(kind: type[State], value: bytes) -> Any:
    """A stored state as a struct of its kind. Raises Unreadable where it is none."""
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.msgpack.Decoder(kind)
    try:
        return decoder.decode(value)
    except msgspec.DecodeError as problem:
        raise Unreadable(f"a stored {kind.__name__} is not one of this version") from problem


def processor_of(key: str) -> str:
    """The owner of the state under a foreign key."""
    return key.removeprefix(FOREIGN).partition("|")[0]


def inner_key(key: str) -> str:
    """The key under which its owner keeps the state of a foreign key."""
    return key.partition("|")[2]


async def load_foreign(store: Store, shard: int, key: str, kind: type[State]) -> Any:
    """Another processor's state of the same shard, as last committed; None where there is none."""
    inner = inner_key(key)
    value = (await store.load(processor_of(key), shard, [inner])).get(inner)
    return None if value is None else decode_state(kind, value)


class Shard:
    """One shard of one processor in the hands of its owner. Implements `States` for the decider."""

    def __init__(
        self, processor: Processor, store: Store, lease: Lease, foreign: Foreign, kept: dict[int, int]
    ) -> None:
        self._kept = kept
        self._processor = processor
        self._store = store
        self._lease = lease
        self._foreign_type = foreign
        self._known: dict[str, Any] = {}
        self._changed: dict[str, State | None] = {}
        self._foreign: dict[str, Any] = {}
        self._heads: dict[tuple[str, float, int], list[tuple[str, Any]]] = {}
        self.outputs: list[tuple[str, Event]] = []
        self.calls: list[Any] = []
        self.notes: list[str] = []

    # --- States

    def get(self, key: str) -> Any:
        """See `States.get`."""
        try:
            return self._known[key]
        except KeyError:
            pass
        if key in self._foreign:
            return self._foreign[key]
        raise Missing([key])

    def heads(self, line: str, until: float, limit: int) -> list[tuple[str, Any]]:
        """See `States.heads`."""
        wanted = (line, until, limit)
        if wanted not in self._heads:
            raise Missing(head=wanted)
        return self._heads[wanted]

    # --- a batch

    async def prefetch(self, pairs: Iterable[tuple[Event, Any]]) -> None:
        """Load what a batch is known to touch, and what those states name, in two rounds."""
        keys = {key for event, item in pairs for key in self._processor.keys(event, item)}
        loaded = await self._load(keys)
        named = {
            key
            for found, state in loaded.items()
            if not found.startswith(FOREIGN)
            for key in self._processor.follow(found, state)
        }
        await self._load(named)

    def has_changed(self, key: str) -> bool:
        """Was something decided about this state since the last commit?"""
        return key in self._changed

    def is_gone(self, key: str) -> bool:
        """Is this state known to be removed since the last commit?"""
        return key in self._changed and self._changed[key] is None

    async def decide(self, event: Event | Timer | Forget, item: Any, now: float) -> None:
        """Decide one event, loading what the decider asks for, and keep what follows for the commit."""
        asked: set[object] = set()
        while True:
            try:
                decision = self._processor.decide(self, event, item, now)
            except Missing as missing:
                wants = (*missing.keys, missing.head)
                if asked.issuperset(wants):
                    raise RuntimeError("a decider asks for states that were loaded") from None
                asked.update(wants)
                await self._fetch(missing)
            else:
                self.add(decision)
                return

    def add(self, decision: Decision) -> None:
        """Keep what follows from one event for the commit."""
        self._changed.update(decision.states)
        self._known.update(decision.states)
        self.outputs.extend(decision.emit)
        self.calls.extend(decision.calls)
        self.notes.extend(decision.notes)

    def is_clean(self) -> bool:
        """Whether nothing follows from the batch but that it was read."""
        return not (self._changed or self.outputs or self.calls or self.notes)

    def rows(self) -> dict[str, Row | None]:
        """The changed states as they are stored."""
        return {
            key: None if state is None else Row(_encoder.encode(state), state.wake_at, state.line, state.place)
            for key, state in self._changed.items()
        }

    def settle(self) -> float | None:
        """After the commit: what was changed is stored. Returns the earliest new `wake_at`."""
        wakes = [state.wake_at for state in self._changed.values() if state and state.wake_at is not None]
        excess = sum(self._kept.values()) + len(self._known) - self._kept.get(self._lease.shard, 0) - CACHE_STATES_MAX
        if excess > CACHE_EXCESS_MAX:
            self._known = dict(islice(self._known.items(), excess, None))
        self._kept[self._lease.shard] = len(self._known)
        self._clear()
        return min(wakes, default=None)

    def _clear(self) -> None:
        self._changed = {}
        self._foreign = {}
        self._heads = {}
        self.outputs = []
        self.calls = []
        self.notes = []

    async def _fetch(self, missing: Missing) -> None:
        await self._load(missing.keys)
        if missing.head is not None:
            line, until, limit = missing.head
            lease = self._lease
            found = await self._store.heads(lease.processor, lease.shard, line, until, limit)
            kind = self._processor.state_type
            self._heads[missing.head] = [(key, decode_state(kind(key), value)) for key, value in found]

    async def _load(self, keys: Iterable[str]) -> dict[str, Any]:
        own = [k for k in keys if not k.startswith(FOREIGN) and k not in self._known]
        others = [k for k in keys if k.startswith(FOREIGN) and k not in self._foreign]
        values = await self._store.load(self._lease.processor, self._lease.shard, own) if own else {}
        for key in own:
            value = values.get(key)
            self._known[key] = None if value is None else decode_state(self._processor.state_type(key), value)
        for processor in {processor_of(key) for key in others}:
            theirs = {key: inner_key(key) for key in others if processor_of(key) == processor}
            values = await self._store.load(processor, self._lease.shard, theirs.values())
            for key, inner in theirs.items():
                value = values.get(inner)
                self._foreign[key] = None if value is None else decode_state(self._foreign_type(key), value)
        return {key: state for key in (*own, *others) if (state := self.get(key)) is not None}
