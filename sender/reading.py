"""What `sender.delivery` reads of each event, and no more: most of what passes is only counted."""

from collections.abc import Callable

import msgspec

from schemas.items import Contact, Item, decode
from schemas.ports import Event
from schemas.topics import OUTBOUND_BULK
from sender.command import BULK, Request, read_request

MENDED = frozenset({"RESUMED", "TOKEN_SET"})
"""Words of ours after which a number that Graph refused is tried at once."""


class Told(msgspec.Struct, gc=False):
    """The fields of timeline facts and of takeovers that matter here."""

    conversation_id: str = ""
    origin: str = ""
    command_id: str = ""
    historical: bool = False
    minutes: float | None = None
    contact: Contact = msgspec.field(default_factory=Contact)


class Handover(msgspec.Struct, gc=False):
    """Somebody takes a conversation, for so many minutes, or lets it go. `id`: the event that its claim will name."""

    id: str
    conversation_id: str
    at: float
    minutes: float | None = None


_facts = msgspec.json.Decoder(Told)


def read(event: Event, topic: str) -> Item | Request | Handover | None:
    """The event in the form that its handler wants, or None when it is of no interest.

    What lies on the bulk topic is bulk, whatever it says of itself. Raises msgspec.DecodeError.
    """
    if event.type in ("send.requested", "send.cancel"):
        request = read_request(event.data or b"{}")
        request.lane = BULK if topic == OUTBOUND_BULK or request.lane == "bulk" else ""
        request.trace = event.trace or request.trace
        return request
    reader = _READERS.get(event.type)
    return reader(event) if reader is not None else None


def _counted(event: Event) -> Item:
    """That there was one is enough."""
    return Item(number=event.number)


def _said(event: Event) -> Item | None:
    """A word of an operator's, or of our own, on the number."""
    if b'"coexist"' not in (event.data or b""):
        return None
    item = decode(event)
    return item if item.event in MENDED else None


def _fact(event: Event) -> Item | None:
    """A message of ours with its command, or one of somebody else's that is new in the conversation."""
    told = _facts.decode(event.data or b"{}")
    item = Item(number=event.number, message_id=event.subject, at=event.at)
    if told.origin == "api":
        item.command_id = told.command_id
        return item if told.command_id else None
    if event.type != "message.added" or told.historical:
        return None
    item.contact, item.author = told.contact, told.origin
    return item


def _handover(event: Event) -> Handover:
    told = _facts.decode(event.data or b"{}")
    return Handover(event.id, told.conversation_id, event.at, told.minutes)


_READERS: dict[str, Callable[[Event], Item | Handover | None]] = {
    "send.answered": decode,
    "webhook.message": _counted,
    "webhook.status": decode,
    "webhook.account": _said,
    "message.added": _fact,
    "message.completed": _fact,
    "number.changed": _counted,
    "number.reconnected": _counted,
    "conversation.takeover": _handover,
    "conversation.release": _handover,
}
