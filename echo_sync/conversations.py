"""Who answers whom: the owner of a conversation, the automation's pause, the service window, what is unread.

It is told the facts of `timeline` and the takeovers on `outbound`, and can be rebuilt from them. Every field is a
maximum, a set or a last-writer-wins over event time, so late and repeated facts lead to the same state.
"""

import copy
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import orjson

from schemas import received
from schemas.instants import parse_rfc3339, rfc3339
from schemas.marks import About
from schemas.ports import Decision, Event, Forget, State, States, Timer
from schemas.states import (
    AGENT,
    ANSWERS_MAX,
    BOT,
    OURS_MAX,
    PAUSE_S_DEFAULT,
    PERSON_APP,
    WINDOW_S,
    Claim,
    Conversation,
    claim_now,
    claimed,
    conversation_key,
    owner_by,
)
from schemas.states import CONVERSATIONS as NAME
from schemas.topics import CONVERSATIONS, OUTBOUND, TIMELINE


class Told(msgspec.Struct, gc=False):
    """The fields of timeline facts and of takeovers that matter here."""

    conversation_id: str = ""
    message_id: str = ""
    direction: str = ""
    origin: str = ""
    author: str = ""
    kind: str = ""
    sent_at: str = ""
    historical: bool = False
    possibly_automatic: bool = False
    contact: dict[str, str] = {}
    survivor: str = ""
    retired: str = ""
    minutes: float | None = None
    by: str = ""
    assignee: str | None = ""
    media: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_decoder = msgspec.json.Decoder(Told)


class Conversations:
    """The processor `echo_sync.conversations`. `pause_s`: how long automation rests after a person answered."""

    name = NAME
    inputs = (TIMELINE, OUTBOUND)

    def __init__(self, pause_s: float = PAUSE_S_DEFAULT) -> None:
        self.pause_s = pause_s

    def parse(self, event: Event, topic: str = "") -> Told | None:
        """See `Processor.parse`."""
        return _decoder.decode(event.data or b"{}") if event.type in HANDLERS else None

    def keys(self, event: Event, item: Told) -> Iterable[str]:
        """See `Processor.keys`."""
        for conversation in (item.conversation_id, item.survivor, item.retired):
            if conversation:
                yield conversation_key(conversation)

    def follow(self, key: str, state: Any) -> Iterable[str]:
        """See `Processor.follow`."""
        if state.merged_into:
            yield conversation_key(state.merged_into)

    def state_type(self, key: str) -> type[State]:
        """See `Processor.state_type`."""
        return Conversation

    def about(self, key: str, state: Any) -> About:
        """See `Processor.about`."""
        merged = (f"c:{state.merged_into}",) if state.merged_into else ()
        return About(state.number, (f"c:{state.conversation_id}", *merged))

    def decide(self, states: States, event: Event | Timer | Forget, item: Told | None, now: float) -> Decision:
        """See `Processor.decide`."""
        decision = Decision()
        if isinstance(event, Forget):
            _forget(decision, event.key, states.get(event.key), now)
        elif isinstance(event, Timer):
            state = states.get(event.key)
            if state is not None and state.wake_at is not None and state.wake_at <= now:
                _tell(decision, copy.copy(state), now, None)
        elif item is not None:
            HANDLERS[event.type](self, states, decision, event, item, now)
        return decision


def _forget(decision: Decision, key: str, state: Conversation | None, now: float) -> None:
    """The person was erased: the conversation goes, and its last record on `conversations` says so."""
    if state is not None:
        decision.states[key] = None
        if state.told:
            decision.emit.append(_record(state, None, now, None))


def _on_added(self: Conversations, states: States, decision: Decision, event: Event, told: Told, now: float) -> None:
    state = _state(states, event.number, told.conversation_id)
    _meet(state, told.contact)
    at = parse_rfc3339(told.sent_at)
    if told.direction == "inbound":
        _inbound(state, told, at)
    else:
        _outbound(state, told, at, self.pause_s)
    _tell(decision, state, now, event)


def _inbound(state: Conversation, told: Told, at: float) -> None:
    newest = max((state.last_inbound_at, state.last_inbound_id), (at, told.message_id))
    state.last_inbound_at, state.last_inbound_id = newest
    if told.historical:
        return
    _receive(state, received.with_message(state.inbound, at, told.message_id))


