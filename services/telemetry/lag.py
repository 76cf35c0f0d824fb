"""How far the processors are behind: events that were not read yet, and for how long the oldest of them has waited.

A runner knows up to which instant it has read everything: the last record it read was appended then, or nothing stood
behind it when the end was looked up. What is unread came later, so that instant bounds its age; of those shards whose
bound is largest the oldest unread record is looked at.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from schemas.ports import EventLog
from services.runner import Runner

LOOKED_AT_MAX = 8
"""Places of a processor whose oldest unread record is looked at, those first that may have waited longest."""

Place = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Lag:
    """Events not yet read on the shards that are held here, by topic, and how long the oldest of them has waited."""

    events: Mapping[str, int]
    seconds: float


async def lag(runner: Runner, log: EventLog, now: float) -> Lag:
    """How far a processor is behind on the shards that it works for. Raises LogUnavailable."""
    places = list(runner.seen)
    ends = dict(zip(places, await asyncio.gather(*(log.end(*place) for place in places)), strict=True))
    events = Counter(dict.fromkeys(runner.processor.inputs, 0))
    behind = []
    for place, end in ends.items():
        seen = runner.seen.get(place)
        if seen is not None and end > seen.position:
            events[place[0]] += end - seen.position
            behind.append(place)
        elif seen is not None:
            runner.seen[place] = replace(seen, read_until=max(now, seen.read_until))
    return Lag(events, await _oldest_s(runner, log, behind, now))


async def _oldest_s(runner: Runner, log: EventLog, behind: Iterable[Place], now: float) -> float:
    bounds = sorted(((now - runner.seen[place].read_until, place) for place in behind), reverse=True)
    oldest_s = 0.0
    for bound_s, place in bounds[:LOOKED_AT_MAX]:
        seen = runner.seen.get(place)
        if bound_s <= oldest_s or seen is None:
            break
        first = await log.read(*place, seen.position, 1)
        oldest_s = max(oldest_s, now - first[0].appended_at if first else 0.0)
    return oldest_s
