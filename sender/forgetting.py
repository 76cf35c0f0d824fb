"""What the sender's states name, and how a command and its lane are forgotten when a person is erased. Pure.

What waits is cancelled, and told; what may be on its way to Meta cannot be called back and is told as unresolved.
"""

from typing import Any

from schemas.items import Contact
from schemas.marks import NOBODY, About
from schemas.ports import NOWHERE
from sender import command as cmd
from sender.command import Command, Handovers, Lane, live_lane
from sender.lanes import drop_head, end, landed, ready
from sender.looks import Look
from sender.turn import Turn

ERASED = "erased"


def about(state: Any) -> About:
    """Whom and what a state of `sender.delivery` names."""
    if isinstance(state, Command):
        messages = tuple(f"m:{wamid}" for wamid in (state.message_id, *state.further) if wamid)
        tokens = (f"t:{state.token}",) if state.token else ()
        people = (Contact(wa_id=state.wa_id, user_id=state.user_id),) if state.wa_id or state.user_id else ()
        return About(
            state.number,
            (f"k:{state.command_id}", *messages, *tokens),
            people,
            state.requested_at,
            kind=_kept_as(state),
            born=_ended_at(state),
        )
    if isinstance(state, Lane):
        kind, _, value = live_lane(state.lane).partition(":")
        if kind not in "up":
            return About(state.number, (f"m:{value}",))
        person = Contact(user_id=value) if kind == "u" else Contact(wa_id=value)
        return About(state.number, (), (person,), NOWHERE)
    if isinstance(state, Look):
        return About(state.number, (), (Contact(wa_id=state.wa_id, user_id=state.user_id),), NOWHERE)
    if isinstance(state, Handovers):
        return About(state.number, (f"c:{state.conversation_id}",))
    return NOBODY


def _kept_as(command: Command) -> str:
    return "commands" if command.state in cmd.FINAL else ""


def _ended_at(command: Command) -> float:
    return command.story[-1][0] if command.story else command.requested_at


def forget(turn: Turn, key: str) -> None:
    """Forget a command, a look, handovers, or a lane that holds nothing newer."""
    state = turn.get(key)
    if isinstance(state, Command):
        _forget_command(turn, turn.change(key))
        turn.put(key, None)
    elif isinstance(state, Lane):
        _forget_lane(turn, key, state)
    elif isinstance(state, Look | Handovers):
        turn.put(key, None)


def _forget_command(turn: Turn, command: Command) -> None:
    if command.state in cmd.FINAL:
        return
    if command.state == cmd.QUEUED:
        end(turn, command, cmd.CANCELLED, "send.cancelled", ERASED)
        return
    lane = landed(turn, command)
    if lane.head == command.slot:
        drop_head(turn, lane)
    end(turn, command, cmd.UNRESOLVED, "send.unresolved", ERASED)


def _forget_lane(turn: Turn, key: str, before: Lane) -> None:
    """Drop the places of forgotten commands. A lane with newer commands stays, for they are a new matter."""
    lane: Lane = turn.change(key)
    while lane.head < lane.tail and not lane.in_flight and _is_over(turn, lane):
        drop_head(turn, lane)
    if lane.head == lane.tail and not lane.in_flight:
        turn.put(key, None)
    elif lane.head != before.head:
        ready(turn, lane, turn.now)
    else:
        del turn.decision.states[key]


def _is_over(turn: Turn, lane: Lane) -> bool:
    slot = turn.get(cmd.slot_key(lane.number, lane.lane, lane.head))
    command = None if slot is None else turn.get(cmd.command_key(slot.command_id))
    return command is None or command.state in cmd.FINAL
