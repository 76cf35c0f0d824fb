"""Which command goes when, and what an answer, or its absence, leads to. It knows no Kafka, no SQL and no clock.

One owner per number, so the bucket of a number, the pairs and the order of a conversation are plain state. An attempt
is committed before its request leaves; what came back, or what statuses and echoes tell of it, is read from `inbound`.
States: `k/` a command, `l/` a lane, `x/` a place in it, `q/` a number's pace, `p/` what rests at a number,
`u/` how many people it began, `y/` a look at a conversation, `h/` handovers that it does not show yet.
"""

from collections.abc import Callable, Iterable
from typing import Any

from msgspec import UNSET

from schemas.instants import parse_rfc3339, rfc3339
from schemas.items import Contact, Item, code_of
from schemas.marks import About
from schemas.ports import Decision, Event, Forget, State, States, Timer, foreign
from schemas.states import AGENT, DELIVERY, MESSAGES, PAUSE_S_DEFAULT, alias_key, number_key
from schemas.tokens import read_token
from schemas.topics import ACCOUNT, INBOUND, OUTBOUND, OUTBOUND_BULK, TIMELINE
from sender import command as cmd
from sender import looks, pace, permission
from sender.command import Command, Handovers, Lane, Queue, Request, Slot, live_lane
from sender.errors import ACTIONS, Action
from sender.forgetting import about, forget
from sender.lanes import finish, or_expired, pump, ready, why_withheld
from sender.looks import Look
from sender.pauses import Pauses, pauses_key, rest
from sender.people import People
from sender.reading import MENDED, Handover, read
from sender.refusals import REFUSALS_MAX, again, backoff_s, failed_outside, refused
from sender.turn import STORY_MAX, Turn

EVIDENCE_WAIT_S = 90.0
"""How long evidence for an ambiguous attempt is listened for before the policy decides."""
LISTEN_S = 10.0
"""The listening is counted in pieces of this length; time in which nothing could be heard is not counted."""
INBOUND_COUNTS_S = 10.0
"""Older inbound messages, such as a backlog that Meta delivers after a stop, took their share long ago."""
DOUBTS_MAX = 3
"""Requests without any answer or evidence after which at_least_once gives up, too: each may have been a message."""

KINDS: dict[str, type[State]] = {
    "k": Command,
    "l": Lane,
    "x": Slot,
    "q": Queue,
    "p": Pauses,
    "y": Look,
    "u": People,
    "h": Handovers,
}


class Delivery:
    """The processor `sender.delivery`. `key` is the installation's own, for tokens.

    `opt_in_required`: marketing goes only to people of whom we know that they asked for it.
    `restored_at`: when the states were last put back from a backup; what was written before may have been sent since.
    `pause_s`: how long automation rests after a person answered.
    """

    name = DELIVERY
    inputs = (INBOUND, OUTBOUND, TIMELINE, ACCOUNT, OUTBOUND_BULK)

    def __init__(
        self,
        key: bytes,
        *,
        opt_in_required: bool = False,
        restored_at: float = 0,
        pause_s: float = PAUSE_S_DEFAULT,
    ) -> None:
        self.key = key
        self.pause_s = pause_s
        self.opt_in_required = opt_in_required
        self.restored_at = restored_at

    def parse(self, event: Event, topic: str = "") -> Item | Request | Handover | None:
        """See `Processor.parse`."""
        return read(event, topic)

    def keys(self, event: Event, item: Item | Request | Handover) -> Iterable[str]:
        """See `Processor.keys`."""
        yield cmd.queue_key(event.number)
        if not isinstance(item, Handover) and item.command_id:
            yield cmd.command_key(item.command_id)
        if isinstance(item, Request) and (to := cmd.recipient(item.to)) is not None:
            yield cmd.lane_key(event.number, item.lane + cmd.lane_of(to))
            yield pauses_key(event.number)
            yield foreign(MESSAGES, number_key(event.number))
            yield foreign(MESSAGES, alias_key(event.number, cmd.lane_of(to)))
        elif event.type == "message.added" and isinstance(item, Item):
            yield from (cmd.lane_key(event.number, lane) for lane in looks.lanes_of(item.contact))

    def follow(self, key: str, state: Any) -> Iterable[str]:
        """See `Processor.follow`."""
        if isinstance(state, Command):
            yield cmd.lane_key(state.number, state.lane)
            yield cmd.lane_key(state.number, live_lane(state.lane))

    def state_type(self, key: str) -> type[State]:
        """See `Processor.state_type`."""
        return KINDS[key[0]]

    def about(self, key: str, state: Any) -> About:
        """See `Processor.about`."""
        return about(state)

    def decide(
        self, states: States, event: Event | Timer | Forget, item: Item | Request | Handover | None, now: float
    ) -> Decision:
        """See `Processor.decide`."""
        happened = event if isinstance(event, Event) else None
        turn = Turn(
            self.key,
            states,
            happened,
            now,
            opt_in_required=self.opt_in_required,
            restored_at=self.restored_at,
            pause_s=self.pause_s,
        )
        if isinstance(event, Forget):
            forget(turn, event.key)
        elif isinstance(event, Timer):
            _fire(turn, event)
        elif item is not None:
            HANDLERS[event.type](turn, item)
        return turn.decision


