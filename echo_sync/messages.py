"""Everything that decides whose message this is and what became of it. It knows no Kafka, no SQL and no clock.

Webhook items and our own attempts come in, in any order and repeated; each message comes out once on `timeline`, then
what changed. States: `m/` a message, `i/` an alias, `c/` a person, `a/` an attempt of ours, `n/` a number, `w/` its
account, `h/` its history import, `b/` an entry of its address book, `g/` a text that may be automatic, `r/` how far a
person may be written to, `t/` a template, `e/` what a month cost, `s/` an event that left no other state.
"""

import copy
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from msgspec import UNSET

from echo_sync import consent, costs, numbers, wabas
from echo_sync import message as msg
from echo_sync.account import Seen, contact_fact
from echo_sync.authorship import close, judge, prove, take_back
from echo_sync.automatic import SIGNS, Saying, Signs
from echo_sync.contacts import SYNC_ACTIONS, Entry, entry_key, entry_of, is_newer, is_news
from echo_sync.costs import Costs
from echo_sync.echoes import ACCEPTED, AMBIGUOUS, ATTEMPT_KEEP_S, ATTEMPT_OPEN_S, CLOSED, OPEN, Attempt, attempt_key
from echo_sync.forgetting import about, forget
from echo_sync.identity import Person, alias_keys, find, person_key, succeed, survivor
from echo_sync.imports import Import
from echo_sync.message import API, ECHO, HISTORY, LIVE, Message
from echo_sync.settling import finish, settle
from echo_sync.turn import Rules, Turn
from echo_sync.wabas import Waba
from schemas.items import Item, code_of, decode
from schemas.marks import About
from schemas.ports import Decision, Event, Forget, State, States, Timer
from schemas.states import MESSAGES, Alias, Number, Reach, Template, message_key, number_key, reach_key
from schemas.tokens import read_token
from schemas.topics import CONTACTS, INBOUND, TIMELINE
from schemas.topics import HISTORY as HISTORY_TOPIC

KINDS: dict[str, type[State]] = {
    "m": Message,
    "i": Alias,
    "c": Person,
    "a": Attempt,
    "n": Number,
    "s": Seen,
    "w": Waba,
    "h": Import,
    "b": Entry,
    "g": Saying,
    "r": Reach,
    "t": Template,
    "e": Costs,
}


class Messages:
    """The processor `echo_sync.messages`. `key` is the installation's own, for conversation ids and tokens."""

    name = MESSAGES
    inputs = (INBOUND, HISTORY_TOPIC)

    def __init__(
        self,
        key: bytes,
        *,
        timeline_raw: bool = False,
        registration: str = "auto",
        signs: Signs = SIGNS,
        opt_out_words: Iterable[str] = (),
        opt_in_words: Iterable[str] = (),
    ) -> None:
        heard = (frozenset(map(consent.words, said)) for said in (opt_out_words, opt_in_words))
        self.rules = Rules(key, timeline_raw, registration, signs, *heard)

    def parse(self, event: Event, topic: str = "") -> Item | None:
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
            if isinstance(state, Alias):
                yield reach_key(state.conversation)

    def state_type(self, key: str) -> type[State]:
        """See `Processor.state_type`."""
        return KINDS[key[0]]

    def about(self, key: str, state: Any) -> About:
        """See `Processor.about`."""
        return about(key, state)

    def decide(self, states: States, event: Event | Timer | Forget, item: Item | None, now: float) -> Decision:
        """See `Processor.decide`."""
        if isinstance(event, Forget):
            turn = Turn(self.rules, states, None, now)
            forget(turn, event.key, event.things)
            return turn.decision
        if isinstance(event, Timer):
            return finish(_fire(Turn(self.rules, states, None, now), event.key))
        handler = HANDLERS.get(event.type)
        if handler is None or item is None:
            return Decision()
        turn = Turn(self.rules, states, event, now)
        numbers.meet(turn, item)
        handler(turn, item)
        return finish(turn)


# --- messages, echoes, history


def _on_message(turn: Turn, item: Item) -> None:
    consent.on_heard(turn, item, _hear(turn, item, LIVE))


