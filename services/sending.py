"""What happens between a committed attempt and its answer: the one place where a request leaves for Graph.

First `send.attempted` is made durable on `inbound`, so that every echo this send can cause lies behind it; if that is
not confirmed, no request leaves. Then the lease and the conversation are looked at once more, and only then the
socket opens. Whatever comes of it goes to `inbound` as `send.answered`, which decides in order with everything else.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Protocol, TypeVar

import orjson
import structlog
from msgspec import UNSET, Raw

from echo_sync.conversations import Told, with_messages
from echo_sync.message import Message, historical, origin, sent_at
from schemas import items
from schemas.instants import rfc3339
from schemas.items import Item
from schemas.ports import FAR, FOREIGN, Event, EventLog, Lease, LogUnavailable, Missing, Store, foreign
from schemas.states import BOT, DELIVERY, MESSAGES, PAUSE_S_DEFAULT, Alias, Conversation, alias_key
from schemas.topics import INBOUND
from sender.command import READ, lane_of
from sender.conditions import find_conversation, withheld
from sender.departures import APART_S, Departures
from sender.errors import Action
from sender.graph import ANSWER_S, CONNECT_S, Answer, Graph, body
from sender.pace import ANSWER_WAIT_S
from sender.turn import Send
from services.foreign_states import foreign_type
from services.shard import decode_state, load_foreign
from services.telemetry.tracing import Tracing

APPEND_RETRY_S = 0.5
EARLY_S_MAX = 1.0
"""Attempts are opened a little before their slot; a clock that went back must not make them wait for long."""
STALE_S = ANSWER_WAIT_S - ANSWER_S - CONNECT_S - 1
"""An attempt that waited longer may be given up before its answer can come, so its request does not leave."""

NEWEST = 8
"""Messages of a conversation that are looked at before the socket: its owner is seldom behind by more than one."""

T = TypeVar("T")

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
        pause_s: float = PAUSE_S_DEFAULT,
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
        self._pause_s = pause_s

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
        """Why it must not go, by all that `timeline` tells of the conversation; nothing when it may."""
        states = _States(self._store, lease.shard)
        conversation = await states.ask(lambda get: find_conversation(get, call.number, call.to))
        if call.origin == BOT or call.conditions is not None:
            alias: Alias | None = await states.load(foreign(MESSAGES, alias_key(call.number, lane_of(call.to))))
            if alias is not None:
                known = conversation or Conversation(number=call.number, conversation_id=alias.conversation)
                conversation = with_messages(known, await states.newest(alias.conversation), self._pause_s)
        now = self._clock()
        return await states.ask(lambda get: withheld(get, conversation, call.origin, call.conditions, now))

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


class _States:
    """What the sender sees of a shard, loaded as it is asked for."""

    def __init__(self, store: Store, shard: int) -> None:
        self._store = store
        self._shard = shard
        self._known: dict[str, Any] = {}

    async def ask(self, question: Callable[[Callable[[str], Any]], T]) -> T:
        """The answer of a pure function that looks at states."""
        while True:
            try:
                return question(self._get)
            except Missing as missing:
                for key in missing.keys:
                    await self.load(key)

    async def load(self, key: str) -> Any:
        """A state as its owner last committed it, or None; a plain key is the sender's own."""
        if key not in self._known:
            named = key if key.startswith(FOREIGN) else foreign(DELIVERY, key)
            self._known[key] = await load_foreign(self._store, self._shard, named, foreign_type(named))
        return self._known[key]

    async def newest(self, conversation_id: str) -> list[Told]:
        """The newest messages of a conversation: they are committed with what `timeline` tells of them."""
        rows = await self._store.heads(MESSAGES, self._shard, conversation_id, FAR, NEWEST)
        return [_told(decode_state(Message, value)) for _, value in rows]

    def _get(self, key: str) -> Any:
        if key not in self._known:
            raise Missing([key])
        return self._known[key]


def _told(message: Message) -> Told:
    """What `message.added` would tell of it now, as far as its conversation looks at that."""
    return Told(
        message_id=message.message_id,
        direction=message.direction,
        origin=origin(message),
        author=message.author,
        sent_at=rfc3339(sent_at(message)),
        historical=historical(message),
        possibly_automatic=bool(message.automatic),
    )


def _content(call: Send) -> Raw:
    part = orjson.loads(call.message).get(call.kind)
    return Raw(orjson.dumps(part if part is not None else {}))
