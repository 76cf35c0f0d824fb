"""Which command goes when, and what an answer, or its absence, leads to. It knows no Kafka, no SQL and no clock.

One owner per number, so the bucket of a number, the pairs and the order of a conversation are plain state. An attempt
is committed before its request leaves; what came back, or what statuses and echoes tell of it, is read from `inbound`.
States: `k/` a command, `l/` a lane, `x/` a place in it, `q/` a number's pace, `p/` what rests at a number.
"""

from collections.abc import Callable, Iterable
from typing import Any

import orjson
from msgspec import UNSET

from schemas.instants import parse_rfc3339, rfc3339
from schemas.items import Contact, Item, code_of, decode
from schemas.marks import About
from schemas.ports import Decision, Event, Forget, State, States, Timer, foreign
from schemas.states import DELIVERY, MESSAGES, number_key
from schemas.tokens import read_token
from schemas.topics import INBOUND, OUTBOUND, OUTBOUND_BULK, TIMELINE
from sender import command as cmd
from sender import permission
from sender.command import Command, Lane, Queue, Request, Slot
from sender.errors import Action
from sender.forgetting import about, forget
from sender.lanes import HOLD_S, end, finish, landed, pump, ready, stand
from sender.pacing import charged
from sender.pauses import RESTS, Pauses, pauses_key, rest
from sender.turn import STORY_MAX, Turn

EVIDENCE_WAIT_S = 90.0
"""How long evidence for an ambiguous attempt is waited for before the policy decides."""
INBOUND_COUNTS_S = 10.0
"""Older inbound messages, such as a backlog that Meta delivers after a stop, took their share long ago."""
RETRY_S = 2.0
RETRY_S_MAX = 120.0
REFUSALS_MAX = 5
DOUBTS_MAX = 3
"""Requests without any answer or evidence after which at_least_once gives up, too: each may have been a message."""

KINDS: dict[str, type[State]] = {"k": Command, "l": Lane, "x": Slot, "q": Queue, "p": Pauses}
OF_INTEREST = frozenset({"webhook.message", "webhook.status", "send.answered"})


class Delivery:
    """The processor `sender.delivery`. `key` is the installation's own, for tokens.

    `opt_in_required`: marketing goes only to people of whom we know that they asked for it.
    """

    name = DELIVERY
    inputs = (INBOUND, OUTBOUND, TIMELINE, OUTBOUND_BULK)

    def __init__(self, key: bytes, *, opt_in_required: bool = False) -> None:
        self.key = key
        self.opt_in_required = opt_in_required

    def parse(self, event: Event) -> Item | Request | None:
        """See `Processor.parse`. Inbound messages only count, so their content is not decoded."""
        if event.type in ("send.requested", "send.cancel"):
            return cmd.read_request(event.data or b"{}")
        if event.type == "webhook.message":
            return Item(number=event.number)
        if event.type in OF_INTEREST:
            return decode(event)
        if event.type in ("message.added", "message.completed") and b'"command_id"' in (event.data or b""):
            return Item(number=event.number, message_id=event.subject, command_id=_command_id(event))
        return None

    def keys(self, event: Event, item: Item | Request) -> Iterable[str]:
        """See `Processor.keys`."""
        yield cmd.queue_key(event.number)
        if item.command_id:
            yield cmd.command_key(item.command_id)
        if isinstance(item, Request) and (to := cmd.recipient(item.to)) is not None:
            yield cmd.lane_key(event.number, cmd.lane_of(to))
            yield pauses_key(event.number)
            yield foreign(MESSAGES, number_key(event.number))

    def follow(self, key: str, state: Any) -> Iterable[str]:
        """See `Processor.follow`."""
        if isinstance(state, Command):
            yield cmd.lane_key(state.number, state.lane)

    def state_type(self, key: str) -> type[State]:
        """See `Processor.state_type`."""
        return KINDS[key[0]]

    def about(self, key: str, state: Any) -> About:
        """See `Processor.about`."""
        return about(state)

    def decide(
        self, states: States, event: Event | Timer | Forget, item: Item | Request | None, now: float
    ) -> Decision:
        """See `Processor.decide`."""
        if isinstance(event, Forget):
            turn = Turn(self.key, states, None, now, opt_in_required=self.opt_in_required)
            forget(turn, event.key)
        elif isinstance(event, Timer):
            turn = Turn(self.key, states, None, now, opt_in_required=self.opt_in_required)
            _fire(turn, event.key)
        elif item is not None:
            turn = Turn(self.key, states, event, now, opt_in_required=self.opt_in_required)
            HANDLERS[event.type](turn, item)
        else:
            return Decision()
        return turn.decision


# --- commands


