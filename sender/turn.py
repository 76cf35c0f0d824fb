"""One event's decision in the making: states to look at and to change, outcomes to tell, calls to ask for."""

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import orjson

from schemas.deciding import Deciding
from schemas.instants import rfc3339
from schemas.items import Contact
from schemas.ports import Event, Missing, States, foreign
from schemas.states import (
    CONVERSATIONS,
    MESSAGES,
    PAUSE_S_DEFAULT,
    Claim,
    Conversation,
    Number,
    alias_key,
    claimed,
    conversation_key,
    number_key,
    reach_key,
)
from schemas.topics import SENDS
from sender import command as cmd
from sender.command import Command, Lane, Queue, Request
from sender.conditions import find_conversation
from sender.pacing import NEW_S, NEW_SUDDEN, SUDDEN_KEEP_S

STORY_MAX = 40
"""Steps of a command's story that are kept."""


@dataclass(frozen=True, slots=True)
class Send:
    """A call: this attempt may leave at its slot, if nothing has changed since it was committed."""

    number: str
    command_id: str
    attempt: int
    token: str
    to: Contact
    kind: str
    message: bytes
    origin: str
    conditions: cmd.OnlyIf | None
    opened_at: float
    trace: str = ""
    leaves_at: float = 0


class Turn(Deciding):
    """One event's decision in the making. States it hands out for change are its own copies."""

    def __init__(
        self,
        key: bytes,
        states: States,
        event: Event | None,
        now: float,
        *,
        opt_in_required: bool = False,
        restored_at: float = 0,
        pause_s: float = PAUSE_S_DEFAULT,
    ) -> None:
        super().__init__(states, now)
        self.key = key
        self.opt_in_required = opt_in_required
        self.restored_at = restored_at
        self.pause_s = pause_s
        self.event = event
        self._conversations: dict[tuple[str, str, str], Conversation | None] = {}

    def need(self, keys: Iterable[str]) -> None:
        """See that all of these are loaded, together. Raises Missing with those that are not."""
        missing: list[str] = []
        for key in keys:
            try:
                self.get(key)
            except Missing as absent:
                missing += absent.keys
        if missing:
            raise Missing(missing)

    def need_conversations(self, number: str, people: Iterable[Contact]) -> None:
        """The same for the conversations with these people, as far as there are any."""
        aliases = [foreign(MESSAGES, alias_key(number, cmd.lane_of(to))) for to in people]
        self.need(aliases)
        ids = [alias.conversation for key in aliases if (alias := self.get(key)) is not None]
        self.need(
            key
            for one in ids
            for key in (
                foreign(CONVERSATIONS, conversation_key(one)),
                foreign(MESSAGES, reach_key(one)),
                cmd.handovers_key(one),
            )
        )

    def change(self, key: str) -> Any:
        """This turn's own copy of a state, kept for the commit; None where there is none."""
        changed = self.decision.states
        if key not in changed:
            state = self.states.get(key)
            if state is None:
                return None
            changed[key] = copy.copy(state)
        return changed[key]

    def queue(self, number: str) -> Queue:
        """The number's pace, to be changed."""
        found = self.change(cmd.queue_key(number))
        if found is None:
            found = Queue(number=number, sudden=NEW_SUDDEN, sudden_at=self.now + NEW_S - SUDDEN_KEEP_S)
            self.put(cmd.queue_key(number), found)
        return found  # type: ignore[no-any-return]

    def lane(self, number: str, lane: str) -> Lane:
        """A lane, to be changed."""
        found = self.change(cmd.lane_key(number, lane))
        if found is None:
            found = Lane(number=number, lane=lane)
            self.put(cmd.lane_key(number, lane), found)
        return found  # type: ignore[no-any-return]

    def rate(self, number: str) -> int:
        """Messages per second that the number may pass, in and out."""
        known: Number | None = self.get(foreign(MESSAGES, number_key(number)))
        return known.rate_per_s if known is not None else 20

    def paused(self, number: str) -> bool:
        """Somebody has paused the number."""
        known: Number | None = self.get(foreign(MESSAGES, number_key(number)))
        return known is not None and bool(known.paused_because)

    def conversation(self, number: str, to: Contact) -> Conversation | None:
        """The conversation with a recipient, as its owner last committed it. Their reach is loaded with it."""
        place = (number, to.wa_id, to.user_id)
        if place not in self._conversations:
            self.need_conversations(number, [to])
            self._conversations[place] = find_conversation(self.get, number, to)
        return self._conversations[place]

    def heed(self, number: str, conversation_id: str, claim: Claim, until: float) -> None:
        """Let a claim count before its conversation shows it; it is asked at `until` whether it does."""
        key = cmd.handovers_key(conversation_id)
        known: cmd.Handovers | None = self.get(key)
        claims = claimed(known.claims if known is not None else [], claim)
        self.put(key, cmd.Handovers(until, None, None, number, conversation_id, claims))
        self._conversations.clear()

    def tell(self, command: Command, kind: str, reason: str = "", **more: Any) -> None:
        """Publish an outcome and add it to the command's story."""
        data: dict[str, Any] = {
            "command_id": command.command_id,
            "number": command.number,
            "attempt": command.attempt,
            "at": rfc3339(self.now),
        }
        if command.message_id:
            data["message_id"] = command.message_id
        if reason:
            data["reason"] = reason
        if command.doubtful:
            data["possible_duplicate"] = True
        if command.fell_back:
            data["body"] = "fallback"
        data |= more
        command.story = [*command.story, (self.now, kind, reason)][-STORY_MAX:]
        suffix = f"{kind}:{command.attempt}:{len(command.story)}"
        self._emit(command.number, command.command_id, kind, suffix, data, command.trace)

    def _emit(self, number: str, subject: str, kind: str, suffix: str, data: dict[str, Any], trace: str = "") -> None:
        cause = self.event.id if self.event else ""
        event = Event(
            f"{subject}:{suffix}",
            kind,
            number,
            orjson.dumps(data),
            self.now,
            self.now,
            subject,
            "",
            0,
            cause,
            trace,
        )
        self.decision.emit.append((SENDS, event))

    def refuse(self, request: Request, number: str, reason: str, mark: str = "") -> None:
        """Reject a request that never becomes a command."""
        data = {"command_id": request.command_id, "number": number, "attempt": 0, "at": rfc3339(self.now)}
        told = data | {"reason": reason}
        self._emit(number, request.command_id, "send.rejected", f"{reason}{mark}", told, request.trace)
