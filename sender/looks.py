"""When a conversation changes hands, or goes on: what waits for it is looked at at once, not when its turn comes.

What happened is told by `timeline` and `outbound`; what follows from it stands in the conversation, which its owner
commits a moment later. So a look waits until the conversation shows it, in growing steps, and then goes through the
recipient's lanes: what must not go any more is withdrawn and told, and what waited for a release stands in line again.
State: `y/` a look that is due.
"""

from schemas.items import Contact, Item
from schemas.ports import FAR, State, foreign
from schemas.states import CONVERSATIONS, Conversation, conversation_key
from sender import command as cmd
from sender.command import BULK, Command, Lane
from sender.conditions import find_conversation
from sender.lanes import finish, parked_line, why_withheld
from sender.turn import Turn

FIRST_LOOK_S = 0.05
LOOKS_MAX = 8
"""The last one is 6 s after the first: by then the lane's own turn will tell."""
COMMANDS_MAX = 200
"""Commands that one look goes through; there is another one for those behind them."""


class Look(State):
    """Something happened in a recipient's conversation, at `at`, known there as `cause`.

    `place`: how far the look has gone through the lane named in `lane`; looks before: `tries`.
    """

    number: str = ""
    lane: str = ""
    wa_id: str = ""
    user_id: str = ""
    cause: str = ""
    at: float = 0
    tries: int = 0
    place: int = 0
    bulk_place: int = 0


def look_key(number: str, lane: str) -> str:
    """Where a look is kept."""
    return f"y/{number}/{lane}"


def lanes_of(contact: Contact) -> list[str]:
    """The lanes of a person: by user id and by phone, whichever the commands named."""
    found = [cmd.lane_of(Contact(user_id=contact.user_id))] if contact.user_id else []
    return found + ([cmd.lane_of(Contact(wa_id=contact.wa_id))] if contact.wa_id else [])


def on_message(turn: Turn, item: Item) -> None:
    """A customer wrote, or a person answered in the app."""
    _look_soon(turn, item.number, item.contact, item.message_id, item.at)


def on_handover(turn: Turn, item: Item) -> None:
    """Somebody took a conversation or let it go. `event_id` is the conversation, `message_id` the event."""
    found = _conversation(turn, item.event_id)
    if found is not None:
        contact = Contact(wa_id=found.wa_id, user_id=found.user_id)
        _look_soon(turn, item.number, contact, item.message_id, FAR)


def _conversation(turn: Turn, conversation_id: str) -> Conversation | None:
    found: Conversation | None = turn.get(foreign(CONVERSATIONS, conversation_key(conversation_id)))
    return _conversation(turn, found.merged_into) if found is not None and found.merged_into else found


def _look_soon(turn: Turn, number: str, contact: Contact, cause: str, at: float) -> None:
    for lane in lanes_of(contact):
        found: Lane | None = turn.get(cmd.lane_key(number, lane))
        if found is None or not (found.bulk_waits or found.parked or found.head < found.tail):
            continue
        look = Look(number=number, lane=lane, wa_id=contact.wa_id, user_id=contact.user_id, cause=cause, at=at)
        look.wake_at = turn.now + FIRST_LOOK_S
        turn.put(look_key(number, lane), look)


def fire(turn: Turn, look: Look) -> None:
    """The time of a look has come."""
    conversation = find_conversation(turn.get, look.number, Contact(wa_id=look.wa_id, user_id=look.user_id))
    look.tries += 1
    if look.tries < LOOKS_MAX and not _shows(conversation, look):
        look.wake_at = turn.now + FIRST_LOOK_S * 2**look.tries
        return
    look.tries = LOOKS_MAX
    _release(turn, look)
    look.place, more = _sweep(turn, look.number, look.lane, look.place)
    look.bulk_place, more_bulk = _sweep(turn, look.number, BULK + look.lane, look.bulk_place)
    look.wake_at = turn.now
    if not (more or more_bulk):
        turn.put(look_key(look.number, look.lane), None)


def _shows(conversation: Conversation | None, look: Look) -> bool:
    """Whether the conversation knows of what happened."""
    if conversation is None:
        return False
    known = {claim.id for claim in conversation.claims}
    return look.cause in known or look.cause == conversation.newest_id or conversation.newest_at > look.at


def _sweep(turn: Turn, number: str, lane: str, place: int) -> tuple[int, bool]:
    """Withdraw what must not go, from a place of a lane on. Where it came to, and whether there is more behind."""
    found: Lane | None = turn.get(cmd.lane_key(number, lane))
    if found is None or found.head >= found.tail:
        return place, False
    first = max(place, found.head)
    last = min(found.tail, first + COMMANDS_MAX)
    slots = [cmd.slot_key(number, lane, slot) for slot in range(first, last)]
    turn.need(slots)
    ids = [slot.command_id for key in slots if (slot := turn.get(key)) is not None]
    turn.need(cmd.command_key(command_id) for command_id in ids)
    for command_id in ids:
        command: Command = turn.get(cmd.command_key(command_id))
        if command.state == cmd.QUEUED and (reason := why_withheld(turn, command)):
            _withdraw(turn, command_id, reason)
    return last, last < found.tail


def _withdraw(turn: Turn, command_id: str, reason: str) -> None:
    command: Command = turn.change(cmd.command_key(command_id))
    if not (reason == "taken_over" and command.defer):
        finish(turn, command, cmd.WITHDRAWN, "send.withdrawn", reason)


def _release(turn: Turn, look: Look) -> None:
    """Let commands that waited for a release look for themselves, now."""
    parked = turn.states.heads(parked_line(look.number, look.lane), FAR, COMMANDS_MAX)
    if not parked:
        turn.lane(look.number, look.lane).parked = False
    for key, _ in parked:
        command: Command = turn.change(key)
        if command.state == cmd.QUEUED and command.slot < 0 and not why_withheld(turn, command):
            command.wake_at = turn.now
