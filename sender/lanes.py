"""The lines: two lanes per recipient, one pace per number. Who goes next, when, and what must not go at all.

A live command never waits for a bulk one: a bulk lane's head goes when no live lane stands ready, the bucket is full,
and nothing live is waiting or under way to the same person. Within a lane order is kept; between the two of a person
the live one goes first, so a bulk message may come later than it was asked for, and never in between.
"""

from typing import Any

from schemas.instants import rfc3339
from schemas.states import claim_now
from schemas.tokens import make_token
from sender import command as cmd
from sender import people, permission
from sender.command import BULK, Command, Lane, Queue, Slot, live_lane
from sender.conditions import is_unknown, withheld
from sender.pace import ANSWER_WAIT_S, room, take, wait_of_number
from sender.pacing import PAIR_BURST, PAIR_BURST_BULK, PAIR_INTERVAL_S, spent, wait_s
from sender.turn import STORY_MAX, Send, Turn

PARKED_LOOK_S = 15.0
"""How often a command that waits for a person to let go is looked at again; a release is heard of at once."""
KNOWN_S, KNOWN_LOOK_S = 5.0, 0.05
"""How long a command waits for the message that it names to be known, and the first, shortest of its looks."""
PUMP_MAX = 64
"""Lanes that one round of a number looks at."""


def ready(turn: Turn, lane: Lane, at: float) -> None:
    """The lane's head may go from `at` on: now, if nobody stands before it; else it stands in line."""
    queue = turn.queue(lane.number)
    if at > turn.now:
        stand(lane, at)
    elif queue.live or (queue.bulk and is_bulk(lane)) or not _try_head(turn, lane):
        stand_now(turn, lane)


def stand_now(turn: Turn, lane: Lane) -> None:
    """Let the lane stand in its number's line: the number comes to it as soon as its pace allows."""
    queue = turn.queue(lane.number)
    lane.line, lane.place, lane.wake_at = _line(lane), turn.now, None
    queue.wake_at, queue.stood_at = min(queue.wake_at or turn.now, turn.now), turn.now
    if is_bulk(lane):
        queue.bulk = True
    else:
        queue.live = True


def stand(lane: Lane, at: float) -> None:
    """Let the lane stand in its number's line from `at` on, and wake then."""
    lane.line, lane.place, lane.wake_at = _line(lane), at, at


def is_bulk(lane: Lane) -> bool:
    """Whether the lane takes only what live traffic leaves."""
    return lane.lane.startswith(BULK)


def _line(lane: Lane) -> str:
    return f"{'bulk' if is_bulk(lane) else 'ready'}/{lane.number}"


def pump(turn: Turn, number: str) -> None:
    """Let the heads of the number's lanes go, oldest first, as far as its pace allows: the live ones, then bulk.

    A lane that came to stand at this very instant may not be among `heads` yet: then there is one more round.
    """
    queue = turn.queue(number)
    another_round = queue.stood_at >= turn.now
    queue.wake_at, queue.stood_at = None, 0
    if queue.live:
        if not _pump_line(turn, queue, f"ready/{number}", bulk=False):
            return
        queue.live = another_round or queue.stood_at >= turn.now
    if queue.bulk and not queue.live:
        if not _pump_line(turn, queue, f"bulk/{number}", bulk=True):
            return
        queue.bulk = another_round or queue.stood_at >= turn.now
    if queue.live or queue.bulk:
        queue.wake_at = turn.now


def _pump_line(turn: Turn, queue: Queue, line: str, *, bulk: bool) -> bool:
    """Let the heads of one line go. True once nobody stands there; else it is said when the number wakes again."""
    limit = min(PUMP_MAX, 1 + room(turn, queue))
    heads = turn.states.heads(line, turn.now, limit)
    _gather(turn, [key for key, _ in heads])
    for key, _ in heads:
        lane: Lane = turn.change(key)
        if lane.in_flight or lane.place is None or lane.place > turn.now:
            continue  # it moved since
        if not _try_head(turn, lane):
            queue.wake_at = turn.now + max(wait_of_number(turn, queue, bulk=bulk), 0.0)
            return False
    if len(heads) == limit:
        queue.wake_at = turn.now
        return False
    return True