def _on_request(turn: Turn, request: Request) -> None:
    assert turn.event is not None  # noqa: S101 - handlers of events have one
    number = turn.event.number
    known: Command | None = turn.get(cmd.command_key(request.command_id))
    if known is not None:
        if known.digest == cmd.digest(request):
            turn.decision.notes.append("duplicate:command_repeat")
        else:
            turn.refuse(request, number, "command_id_conflict", f":{cmd.digest(request).hex()[:16]}")
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
    if starts_at > turn.now:
        command.wake_at = starts_at
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
    """A request that never became a command has a story too, for whoever asks by its id."""
    if request.command_id:
        story = [(turn.now, "send.requested", ""), (turn.now, "send.rejected", reason)]
        told = Command(number=number, command_id=request.command_id, state=cmd.REJECTED, story=story)
        told.digest = cmd.digest(request)
        turn.put(cmd.command_key(request.command_id), told)


def _enqueue(turn: Turn, command: Command) -> None:
    """Give the command the last place of its lane; if it is the first and nobody waits, it may go at once."""
    lane = turn.lane(command.number, command.lane)
    command.slot, lane.tail = lane.tail, lane.tail + 1
    turn.put(cmd.slot_key(command.number, command.lane, command.slot), Slot(command_id=command.command_id))
    if lane.head == command.slot and not lane.in_flight:
        ready(turn, lane, turn.now)


def _on_cancel(turn: Turn, request: Request) -> None:
    assert turn.event is not None  # noqa: S101 - handlers of events have one
    command: Command | None = turn.change(cmd.command_key(request.command_id))
    if command is None:
        turn.refuse(request, turn.event.number, "unknown_command")
    elif command.state == cmd.QUEUED and command.slot < 0:
        end(turn, command, cmd.CANCELLED, "send.cancelled")
    elif command.state == cmd.QUEUED:
        finish(turn, command, cmd.CANCELLED, "send.cancelled")


# --- what came back


def _on_answered(turn: Turn, item: Item) -> None:
    command: Command | None = turn.change(cmd.command_key(item.command_id))
    if command is None or command.attempt != item.attempt or command.state not in (cmd.OPEN, cmd.AMBIGUOUS):
        return
    if item.outcome == "accepted":
        _accept(turn, command, item.message_id)
    elif item.outcome == "withdrawn":
        finish(turn, command, cmd.WITHDRAWN, "send.withdrawn", item.reason)
    elif item.outcome == "ambiguous":
        _doubt(turn, command)
    elif item.outcome == "not_sent":
        _again(turn, command, item.reason or "unreachable", _backoff_s(command))
    else:
        _refused(turn, command, item)


def _accept(turn: Turn, command: Command, message_id: str) -> None:
    queue = turn.queue(command.number)
    queue.held_because, queue.held_until = "", 0
    kind = "send.resolved" if command.state in cmd.FINAL else "send.accepted"
    command.message_id, command.guessed = message_id, False
    finish(turn, command, cmd.ACCEPTED, kind, permission.WINDOW_CLOSED if command.fell_back else "")


def _doubt(turn: Turn, command: Command) -> None:
    """Nobody knows whether it was sent. Evidence may come; until then its conversation waits, and only that."""
    if command.kind == cmd.READ:
        _read_again(turn, command)
    elif command.state == cmd.OPEN:
        command.state = cmd.AMBIGUOUS
        command.wake_at = turn.now + EVIDENCE_WAIT_S
        queue, lane = turn.queue(command.number), turn.lane(command.number, command.lane)
        queue.open, lane.doubted = max(0, queue.open - 1), True
        if queue.wake_at is not None:
            queue.wake_at = turn.now
        command.story = [*command.story, (turn.now, "ambiguous", "")][-STORY_MAX:]


def _read_again(turn: Turn, command: Command) -> None:
    """A read receipt leaves no evidence, and does no harm twice."""
    command.refusals += 1
    if command.refusals <= REFUSALS_MAX:
        _again(turn, command, "no_answer", _backoff_s(command))
    else:
        finish(turn, command, cmd.UNRESOLVED, "send.unresolved", "no_answer")


def _refused(turn: Turn, command: Command, item: Item) -> None:
    action = item.reason
    if item.code in RESTS and (action != Action.PAUSE_NUMBER or permission.begins(turn, command)):
        rest(turn, command, item.code)
        _reject(turn, command, item)
    elif action in (Action.PAUSE_TOKEN, Action.PAUSE_NUMBER):
        _hold(turn, command, action)
    elif action == Action.SLOW:
        turn.queue(command.number).slowed_until = turn.now + HOLD_S
        _again(turn, command, "rate_limited", _backoff_s(command))
    elif action == Action.PAIR:
        lane = turn.lane(command.number, command.lane)
        lane.pair_refusals += 1
        _again(turn, command, "pair_limited", float(min(4 ** (lane.pair_refusals - 1) * 4, 1024)))
    elif action == Action.RETRY and command.refusals < REFUSALS_MAX:
        command.refusals += 1
        _again(turn, command, "retry", _backoff_s(command))
    elif action != Action.TEMPLATE or not _outside(turn, command):
        _reject(turn, command, item)


