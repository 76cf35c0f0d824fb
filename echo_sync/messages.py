"""Everything that decides whose message this is and what became of it. It knows no Kafka, no SQL and no clock.

Webhook items and our own attempts come in, in any order and repeated; each message comes out once on `timeline`, then
what changed. States: `m/` a message, `i/` an alias, `c/` a person, `a/` an attempt of ours, `n/` a number.
"""

import copy
from collections.abc import Callable, Iterable
from typing import Any

import orjson

from echo_sync import message as msg
from echo_sync.account import account_facts, contact_fact, number_facts
from echo_sync.echoes import (
    ACCEPTED,
    AMBIGUOUS,
    ATTEMPT_KEEP_S,
    ATTEMPT_OPEN_S,
    CLOSED,
    ECHO_WAIT_S,
    OPEN,
    Attempt,
    attempt_key,
    claimant,
    must_wait,
    open_attempts,
)
from echo_sync.identity import Person, alias_keys, find, person_key, resolve, survivor
from echo_sync.message import API, ECHO, HISTORY, LIVE, Message
from schemas.items import Item, decode
from schemas.ports import Decision, Event, State, States, Timer
from schemas.states import MESSAGES, Alias, Number, number_key
from schemas.tokens import read_token
from schemas.topics import ACCOUNT, CONTACTS, INBOUND, TIMELINE
from schemas.topics import HISTORY as HISTORY_TOPIC

PAUSES = {"PAUSED": "operator", "RESUMED": "", "ACCOUNT_OFFBOARDED": "offboarded", "ACCOUNT_RECONNECTED": ""}
"""Account events after which a number sends nothing, or sends again, and why."""
KINDS: dict[str, type[State]] = {"m": Message, "i": Alias, "c": Person, "a": Attempt, "n": Number}


def message_key(number: str, message_id: str) -> str:
    """Where a message is kept."""
    return f"m/{number}/{message_id}"


class Messages:
    """The processor `echo_sync.messages`. `key` is the installation's own, for conversation ids and tokens."""

    name = MESSAGES
    inputs = (INBOUND, HISTORY_TOPIC)

    def __init__(self, key: bytes, *, timeline_raw: bool = False, registration: str = "auto") -> None:
        self.key = key
        self.registration = registration
        self.timeline_raw = timeline_raw

    def parse(self, event: Event) -> Item | None:
        """See `Processor.parse`."""
        return decode(event)

    def keys(self, event: Event, item: Item) -> Iterable[str]:
        """See `Processor.keys`."""
        number = event.number
        yield number_key(number)
        if item.message_id:
            yield message_key(number, item.message_id)
        if item.token:
            yield attempt_key(number, item.token)
        yield from alias_keys(number, item.contact)

    def follow(self, key: str, state: Any) -> Iterable[str]:
        """See `Processor.follow`."""
        if isinstance(state, Alias | Attempt | Message) and state.conversation:
            yield person_key(state.conversation)

    def state_type(self, key: str) -> type[State]:
        """See `Processor.state_type`."""
        return KINDS[key[0]]

    def decide(self, states: States, event: Event | Timer, item: Item | None, now: float) -> Decision:
        """See `Processor.decide`."""
        if isinstance(event, Timer):
            return _fire(_Turn(self, states, None, now), event.key)
        handler = HANDLERS.get(event.type)
        if handler is None or item is None:
            return Decision()
        turn = _Turn(self, states, event, now)
        turn.meet_number(item)
        handler(turn, item)
        return turn.decision


