"""One event's decision in the making: states to look at and to change, facts to publish, people to meet."""

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import orjson

from echo_sync import message as msg
from echo_sync import reach
from echo_sync.account import SEEN_KEEP_S, Seen, seen_key
from echo_sync.automatic import SIGNS, Rhythm, Signs, reviewed
from echo_sync.contacts import merged
from echo_sync.identity import Person, Resolution, person_key, resolve
from echo_sync.message import Message
from schemas.deciding import Deciding
from schemas.items import Item
from schemas.ports import Event, States
from schemas.states import message_key, reach_key
from schemas.topics import ACCOUNT, CONTACTS, TIMELINE


@dataclass(frozen=True, slots=True)
class Rules:
    """What an installation decides by: its own key, raw items in facts, who may be a number, what looks automatic.

    `opt_out_words`, `opt_in_words`: what a customer may write to be left alone, or to be told; see `consent.words`.
    """

    key: bytes
    timeline_raw: bool = False
    registration: str = "auto"
    signs: Signs = SIGNS
    opt_out_words: frozenset[str] = frozenset()
    opt_in_words: frozenset[str] = frozenset()


class Turn(Deciding):
    """One event's decision in the making, itself a `States` for the functions it calls."""

    def __init__(self, rules: Rules, states: States, event: Event | None, now: float) -> None:
        super().__init__(states, now)
        self.rules = rules
        self.event = event
        self.number = event.number if event is not None else ""
        self.reviewed: list[tuple[str, Rhythm, Rhythm]] = []
        self.doubted: set[str] = set()

    def heads(self, line: str, until: float, limit: int) -> list[tuple[str, Any]]:
        """See `States.heads`."""
        return self.states.heads(line, until, limit)

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

    def is_first(self) -> bool:
        """Is this event new? For facts that change no other state; remembered for as long as Meta may repeat it."""
        assert self.event is not None  # noqa: S101 - handlers of events have one
        key = seen_key(self.event.number, self.event.id)
        if self.get(key) is not None:
            self.note("duplicate:redelivery")
            return False
        self.put(key, Seen(wake_at=self.now + SEEN_KEEP_S))
        return True

    def tell_account(self, number: str, facts: Iterable[msg.Fact]) -> None:
        """Publish facts about a number or its account."""
        for kind, suffix, data in facts:
            self.emit(ACCOUNT, kind, number, number, suffix, data)

    # --- people

    def person(self, item: Item, fallback: str) -> Person:
        """The person behind an item, met now if never before; conversations that turn out to be one are joined."""
        found = resolve(self, self.rules.key, item.number, item.contact, item.at, fallback)
        person = self.met(item.number, found)
        if found.stone is not None:
            conversation = person.conversation_id
            self.put(reach_key(conversation), reach.remembered(item.number, conversation, found.stone))
        return person

    def met(self, number: str, found: Resolution) -> Person:
        """Keep what was found out about a person, and tell which conversations turned out to be one."""
        if found.merged:
            self._review(found)
        self.decision.states.update(found.changed)
        for kept, retired in found.merged:
            self.decision.states.update(merged(self, number, kept, retired))
            self.decision.states.update(reach.merged(self, number, kept, retired))
            data = {"survivor": kept, "retired": retired, "number": number}
            data["contact"] = msg.contact_data(_contact_of(found.person))  # type: ignore[assignment]
            for topic in (TIMELINE, CONTACTS):
                self.emit(topic, "identity.merged", number, kept, f"merged:{retired}", data)
        return found.person

    def _review(self, found: Resolution) -> None:
        """Judge the app's messages again: what a customer wrote may have been known under another identity."""
        person = copy.copy(found.person)
        person.rhythm = reviewed(person.rhythm, self.rules.signs)
        self.reviewed.append((person.conversation_id, found.person.rhythm, person.rhythm))
        found.person = found.changed[person_key(person.conversation_id)] = person

    # --- messages

    def message(self, number: str, message_id: str) -> Message:
        """The message under a wamid, as far as it is known."""
        known = self.get(message_key(number, message_id))
        return known if known is not None else Message(number=number, message_id=message_id)

    def keep(self, before: Message, now: Message) -> None:
        """Keep a message and publish what changed. Deciders settle it instead, see `echo_sync.settling`."""
        self.put(message_key(now.number, now.message_id), now)
        for kind, suffix, data in msg.facts(before, now):
            self.emit(TIMELINE, kind, now.number, now.message_id, suffix, data)


def _contact_of(person: Person) -> Message:
    return Message(wa_id=person.wa_id, user_id=person.user_id, username=person.username, name=person.name)
