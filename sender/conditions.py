"""Whether a command may go, given what its conversation looks like: asked when it is opened, and before the socket."""

from collections.abc import Callable
from typing import Any

from schemas.instants import parse_rfc3339
from schemas.items import Contact
from schemas.ports import foreign
from schemas.received import known_at
from schemas.states import BOT, CONVERSATIONS, MESSAGES, Conversation, alias_key, claim_now, conversation_key
from sender.command import OnlyIf, lane_of


def find_conversation(get: Callable[[str], Any], number: str, to: Contact) -> Conversation | None:
    """The conversation with a recipient; `get` reads states as the sender sees them."""
    alias = get(foreign(MESSAGES, alias_key(number, lane_of(to))))
    if alias is None:
        return None
    found: Conversation | None = get(foreign(CONVERSATIONS, conversation_key(alias.conversation)))
    return found


def withheld(conversation: Conversation | None, origin: str, conditions: OnlyIf | None, now: float) -> str:
    """Why a command must not go now: `taken_over`, `newer_message`, or nothing."""
    if conversation is None:
        return ""
    guarded = origin == BOT or (conditions is not None and conditions.not_taken_over)
    if guarded and claim_now(conversation, now) is not None:
        return "taken_over"
    after = conditions.no_message_after if conditions is not None else ""
    return "newer_message" if after and _is_older(after, conversation) else ""


def _is_older(after: str, conversation: Conversation) -> bool:
    """Has somebody written after this message, or this instant? Within one second, which is all Meta tells, nobody has.

    What a bot sent is no answer to wait for, so it counts for nothing here; a message that is not known is old.
    """
    if not conversation.newest_id or after == conversation.newest_id:
        return False
    answers = (at for at, message_id, _ in conversation.answers if message_id == after)
    known = next(answers, known_at(conversation.inbound, after))
    try:
        since = parse_rfc3339(after) if known is None else known
    except ValueError:
        return True
    return conversation.newest_at > since