class _Turn:
    """One event's decision in the making: states as they are after what was already decided in it."""

    def __init__(self, processor: Messages, states: States, event: Event | None, now: float) -> None:
        self.processor = processor
        self.states = states
        self.event = event
        self.now = now
        self.decision = Decision()

    def get(self, key: str) -> Any:
        """A state, with this turn's own changes. The turn is itself a `States` for the functions it calls."""
        changed = self.decision.states
        return changed[key] if key in changed else self.states.get(key)

    def heads(self, line: str, until: float, limit: int) -> list[tuple[str, Any]]:
        """See `States.heads`."""
        return self.states.heads(line, until, limit)

    def put(self, key: str, state: State | None) -> None:
        """Keep a changed state."""
        self.decision.states[key] = state

    def emit(self, topic: str, kind: str, number: str, subject: str, suffix: str, data: dict[str, Any]) -> None:
        """Publish a fact. Its id is the subject and what distinguishes it, so a repeat would be known."""
        at, recorded_at, cause, trace = self.now, self.now, "", ""
        if self.event is not None:
            at, recorded_at = self.event.at, self.event.recorded_at
            cause, trace = self.event.id, self.event.trace
        body = orjson.dumps(data)
        event = Event(f"{subject}:{suffix}", kind, number, body, at, recorded_at, subject, "", 0, cause, trace)
        self.decision.emit.append((topic, event))

    def note(self, note: str) -> None:
        """Count something that no event tells."""
        self.decision.notes.append(note)

    # --- people

    def meet_number(self, item: Item) -> None:
        """The first signed item that names a number registers it."""
        number = item.number
        if not number or self.get(number_key(number)) is not None:
            return
        if self.processor.registration != "auto" and item.event != "REGISTERED":
            return
        state = Number(number=number, waba=item.waba, business_phone=item.business_phone, line="numbers", place=0)
        self.put(number_key(number), state)
        for kind, suffix, data in number_facts(state):
            self.emit(ACCOUNT, kind, number, number, suffix, data)

    def person(self, item: Item, fallback: str) -> Person:
        """The person behind an item, met now if never before; conversations that turn out to be one are joined."""
        found = resolve(self, self.processor.key, item.number, item.contact, item.at, fallback)
        self.decision.states.update(found.changed)
        for kept, retired in found.merged:
            data = {"survivor": kept, "retired": retired, "number": item.number}
            data["contact"] = msg.contact_data(_contact_of(found.person))  # type: ignore[assignment]
            for topic in (TIMELINE, CONTACTS):
                self.emit(topic, "identity.merged", item.number, kept, f"merged:{retired}", data)
        return found.person

    # --- messages

    def message(self, number: str, message_id: str) -> Message:
        """The message under a wamid, as far as it is known."""
        known = self.get(message_key(number, message_id))
        return known if known is not None else Message(number=number, message_id=message_id)

    def settle(self, before: Message, now: Message) -> None:
        """Keep a message and publish what changed."""
        if now == before:
            return
        if now.added:
            now.line, now.place, now.wake_at = now.conversation, -msg.sent_at(now), None
        self.put(message_key(now.number, now.message_id), now)
        for kind, suffix, data in msg.facts(before, now):
            self.emit(TIMELINE, kind, now.number, now.message_id, suffix, data)


def _contact_of(person: Person) -> Message:
    return Message(wa_id=person.wa_id, user_id=person.user_id, username=person.username, name=person.name)


# --- messages, echoes, history


def _on_message(turn: _Turn, item: Item) -> None:
    _hear(turn, item, LIVE)


def _on_history(turn: _Turn, item: Item) -> None:
    if item.message_id:
        _hear(turn, item, HISTORY)
    else:
        item.field = "history"
        _on_account(turn, item)


def _hear(turn: _Turn, item: Item, source: int) -> None:
    before = turn.message(item.number, item.message_id)
    person = turn.person(item, item.message_id)
    now = msg.heard(before, item, source, person.conversation_id)
    now.added = True
    if turn.processor.timeline_raw:
        now.raw = now.raw or msg.raw_bytes(item.raw)
    if before.sources & source:
        turn.note("duplicate:redelivery")
    elif before.added:
        turn.note("duplicate:history_copy")
    turn.settle(before, now)


def _on_echo(turn: _Turn, item: Item) -> None:
    before = turn.message(item.number, item.message_id)
    person = turn.person(item, item.message_id)
    now = msg.heard(before, item, ECHO, person.conversation_id)
    if turn.processor.timeline_raw:
        now.raw = now.raw or msg.raw_bytes(item.raw)
    if before.sources & ECHO:
        turn.note("duplicate:redelivery")
    elif now.sources & API:
        turn.note("duplicate:own_echo")
    if now.added or now.sources & API:
        now.added = True
        turn.settle(before, now)
    else:
        _judge(turn, before, now, person, waited=before.wake_at is not None and before.wake_at <= turn.now)


def _judge(turn: _Turn, before: Message, now: Message, person: Person, *, waited: bool) -> None:
    """Decide an echo, or let it wait for the send that may be it: one that was open when the echo came."""
    if before.wake_at is None:
        now.awaits = person.open
    attempts = open_attempts(turn, now.number, now.awaits)
    if must_wait(attempts) and not waited:
        _wait(turn, now, person)
        turn.settle(before, now)
        return
    attempt = claimant(attempts, now.kind, now.content)
    if attempt is not None:
        claimed = copy.copy(attempt)
        claimed.matched = now.message_id
        turn.put(attempt_key(attempt.number, attempt.token), claimed)
        now.matched, now.command_id, now.author = attempt.token, attempt.command_id, attempt.author
    now.added, now.awaits = True, []
    turn.settle(before, now)


def _wait(turn: _Turn, now: Message, person: Person) -> None:
    now.wake_at = now.wake_at or turn.now + ECHO_WAIT_S
    if now.message_id not in person.waiting:
        changed = copy.copy(person)
        changed.waiting = [*person.waiting, now.message_id]
        turn.put(person_key(person.conversation_id), changed)


