"""Whether a command may go, given what its conversation looks like: asked when it is opened, and before the socket."""

import copy
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
    claimed,
    conversation_key,
    message_key,
)
from sender.command import Handovers, OnlyIf, handovers_key, lane_of


def find_conversation(get: Callable[[str], Any], number: str, to: Contact) -> Conversation | None:
    """The conversation with a recipient; `get` reads states as the sender sees them.

    Its owner commits it a moment after what leads to it. What the sender has read before a command counts for that
    command, so the handovers that it has read itself are joined to those that the conversation shows.
    """
    alias = get(foreign(MESSAGES, alias_key(number, lane_of(to))))
    if alias is None:
        return None
    found: Conversation | None = get(foreign(CONVERSATIONS, conversation_key(alias.conversation)))
    read: Handovers | None = get(handovers_key(alias.conversation))
    return found if read is None else with_handovers(found, read)


def with_handovers(conversation: Conversation | None, read: Handovers) -> Conversation:
    """The conversation once its owner has read these, too."""
    seen = Conversation(number=read.number, conversation_id=read.conversation_id)
    if conversation is not None:
        seen = copy.copy(conversation)
    for claim in read.claims:
        if claim.id not in {known.id for known in seen.claims}:
            seen.claims = claimed(seen.claims, claim)
    return seen


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


def is_unknown(get: Callable[[str], Any], number: str, conditions: OnlyIf | None) -> bool:
    """Whether a command names a message of which nothing is known."""
    after = conditions.no_message_after if conditions is not None else ""
    return bool(after) and _instant_of(get, number, after) is None


def _is_older(get: Callable[[str], Any], after: str, conversation: Conversation) -> bool:
    """Has somebody written after this message, or this instant? Within one second, which is all Meta tells, nobody has.

    What a bot sent is no answer to wait for, so it counts for nothing here; a message that is not known is old. The
    message is asked for itself: who read of it on `timeline` may be faster than its conversation.
    """
    if not conversation.newest_id or after == conversation.newest_id:
        return False
    since = _instant_of(get, conversation.number, after)
    return since is None or floor(conversation.newest_at) > floor(since)


def _instant_of(get: Callable[[str], Any], number: str, after: str) -> float | None:
    """When a message was sent, or the instant that is written; None for a message that is not known."""
    try:
        return parse_rfc3339(after)
    except ValueError:
        message: State | None = get(foreign(MESSAGES, message_key(number, after)))
        return None if message is None or message.place is None else -message.place