# --- commands


def _on_request(turn: Turn, request: Request) -> None:
    assert turn.event is not None  # noqa: S101 - handlers of events have one
    number = turn.event.number
    known: Command | None = turn.get(cmd.command_key(request.command_id))
    if known is not None:
        keyed = cmd.keyed_digest(turn.key, request)
        if known.digest in (cmd.digest(request), keyed):
            turn.decision.notes.append("duplicate:command_repeat")
        else:
            turn.refuse(request, number, "command_id_conflict", f":{keyed.hex()[:16]}")
        return
    to = cmd.recipient(request.to) or (Contact() if _is_read(request) else None)
    reason = _unfit(turn, request, number, to)
    if reason or to is None:
        turn.refuse(request, number, reason)
        _keep_refusal(turn, request, number, reason)
        return
    command = cmd.command_of(request, number, to, turn.now)
    turn.put(cmd.command_key(command.command_id), command)
    starts_at = parse_rfc3339(request.not_before) if request.not_before else 0
    command.written_at = max(turn.event.recorded_at, starts_at)
    if starts_at > turn.now:
        command.wake_at = or_expired(command, starts_at)
        turn.tell(command, "send.deferred", "not_before", retry_at=rfc3339(starts_at))
    else:
        _enqueue(turn, command)


def _is_read(request: Request) -> bool:
    return not request.to and request.message is not UNSET and b'"status"' in bytes(request.message)


def _unfit(turn: Turn, request: Request, number: str, to: Contact | None) -> str:
    if not request.command_id or request.message is UNSET or to is None:
        return "invalid_command"
    if turn.get(foreign(MESSAGES, number_key(number))) is None:
        return "unknown_number"
    for instant in (request.not_before, request.expires_at):
        try:
            parse_rfc3339(instant) if instant else None
        except ValueError:
            return "invalid_time"
    return ""


def _keep_refusal(turn: Turn, request: Request, number: str, reason: str) -> None:
    """A request that never became a command has a story too, for whoever asks by its id. It keeps nobody's name."""
    if request.command_id:
        story = [(turn.now, "send.requested", ""), (turn.now, "send.rejected", reason)]
        told = Command(number=number, command_id=request.command_id, state=cmd.REJECTED, story=story)
        told.digest = cmd.keyed_digest(turn.key, request)
        turn.put(cmd.command_key(request.command_id), told)


def _enqueue(turn: Turn, command: Command) -> None:
    """Give the command the last place of its lane; if it is the first and nobody waits, it may go at once."""
    lane = turn.lane(command.number, command.lane)
    command.slot, lane.tail = lane.tail, lane.tail + 1
    turn.put(cmd.slot_key(command.number, command.lane, command.slot), Slot(command_id=command.command_id))
    command.line, command.place, command.wake_at = None, None, command.expires_at or None
    if lane.head == command.slot and not lane.in_flight:
        ready(turn, lane, turn.now)


