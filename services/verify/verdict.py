"""`coexist verify`: is what is stored what follows from what is retained, and is nothing missing in between?

Shard by shard: `seq` on the topics that tell each fact once; messages as the store has them against their facts on
`timeline`, and against `inbound` and `history` decided again; conversations against `timeline` and `outbound` decided
again, and against what `conversations` tells last. Where retention has removed the beginning of an input, its states
cannot be rebuilt: there the rest is decided again over the stored states, to which it must add nothing.
"""

import heapq
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from echo_sync.conversations import Conversations
from echo_sync.identity import Person, person_key
from echo_sync.message import Message
from schemas.ports import Processor, Record, State, Unreadable
from schemas.states import Alias, Conversation, conversation_key
from schemas.topics import CONVERSATIONS, OUTBOUND, OUTBOUND_BULK, TIMELINE, TOPICS, partition_of
from services.app import messages_of
from services.settings import Settings
from services.shard import decode_state
from services.verify.books import Books
from services.verify.erased import Erased, erased_of
from services.verify.replay import Replay
from services.verify.truth import (
    AUTHORSHIP,
    BY_SETTINGS,
    Folded,
    Truth,
    is_guessed,
    is_settled,
    of_conversation,
    of_message,
    without,
)

FROM_ANYONE = frozenset({OUTBOUND, OUTBOUND_BULK})
SEQUENCED = tuple(topic.name for topic in TOPICS.values() if topic.sequenced)

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Difference:
    """What is not as it must be. `place` names no person: a record's place, a conversation's id, a shard."""

    kind: str
    place: str
    says: str


@dataclass(slots=True)
class Verdict:
    """What was looked at, and every difference."""

    events: int = 0
    messages: int = 0
    conversations: int = 0
    repeats: int = 0
    partly: int = 0
    differences: list[Difference] = field(default_factory=list)

    def add(self, kind: str, place: str, says: str) -> None:
        """Note a difference."""
        self.differences.append(Difference(kind, place, says))


async def verify(settings: Settings, books: Books, now: float, say: Say) -> Verdict:
    """Look at everything. Raises LogUnavailable."""
    verdict = Verdict()
    key = await books.installation_key()
    messages = messages_of(settings, key)
    conversations = Conversations(settings.pause_minutes * 60)
    sequences = await books.sequences()
    for shard in range(books.partitions):
        say(f"shard {shard + 1} of {books.partitions}")
        look = _Shard(books, shard, now, verdict, await erased_of(books, shard))
        await look.sequences(sequences)
        await look.messages(messages)
        await look.conversations(conversations)
    return verdict