def _on_history(turn: Turn, item: Item) -> None:
    if item.message_id:
        _hear(turn, item, HISTORY)
    else:
        numbers.on_chunk(turn, item)


def _hear(turn: Turn, item: Item, source: int) -> Person:
    before = turn.message(item.number, item.message_id)
    person = turn.person(item, item.message_id)
    now = msg.heard(before, item, source, person.conversation_id)
    now.name = now.name or person.name
    now.added = now.added or before.wake_at is None
    if turn.rules.timeline_raw:
        now.raw = now.raw or msg.raw_bytes(item.raw)
    if before.sources & source:
        turn.note("duplicate:redelivery")
    elif before.added:
        turn.note("duplicate:history_copy")
    settle(turn, before, now)
    return person


def _on_echo(turn: Turn, item: Item) -> None:
    numbers.on_the_phone(turn, item)
    before = turn.message(item.number, item.message_id)
    person = turn.person(item, item.message_id)
    now = msg.heard(before, item, ECHO, person.conversation_id)
    now.name = now.name or person.name
    if turn.rules.timeline_raw:
        now.raw = now.raw or msg.raw_bytes(item.raw)
    if before.sources & ECHO:
        turn.note("duplicate:redelivery")
    elif now.sources & API:
        turn.note("duplicate:own_echo")
    if now.sources & API or (before.added and before.sources & ECHO):
        now.added = True
        settle(turn, before, now)
    else:
        waited = before.wake_at is not None and before.wake_at <= turn.now
        judge(turn, before, now, person, waited=waited or before.added)


# --- edits, revokes, statuses


def _on_change(changed: Callable[[Message, Item], Message], turn: Turn, item: Item) -> None:
    before = turn.message(item.number, item.message_id)
    now = changed(before, item)
    if now is before:
        turn.note("duplicate:redelivery")
    settle(turn, before, now)


def _on_status(turn: Turn, item: Item) -> None:
    before = turn.message(item.number, item.message_id)
    ours = read_token(turn.rules.key, item.token) if item.token else None
    if ours is not None:
        prove(turn, item.token, item.number, item.message_id, ours[0])
        before = turn.message(item.number, item.message_id)
    now = msg.with_status(before, item)
    if now is before:
        turn.note("duplicate:status_repeat")
        return
    if not now.conversation and (person := find(turn, item.number, item.contact)) is not None:
        now.conversation = person.conversation_id
    if item.pricing is not UNSET and not now.priced:
        now.priced = True
        costs.on_price(turn, now, item)
    settle(turn, before, now)
    data = msg.status_data(now, item)
    turn.emit(TIMELINE, "status.changed", item.number, item.message_id, f"status:{msg.status_key(item)}", data)
    if item.status == "failed":
        consent.on_refusal(turn, item, code_of(item.errors), now.conversation)


def _on_media(turn: Turn, item: Item) -> None:
    before = turn.message(item.number, item.message_id)
    settle(turn, before, msg.with_media(before, item))


# --- our own sends


def _on_attempted(turn: Turn, item: Item) -> None:
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


def _on_answered(turn: Turn, item: Item) -> None:
    attempt: Attempt | None = turn.get(attempt_key(item.number, item.token))
    if attempt is None:
        return
    numbers.on_answer(turn, item)
    consent.on_refusal(turn, item, item.code, attempt.conversation)
    if item.outcome == "accepted" and item.message_id:
        if item.contact.wa_id or item.contact.user_id:
            turn.person(item, item.token)
        prove(turn, item.token, item.number, item.message_id, attempt.command_id)
    elif item.outcome == "ambiguous":
        if attempt.outcome == OPEN:
            close(turn, attempt, AMBIGUOUS, "")
    elif attempt.outcome != ACCEPTED:
        take_back(turn, attempt, "")
        close(turn, attempt, CLOSED, "")


# --- contacts and accounts


