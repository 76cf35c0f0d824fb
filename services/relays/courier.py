"""One relay's way out: posts an event until its receiver has taken it, ever more slowly while it does not.

Only a 2xx is an acceptance. After five failures in a row (those of one moment count as one) the relay is failing: then
one request at a time asks whether the receiver is back, up to five minutes apart, and everything else waits for it. So
nothing is lost, nothing overtakes, and a receiver that comes back is not run over.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
import orjson

from schemas.cloudevents import cloudevent
from schemas.ports import Event, LogUnavailable, Record
from sender.graph import strict_client
from services.media.address import Forbidden, Resolve
from services.relays.registry import Busy, Registry, UnknownRelay
from services.relays.signature import headers
from services.relays.state import GONE as GONE_FOR_GOOD
from services.relays.state import Relay
from services.relays.target import target

ATTEMPT_S = 15.0
"""How long a receiver may take: it should store the event, answer, and work afterwards."""
AT_ONCE_MAX = 16
"""Requests to one receiver at the same time, each about another conversation."""
ANSWER_BYTES_MAX = 16 * 1024
"""What is read of an answer, so that its connection can be used again."""
FAILING_AFTER = 5
BACKOFF_S, BACKOFF_S_MAX = 1.0, 300.0
RETRY_AFTER_S_MAX = 3600.0
LOOK_S = 1.0
"""How often a relay whose receiver is gone looks whether it was resumed."""
GONE = 410
"""The receiver wants no more, for good (Standard Webhooks)."""


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one attempt: a status, or a word for what came in its place. `retry_after_s` as asked for."""

    status: int = 0
    reason: str = ""
    retry_after_s: float = 0

    @property
    def taken(self) -> bool:
        """Has the receiver taken it?"""
        return 200 <= self.status < 300

    @property
    def told(self) -> str:
        """For people: the status, or the reason."""
        return str(self.status) if self.status else self.reason


@dataclass(slots=True)
class Health:
    """How a relay fares, as far as this process has tried. Instants in seconds since 1970, 0 for none."""

    failures: int = 0
    failing_since: float = 0
    next_at: float = 0
    last: str = ""

    @property
    def failing(self) -> bool:
        """Does it ask only now and then?"""
        return self.failures >= FAILING_AFTER

    def note(self, result: Result, now: float) -> None:
        """Count an attempt."""
        self.last = result.told
        if result.taken:
            self.failures, self.failing_since, self.next_at = 0, 0, 0
            return
        self.failing_since = self.failing_since or now
        if now >= self.next_at:  # what was asked at the same time failed for the same reason
            self.next_at = now + max(result.retry_after_s, backoff_s(self.failures, random.random()))
            self.failures += 1


def backoff_s(failures: int, jitter: float) -> float:
    """Seconds until the next attempt after so many failures before this one; `jitter` from 0 to 1 takes up to half."""
    return min(BACKOFF_S * 2.0 ** min(failures, 16), BACKOFF_S_MAX) * (1 - jitter / 2)


@dataclass(slots=True)
class Courier:
    """Delivers one relay's events. `relay` is replaced when its secrets, skips or pause change."""

    relay: Relay
    registry: Registry
    client: httpx.AsyncClient
    hosts: Sequence[str]
    resolve: Resolve | None
    clock: Callable[[], float]
    attempted: Callable[[str, float], None]
    health: Health = field(default_factory=Health)
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE_MAX))
    _probe: asyncio.Lock = field(default_factory=asyncio.Lock)
    _resting: asyncio.Task[None] | None = None

    async def deliver(self, record: Record, failed: Callable[[Record, Result], object]) -> Result:
        """Post until it is taken, skipped by an operator, or the receiver says that it is gone.

        `failed` is told of every attempt that was not taken.
        """
        body = body_of(record)
        failures = 0
        while record.event.id not in self.relay.skips:
            async with self._turn():
                result = await self.attempt(record.event, body)
                self.health.note(result, self.clock())
            if result.taken or result.status == GONE:
                return result
            failed(record, result)
            wait_s = max(result.retry_after_s, backoff_s(failures, random.random()))
            failures += 1
            if not self.health.failing:
                await asyncio.sleep(wait_s)
        self.attempted("skipped", 0)
        return Result(reason="skipped")

    async def rest(self) -> None:
        """The receiver said that it is gone: pause the relay, once for all who heard it, and wait until it goes on."""
        if self._resting is None or self._resting.done():
            self._resting = asyncio.create_task(self._rest())
        await asyncio.shield(self._resting)

    def close(self) -> None:
        """Wait for nobody any more."""
        if self._resting is not None:
            self._resting.cancel()

    async def _rest(self) -> None:
        """Until an operator resumes the relay. One that was removed rests for ever: the role cancels that."""
        paused = False
        while True:
            try:
                if not paused:
                    await self.registry.pause(self.relay.relay_id, GONE_FOR_GOOD)
                    paused = True
                elif not (await self.registry.relay(self.relay.relay_id)).paused_because:
                    return
            except (Busy, UnknownRelay, LogUnavailable):
                pass
            await asyncio.sleep(LOOK_S)

    async def attempt(self, event: Event, body: bytes) -> Result:
        """Post once. Never raises for what the network or the receiver does."""
        started = self.clock()
        try:
            async with asyncio.timeout(ATTEMPT_S):
                result = await self._post(event, body)
        except (httpx.HTTPError, OSError, TimeoutError) as problem:
            result = Result(reason="too_slow" if isinstance(problem, TimeoutError) else "unreachable")
        except Forbidden as problem:
            result = Result(reason=problem.reason)
        self.attempted("delivered" if result.taken else "failed", self.clock() - started)
        return result

    async def _post(self, event: Event, body: bytes) -> Result:
        aim = await target(self.relay.url, self.hosts, self.resolve)
        signed = headers(event.id, self.clock(), body, self.relay.secrets)
        request = self.client.build_request(
            "POST",
            aim.url,
            content=body,
            headers={"Content-Type": "application/json", **signed, **aim.headers},
            extensions=dict(aim.extensions),
        )
        response = await self.client.send(request, stream=True)
        try:
            read = 0
            async for piece in response.aiter_raw():
                read += len(piece)
                if read > ANSWER_BYTES_MAX:
                    break
        finally:
            await response.aclose()
        return Result(response.status_code, "", _retry_after_s(response))

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """While the relay is failing, one at a time, each when its time has come."""
        async with self._slots:
            if not self.health.failing:
                yield
                return
            async with self._probe:
                if self.health.failing:
                    await asyncio.sleep(max(0.0, self.health.next_at - self.clock()))
                yield


def body_of(record: Record) -> bytes:
    """What is posted: the event as structured CloudEvents JSON, with the `timestamp` that Standard Webhooks names."""
    told = cloudevent(record)
    return orjson.dumps(told | {"timestamp": told["time"]})


def client(transport: httpx.AsyncBaseTransport | None = None) -> httpx.AsyncClient:
    """A client for receivers, which opens a connection as soon as it wants one."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=AT_ONCE_MAX, keepalive_expiry=30)
    return strict_client(limits, httpx.Timeout(ATTEMPT_S), transport)


def _retry_after_s(response: httpx.Response) -> float:
    given = response.headers.get("retry-after", "")
    return min(float(given), RETRY_AFTER_S_MAX) if given.isdecimal() else 0.0