def _on_cancel(turn: Turn, request: Request) -> None:
    assert turn.event is not None  # noqa: S101 - handlers of events have one
    command: Command | None = turn.change(cmd.command_key(request.command_id))
    if command is None:
        turn.refuse(request, turn.event.number, "unknown_command")
    elif command.state == cmd.QUEUED:
        finish(turn, command, cmd.CANCELLED, "send.cancelled")


# --- what came back


def _on_answered(turn: Turn, item: Item) -> None:
    if item.usage or item.regain_s:
        pace.heed(turn.queue(item.number), item, turn.now)
    command: Command | None = turn.change(cmd.command_key(item.command_id))
    if command is None or command.attempt != item.attempt or command.state not in (cmd.OPEN, cmd.AMBIGUOUS):
        return
    if item.outcome == "accepted":
        _accept(turn, command, item.message_id)
    elif item.outcome == "withdrawn" and item.reason == "taken_over" and command.defer:
        command.deferred = True  # somebody took the conversation over between the decision and the socket
        again(turn, command, item.reason, 0 if why_withheld(turn, command) else backoff_s(command))
    elif item.outcome == "withdrawn":
        finish(turn, command, cmd.WITHDRAWN, "send.withdrawn", item.reason)
    elif item.outcome == "ambiguous":
        _doubt(turn, command)
    elif item.outcome == "not_sent":
        again(turn, command, item.reason or "unreachable", backoff_s(command))
    else:
        refused(turn, command, item)


def _accept(turn: Turn, command: Command, message_id: str) -> None:
    pace.free(turn.queue(command.number))
    kind = "send.resolved" if command.state in cmd.FINAL else "send.accepted"
    command.message_id, command.guessed = message_id, False
    if command.origin == AGENT and command.kind != cmd.READ:
        looks.on_answer(turn, command)
    finish(turn, command, cmd.ACCEPTED, kind, permission.WINDOW_CLOSED if command.fell_back else "")


def _doubt(turn: Turn, command: Command) -> None:
    """Nobody knows whether it was sent. Evidence may come; until then its conversation waits, and only that."""
    if command.kind == cmd.READ:
        _read_again(turn, command)
    elif command.state == cmd.OPEN:
        command.state = cmd.AMBIGUOUS
        command.heard_s, command.wake_at = 0, turn.now + LISTEN_S
        queue, lane = turn.queue(command.number), turn.lane(command.number, command.lane)
        queue.open, lane.doubted = max(0, queue.open - 1), True
        if queue.wake_at is not None:
            queue.wake_at = turn.now
        command.story = [*command.story, (turn.now, "ambiguous", "")][-STORY_MAX:]


def _read_again(turn: Turn, command: Command) -> None:
    """A read receipt leaves no evidence, and does no harm twice."""
    command.refusals += 1
    if command.refusals <= REFUSALS_MAX:
        again(turn, command, "no_answer", backoff_s(command))
    else:
        finish(turn, command, cmd.UNRESOLVED, "send.unresolved", "no_answer")


# --- evidence


def _on_inbound(turn: Turn, item: Item) -> None:
    """An inbound message takes from the same 20 per second (Meta contract 5.9), at the time at which it came."""
    if turn.event is not None and turn.event.at < turn.now - INBOUND_COUNTS_S:
        return
    pace.charge(turn, turn.queue(item.number))


def _on_status(turn: Turn, item: Item) -> None:
    named = read_token(turn.key, item.token) if item.token else None
    if named is not None:
        _evidence(turn, named[0], item.message_id, proof=True)
        if item.status == "failed":
            _failed(turn, named[0], item)


def _failed(turn: Turn, command_id: str, item: Item) -> None:
    """Meta took it and gave it up: what it says of the template holds for the next ones; one code lets it go on."""
    command: Command | None = turn.get(cmd.command_key(command_id))
    if command is None:
        return
    code = code_of(item.errors)
    rest(turn, command, code)
    if ACTIONS.get(code) == Action.TEMPLATE and command.state == cmd.ACCEPTED and command.message_id == item.message_id:
        failed_outside(turn, turn.change(cmd.command_key(command_id)))