class _Shard:
    """One shard of everything."""

    def __init__(self, books: Books, shard: int, now: float, verdict: Verdict, erased: Erased) -> None:
        self._books = books
        self._erased = erased
        self._shard = shard
        self._now = now
        self._verdict = verdict
        self._folded: dict[str, Folded] = {}
        self._ids: set[str] = set()

    # --- seq

    async def sequences(self, given: Mapping[tuple[str, str], int]) -> None:
        """No `seq` is left out, none comes twice where that may not be, and the newest is the newest that was given."""
        for topic in SEQUENCED:
            begins = bool(await self._books.begin(topic, self._shard))
            last: dict[str, int] = {}
            async for records in self._books.records(topic, self._shard):
                for record in records:
                    self._verdict.events += 1
                    is_next = self._is_next(record, last, begins_late=begins)
                    if is_next and topic == TIMELINE and record.event not in self._erased:
                        self._fold(record)
            self._compare_counters(topic, last, given, begins_late=begins)

    def _is_next(self, record: Record, last: dict[str, int], *, begins_late: bool) -> bool:
        """Whether this is the next fact of its number; what is wrong with its `seq` is noted."""
        event, place = record.event, f"{record.topic}/{record.partition}/{record.offset}"
        before = last.get(event.number, event.seq - 1 if begins_late else 0)
        if event.seq <= before:
            self._verdict.repeats += 1
            if not self._books.repeats_allowed:
                self._verdict.add("repeat", place, f"seq {event.seq} comes again")
            return False
        if event.seq != before + 1:
            self._verdict.add("gap", place, f"seq {event.seq} follows {before}")
        last[event.number] = event.seq
        return True

    def _compare_counters(
        self, topic: str, last: Mapping[str, int], given: Mapping[tuple[str, str], int], *, begins_late: bool
    ) -> None:
        mine = {number for number in last if given.get((topic, number), 0) != last[number]}
        for number in mine:
            says = f"seq ends at {last[number]}, and the store has given {given.get((topic, number), 0)}"
            self._verdict.add("gap", f"{topic}/{self._shard}", says)
        if not begins_late:
            for (told, number), seq in given.items():
                if told == topic and number not in last and self._is_here(number):
                    self._verdict.add("gap", f"{topic}/{self._shard}", f"{seq} events of a number are not there")

    def _is_here(self, number: str) -> bool:
        return partition_of(number, self._books.partitions) == self._shard

    def _is_retold(self, record: Record) -> bool:
        """Whether a fact comes again under a new `seq` because the database was put back: once since then."""
        until = self._books.told_until
        is_before = bool(until) and record.offset < until[self._shard]
        if record.event.id in self._ids:
            if not is_before:
                self._ids.remove(record.event.id)
            return True
        if is_before:
            self._ids.add(record.event.id)
        return False

    def _fold(self, record: Record) -> None:
        if self._is_retold(record):
            self._verdict.repeats += 1
            return
        subject = f"{record.event.number}/{record.event.subject}"
        folded = self._folded.get(subject)
        if folded is None:
            folded = self._folded[subject] = Folded(f"{record.topic}/{record.partition}/{record.offset}")
        folded.fold(record.event)

    # --- messages

    async def messages(self, processor: Processor) -> None:
        """Messages, and who is who, as they are stored."""
        stored, replay, whole = await self._replayed(processor)
        replay.fire(self._now)
        self._verdict.partly += not whole
        self._against_facts(stored, whole=not await self._books.begin(TIMELINE, self._shard))
        self._against_replay(stored, replay.states)

    def _against_facts(self, stored: Mapping[str, State], *, whole: bool) -> None:
        """Folding what was told gives what is stored."""
        held = {f"{m.number}/{m.message_id}": m for m in stored.values() if isinstance(m, Message)}
        self._verdict.messages += len(held)
        for subject, folded in self._folded.items():
            if whole or folded.conversation:
                self._one_against_facts(folded, held.get(subject), whole=whole)
        for subject, message in held.items():
            is_told = subject in self._folded or not (message.added or message.statuses)
            if whole and not is_told:
                self._verdict.add("untold", f"conversation {message.conversation}", "a stored message was never told")

    def _one_against_facts(self, folded: Folded, message: Message | None, *, whole: bool) -> None:
        if message is None:
            if folded.truth["added"] or folded.truth["statuses"]:
                self._verdict.add("lost", folded.place, "what was told of a message is not stored")
            return
        for odd in folded.odd if whole else ():
            self._verdict.add("timeline", folded.place, f"a message {odd}")
        told, held = folded.truth, of_message(message)
        if told != held:
            self._verdict.add("message", folded.place, f"stored otherwise than told: {_names(told, held)}")

    def _against_replay(self, stored: Mapping[str, State], again: Mapping[str, State]) -> None:
        """Deciding the inputs again gives what is stored."""
        keys = {key: self._books.stored_key(key) for key in again}
        groups = _Groups(stored, again)
        for key, state in again.items():
            held = stored.get(keys[key])
            if isinstance(state, Message):
                self._one_against_replay(state, held, groups)
            elif isinstance(state, Alias) and isinstance(held, Alias):
                if not groups.same(held.conversation, state.conversation):
                    self._verdict.add("identity", f"conversation {held.conversation}", "leads to another conversation")
            elif isinstance(state, Alias):
                self._verdict.add("lost", f"conversation {state.conversation}", "one of its identities is not stored")
        known = set(keys.values())
        for key, state in stored.items():
            if isinstance(state, Message | Alias) and key not in known:
                self._verdict.add("extra", f"conversation {state.conversation}", "stored, but nothing read says so")

    def _one_against_replay(self, again: Message, held: State | None, groups: "_Groups") -> None:
        place = f"conversation {again.conversation}"
        if not isinstance(held, Message):
            self._verdict.add("lost", place, "a message that was read is not stored")
            return
        if not (is_settled(held) and is_settled(again)):
            return
        apart = AUTHORSHIP if is_guessed(held) or is_guessed(again) else BY_SETTINGS
        wanted, found = without(of_message(again), apart), without(of_message(held), apart)
        if wanted != found:
            self._verdict.add("message", place, f"stored otherwise than it was read: {_names(wanted, found)}")
        elif again.added and not groups.same(held.conversation, again.conversation):
            self._verdict.add("identity", place, "a message lies in another conversation")

    # --- conversations

    async def conversations(self, processor: Processor) -> None:
        """Conversations as they are stored, and as they were told last."""
        stored, replay, _ = await self._replayed(processor)
        keys = {self._books.stored_key(key): state for key, state in replay.states.items()}
        self._verdict.conversations += len(stored)
        for key in sorted(keys.keys() | stored.keys()):
            again, held = keys.get(key), stored.get(key)
            place = f"conversation {key.removeprefix('v/')}"
            if not isinstance(held, Conversation):
                self._verdict.add("lost", place, "it was told of on timeline, and is not stored")
            elif not isinstance(again, Conversation):
                self._verdict.add("extra", place, "stored, but nothing on timeline says so")
            elif of_conversation(again) != of_conversation(held):
                names = _names(of_conversation(again), of_conversation(held))
                self._verdict.add("conversation", place, f"stored otherwise than it was told: {names}")
        await self._told_last(stored)

    async def _told_last(self, stored: Mapping[str, State]) -> None:
        """The record of highest version on `conversations` is what is stored; compaction keeps it for ever."""
        newest: dict[str, dict[str, Any] | None] = {}
        async for records in self._books.records(CONVERSATIONS, self._shard):
            for record in records:
                if record.event.type == "conversation.state":
                    _keep_newest(newest, record)
        for key, state in stored.items():
            if isinstance(state, Conversation):
                told = newest.get(key.removeprefix("v/"))
                if not _is_as_told(state, told):
                    place = f"conversation {state.conversation_id}"
                    self._verdict.add("conversation", place, "stored otherwise than told last")
        for conversation, told in newest.items():
            if told is not None and self._books.stored_key(conversation_key(conversation)) not in stored:
                self._verdict.add("lost", f"conversation {conversation}", "what was told of it is not stored")

    # --- reading

    async def _replayed(self, processor: Processor) -> tuple[dict[str, State], Replay, bool]:
        """What is stored, what comes of reading the inputs again, and whether these are there from their beginnings."""
        stored = await self._stored(processor)
        whole = not any([await self._books.begin(topic, self._shard) for topic in processor.inputs])
        replay = Replay(processor, {} if whole else stored)
        replay.read(await self._inputs(processor))
        return stored, replay, whole

    async def _stored(self, processor: Processor) -> dict[str, State]:
        found = {}
        for key, value in (await self._books.states(processor.name, self._shard)).items():
            try:
                found[key] = decode_state(processor.state_type(key), value)
            except (Unreadable, KeyError, ValueError) as problem:
                says = f"a state cannot be read: {type(problem).__name__}"
                self._verdict.add("state", f"{processor.name}/{self._shard}", says)
        return found

    async def _inputs(self, processor: Processor) -> Iterable[Record]:
        """What the processor has read, all topics together by the time of their records."""
        positions = await self._books.positions(processor.name, self._shard)
        topics = [await self._read(topic, positions.get(topic, 0)) for topic in processor.inputs]
        return heapq.merge(*topics, key=lambda record: record.appended_at)

    async def _read(self, topic: str, position: int) -> list[Record]:
        found: list[Record] = []
        async for records in self._books.records(topic, self._shard):
            found.extend(record for record in records if record.offset < position and self._is_read(record))
            if records[-1].offset >= position:
                break
        return found

    def _is_read(self, record: Record) -> bool:
        """Commands of other clients that lie on the wrong partition are read where they were moved to."""
        is_home = record.topic not in FROM_ANYONE or self._is_here(record.event.number)
        return is_home and record.event not in self._erased