def _receive(state: Conversation, inbound: bytes) -> None:
    """Keep the newest live messages; the window follows from them, so a corrected time corrects it too."""
    state.inbound = inbound
    state.window_until = received.newest_at(inbound) + WINDOW_S if inbound else 0


def _outbound(state: Conversation, told: Told, at: float, pause_s: float) -> None:
    state.last_outbound_at = max(state.last_outbound_at, at)
    if told.possibly_automatic:
        return
    is_bot = told.origin == "api" and told.author != AGENT
    _answer(state, [(at, told.message_id, is_bot)])
    if told.historical:
        return
    if told.origin == "business_app":
        _claim(state, Claim(at=at, id=told.message_id, who=PERSON_APP, until=at + pause_s))
    elif told.origin == "api":
        _send(state, [(at, told.message_id)])
        if told.author == AGENT:
            _claim(state, Claim(at=at, id=told.message_id, who=AGENT, until=at + pause_s))


def _send(state: Conversation, sends: list[tuple[float, str]]) -> None:
    """Keep the first sends through the API: they make it a conversation that a bot takes part in."""
    state.ours = sorted({*state.ours, *sends})[:OURS_MAX]


def _answer(state: Conversation, answers: list[tuple[float, str, bool]]) -> None:
    """Keep the newest answers: they make what came before them read, and a greeting is none."""
    state.answers = sorted({*state.answers, *answers})[-ANSWERS_MAX:]


def _on_completed(
    self: Conversations, states: States, decision: Decision, event: Event, told: Told, now: float
) -> None:
    """Later evidence: a message was ours after all, or live, or nobody's answer. Where its media is says nothing."""
    if told.media is not msgspec.UNSET:
        return
    state = _state(states, event.number, told.conversation_id)
    _correct(state, told, self.pause_s)
    _tell(decision, state, now, event)


def _correct(state: Conversation, told: Told, pause_s: float) -> None:
    """Let a message count as it is now known, whether or not it did before."""
    at = parse_rfc3339(told.sent_at)
    if told.direction == "outbound":
        state.claims = [claim for claim in state.claims if claim.id != told.message_id]
        for field in ("answers", "ours"):
            others = [known for known in getattr(state, field) if known[1] != told.message_id]
            setattr(state, field, others)
        _outbound(state, told, at, pause_s)
    else:
        _inbound(state, told, at)


def with_messages(conversation: Conversation, messages: Iterable[Told], pause_s: float) -> Conversation:
    """The conversation once its owner has read of these messages, too: for whoever must know what `timeline` tells."""
    seen = copy.copy(conversation)
    for told in messages:
        _correct(seen, told, pause_s)
    seen.newest_at, seen.newest_id = _newest(seen)
    return seen


def _on_merged(self: Conversations, states: States, decision: Decision, event: Event, told: Told, now: float) -> None:
    kept = _state(states, event.number, told.survivor)
    retired = _state(states, event.number, told.retired)
    if retired.conversation_id != told.retired or retired.merged_into:
        return
    _meet(kept, told.contact)
    for claim in retired.claims:
        _claim(kept, claim)
    _send(kept, retired.ours)
    _receive(kept, received.united(kept.inbound, retired.inbound))
    _answer(kept, retired.answers)
    kept.last_outbound_at = max(kept.last_outbound_at, retired.last_outbound_at)
    kept.last_inbound_at, kept.last_inbound_id = max(_last_inbound(kept), _last_inbound(retired))
    kept.assigned_at, kept.assignee = max((kept.assigned_at, kept.assignee), (retired.assigned_at, retired.assignee))
    gone = Conversation(number=event.number, conversation_id=told.retired, merged_into=told.survivor)
    decision.states[conversation_key(told.retired)] = gone
    if retired.told:
        decision.emit.append(_record(gone, None, now, event))
    _tell(decision, kept, now, event)


def _on_takeover(self: Conversations, states: States, decision: Decision, event: Event, told: Told, now: float) -> None:
    state = _state(states, event.number, told.conversation_id)
    until = event.at + (told.minutes * 60 if told.minutes is not None else self.pause_s)
    _claim(state, Claim(at=event.at, id=event.id, who=AGENT, until=until))
    _tell(decision, state, now, event)