def _gather(turn: Turn, keys: list[str]) -> None:
    """See that all that the heads of these lanes ask for is loaded, in rounds: one by one costs a decision each."""
    turn.need(keys)
    lanes: list[Lane] = [turn.get(key) for key in keys]
    slots = [cmd.slot_key(lane.number, lane.lane, lane.head) for lane in lanes]
    turn.need(slots + [cmd.lane_key(lane.number, live_lane(lane.lane)) for lane in lanes if is_bulk(lane)])
    commands = [cmd.command_key(slot.command_id) for key in slots if (slot := turn.get(key)) is not None]
    turn.need(commands)
    found: list[Command] = [command for key in commands if (command := turn.get(key)) is not None]
    for number in {command.number for command in found}:
        turn.need_conversations(number, [command.contact() for command in found])


def _try_head(turn: Turn, lane: Lane) -> bool:
    """Let the lane's head go, or do with it what must be done. False: it waits for the number's pace."""
    queue, bulk = turn.queue(lane.number), is_bulk(lane)
    live = turn.lane(lane.number, live_lane(lane.lane))
    while lane.head < lane.tail:
        command = _head(turn, lane)
        if command is None or _ended(turn, command):
            drop_head(turn, lane)
            continue
        if _names_what_comes(turn, command):
            waited_s = turn.now - command.requested_at
            stand(lane, min(turn.now + max(waited_s, KNOWN_LOOK_S), command.requested_at + KNOWN_S))
            return True
        if _parked(turn, lane, command) or _one_too_many(turn, lane, live, command):
            continue
        if bulk and (live.head < live.tail or live.in_flight):
            live.bulk_waits = True
            leave(lane)
            return True
        if wait_of_number(turn, queue, bulk=bulk) > 0:
            return False
        pair_wait = wait_s(live.pair_tat, turn.now, PAIR_INTERVAL_S, PAIR_BURST_BULK if bulk else PAIR_BURST)
        if pair_wait > 0:
            stand(lane, turn.now + pair_wait)
        else:
            people.begin(turn, live, command)
            _open(turn, queue, lane, command)
            live.pair_tat = spent(live.pair_tat, turn.now, PAIR_INTERVAL_S)
        return True
    emptied(turn, lane)
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


def leave(lane: Lane) -> None:
    """Let the lane stand in no line."""
    lane.line, lane.place, lane.wake_at = None, None, None


def emptied(turn: Turn, lane: Lane) -> None:
    """Nothing is left in the lane: it stands nowhere, and the bulk of the same person may go."""
    leave(lane)
    if lane.bulk_waits:
        lane.bulk_waits = False
        beside = turn.lane(lane.number, BULK + lane.lane)
        if not beside.in_flight and beside.head < beside.tail:
            ready(turn, beside, turn.now)


def _ended(turn: Turn, command: Command) -> bool:
    """The head is over already, or is now: expired, or withdrawn because its conditions do not hold.

    Or nobody knows whether it is over: it was written before the states were put back from a backup.
    """
    if command.state != cmd.QUEUED:
        return True
    if command.expires_at and command.expires_at <= turn.now:
        end(turn, command, cmd.EXPIRED, "send.expired", "expired")
        return True
    if command.written_at < turn.restored_at and command.kind != cmd.READ:
        end(turn, command, cmd.UNRESOLVED, "send.unresolved", "restored")
        return True
    reason = why_withheld(turn, command)
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
    if not command.defer or not why_withheld(turn, command):
        return False
    conversation = turn.conversation(command.number, command.contact())
    claim = claim_now(conversation, turn.now) if conversation is not None else None
    until = claim.until if claim is not None else turn.now + PARKED_LOOK_S
    if not command.deferred:
        command.deferred = True
        turn.tell(command, "send.deferred", "taken_over", retry_at=rfc3339(until))
    _park(turn, lane, command, min(until, turn.now + PARKED_LOOK_S))
    return True


