"""Who did what to whose data, and when: records of the topic `audit`, which is only ever appended to.

They hold no content. A person is a keyed digest, so whoever knows the person finds the records, and nobody learns a
person from them. The records of one run of a process form a chain: each carries the digest of the one before, so that
one that was changed or taken out is noticed (`verify`).
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

import orjson

from schemas.instants import rfc3339
from schemas.ports import Event, EventLog, Record
from schemas.topics import AUDIT

REMEMBERED_S = 600.0
"""A page that looks again and again is one reader: reading is recorded once in so long."""
REMEMBERED_MAX = 4_096
PAGE = 1_000


class Audit:
    """One chain of records."""

    def __init__(self, log: EventLog, clock: Callable[[], float]) -> None:
        self._log = log
        self._clock = clock
        self._chain = uuid.uuid4().hex
        self._place = 0
        self._turn = asyncio.Lock()
        self._previous = ""
        self._seen: dict[tuple[str, ...], float] = {}

    async def record(self, who: str, what: str, number: str, **more: str) -> None:
        """Append a record. `more`: person, conversation, about, asked_at. Raises LogUnavailable."""
        async with self._turn:
            await self._record(who, what, number, more)

    async def _record(self, who: str, what: str, number: str, more: Mapping[str, str]) -> None:
        now = self._clock()
        data = {
            "who": who,
            "what": what,
            "at": rfc3339(now),
            "number": number,
            **{name: value for name, value in more.items() if value},
            "chain": self._chain,
            "place": self._place,
            "previous": self._previous,
        }
        body = orjson.dumps(data)
        event = Event(f"{self._chain}:{self._place}", "audit.recorded", number or "unknown", body, now, now)
        await self._log.append([(AUDIT, event)])
        self._place, self._previous = self._place + 1, digest(body)

    async def read(self, who: str, what: str, number: str, **more: str) -> None:
        """Record that somebody has read something, once in a while. Raises LogUnavailable."""
        now, key = self._clock(), (who, what, number, *more.values())
        if now - self._seen.get(key, 0) < REMEMBERED_S:
            return
        if len(self._seen) >= REMEMBERED_MAX:
            self._seen.clear()
        self._seen[key] = now
        await self.record(who, what, number, **more)


def digest(body: bytes) -> str:
    """What the next record says of this one."""
    return blake2b(body, digest_size=16).hexdigest()


async def records(log: EventLog) -> AsyncIterator[Record]:
    """Every record that is kept, partition by partition, oldest first."""
    for partition in range(log.partitions):
        offset = 0
        while found := await log.read(AUDIT, partition, offset, PAGE):
            for record in found:
                if record.event.type == "audit.recorded":
                    yield record
            offset = found[-1].offset + 1


def verify(told: Sequence[bytes]) -> list[str]:
    """The places, as chain:place, whose record does not follow from the one before. Pure.

    A chain's beginning may have aged out; from the oldest record on that is kept, all must be there, and unchanged.
    """
    chains: dict[str, dict[int, tuple[dict[str, Any], bytes]]] = {}
    for body in told:
        data: dict[str, Any] = orjson.loads(body)
        chains.setdefault(data["chain"], {})[data["place"]] = data, body
    broken = []
    for chain, found in chains.items():
        for place in range(min(found) + 1, max(found) + 1):
            before, here = found.get(place - 1), found.get(place)
            if here is None or (before is not None and here[0]["previous"] != digest(before[1])):
                broken.append(f"{chain}:{place}")
    return broken