def _on_release(self: Conversations, states: States, decision: Decision, event: Event, told: Told, now: float) -> None:
    state = _state(states, event.number, told.conversation_id)
    _claim(state, Claim(at=event.at, id=event.id, who=BOT, until=0))
    _tell(decision, state, now, event)


def _on_assign(self: Conversations, states: States, decision: Decision, event: Event, told: Told, now: float) -> None:
    state = _state(states, event.number, told.conversation_id)
    state.assigned_at, state.assignee = max((state.assigned_at, state.assignee), (event.at, told.assignee or ""))
    _tell(decision, state, now, event)


def _state(states: States, number: str, conversation_id: str) -> Conversation:
    """A copy of the conversation under an id, or of the one that it was merged into."""
    state: Conversation | None = states.get(conversation_key(conversation_id))
    while state is not None and state.merged_into:
        state = states.get(conversation_key(state.merged_into))
    if state is None:
        return Conversation(number=number, conversation_id=conversation_id)
    return copy.copy(state)


def _meet(state: Conversation, contact: dict[str, str]) -> None:
    for field in ("wa_id", "user_id", "username", "name"):
        setattr(state, field, getattr(state, field) or contact.get(field, ""))


def _claim(state: Conversation, claim: Claim) -> None:
    """Remember a claim; the same one twice is one."""
    state.claims = claimed(state.claims, claim)


def _last_inbound(state: Conversation) -> tuple[float, str]:
    return state.last_inbound_at, state.last_inbound_id


def _newest(state: Conversation) -> tuple[float, str]:
    by_people = [(at, message_id) for at, message_id, is_bot in state.answers if not is_bot]
    return max([_last_inbound(state), *by_people])


def _tell(decision: Decision, state: Conversation, now: float, event: Event | None) -> None:
    """Keep the state, set its timer, and publish it when it looks different from what was told."""
    claim = claim_now(state, now)
    state.wake_at = claim.until if claim is not None else None
    state.newest_at, state.newest_id = _newest(state)
    state.line, state.place = state.number, -max(state.last_inbound_at, state.last_outbound_at)
    view = _view(state, claim)
    told = orjson.dumps(view)
    if told != state.told:
        if claim is not None and b'"owner":"%b"' % claim.who.encode() not in state.told:
            decision.notes.append(f"takeover:{'app' if claim.who == PERSON_APP else 'agent'}")
        state.told = told
        state.version += 1
        decision.emit.append(_record(state, b'%b,"version":%d}' % (told[:-1], state.version), now, event))
    decision.states[conversation_key(state.conversation_id)] = state


def _record(state: Conversation, data: bytes | None, now: float, event: Event | None) -> tuple[str, Event]:
    subject = state.conversation_id
    cause, trace = (event.id, event.trace) if event else ("", "")
    at, recorded_at = (event.at, event.recorded_at) if event else (now, now)
    suffix = state.version if data is not None else "retired"
    return CONVERSATIONS, Event(
        f"{subject}:{suffix}",
        "conversation.state",
        state.number,
        data,
        at,
        recorded_at,
        subject,
        subject,
        0,
        cause,
        trace,
    )


def _view(state: Conversation, claim: Claim | None) -> dict[str, Any]:
    """The data of `conversation.state`, without its version."""
    answered_at = state.answers[-1][0] if state.answers else 0
    view: dict[str, Any] = {
        "conversation_id": state.conversation_id,
        "number": state.number,
        "contact": {f: v for f in ("wa_id", "user_id", "username", "name") if (v := getattr(state, f))},
        "owner": owner_by(state, claim),
        "unread": received.count_after(state.inbound, answered_at),
    }
    if claim is not None:
        view["automation_paused_until"] = rfc3339(claim.until)
    if state.assignee:
        view["assignee"] = state.assignee
    for field, at in (
        ("window_expires_at", state.window_until),
        ("last_inbound_at", state.last_inbound_at),
        ("last_outbound_at", state.last_outbound_at),
    ):
        if at:
            view[field] = rfc3339(at)
    return view


Handler = Callable[[Conversations, States, Decision, Event, Told, float], None]
HANDLERS: dict[str, Handler] = {
    "message.added": _on_added,
    "message.completed": _on_completed,
    "identity.merged": _on_merged,
    "conversation.takeover": _on_takeover,
    "conversation.release": _on_release,
    "conversation.assign": _on_assign,
}
