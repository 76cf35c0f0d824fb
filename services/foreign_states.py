"""The states that are read by others than the processor that owns them, and their kinds."""

from schemas.marks import PRIVACY, Tombstone
from schemas.ports import State
from schemas.states import CONVERSATIONS, DELIVERY, MESSAGES, Alias, Conversation, Number, Reach, Template
from sender.command import Handovers
from services.shard import inner_key, processor_of

FOREIGN_TYPES: dict[tuple[str, str], type[State]] = {
    (MESSAGES, "m"): State,
    (MESSAGES, "i"): Alias,
    (MESSAGES, "n"): Number,
    (MESSAGES, "r"): Reach,
    (MESSAGES, "t"): Template,
    (CONVERSATIONS, "v"): Conversation,
    (DELIVERY, "h"): Handovers,
    (PRIVACY, "t"): Tombstone,
}
"""By the owner, and the letter that its keys begin with."""


def foreign_type(key: str) -> type[State]:
    """The kind of a state that another processor owns, by its foreign key."""
    return FOREIGN_TYPES[processor_of(key), inner_key(key)[0]]
