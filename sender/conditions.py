"""Whether a command may go, given what its conversation looks like: asked when it is opened, and before the socket."""

from collections.abc import Callable
from math import floor
from typing import Any

from schemas.instants import parse_rfc3339
from schemas.items import Contact
from schemas.ports import State, foreign
from schemas.states import (
    BOT,
    CONVERSATIONS,
    MESSAGES,
    Conversation,
    alias_key,
    claim_now,
    conversation_key,
    message_key,
)
from sender.command import OnlyIf, lane_of


def find_conversation(get: Callable[[str], Any], number: str, to: Contact) -> Conversation | None:
    """The conversation with a recipient; `get` reads states as the sender sees them."""
    alias = get(foreign(MESSAGES, alias_key(number, lane_of(to))))
    if alias is None:
        return None
    found: Conversation | None = get(foreign(CONVERSATIONS, conversation_key(alias.conversation)))
    return found


def withheld(
    get: Callable[[str], Any],
    conversation: Conversation | None,
    origin: str,
    conditions: OnlyIf | None,
    now: float,
) -> str:
    """Why a command must not go now: `taken_over`, `newer_message`, or nothing. `get` as for `find_conversation`."""
    if conversation is None:
        return ""
    if taken_over(conversation, origin, conditions, now):
        return "taken_over"
    after = conditions.no_message_after if conditions is not None else ""
    return "newer_message" if after and _is_older(get, after, conversation) else ""


def taken_over(conversation: Conversation, origin: str, conditions: OnlyIf | None, now: float) -> bool:
    """Whether a person has the conversation, and the command is one that then must not go."""
    guarded = origin == BOT or (conditions is not None and conditions.not_taken_over)
    return guarded and claim_now(conversation, now) is not None


def _is_older(get: Callable[[str], Any], after: str, conversation: Conversation) -> bool:
    """Has somebody written after this message, or this instant? Within one second, which is all Meta tells, nobody has.

    What a bot sent is no answer to wait for, so it counts for nothing here; a message that is not known is old. The
    message is asked for itself: who read of it on `timeline` may be faster than its conversation.
    """
    if not conversation.newest_id or after == conversation.newest_id:
        return False
    try:
        since = parse_rfc3339(after)
    except ValueError:
        message: State | None = get(foreign(MESSAGES, message_key(conversation.number, after)))
        if message is None or message.place is None:
            return True
        since = -message.place
    return floor(conversation.newest_at) > floor(since)
