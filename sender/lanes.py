"""The lines: one lane per recipient, one pace per number. Who goes next, when, and what must not go at all."""

from typing import Any

from schemas.instants import rfc3339
from schemas.states import claim_now
from schemas.tokens import make_token
from sender import command as cmd
from sender import permission
from sender.command import Command, Lane, Queue, Slot
from sender.conditions import withheld
from sender.pacing import NUMBER_BURST, PAIR_BURST, PAIR_INTERVAL_S, spent, wait_s
from sender.turn import STORY_MAX, Send, Turn

OPEN_MIN = 8
"""Attempts that may be open per number whatever its rate: one crash makes no more of them ambiguous."""
ANSWER_WAIT_S = 20.0
"""After this an open attempt without an answer is ambiguous: longer than a request may take."""
HOLD_S = 60.0
"""How long a number rests before it is tried again with one request."""
PARKED_LOOK_S = 15.0
"""How often a command that waits for a person to let go is looked at again."""
PAUSED_LOOK_S = 5.0
"""How often a number that was paused is looked at again."""
PUMP_MAX = 64
"""Lanes that one round of a number looks at."""


def ready(turn: Turn, lane: Lane, at: float) -> None:
    """The lane's head may go from `at` on: now, if nobody else waits for the number; else it stands in line."""
    queue = turn.queue(lane.number)
    if at > turn.now:
        lane.line, lane.place, lane.wake_at = _line(lane.number), at, at
    elif queue.wake_at is not None or not _try_head(turn, lane):
        lane.line, lane.place = _line(lane.number), turn.now
        queue.wake_at = min(queue.wake_at or turn.now, turn.now)
        queue.stood_at = turn.now


def _line(number: str) -> str:
    return f"ready/{number}"


def pump(turn: Turn, number: str) -> None:
    """Let the heads of the number's lanes go, oldest first, as far as its bucket reaches.

    A lane that came to stand at this very instant may not be among `heads` yet: then there is one more round.
    """
    queue = turn.queue(number)
    another_round = queue.stood_at >= turn.now
    queue.wake_at, queue.stood_at = None, 0
    heads = turn.states.heads(_line(number), turn.now, PUMP_MAX)
    for key, _ in heads:
        if not _try_head(turn, turn.change(key)):
            queue.wake_at = turn.now + _wait_of_number(turn, queue)
            return
    if another_round or len(heads) == PUMP_MAX:
        queue.wake_at = turn.now


