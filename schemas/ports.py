"""The ports: what the core is given and what it gives back. Each docstring is the contract of its adapters.

Two adapters stand behind each port (an SQLite file; Apache Kafka and Postgres), and one conformance suite holds
them together. Nothing here performs anything.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec


class Event(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A CloudEvent on its way. `data` is JSON; None is a tombstone on a compacted topic.

    `number` shards it (the business number, or the WABA id where there is no number); `key` is set only where the
    record's key is another one (the conversation id on `conversations`). `at` is when it happened, `recorded_at` when
    we first had it, both in seconds since 1970. `id` derives from the fact alone, never from position, clock or `seq`.
    """

    id: str
    type: str
    number: str
    data: bytes | None
    at: float
    recorded_at: float
    subject: str = ""
    key: str = ""
    seq: int = 0
    cause: str = ""
    trace: str = ""


class Record(msgspec.Struct, frozen=True, gc=False):
    """An event at its place: the partition of a topic, and an offset that counts from 0 without gaps."""

    topic: str
    partition: int
    offset: int
    event: Event
    appended_at: float


NOWHERE = float("-inf")
"""Before the first place of every line."""
FAR = float("inf")
"""Beyond the last place of every line."""


class Unreadable(Exception):
    """What is stored cannot be read: by this version, or without its key. Nothing may be decided without it."""


class LogUnavailable(Exception):
    """The log did not confirm durability in time. What was to be appended may or may not stand in it later."""


class Fenced(Exception):
    """Another owner has taken over the shard. Nothing of this commit was applied; drop it and stop."""


class Reader(Protocol):
    """One shard's view of some topics, read in order of preference from stored positions."""

    async def poll(self, limit: int, wait_s: float, leaving: frozenset[str] = frozenset()) -> Sequence[Record]:
        """Up to `limit` records that follow the position, earliest first within a topic; moves the position.

        Preferred topics come first, but none is starved. Waits at most `wait_s` for the first record.
        `leaving`: topics that this poll neither takes from nor wakes for.
        """

    async def ends(self) -> Mapping[str, int]:
        """The offset after the newest durable record of each topic, fetched after this call began."""

    def positions(self) -> Mapping[str, int]:
        """The next offset to be read of each topic."""

    async def close(self) -> None:
        """Give back what was held. Never raises, never hangs."""


class EventLog(Protocol):
    """A partitioned, append-only log."""

    partitions: int

    async def append(self, entries: Sequence[tuple[str, Event]]) -> None:
        """Append each event to its topic, in order; return only once all are durable.

        Raises LogUnavailable when that was not confirmed in time: some may then still become durable, so the caller
        repeats, and readers know a repeat by the event's id.
        """

    async def reader(self, topics: Sequence[str], partition: int, positions: Mapping[str, int]) -> Reader:
        """Read `topics` of one partition from `positions` (a topic that is missing there: from the start)."""

    async def read(self, topic: str, partition: int, offset: int, limit: int) -> Sequence[Record]:
        """Up to `limit` durable records from `offset` on, without waiting."""

    async def end(self, topic: str, partition: int) -> int:
        """The offset after the newest durable record."""


class Row(msgspec.Struct, frozen=True, gc=False):
    """A state as stored. `wake_at`: when its timer is due. `line`, `place`: where it stands in an ordered line."""

    value: bytes
    wake_at: float | None = None
    line: str | None = None
    place: float | None = None


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to commit for one shard of one processor. `epoch` rises with every change of owner."""

    processor: str
    shard: int
    owner: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Attendance:
    """Who works for a processor now (`owners`, in order, the asking one among them), and who holds what.

    `held`: the asking owner's shards with their epochs. `taken`: the shards that others hold.
    """

    owners: tuple[str, ...]
    held: Mapping[int, int]
    taken: frozenset[int] = frozenset()


@dataclass(slots=True)
class Commit:
    """The unit of work: positions, states, timers and outputs, applied together or not at all."""

    lease: Lease
    positions: dict[str, int] = field(default_factory=dict)
    rows: dict[str, Row | None] = field(default_factory=dict)
    outputs: list[tuple[str, Event]] = field(default_factory=list)


class Store(Protocol):
    """States, timers, positions and leases of the processors."""

    async def installation_key(self) -> bytes:
        """The installation's own secret key, made at first and the same for ever: for ids and tokens."""

    async def acquire(self, processor: str, shard: int, owner: str, ttl_s: float) -> Lease | None:
        """Take the shard when it is free, expired or `owner`'s; the epoch rises. None while another holds it."""

    async def renew(self, lease: Lease, ttl_s: float) -> None:
        """Hold the lease for another `ttl_s`. Raises Fenced when another owner has taken over."""

    async def release(self, lease: Lease) -> None:
        """Give the shard back at once. Silent when it was lost already."""

    async def attend(self, processor: str, owner: str, ttl_s: float) -> Attendance:
        """Say that `owner` works for the processor, and hold all its leases, for another `ttl_s`."""

    async def depart(self, processor: str, owner: str) -> None:
        """Say that `owner` works for the processor no longer, so that others take its share at once."""

    async def positions(self, processor: str, shard: int) -> dict[str, int]:
        """The next offset of each input topic, as last committed."""

    async def load(self, processor: str, shard: int, keys: Iterable[str]) -> dict[str, bytes]:
        """The values of those keys that exist, as last committed."""

    async def due(self, processor: str, shard: int, until: float, limit: int) -> list[str]:
        """Keys whose `wake_at` is at or before `until`, earliest first."""

    async def next_wake(self, processor: str, shard: int) -> float | None:
        """The earliest `wake_at` of the shard."""

    async def heads(
        self, processor: str, shard: int, line: str, until: float, limit: int, after: float = NOWHERE
    ) -> list[tuple[str, bytes]]:
        """The first `limit` states that stand in `line` at a place beyond `after` and up to `until`, in order."""

    async def sequence(self, topic: str, key: str) -> int:
        """The last `seq` given to a key on a topic, 0 for none. States that are read after it hold at least so much."""

    async def count(self, processor: str, shard: int, prefix: str) -> int:
        """How many states of the shard have a key that begins with `prefix`, for metrics."""

    async def scan(self, processor: str, shard: int, prefix: str, after: str, limit: int) -> list[tuple[str, bytes]]:
        """Up to `limit` states whose key starts with `prefix` and lies beyond `after`, in the order of their keys."""

    async def commit(self, commit: Commit) -> None:
        """Apply all of it or none; return once it is durable.

        Compares the epoch in its own transaction and raises Fenced when another owner has taken over. Outputs on
        sequenced topics get their `seq` here, gapless per key and topic, from 1.
        """