def _one_too_many(turn: Turn, lane: Lane, live: Lane, command: Command) -> bool:
    """The number began as many conversations as it may: the head waits, outside its lane, or has no place at all."""
    until = people.held_until(turn, live, command)
    if until is None:
        retry_at = rfc3339(turn.now + people.DAY_S)
        end(turn, command, cmd.REJECTED, "send.rejected", people.PEOPLE_LIMIT, retry_at=retry_at)
    elif until:
        if command.place_at != until:
            command.place_at = until
            turn.tell(command, "send.deferred", people.PEOPLE_LIMIT, retry_at=rfc3339(until))
        _park(turn, lane, command, until)
    return until != 0


def _park(turn: Turn, lane: Lane, command: Command, until: float) -> None:
    """Out of its lane, until then at the most: what happens in the conversation is reason to look again."""
    drop_head(turn, lane)
    turn.lane(command.number, live_lane(command.lane)).parked = True
    command.slot, command.wake_at = -1, or_expired(command, until)
    command.line, command.place = parked_line(command.number, live_lane(command.lane)), command.requested_at


def parked_line(number: str, lane: str) -> str:
    """Where commands stand that wait for a person to let go of a conversation."""
    return f"parked/{number}/{lane}"


def or_expired(command: Command, at: float) -> float:
    """The time to look at the command again: then, or when it expires."""
    return min(at, command.expires_at) if command.expires_at else at


def why_withheld(turn: Turn, command: Command) -> str:
    """Why a command must not go now, by its conversation; nothing when it may."""
    conversation = turn.conversation(command.number, command.contact())
    reason = withheld(turn.get, conversation, command.origin, command.only_if, turn.now)
    return "" if reason == "newer_message" and _names_what_comes(turn, command) else reason


def _names_what_comes(turn: Turn, command: Command) -> bool:
    """It was written lately and depends on a message that is not known: `sends` may have told of it sooner."""
    is_young = turn.now < command.requested_at + KNOWN_S
    return is_young and is_unknown(turn.get, command.number, command.only_if)


def _open(turn: Turn, queue: Queue, lane: Lane, command: Command) -> None:
    """Commit to an attempt: written before its request leaves, so that a crash leaves it known."""
    leaves_at = take(turn, queue, bulk=is_bulk(lane), counts=command.kind != cmd.READ)
    lane.in_flight = command.command_id
    leave(lane)
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
            leaves_at,
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
            queue.wake_at = min(queue.wake_at, turn.now + wait_of_number(turn, queue))
    return lane


def end(turn: Turn, command: Command, state: str, kind: str, reason: str = "", **more: Any) -> None:
    """The command's end, told; its place in the lane stays until the lane comes to it."""
    command.state, command.wake_at, command.line, command.place = state, None, None, None
    people.give_back(turn, command)
    turn.tell(command, kind, reason, **more)


def finish(turn: Turn, command: Command, state: str, kind: str, reason: str = "", **more: Any) -> None:
    """The command's end, and the next one's turn if this one was the head of its lane."""
    end(turn, command, state, kind, reason, **more)
    if command.slot < 0:
        return
    lane = turn.lane(command.number, command.lane)
    if lane.in_flight not in ("", command.command_id) or lane.head != command.slot:
        return
    landed(turn, command)
    if state == cmd.ACCEPTED:
        turn.lane(command.number, live_lane(command.lane)).pair_refusals = 0
    drop_head(turn, lane)
    leave(lane)
    if lane.head < lane.tail:
        ready(turn, lane, turn.now)
    else:
        emptied(turn, lane)