def _wait_of_number(turn: Turn, queue: Queue) -> float:
    """Seconds until the number may send one more message."""
    if turn.paused(queue.number):
        return PAUSED_LOOK_S
    if queue.held_until > turn.now:
        return queue.held_until - turn.now
    rate = turn.rate(queue.number)
    if queue.open >= (max(OPEN_MIN, rate // 2) if not queue.held_because else 1):
        return ANSWER_WAIT_S
    interval_s = (2 if queue.slowed_until > turn.now else 1) / rate
    return wait_s(queue.tat, turn.now, interval_s, NUMBER_BURST)


def _try_head(turn: Turn, lane: Lane) -> bool:
    """Let the lane's head go, or do with it what must be done. False: it waits for the number's bucket."""
    queue = turn.queue(lane.number)
    while lane.head < lane.tail:
        command = _head(turn, lane)
        if command is None or _ended(turn, command):
            drop_head(turn, lane)
            continue
        if _parked(turn, lane, command):
            continue
        if _wait_of_number(turn, queue) > 0:
            return False
        pair_wait = wait_s(lane.pair_tat, turn.now, PAIR_INTERVAL_S, PAIR_BURST)
        if pair_wait > 0:
            stand(lane, turn.now + pair_wait)
        else:
            _open(turn, queue, lane, command)
        return True
    _leave(lane)
    return True


def _head(turn: Turn, lane: Lane) -> Command | None:
    slot: Slot | None = turn.get(cmd.slot_key(lane.number, lane.lane, lane.head))
    if slot is None:
        return None
    found: Command | None = turn.change(cmd.command_key(slot.command_id))
    return found


def drop_head(turn: Turn, lane: Lane) -> None:
    """Take the first place out of the lane."""
    turn.put(cmd.slot_key(lane.number, lane.lane, lane.head), None)
    lane.head += 1


def _leave(lane: Lane) -> None:
    lane.line, lane.place, lane.wake_at = None, None, None


def stand(lane: Lane, at: float) -> None:
    """Let the lane stand in its number's line from `at` on, and wake then."""
    lane.line, lane.place, lane.wake_at = _line(lane.number), at, at


def _ended(turn: Turn, command: Command) -> bool:
    """The head is over already, or is now: expired, or withdrawn because its conditions do not hold."""
    if command.state != cmd.QUEUED:
        return True
    if command.expires_at and command.expires_at <= turn.now:
        end(turn, command, cmd.EXPIRED, "send.expired", "expired")
        return True
    reason = _withheld(turn, command)
    if reason and not (reason == "taken_over" and command.defer):
        end(turn, command, cmd.WITHDRAWN, "send.withdrawn", reason)
        return True
    refused = permission.refusal(turn, command) if not reason else None
    if refused is not None:
        more = {"retry_at": rfc3339(refused.until)} if refused.until else {}
        end(turn, command, cmd.REJECTED, "send.rejected", refused.reason, **more)
    return refused is not None


def _parked(turn: Turn, lane: Lane, command: Command) -> bool:
    """The head waits, outside its lane, until the person who took the conversation lets go: others may pass it."""
    if not command.defer or not _withheld(turn, command):
        return False
    conversation = turn.conversation(command.number, command.contact())
    claim = claim_now(conversation, turn.now) if conversation is not None else None
    until = claim.until if claim is not None else turn.now + PARKED_LOOK_S
    if not command.deferred:
        command.deferred = True
        turn.tell(command, "send.deferred", "taken_over", retry_at=rfc3339(until))
    drop_head(turn, lane)
    command.slot, command.wake_at = -1, min(until, turn.now + PARKED_LOOK_S)
    return True


def _withheld(turn: Turn, command: Command) -> str:
    conversation = turn.conversation(command.number, command.contact())
    return withheld(conversation, command.origin, command.only_if, turn.now)


def _open(turn: Turn, queue: Queue, lane: Lane, command: Command) -> None:
    """Commit to an attempt: written before its request leaves, so that a crash leaves it known."""
    if command.kind != cmd.READ:
        queue.tat = spent(queue.tat, turn.now, 1 / turn.rate(queue.number))
    queue.open += 1
    lane.pair_tat = spent(lane.pair_tat, turn.now, PAIR_INTERVAL_S)
    lane.in_flight = command.command_id
    _leave(lane)
    command.state, command.attempt, command.opened_at = cmd.OPEN, command.attempt + 1, turn.now
    command.token = make_token(turn.key, command.command_id, command.attempt)
    command.wake_at = turn.now + ANSWER_WAIT_S
    command.story = [*command.story, (turn.now, "send.attempted", str(command.attempt))][-STORY_MAX:]
    turn.decision.calls.append(
        Send(
            command.number,
            command.command_id,
            command.attempt,
            command.token,
            command.contact(),
            command.kind,
            command.message,
            command.origin,
            command.only_if,
            turn.now,
            command.trace,
        )
    )


def landed(turn: Turn, command: Command) -> Lane:
    """The attempt is not open any more: its lane and its number are free for the next one."""
    queue, lane = turn.queue(command.number), turn.lane(command.number, command.lane)
    if lane.in_flight == command.command_id:
        lane.in_flight = ""
        queue.open = max(0, queue.open - (not lane.doubted))
        lane.doubted = False
        if queue.wake_at is not None:
            queue.wake_at = min(queue.wake_at, turn.now + _wait_of_number(turn, queue))
    return lane


def end(turn: Turn, command: Command, state: str, kind: str, reason: str = "", **more: Any) -> None:
    """The command's end, told; its place in the lane stays until the lane comes to it."""
    command.state, command.wake_at = state, None
    turn.tell(command, kind, reason, **more)


def finish(turn: Turn, command: Command, state: str, kind: str, reason: str = "", **more: Any) -> None:
    """The command's end, and the next one's turn if this one was the head of its lane."""
    end(turn, command, state, kind, reason, **more)
    lane = turn.lane(command.number, command.lane)
    if lane.in_flight not in ("", command.command_id) or lane.head != command.slot:
        return
    landed(turn, command)
    if state == cmd.ACCEPTED:
        lane.pair_refusals = 0
    drop_head(turn, lane)
    _leave(lane)
    if lane.head < lane.tail:
        ready(turn, lane, turn.now)
