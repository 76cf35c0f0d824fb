"""Which events a relay still has before it: what an operator may pass over."""

from collections.abc import AsyncIterator

from schemas.ports import EventLog, Record, Store
from schemas.topics import partition_of
from services.relays.shard import BATCH_RECORDS, PASSED_MAX, REPLAY_KEY, TROUBLE_KEY, Progress, Trouble, name_of
from services.relays.state import Relay
from services.shard import decode_state

AHEAD_MAX = BATCH_RECORDS * (PASSED_MAX + 1)
"""What a shard may have in hand beyond its committed position, in records of a topic."""


async def waits(event_id: str, relay: Relay, log: EventLog, store: Store) -> bool:
    """Whether the event is one that the relay tries to deliver, or comes to next. Raises LogUnavailable."""
    name = name_of(relay.relay_id)
    for shard in range(log.partitions):
        known = await store.load(name, shard, [TROUBLE_KEY])
        if known and decode_state(Trouble, known[TROUBLE_KEY]).event_id == event_id:
            return True
    for shard in range(log.partitions):
        async for record in _ahead(relay, shard, log, store):
            if record.event.id == event_id:
                return True
    return False


async def _ahead(relay: Relay, shard: int, log: EventLog, store: Store) -> AsyncIterator[Record]:
    name = name_of(relay.relay_id)
    positions = await store.positions(name, shard)
    for topic in relay.topics:
        begin = relay.begins[topic][shard] if topic in relay.begins else 0
        for record in await log.read(topic, shard, positions.get(topic, begin), AHEAD_MAX):
            if relay.wants(record.event.type, record.event.number):
                yield record
    mine = {
        REPLAY_KEY + again.id: again for again in relay.replays if partition_of(again.number, log.partitions) == shard
    }
    progress = await store.load(name, shard, mine)
    for key, again in mine.items():
        offset = decode_state(Progress, progress[key]).offset if key in progress else 0
        for record in await log.read(again.topic, shard, offset, AHEAD_MAX) if offset < again.until_offset else ():
            if record.event.number == again.number:
                yield record