def _release_waiting(turn: _Turn, person: Person) -> None:
    """Judge the echoes of a conversation again: one of its sends has become known."""
    if not person.waiting:
        return
    freed = copy.copy(person)
    freed.waiting = []
    turn.put(person_key(person.conversation_id), freed)
    for message_id in person.waiting:
        before = turn.message(person.number, message_id)
        if not before.added:
            again = turn.get(person_key(person.conversation_id))
            _judge(turn, before, copy.copy(before), again, waited=False)


# --- edits, revokes, statuses


def _on_edit(turn: _Turn, item: Item) -> None:
    before = turn.message(item.number, item.message_id)
    now = msg.edited(before, item)
    if now is before:
        turn.note("duplicate:redelivery")
    turn.settle(before, now)


def _on_revoke(turn: _Turn, item: Item) -> None:
    before = turn.message(item.number, item.message_id)
    now = msg.revoked(before, item)
    if now is before:
        turn.note("duplicate:redelivery")
    turn.settle(before, now)


def _on_status(turn: _Turn, item: Item) -> None:
    before = turn.message(item.number, item.message_id)
    ours = read_token(turn.processor.key, item.token) if item.token else None
    if ours is not None:
        _prove(turn, item.token, item.number, item.message_id, ours[0])
        before = turn.message(item.number, item.message_id)
    now = msg.with_status(before, item)
    if now is before:
        turn.note("duplicate:status_repeat")
        return
    if not now.conversation and (person := find(turn, item.number, item.contact)) is not None:
        now.conversation = person.conversation_id
    turn.settle(before, now)
    data = msg.status_data(now, item)
    turn.emit(TIMELINE, "status.changed", item.number, item.message_id, f"status:{msg.status_key(item)}", data)


# --- our own sends


def _on_attempted(turn: _Turn, item: Item) -> None:
    key = attempt_key(item.number, item.token)
    if turn.get(key) is not None:
        return
    person = turn.person(item, item.token)
    attempt = Attempt(
        number=item.number,
        token=item.token,
        command_id=item.command_id,
        conversation=person.conversation_id,
        kind=item.kind,
        content=msg.raw_bytes(item.content),
        author=item.author,
        at=item.at,
        wake_at=item.at + ATTEMPT_OPEN_S,
    )
    turn.put(key, attempt)
    opened = copy.copy(person)
    opened.open = [*person.open, item.token]
    turn.put(person_key(person.conversation_id), opened)


def _on_answered(turn: _Turn, item: Item) -> None:
    attempt: Attempt | None = turn.get(attempt_key(item.number, item.token))
    if attempt is None:
        return
    for kind, suffix, data in number_facts(turn.get(number_key(item.number)), item):
        turn.emit(ACCOUNT, kind, item.number, item.number, suffix, data)
    if item.outcome == "accepted" and item.message_id:
        if item.contact.wa_id or item.contact.user_id:
            turn.person(item, item.token)
        _prove(turn, item.token, item.number, item.message_id, attempt.command_id)
    elif attempt.outcome == OPEN:
        _close(turn, attempt, AMBIGUOUS if item.outcome == "ambiguous" else CLOSED, "")


def _prove(turn: _Turn, token: str, number: str, message_id: str, command_id: str) -> None:
    """An answer of Graph or a status with our token: this wamid is this attempt."""
    attempt: Attempt | None = turn.get(attempt_key(number, token))
    before = turn.message(number, message_id)
    if before.sources & API and (attempt is None or attempt.outcome == ACCEPTED):
        return
    now = msg.sent_by_us(before, command_id, attempt.author if attempt else "")
    if attempt is not None:
        now = msg.with_content(now, attempt.kind, attempt.content)
        now.conversation = now.conversation or attempt.conversation
        now.hook_at = min(now.hook_at or attempt.at, attempt.at)
        now.received_at = min(now.received_at or attempt.at, attempt.at)
        _name_recipient(turn, now, attempt)
        now.added = True
    if before.added and before.sources & ECHO and not before.matched:
        turn.note("echo:corrected")
    turn.settle(before, now)
    if attempt is not None:
        _take_back(turn, attempt, message_id)
        _close(turn, turn.get(attempt_key(number, token)), ACCEPTED, message_id)


def _name_recipient(turn: _Turn, now: Message, attempt: Attempt) -> None:
    person = survivor(turn, attempt.number, attempt.conversation)
    if person is not None:
        now.wa_id, now.user_id = now.wa_id or person.wa_id, now.user_id or person.user_id
        now.name, now.username = now.name or person.name, now.username or person.username


