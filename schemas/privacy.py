"""The data of the events by which an erasure goes its way: digests and counts, and nobody's name."""

from typing import Annotated, Any

from pydantic import Field

from schemas.fields import Data, Id, Instant, MessageId, Number, Seconds

Mark = Annotated[
    list[Any],
    Field(min_length=1, max_length=4, description="Digest; is it a person's; has a user id; what is wanted no more."),
]
Counts = Annotated[dict[str, int], Field(description="What went, by kind.")]


class PrivacyErase(Data):
    """A person at a number is to be erased; `marks` are keyed digests of what is known to name them."""

    id: Id
    number: Number
    by: str | None = None
    at: Seconds
    marks: list[Mark] | None = None


class PrivacyMarked(Data):
    """States were forgotten; `marks` are digests of what they named, to be kept out from now on."""

    id: Id
    number: Number
    at: Seconds
    marks: list[Mark] | None = None
    counts: Counts | None = None
    refs: list[str] | None = Field(default=None, description="Media that they referred to.")


class PrivacySwept(Data):
    """A processor has walked over all its states and found nothing left for this generation of marks."""

    number: Number
    processor: str
    generation: int | None = None
    at: Seconds


class PrivacyErased(Data):
    """Records and media of these erasures are gone as well: they are done."""

    number: Number
    ids: list[Id]
    at: Seconds
    counts: Counts | None = None


class PrivacyRequestClosed(Data):
    """Somebody has answered what may have been a rights request."""

    number: Number
    message_id: MessageId
    by: str | None = None
    at: Seconds


class AuditRecorded(Data):
    """Who did what to whose data. It holds no content; a person is a keyed digest, and cannot be read from it."""

    who: str = Field(description="What the caller said of itself in `Coexist-User`, or how it came in.")
    what: str = Field(description="Such as conversation.read, person.erased, person.erased_again after a restore.")
    at: Instant
    number: Number | None = None
    person: str | None = Field(default=None, description="Keyed digest of the person's identity.")
    conversation: str | None = None
    about: str | None = Field(default=None, description="An erasure, a dead letter, a topic.")
    asked_at: Instant | None = Field(default=None, description="Of what is done again: when it was asked for at first.")
    chain: str = Field(description="The run of a process whose records follow one another.")
    place: int = Field(ge=0, description="Counts from 0 in the chain.")
    previous: str = Field(description="Digest of the record before; empty at the beginning.")


class RecordErased(Data):
    """A record that was erased: its offset and its `seq` stay, so nobody who counts them finds a gap."""


PRIVACY_TYPES: dict[str, type[Data]] = {
    "privacy.erase": PrivacyErase,
    "privacy.marked": PrivacyMarked,
    "privacy.swept": PrivacySwept,
    "privacy.erased": PrivacyErased,
    "privacy.request_closed": PrivacyRequestClosed,
}
