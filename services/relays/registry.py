"""The relays there are: to which address which events go. Kept in the store, so that every process knows them.

A relay is a state like any other, in the hands of whoever holds the registry's lease for the moment of a change.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from secrets import token_hex
from time import monotonic

import msgspec
from msgspec.structs import replace

from schemas.ports import FAR, Commit, EventLog, Fenced, Lease, LogUnavailable, Row, Store
from schemas.topics import partition_of
from services.relays.secrets import RelaySecrets, opens
from services.relays.signature import new_secret
from services.relays.state import Relay, Replay
from services.sealing.keys import Sealer
from services.shard import decode_state

NAME = "services.relays"
"""The owner of these states, as a processor is."""
SHARD = 0
LINE = "relays"
OWNER = "registry"
LEASE_S = 10.0
TURN_S, LOOK_S = 2.0, 0.02
"""How long a change waits for one that is under way, and how often it looks."""
RELAYS_MAX = 100
REPLAYS_MAX = 16
"""Replays of a relay that are remembered; the oldest are over by then, or were asked for in error."""
SECRETS_MAX = 2
SKIPS_MAX = 100


class Busy(Exception):
    """Somebody else changes the registry for longer than that may take, or the store did not answer: try it again."""


class UnknownRelay(Exception):
    """There is no relay of this id."""


class TooMany(Exception):
    """There are as many relays as there may be."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a new relay shall do."""

    url: str
    topics: tuple[str, ...]
    types: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    from_start: bool = False
    secret: str = ""


class Registry:
    """Reads and changes the relays of the installation. `sealer` keeps their secrets."""

    def __init__(self, store: Store, log: EventLog, clock: Callable[[], float], sealer: Sealer) -> None:
        self._store = store
        self._secrets = RelaySecrets(sealer)
        self._log = log
        self._clock = clock

    async def relays(self) -> list[Relay]:
        """All relays, the oldest first."""
        return [self._usable(relay) for relay in await self._stored()]

    async def seal_anew(self) -> None:
        """Keep every secret under the first key, also what was kept before there was one. Raises Busy."""
        for relay in await self._stored():
            if not self._secrets.is_current(relay):
                await self._change(relay.relay_id, lambda known: known)

    async def _stored(self) -> list[Relay]:
        found = await self._store.heads(NAME, SHARD, LINE, FAR, RELAYS_MAX)
        return [decode_state(Relay, value) for _, value in found]

    def _usable(self, stored: Relay) -> Relay:
        return self._secrets.usable(self._secrets.opened(stored))

    async def relay(self, relay_id: str) -> Relay:
        """One relay. Raises UnknownRelay."""
        value = (await self._store.load(NAME, SHARD, [_key(relay_id)])).get(_key(relay_id))
        if value is None:
            raise UnknownRelay
        return self._usable(decode_state(Relay, value))

    async def add(self, wanted: Wanted) -> Relay:
        """A new relay, from now on or from the start of what is kept. Raises TooMany or Busy."""
        if len(await self.relays()) >= RELAYS_MAX:
            raise TooMany
        begins = {} if wanted.from_start else await self._ends(wanted.topics)
        now = self._clock()
        relay = Relay(
            line=LINE,
            place=now,
            relay_id=token_hex(6),
            url=wanted.url,
            topics=sorted(set(wanted.topics)),
            types=list(wanted.types),
            numbers=list(wanted.numbers),
            secrets=[wanted.secret or new_secret()],
            created_at=now,
            begins=begins,
        )
        await self._change(relay.relay_id, lambda _: relay)
        return relay

    async def remove(self, relay_id: str) -> None:
        """Forget a relay. Raises UnknownRelay or Busy."""
        await self.relay(relay_id)
        await self._change(relay_id, lambda _: None)

    async def pause(self, relay_id: str, because: str) -> Relay:
        """Send nothing more, because an operator says so or the receiver is gone; WORKING lets it go on.

        Raises UnknownRelay or Busy.
        """
        return await self._changed(relay_id, lambda relay: replace(relay, paused_because=because))

    async def rotate(self, relay_id: str) -> Relay:
        """A new secret beside the one before, which is valid until the next rotation. Raises UnknownRelay or Busy.

        One that no key opens is let go: it signs nothing, and would keep the service from its next start.
        """
        return await self._changed(
            relay_id, lambda relay: replace(relay, secrets=[new_secret(), *opens(relay.secrets)][:SECRETS_MAX])
        )

    async def replay(self, relay_id: str, number: str, topic: str, from_seq: int) -> Relay:
        """Have a number's events sent again, from a `seq` on up to now. Raises UnknownRelay or Busy."""
        until = await self._log.end(topic, partition_of(number, self._log.partitions))
        again = Replay(token_hex(4), number, topic, from_seq, until)
        return await self._changed(
            relay_id, lambda relay: replace(relay, replays=[*relay.replays, again][-REPLAYS_MAX:])
        )

    async def skip(self, relay_id: str, event_id: str) -> Relay:
        """Leave out an event that its receiver will never take. Raises UnknownRelay or Busy."""
        return await self._changed(relay_id, lambda relay: replace(relay, skips=[*relay.skips, event_id][-SKIPS_MAX:]))

    async def _ends(self, topics: tuple[str, ...]) -> dict[str, list[int]]:
        return {
            topic: [await self._log.end(topic, partition) for partition in range(self._log.partitions)]
            for topic in topics
        }

    async def _changed(self, relay_id: str, change: Callable[[Relay], Relay]) -> Relay:
        def known(relay: Relay | None) -> Relay:
            if relay is None:
                raise UnknownRelay
            return change(relay)

        found = await self._change(relay_id, known)
        assert found is not None  # noqa: S101 - `known` returns one or raises
        return self._secrets.usable(found)

    async def _change(self, relay_id: str, change: Callable[[Relay | None], Relay | None]) -> Relay | None:
        """Read, change and write under the registry's lease, so that two changes never meet."""
        try:
            lease = await self._turn()
            try:
                value = (await self._store.load(NAME, SHARD, [_key(relay_id)])).get(_key(relay_id))
                relay = change(None if value is None else self._secrets.opened(decode_state(Relay, value)))
                row = None if relay is None else self._row(relay)
                await self._store.commit(Commit(lease, rows={_key(relay_id): row}))
            finally:
                await self._store.release(lease)
        except (Fenced, LogUnavailable):
            raise Busy from None
        return relay

    async def _turn(self) -> Lease:
        """The registry's lease once nobody else has it: a change may be seen a moment before its lease is let go."""
        give_up = monotonic() + TURN_S
        while True:
            lease = await self._store.acquire(NAME, SHARD, f"{OWNER}/{token_hex(4)}", LEASE_S)
            if lease is not None:
                return lease
            if monotonic() > give_up:
                raise Busy
            await asyncio.sleep(LOOK_S)

    def _row(self, relay: Relay) -> Row:
        return Row(msgspec.msgpack.encode(self._secrets.sealed(relay)), None, relay.line, relay.place)


def _key(relay_id: str) -> str:
    return f"r/{relay_id}"