def _on_timeline(turn: Turn, item: Item) -> None:
    if item.command_id:
        _evidence(turn, item.command_id, item.message_id, proof=False)
        return
    if item.author == "business_app":  # nobody knows whether these take from the same limits (Meta contract 5.9)
        _on_inbound(turn, item)
    looks.on_message(turn, item)


def _on_number(turn: Turn, item: Item) -> None:
    """A number stands differently, or somebody mended what held it."""
    queue: Queue | None = turn.change(cmd.queue_key(item.number))
    if queue is not None:
        if item.event in MENDED:
            pace.retry_now(queue, turn.now)
        if queue.wake_at is not None:
            queue.wake_at = turn.now


def _evidence(turn: Turn, command_id: str, message_id: str, *, proof: bool) -> None:
    """A status with our token proves that the command became this message; an echo alone makes it likely."""
    known: Command | None = turn.get(cmd.command_key(command_id))
    if (
        known is None
        or not (known.attempt or known.state == cmd.UNRESOLVED)
        or (known.message_id == message_id and not known.guessed)
        or message_id in known.further
    ):
        return
    command: Command = turn.change(cmd.command_key(command_id))
    if command.state != cmd.ACCEPTED:
        _accept(turn, command, message_id)
        command.guessed = not proof
    elif command.message_id == message_id:
        command.guessed = not proof
    elif command.guessed and command.attempt == 1:  # one request cannot be two messages: the guess was wrong
        command.message_id, command.guessed = message_id, not proof
        turn.tell(command, "send.resolved", "other_message")
    elif message_id not in command.further:
        command.further = [*command.further, message_id]
        turn.tell(command, "send.duplicate_detected", "two_messages", message_id=message_id, possible_duplicate=True)


# --- timers


def _fire(turn: Turn, timer: Timer) -> None:
    state = turn.get(timer.key)
    if state is None or state.wake_at is None or state.wake_at > turn.now:
        return
    if isinstance(state, Queue):
        pump(turn, state.number)
    elif isinstance(state, Lane):
        lane: Lane = turn.change(timer.key)
        lane.wake_at = None
        ready(turn, lane, turn.now)
    elif isinstance(state, Command):
        _overdue(turn, turn.change(timer.key), hearing=timer.hearing)
    elif isinstance(state, Look):
        looks.fire(turn, turn.change(timer.key))
    elif isinstance(state, Handovers):
        looks.look_back(turn, state)


def _overdue(turn: Turn, command: Command, *, hearing: bool) -> None:
    command.wake_at = None
    if command.state == cmd.QUEUED:
        if command.expires_at and command.expires_at <= turn.now:
            finish(turn, command, cmd.EXPIRED, "send.expired", "expired")
        elif command.slot < 0:
            _enqueue(turn, command)
    elif command.state == cmd.OPEN:
        _doubt(turn, command)
    elif command.state == cmd.AMBIGUOUS:
        command.heard_s += LISTEN_S * hearing
        if command.heard_s < EVIDENCE_WAIT_S:
            command.wake_at = turn.now + LISTEN_S
        else:
            _give_up(turn, command)


def _give_up(turn: Turn, command: Command) -> None:
    """It was listened for long enough: the policy decides."""
    command.doubts += 1
    if command.policy == cmd.AT_LEAST_ONCE and command.doubts < DOUBTS_MAX:
        command.doubtful = True
        again(turn, command, "no_evidence", 0.0)
    else:
        finish(turn, command, cmd.UNRESOLVED, "send.unresolved", "no_evidence")


HANDLERS: dict[str, Callable[[Turn, Any], None]] = {
    "send.requested": _on_request,
    "send.cancel": _on_cancel,
    "send.answered": _on_answered,
    "webhook.message": _on_inbound,
    "webhook.status": _on_status,
    "message.added": _on_timeline,
    "message.completed": _on_timeline,
    "webhook.account": _on_number,
    "number.changed": _on_number,
    "number.reconnected": _on_number,
    "conversation.takeover": looks.on_takeover,
    "conversation.release": looks.on_release,
}
