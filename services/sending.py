"""What happens between a committed attempt and its answer: the one place where a request leaves for Graph.

First `send.attempted` is made durable on `inbound`, so that every echo this send can cause lies behind it; if that is
not confirmed, no request leaves. Then the lease and the conversation are looked at once more, and only then the
socket opens. Whatever comes of it goes to `inbound` as `send.answered`, which decides in order with everything else.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import orjson
import structlog
from msgspec import UNSET, Raw

from schemas import items
from schemas.items import Item
from schemas.ports import FOREIGN, Event, EventLog, Lease, LogUnavailable, Missing, Store, foreign
from schemas.states import DELIVERY
from schemas.topics import INBOUND
from sender.command import READ
from sender.conditions import find_conversation, withheld
from sender.departures import APART_S, Departures
from sender.errors import Action
from sender.graph import ANSWER_S, CONNECT_S, Answer, Graph, body
from sender.pace import ANSWER_WAIT_S
from sender.turn import Send
from services.foreign_states import foreign_type
from services.shard import load_foreign
from services.telemetry.tracing import Tracing

APPEND_RETRY_S = 0.5
EARLY_S_MAX = 1.0
"""Attempts are opened a little before their slot; a clock that went back must not make them wait for long."""
STALE_S = ANSWER_WAIT_S - ANSWER_S - CONNECT_S - 1
"""An attempt that waited longer may be given up before its answer can come, so its request does not leave."""

FINE = ("accepted", "withdrawn")
"""Outcomes that are no failure."""
NO_TOKEN = Answer("rejected", reason="no_token")

log = structlog.get_logger()


class Tokens(Protocol):
    """The access tokens of the numbers."""

    async def of(self, number: str) -> str | None:
        """The token of a number, or None."""

    def forget(self, number: str) -> None:
        """Meta refused it: read it anew the next time."""


class Sending:
    """Performs the calls of `sender.delivery`, with the access tokens of `tokens`.

    `holds` says whether a lease is still ours for that many seconds: Meta cannot check a fence, so we do.
    """

    def __init__(
        self,
        log_: EventLog,
        store: Store,
        graph: Graph,
        tokens: Tokens,
        holds: Callable[[Lease, float], bool],
        clock: Callable[[], float],
        observe: Callable[[str, float], None],
        tracing: Tracing,
    ) -> None:
        self._log = log_
        self._store = store
        self._graph = graph
        self._tokens = tokens
        self._holds = holds
        self._clock = clock
        self._observe = observe
        self._departures = Departures()
        self._tracing = tracing

    async def __call__(self, call: Send, lease: Lease) -> None:
        """Perform one send; see the head of this file for the order of things."""
        token = await self._tokens.of(call.number)
        with self._tracing.request(call.trace) as hop:
            if hop.trace != call.trace:
                call = replace(call, trace=hop.trace)
            answer = await self._outcome(call, lease, token) if token is not None else NO_TOKEN
            await self._tell(call, answer)
            hop.end(answer.outcome, "" if answer.outcome in FINE else str(answer.code or answer.reason))

    async def _outcome(self, call: Send, lease: Lease, token: str) -> Answer:
        hindrance = await self._hindrance(call, lease)
        if hindrance is not None:
            return hindrance
        started = self._clock()
        answer = await self._post(call, lease, token)
        self._observe(answer.outcome, self._clock() - started)
        return answer

    async def _hindrance(self, call: Send, lease: Lease) -> Answer | None:
        """What keeps the request from leaving; its echo is prepared for, which a read receipt has not."""
        announced = await self._announce(call) if call.kind != READ else None
        return announced or await self._withheld(call, lease)

    async def _announce(self, call: Send) -> Answer | None:
        """Make the attempt durable on `inbound`. Where that was not confirmed, no request leaves."""
        item = self._item(call)
        item.content = _content(call)
        item.kind, item.author = call.kind, call.origin
        try:
            await self._append("send.attempted", f"a:{call.token}", item, call.trace)
        except LogUnavailable:
            return Answer("not_sent", reason="not_durable")
        return None

    async def _withheld(self, call: Send, lease: Lease) -> Answer | None:
        """The last look before the socket: is the shard still ours, and has nobody answered meanwhile?

        The lease must outlast the time in which the request can leave. Its answer may come later: until then the open
        attempt keeps everybody, the next owner too, from that conversation for longer than an answer can take.
        """
        await self._rest_until(call.leaves_at, EARLY_S_MAX)
        if call.kind != READ:
            await self._rest_until(self._departures.free_at(call.number, call.leaves_at), APART_S)
        if self._clock() - call.opened_at > STALE_S:
            return Answer("not_sent", reason="stale")
        if not self._holds(lease, CONNECT_S):
            return Answer("not_sent", reason="lease_ends")
        reason = await self._reason(call, lease)
        return Answer("withdrawn", reason=reason) if reason else None

    async def _rest_until(self, at: float, rest_s_max: float) -> None:
        if 0 < (early_s := at - self._clock()) <= rest_s_max:
            await asyncio.sleep(early_s)

    async def _reason(self, call: Send, lease: Lease) -> str:
        """Why it must not go, by the conversation as its owner last committed it; nothing when it may."""
        known: dict[str, Any] = {}

        def get(key: str) -> Any:
            if key not in known:
                raise Missing([key])
            return known[key]

        while True:
            try:
                conversation = find_conversation(get, call.number, call.to)
                return withheld(get, conversation, call.origin, call.conditions, self._clock())
            except Missing as missing:
                for key in missing.keys:
                    named = key if key.startswith(FOREIGN) else foreign(DELIVERY, key)
                    known[key] = await load_foreign(self._store, lease.shard, named, foreign_type(named))

    async def _post(self, call: Send, lease: Lease, token: str) -> Answer:
        content, read = body(call.to, orjson.loads(call.message), call.token), call.kind == READ
        answer = await self._graph.send(call.number, token, content, partial(self._too_late, call, lease), read=read)
        if answer.action == Action.PAUSE_TOKEN:
            self._tokens.forget(call.number)
        return answer

    def _too_late(self, call: Send, lease: Lease) -> str:
        """Asked with the connection open, as the first byte is about to leave: connecting takes time, a freeze more."""
        now = self._clock()
        if now - call.opened_at > STALE_S + CONNECT_S:
            return "stale"
        if not self._holds(lease, 0):
            return "lease_ends"
        if call.kind != READ:
            self._departures.note(call.number, call.leaves_at, now)
        return ""

    async def _tell(self, call: Send, answer: Answer) -> None:
        """Append what came of it, until it is durable: nobody else knows."""
        item = self._item(call)
        item.outcome, item.code, item.reason = answer.outcome, answer.code, answer.action or answer.reason
        item.message_id = answer.message_id
        item.contact = answer.contact or call.to
        item.error = Raw(answer.error) if answer.error else UNSET
        item.usage, item.regain_s = answer.usage, answer.regain_s
        while True:
            try:
                await self._append("send.answered", f"w:{call.token}:{answer.outcome}", item, call.trace)
            except LogUnavailable:
                log.warning("answer_not_durable", reason="repeated until it is")
                await asyncio.sleep(APPEND_RETRY_S)
            else:
                return

    def _item(self, call: Send) -> Item:
        return Item(
            number=call.number,
            command_id=call.command_id,
            attempt=call.attempt,
            token=call.token,
            contact=call.to,
            at=call.opened_at,
            received_at=self._clock(),
        )

    async def _append(self, kind: str, event_id: str, item: Item, trace: str) -> None:
        now = self._clock()
        event = Event(event_id, kind, item.number, items.encode(item), item.at, now, item.command_id, trace=trace)
        await self._log.append([(INBOUND, event)])


def _content(call: Send) -> Raw:
    part = orjson.loads(call.message).get(call.kind)
    return Raw(orjson.dumps(part if part is not None else {}))
