"""Settling whose a message is: echoes that wait for a send, proof that a send became a message, proof taken back."""

import copy

from echo_sync import message as msg
from echo_sync.echoes import (
    ACCEPTED,
    AMBIGUOUS,
    ATTEMPT_KEEP_S,
    ECHO_WAIT_S,
    Attempt,
    attempt_key,
    claimant,
    must_wait,
    open_attempts,
)
from echo_sync.identity import Person, person_key, survivor
from echo_sync.message import API, ECHO, Message
from echo_sync.settling import settle
from echo_sync.turn import Turn


def judge(turn: Turn, before: Message, now: Message, person: Person, *, waited: bool) -> None:
    """Decide an echo, or let it wait for the send that may be it: one that was open when the echo came."""
    if before.wake_at is None:
        now.awaits = person.open
    attempts = open_attempts(turn, now.number, now.awaits)
    if must_wait(attempts) and not waited:
        _wait(turn, now, person)
        settle(turn, before, now)
        return
    attempt = claimant(attempts, now.kind, now.content)
    if attempt is not None:
        claimed = copy.copy(attempt)
        claimed.matched = now.message_id
        turn.put(attempt_key(attempt.number, attempt.token), claimed)
        now.matched, now.command_id, now.author = attempt.token, attempt.command_id, attempt.author
    now.added, now.awaits = True, []
    settle(turn, before, now)


def _wait(turn: Turn, now: Message, person: Person) -> None:
    now.wake_at = now.wake_at or turn.now + ECHO_WAIT_S
    if now.message_id not in person.waiting:
        changed = copy.copy(person)
        changed.waiting = [*person.waiting, now.message_id]
        turn.put(person_key(person.conversation_id), changed)


def release_waiting(turn: Turn, person: Person) -> None:
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
            judge(turn, before, copy.copy(before), again, waited=False)


def prove(turn: Turn, token: str, number: str, message_id: str, command_id: str) -> None:
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
    settle(turn, before, now)
    if attempt is not None:
        take_back(turn, attempt, message_id)
        close(turn, turn.get(attempt_key(number, token)), ACCEPTED, message_id)


def _name_recipient(turn: Turn, now: Message, attempt: Attempt) -> None:
    person = survivor(turn, attempt.number, attempt.conversation)
    if person is not None:
        now.wa_id, now.user_id = now.wa_id or person.wa_id, now.user_id or person.user_id
        now.name, now.username = now.name or person.name, now.username or person.username


def take_back(turn: Turn, attempt: Attempt, message_id: str) -> None:
    """An echo had been taken for this attempt, which is another message or none: then a person wrote it."""
    if not attempt.matched or attempt.matched == message_id:
        return
    before = turn.message(attempt.number, attempt.matched)
    if before.matched != attempt.token:
        return
    now = copy.copy(before)
    now.matched, now.command_id, now.author = "", "", ""
    settle(turn, before, now)


def close(turn: Turn, attempt: Attempt, outcome: str, message_id: str) -> None:
    """End an attempt as far as echoes are concerned, and judge the echoes that waited for it."""
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
    release_waiting(turn, person)