class _Groups:
    """Which conversation here is which one there, modulo aliases: ids follow from whoever was met first."""

    def __init__(self, stored: Mapping[str, State], again: Mapping[str, State]) -> None:
        self._stored, self._again = stored, again
        self._to: dict[str, str] = {}
        self._back: dict[str, str] = {}

    def same(self, held: str, again: str) -> bool:
        """Whether the two may be one: no other was paired with either."""
        here, there = _survivor(self._stored, held), _survivor(self._again, again)
        return self._to.setdefault(there, here) == here and self._back.setdefault(here, there) == there


def _survivor(states: Mapping[str, State], conversation: str) -> str:
    seen: set[str] = set()
    while conversation not in seen:
        seen.add(conversation)
        person = states.get(person_key(conversation))
        if isinstance(person, Person) and person.merged_into:
            conversation = person.merged_into
    return conversation


def _names(wanted: Truth, found: Truth) -> str:
    """The names of what differs; the values may be what people wrote."""
    return ", ".join(sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name)))


def _keep_newest(newest: dict[str, dict[str, Any] | None], record: Record) -> None:
    subject = record.event.subject
    told = None if record.event.data is None else orjson.loads(record.event.data)
    known = newest.get(subject)
    if told is None or known is None or told["version"] > known["version"]:
        newest[subject] = told


def _is_as_told(state: Conversation, told: dict[str, Any] | None) -> bool:
    if state.merged_into or not state.version:
        return told is None
    if told is None:
        return False
    view = {name: value for name, value in told.items() if name != "version"}
    return bool(told["version"] == state.version and view == orjson.loads(state.told))