def _on_contact(turn: Turn, item: Item) -> None:
    """A change of a person's identities, or of the owner's address book."""
    if item.action in SYNC_ACTIONS:
        _on_entry(turn, item)
        return
    if item.action in ("changed_number", "changed_user_id"):
        if item.previous is not None:
            old = copy.copy(item)
            old.contact = item.previous
            turn.person(old, item.event_id)
        _join_identities(turn, item)
    elif item.contact.wa_id or item.contact.user_id:
        turn.person(item, item.event_id)
    if turn.is_first():
        _tell_contact(turn, item)


def _on_entry(turn: Turn, item: Item) -> None:
    """The newest change of an entry counts; it is told when it changes something (Meta contract 5.7)."""
    numbers.on_the_phone(turn, item)
    known = find(turn, item.number, item.contact)
    said = copy.copy(item)
    if known is not None and known.name:  # what people call themselves stays what they are called
        said.contact = copy.copy(item.contact)
        said.contact.name = ""
    person = turn.person(said, item.event_id)
    key, entry = entry_key(item.number, person.conversation_id), entry_of(item)
    before: Entry | None = turn.get(key)
    if not is_newer(entry, before):
        turn.note("duplicate:redelivery" if entry == before else "stale:contact")
        return
    turn.put(key, entry)
    if is_news(entry, before):
        _tell_contact(turn, item)


def _tell_contact(turn: Turn, item: Item) -> None:
    kind, suffix, data = contact_fact(turn, item)
    turn.emit(CONTACTS, kind, item.number, data.get("conversation_id", item.number), suffix, data)


def _join_identities(turn: Turn, item: Item) -> None:
    """A change of number or user id is Meta's word that old and new are one person (Meta contract 3.13)."""
    before = find(turn, item.number, item.previous) if item.previous else None
    if before is None:
        turn.person(item, item.event_id)
        return
    turn.met(item.number, succeed(turn, before, item.contact, item.at))


def _ignore(turn: Turn, item: Item) -> None:
    """Unknown items stay on `inbound`, whole, for whoever wants them."""
    turn.note("unknown:item")


# --- timers


def _fire(turn: Turn, key: str) -> Turn:
    state = turn.get(key)
    if state is None or state.wake_at is None or state.wake_at > turn.now:
        return turn
    if isinstance(state, Message):
        _stop_waiting(turn, state)
    elif isinstance(state, Attempt):
        _age(turn, state)
    elif isinstance(state, Seen | Saying):
        turn.put(key, None)
    elif isinstance(state, Import):
        numbers.stall(turn, state)
    elif isinstance(state, Number):
        numbers.wake(turn, state)
    elif isinstance(state, Waba):
        wabas.hand_over(turn, state)
    return turn


def _stop_waiting(turn: Turn, before: Message) -> None:
    now = copy.copy(before)
    person = survivor(turn, before.number, before.conversation)
    if person is None:
        now.added = True
        settle(turn, before, now)
        return
    left = copy.copy(person)
    left.waiting = [message_id for message_id in person.waiting if message_id != before.message_id]
    turn.put(person_key(left.conversation_id), left)
    judge(turn, before, now, left, waited=True)


def _age(turn: Turn, attempt: Attempt) -> None:
    """An attempt that nothing was heard of holds up no echo; after eight days it is forgotten."""
    if turn.now >= attempt.at + ATTEMPT_KEEP_S:
        turn.put(attempt_key(attempt.number, attempt.token), None)
    elif attempt.outcome == OPEN:
        doubted = copy.copy(attempt)
        doubted.wake_at = turn.now + ATTEMPT_OPEN_S
        close(turn, doubted, AMBIGUOUS, "")
    else:
        close(turn, attempt, attempt.outcome if attempt.outcome == ACCEPTED else CLOSED, "")


HANDLERS: dict[str, Callable[[Turn, Item], None]] = {
    "webhook.message": _on_message,
    "webhook.echo": _on_echo,
    "webhook.history": _on_history,
    "webhook.edit": partial(_on_change, msg.edited),
    "webhook.revoke": partial(_on_change, msg.revoked),
    "webhook.status": _on_status,
    "webhook.contact": _on_contact,
    "webhook.account": numbers.on_account,
    "webhook.unknown": _ignore,
    "send.attempted": _on_attempted,
    "send.answered": _on_answered,
    "media.stored": _on_media,
    "media.failed": _on_media,
}