class State(msgspec.Struct, array_like=True, gc=False):
    """The base of all states. Stored as an array: new fields go to the end, with a default. A tree, never a cycle."""

    wake_at: float | None = None
    line: str | None = None
    place: float | None = None


class Missing(Exception):
    """A decider asked for states that were not loaded. Deciders are pure: the runner loads them and asks again."""

    def __init__(self, keys: Sequence[str] = (), head: tuple[str, float, int] | None = None) -> None:
        super().__init__("not loaded yet")
        self.keys = keys
        self.head = head


class States(Protocol):
    """The states a decider may look at: as committed, plus what earlier events of the batch decided."""

    def get(self, key: str) -> Any:
        """The state, or None where there is none. Raises Missing when it was not loaded. Never change it: copy."""

    def heads(self, line: str, until: float, limit: int) -> list[tuple[str, Any]]:
        """The first states of a line up to a place, as committed before this batch. Raises Missing at first."""


@dataclass(frozen=True, slots=True)
class Timer:
    """A state's `wake_at` has come, and everything that was appended to `inbound` before then has been read.

    `hearing`: our own ingest takes what Meta sends, so that silence means something.
    """

    key: str
    hearing: bool = True


@dataclass(frozen=True, slots=True)
class Forget:
    """The state under `key` names somebody who is to be erased: what it leads to ends, and it goes.

    `things`: of what it names, the marks that are erased; a state that others share keeps the rest.
    """

    key: str
    things: frozenset[str] = frozenset()


@dataclass(slots=True)
class Decision:
    """What follows from an event: changed states (None removes), events to publish, calls to make after the commit."""

    states: dict[str, State | None] = field(default_factory=dict)
    emit: list[tuple[str, Event]] = field(default_factory=list)
    calls: list[Any] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What those who measure want to count and no event tells, such as `duplicate:own_echo`."""


class Processor(Protocol):
    """A pure decider with its inputs. The runner is the only one that calls it."""

    @property
    def name(self) -> str:
        """What leases, positions and metrics call it."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """The topics it reads, in order of preference; a timer waits for evidence on the first."""

    def parse(self, event: Event, topic: str = "") -> Any:
        """The data of an event of `topic` as `keys` and `decide` want it, or None when it is of no interest here."""

    def keys(self, event: Event, item: Any) -> Iterable[str]:
        """The states this event is known to touch, so that a batch loads them together."""

    def follow(self, key: str, state: Any) -> Iterable[str]:
        """The states that a loaded state names: one further round."""

    def state_type(self, key: str) -> type[State]:
        """What kind of state lies under a key."""

    def about(self, key: str, state: Any) -> Any:
        """Whom and what a state names, as `schemas.marks.About`: what is exported, and what an erasure takes."""

    def decide(self, states: States, event: Event | Timer | Forget, item: Any, now: float) -> Decision:
        """What follows. Pure: the same arguments give the same decision, and nothing else happens."""


FOREIGN = "@"
"""A key `@processor|key` reads another processor's state of the same shard, as last committed; it is never written."""


def foreign(processor: str, key: str) -> str:
    """The key under which a processor sees a state that another one owns."""
    return f"{FOREIGN}{processor}|{key}"