def _outside(turn: Turn, command: Command) -> bool:
    """131047: the window is closed, says Meta. True where the command goes on.

    Meta is known to say so of a window that has just been opened (Meta contract 8.3), so it is asked once more where
    all we know says that it is open.
    """
    if not command.refusals and permission.is_clearly_open(turn, command):
        command.refusals += 1
        _again(turn, command, "retry", RETRY_S)
    elif command.fallback:
        permission.fall_back(turn, command)
        _again(turn, command, permission.WINDOW_CLOSED, 0)
    else:
        return False
    return True


def _reject(turn: Turn, command: Command, item: Item) -> None:
    error = orjson.Fragment(bytes(item.error)) if item.error is not UNSET else {}
    reason = permission.reason_of(item.code) or str(item.reason) or "rejected"
    finish(turn, command, cmd.REJECTED, "send.rejected", reason, error=error)


def _hold(turn: Turn, command: Command, action: str) -> None:
    """The number cannot send: keep its commands, and try again with one request at a time."""
    queue = turn.queue(command.number)
    queue.held_because = "token" if action == Action.PAUSE_TOKEN else "number"
    queue.held_until = turn.now + HOLD_S
    _again(turn, command, f"{queue.held_because}_refused", HOLD_S)


def _backoff_s(command: Command) -> float:
    return min(RETRY_S * 2.0 ** min(command.returns, 6), RETRY_S_MAX)


def _again(turn: Turn, command: Command, reason: str, wait: float) -> None:
    """Back to the head of its lane, to go again after `wait` seconds."""
    command.state, command.wake_at, command.returns = cmd.QUEUED, None, command.returns + 1
    lane = landed(turn, command)
    turn.tell(command, "send.deferred", reason, retry_at=rfc3339(turn.now + wait))
    stand(lane, turn.now + wait)


# --- evidence


def _on_inbound(turn: Turn, item: Item) -> None:
    """An inbound message takes from the same 20 per second (Meta contract 5.9), at the time at which it came."""
    if turn.event is not None and turn.event.at < turn.now - INBOUND_COUNTS_S:
        return
    queue = turn.queue(item.number)
    queue.tat = charged(queue.tat, turn.now, 1 / turn.rate(item.number))


def _on_status(turn: Turn, item: Item) -> None:
    named = read_token(turn.key, item.token) if item.token else None
    if named is not None:
        _evidence(turn, named[0], item.message_id, proof=True)
        if item.status == "failed":
            _failed(turn, named[0], item)


def _failed(turn: Turn, command_id: str, item: Item) -> None:
    """Meta took it and gave it up: it is not tried again, but what it says of the template holds for the next ones."""
    command: Command | None = turn.get(cmd.command_key(command_id))
    if command is not None:
        rest(turn, command, code_of(item.errors))


def _on_timeline(turn: Turn, item: Item) -> None:
    _evidence(turn, item.command_id, item.message_id, proof=False)


def _evidence(turn: Turn, command_id: str, message_id: str, *, proof: bool) -> None:
    """A status with our token proves that the command became this message; an echo alone makes it likely."""
    known: Command | None = turn.get(cmd.command_key(command_id))
    if known is None or not known.attempt or (known.message_id == message_id and not known.guessed):
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


def _fire(turn: Turn, key: str) -> None:
    state = turn.get(key)
    if state is None or state.wake_at is None or state.wake_at > turn.now:
        return
    if isinstance(state, Queue):
        pump(turn, state.number)
    elif isinstance(state, Lane):
        lane: Lane = turn.change(key)
        lane.wake_at = None
        ready(turn, lane, turn.now)
    elif isinstance(state, Command):
        _overdue(turn, turn.change(key))


def _overdue(turn: Turn, command: Command) -> None:
    command.wake_at = None
    if command.state == cmd.QUEUED:
        _enqueue(turn, command)
    elif command.state == cmd.OPEN:
        _doubt(turn, command)
    elif command.state == cmd.AMBIGUOUS:
        command.doubts += 1
        if command.policy == cmd.AT_LEAST_ONCE and command.doubts < DOUBTS_MAX:
            command.doubtful = True
            _again(turn, command, "no_evidence", 0.0)
        else:
            finish(turn, command, cmd.UNRESOLVED, "send.unresolved", "no_evidence")


def _command_id(event: Event) -> str:
    told = orjson.loads(event.data or b"{}")
    return str(told["command_id"]) if told.get("origin") == "api" else ""


HANDLERS: dict[str, Callable[[Turn, Any], None]] = {
    "send.requested": _on_request,
    "send.cancel": _on_cancel,
    "send.answered": _on_answered,
    "webhook.message": _on_inbound,
    "webhook.status": _on_status,
    "message.added": _on_timeline,
    "message.completed": _on_timeline,
}