def _take_back(turn: _Turn, attempt: Attempt, message_id: str) -> None:
    """An echo had been taken for this attempt, and is not: a person wrote it."""
    if not attempt.matched or attempt.matched == message_id:
        return
    before = turn.message(attempt.number, attempt.matched)
    now = copy.copy(before)
    now.matched, now.command_id, now.author = "", "", ""
    turn.settle(before, now)


def _close(turn: _Turn, attempt: Attempt, outcome: str, message_id: str) -> None:
    closed = copy.copy(attempt)
    closed.outcome, closed.message_id = outcome, message_id or attempt.message_id
    if outcome != AMBIGUOUS:
        closed.wake_at = attempt.at + ATTEMPT_KEEP_S
    turn.put(attempt_key(attempt.number, attempt.token), closed)
    person = survivor(turn, attempt.number, attempt.conversation)
    if person is None:
        return
    if outcome != AMBIGUOUS and attempt.token in person.open:
        person = copy.copy(person)
        person.open = [token for token in person.open if token != attempt.token]
        turn.put(person_key(person.conversation_id), person)
    _release_waiting(turn, person)


# --- contacts and accounts


def _on_contact(turn: _Turn, item: Item) -> None:
    if item.action in ("changed_number", "changed_user_id"):
        if item.previous is not None:
            old = copy.copy(item)
            old.contact = item.previous
            turn.person(old, item.event_id)
        _join_identities(turn, item)
    elif item.contact.wa_id or item.contact.user_id:
        turn.person(item, item.event_id)
    kind, suffix, data = contact_fact(turn, item)
    turn.emit(CONTACTS, kind, item.number, data.get("conversation_id", item.number), suffix, data)


def _join_identities(turn: _Turn, item: Item) -> None:
    """A change of number or user id is Meta's word that old and new are one person (Meta contract 3.13)."""
    before = find(turn, item.number, item.previous) if item.previous else None
    if before is None:
        turn.person(item, item.event_id)
        return
    renamed = copy.copy(before)
    renamed.user_id = item.contact.user_id or before.user_id
    renamed.wa_id = item.contact.wa_id or before.wa_id
    turn.put(person_key(before.conversation_id), renamed)
    for key in alias_keys(item.number, item.contact):
        if turn.get(key) is None:
            turn.put(key, Alias(conversation=before.conversation_id, claimed_at=item.at))
    turn.person(item, item.event_id)


def _on_account(turn: _Turn, item: Item) -> None:
    number = item.number or item.waba
    known: Number | None = turn.get(number_key(item.number))
    if known is not None and item.event in PAUSES and item.at >= known.changed_at:
        changed = copy.copy(known)
        changed.paused_because, changed.changed_at = PAUSES[item.event], item.at
        turn.put(number_key(item.number), changed)
    for kind, suffix, data in account_facts(item):
        turn.emit(ACCOUNT, kind, number, number, suffix, data)


def _ignore(turn: _Turn, item: Item) -> None:
    """Unknown items stay on `inbound`, whole, for whoever wants them."""
    turn.note("unknown:item")


# --- timers


def _fire(turn: _Turn, key: str) -> Decision:
    state = turn.get(key)
    if state is None or state.wake_at is None or state.wake_at > turn.now:
        return turn.decision
    if isinstance(state, Message):
        _stop_waiting(turn, state)
    elif isinstance(state, Attempt):
        _age(turn, state)
    return turn.decision


def _stop_waiting(turn: _Turn, before: Message) -> None:
    now = copy.copy(before)
    person = survivor(turn, before.number, before.conversation)
    if person is None:
        now.added = True
        turn.settle(before, now)
        return
    left = copy.copy(person)
    left.waiting = [message_id for message_id in person.waiting if message_id != before.message_id]
    turn.put(person_key(left.conversation_id), left)
    _judge(turn, before, now, left, waited=True)


def _age(turn: _Turn, attempt: Attempt) -> None:
    """An attempt that nothing was heard of holds up no echo; after eight days it is forgotten."""
    if turn.now >= attempt.at + ATTEMPT_KEEP_S:
        turn.put(attempt_key(attempt.number, attempt.token), None)
    else:
        _close(turn, attempt, attempt.outcome if attempt.outcome == ACCEPTED else CLOSED, "")


HANDLERS: dict[str, Callable[[_Turn, Item], None]] = {
    "webhook.message": _on_message,
    "webhook.echo": _on_echo,
    "webhook.history": _on_history,
    "webhook.edit": _on_edit,
    "webhook.revoke": _on_revoke,
    "webhook.status": _on_status,
    "webhook.contact": _on_contact,
    "webhook.account": _on_account,
    "webhook.unknown": _ignore,
    "send.attempted": _on_attempted,
    "send.answered": _on_answered,
}
