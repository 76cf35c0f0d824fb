"""When a conversation changes hands, or goes on: what waits for it is looked at at once, not when its turn comes.

What happened is told by `timeline` and `outbound`; what follows from it stands in the conversation, which its owner
commits a moment later. So a look waits until the conversation shows it, in growing steps, and then goes through the
recipient's lanes: what must not go any more is withdrawn and told, and what waited for a release stands in line again.
Takeovers and releases have one order with the commands, so they are kept until the conversation shows them: a command
that was written after a release goes, and one after a takeover does not.
States: `y/` a look that is due, `h/` handovers.
"""

import copy

from schemas.items import Contact, Item
from schemas.ports import FAR, State, foreign
from schemas.states import AGENT, BOT, CONVERSATIONS, MESSAGES, Alias, Claim, Conversation, alias_key, conversation_key
from sender import command as cmd
from sender.command import BULK, Command, Handovers, Lane
from sender.conditions import find_conversation, with_handovers
from sender.lanes import finish, parked_line, why_withheld
from sender.reading import Handover
from sender.turn import Turn

FIRST_LOOK_S = 0.05
LOOKS_MAX = 8
"""The last one is 6 s after the first: by then the lane's own turn will tell."""
SHOWN_S, SHOWN_S_MAX = 60.0, 24 * 3600.0
"""How often it is asked whether a conversation shows a handover, and for how long."""
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


def on_takeover(turn: Turn, handover: Handover) -> None:
    """Somebody took a conversation."""
    pause_s = turn.pause_s if handover.minutes is None else handover.minutes * 60
    _on_handover(turn, handover, Claim(at=handover.at, id=handover.id, who=AGENT, until=handover.at + pause_s))


def on_release(turn: Turn, handover: Handover) -> None:
    """Somebody let a conversation go."""
    _on_handover(turn, handover, Claim(at=handover.at, id=handover.id, who=BOT, until=0))


def _on_handover(turn: Turn, handover: Handover, claim: Claim) -> None:
    assert turn.event is not None  # noqa: S101 - handlers of events have one
    number, found = turn.event.number, _conversation(turn, handover.conversation_id)
    home = handover.conversation_id if found is None else found.conversation_id
    turn.heed(number, home, claim, turn.now + SHOWN_S)
    if found is not None:
        _look_soon(turn, number, Contact(wa_id=found.wa_id, user_id=found.user_id), handover.id, FAR)


def on_answer(turn: Turn, command: Command) -> None:
    """A person's send was accepted: it takes the conversation, and those behind it must know before they go."""
    lane = turn.lane(command.number, cmd.live_lane(command.lane))
    if not (lane.bulk_waits or lane.parked or lane.tail - lane.head > 1):
        return
    alias: Alias | None = turn.get(foreign(MESSAGES, alias_key(command.number, cmd.lane_of(command.contact()))))
    if alias is not None:
        until = command.opened_at + turn.pause_s
        claim = Claim(at=command.opened_at, id=command.message_id, who=AGENT, until=until)
        turn.heed(command.number, alias.conversation, claim, turn.now + SHOWN_S)


def look_back(turn: Turn, read: Handovers) -> None:
    """Keep handovers no longer than until the conversation shows them; or for a day, should it never."""
    found = _conversation(turn, read.conversation_id)
    newest = max(claim.at for claim in read.claims)
    shown = found is not None and with_handovers(found, read).claims == found.claims
    kept = None if shown or turn.now > newest + SHOWN_S_MAX else copy.copy(read)
    if kept is not None:
        kept.wake_at = turn.now + SHOWN_S
    turn.put(cmd.handovers_key(read.conversation_id), kept)


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
