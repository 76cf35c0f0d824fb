"""What follows when Graph refuses: the command is tried again, its number, pair or template rests, or it has an end."""

import orjson
from msgspec import UNSET

from schemas.instants import rfc3339
from schemas.items import Item
from sender import command as cmd
from sender import pace, permission
from sender.command import Command, Lane, live_lane
from sender.errors import RETRY_AFTER_S, Action
from sender.lanes import finish, landed, or_expired, stand, stand_now
from sender.pacing import PAIR_BURST, PAIR_INTERVAL_S
from sender.pauses import RESTS, rest
from sender.turn import Turn

RETRY_S = 2.0
RETRY_S_MAX = 120.0
REFUSALS_MAX = 5
PAIR_WAIT_S_MAX = 1024.0


def refused(turn: Turn, command: Command, item: Item) -> None:
    """Graph refused an attempt: by its action, and where the code is about more than this one, by the code."""
    action, queue = item.reason, turn.queue(command.number)
    if item.code in RESTS and (action != Action.PAUSE_NUMBER or permission.begins(turn, command)):
        rest(turn, command, item.code)
        _reject(turn, command, item)
    elif action in pace.HELD:
        until = pace.hold(queue, action, turn.now, item.regain_s)
        _back(turn, command, f"{queue.held_because}_refused", until)
    elif action == Action.SLOW:
        pace.slow(queue, turn.now)
        _back(turn, command, "rate_limited", queue.tat)
    elif action == Action.PAIR:
        _rest_pair(turn, command)
    elif action == Action.RETRY and command.refusals < REFUSALS_MAX:
        command.refusals += 1
        again(turn, command, "retry", max(backoff_s(command), RETRY_AFTER_S.get(item.code, 0)))
    elif action != Action.TEMPLATE or not _outside(turn, command):
        _reject(turn, command, item)


def _rest_pair(turn: Turn, command: Command) -> None:
    """131056: others have drawn on the pair, so what we think is left of its burst is not there (Meta contract 7.1)."""
    lane = turn.lane(command.number, live_lane(command.lane))
    lane.pair_refusals += 1
    wait = min(4.0 ** (lane.pair_refusals - 1), PAIR_WAIT_S_MAX)
    lane.pair_tat = max(lane.pair_tat, turn.now + wait + (PAIR_BURST - 1) * PAIR_INTERVAL_S)
    again(turn, command, "pair_limited", wait)


def _outside(turn: Turn, command: Command) -> bool:
    """131047: the window is closed, says Meta. True where the command goes on.

    Meta is known to say so of a window that has just been opened (Meta contract 8.3), so it is asked once more where
    all we know says that it is open.
    """
    if not command.refusals and permission.is_clearly_open(turn, command):
        command.refusals += 1
        again(turn, command, "retry", RETRY_S)
    elif command.fallback:
        permission.fall_back(turn, command)
        again(turn, command, permission.WINDOW_CLOSED, 0)
    else:
        return False
    return True


def failed_outside(turn: Turn, command: Command) -> None:
    """131047 in a status: Meta took the message, and gave it up for the window's sake. What follows is the same.

    Its lane has gone on meanwhile, so it goes to the end of it; the message that came to nothing is no second one.
    """
    if not command.refusals and permission.is_clearly_open(turn, command):
        command.refusals += 1
        reason, wait = "retry", RETRY_S
    elif command.fallback:
        permission.fall_back(turn, command)
        reason, wait = permission.WINDOW_CLOSED, 0.0
    else:
        return
    command.further, command.message_id = [*command.further, command.message_id], ""
    command.state, command.slot, command.returns = cmd.QUEUED, -1, command.returns + 1
    command.wake_at = or_expired(command, turn.now + wait)
    turn.tell(command, "send.deferred", reason, retry_at=rfc3339(turn.now + wait))


def _reject(turn: Turn, command: Command, item: Item) -> None:
    error = orjson.Fragment(bytes(item.error)) if item.error is not UNSET else {}
    reason = permission.reason_of(item.code) or str(item.reason) or "rejected"
    finish(turn, command, cmd.REJECTED, "send.rejected", reason, error=error)


def backoff_s(command: Command) -> float:
    """How long a command rests before it is tried again: ever longer."""
    return min(RETRY_S * 2.0 ** min(command.returns, 6), RETRY_S_MAX)


def again(turn: Turn, command: Command, reason: str, wait: float) -> None:
    """Back to the head of its lane, to go again after `wait` seconds."""
    lane = _queued_again(turn, command)
    turn.tell(command, "send.deferred", reason, retry_at=rfc3339(turn.now + wait))
    stand(lane, turn.now + wait)


def _back(turn: Turn, command: Command, reason: str, until: float) -> None:
    """Back to the head of its lane, to go as soon as its number may send again."""
    lane = _queued_again(turn, command)
    turn.tell(command, "send.deferred", reason, retry_at=rfc3339(until))
    stand_now(turn, lane)


def _queued_again(turn: Turn, command: Command) -> Lane:
    command.state, command.wake_at, command.returns = cmd.QUEUED, command.expires_at or None, command.returns + 1
    return landed(turn, command)
