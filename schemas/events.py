"""The published events: what subscribers read, type by type, and which topic carries which (design 5 and 10).

Readers ignore unknown fields and unknown values of open enums; a field that is missing and one that is null
say the same. `validate_strict` is for the tests of writers: nothing may stand there that is not published.
"""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from schemas.accounts import ACCOUNT_TYPES
from schemas.commands import BULK_TYPES, OUTBOUND_TYPES
from schemas.fields import (
    WRITERS,
    Attempt,
    Author,
    CommandId,
    Contact,
    Content,
    ConversationId,
    Data,
    Direction,
    Id,
    Instant,
    Kind,
    Known,
    MessageId,
    MetaErrors,
    MetaObject,
    Number,
    Origin,
    Owner,
    Pricing,
    Raw,
    Side,
    Status,
    explain,
)
from schemas.topics import (
    ACCOUNT,
    CONTACTS,
    CONVERSATIONS,
    DEAD_LETTERS,
    HISTORY,
    INBOUND,
    OUTBOUND,
    OUTBOUND_BULK,
    SENDS,
    TIMELINE,
)
from schemas.webhooks import HISTORY_TYPES, INBOUND_TYPES

__all__ = ["DATA", "ON", "explain", "validate_strict"]


AUTOMATIC_SAYS = "A greeting or away text of the app, as it seems: it pauses nobody and answers nothing."
BECAUSE_SAYS = "The sign: `greeting`, right after the first message in 14 days; `repeated_text`, said to three people."


class MessageAdded(Data):
    """A message of either side, once, however often and from wherever it reached us."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "message_id": "wamid.HBgLMzQ2MDAxMTEyMjIVAgASGBQzQTdB",
                    "conversation_id": "c-01J8YQ5B7N",
                    "number": "106540352242922",
                    "contact": {"wa_id": "34600111222", "user_id": "ES.13491208655302741918", "name": "Laia"},
                    "direction": "inbound",
                    "origin": "customer",
                    "kind": "text",
                    "content": {"body": "Teniu la jaqueta en vermell?"},
                    "sent_at": "2026-09-21T14:13:20Z",
                    "received_at": "2026-09-21T14:13:20.250Z",
                    "historical": False,
                    "possibly_automatic": False,
                    "visible_in_app": True,
                }
            ]
        }
    )

    message_id: MessageId
    conversation_id: ConversationId
    number: Number
    contact: Contact
    direction: Direction
    origin: Origin
    kind: Kind
    content: Content
    reply_to: Id | None = Field(default=None, description="The id of the message that this one quotes.")
    sent_at: Instant = Field(description="The device's time if it is ever known, else the earliest webhook's.")
    received_at: Instant = Field(description="When Coexist first had it.")
    historical: bool = Field(description="From the history import: it opens no window and pauses nobody.")
    possibly_automatic: bool = Field(description=AUTOMATIC_SAYS)
    automatic_because: str | None = Field(default=None, description=BECAUSE_SAYS)
    visible_in_app: bool = Field(description="Whether the Business App can show it.")
    command_id: CommandId | None = None
    author: Author | None = None
    raw: Raw = None


class MessageEdited(Data):
    """New content of a message; published only when it is the newest so far."""

    message_id: MessageId
    conversation_id: ConversationId
    number: Number
    origin: Origin
    kind: Kind
    content: Content
    edited_at: Instant
    version: int = Field(ge=1, description="Rises with every edit of this message.")


class MessageRevoked(Data):
    """A message was deleted for everyone: drop its content."""

    message_id: MessageId
    conversation_id: ConversationId
    number: Number
    origin: Origin
    revoked_at: Instant
    revoked_by: Side


MEDIA_SAYS = (
    "Where the media is kept and what it is: id, ref, sha256, bytes, mime_type; or id and `failed`, the reason."
)


class MessageCompleted(Data):
    """What became known of a message later: its media, its real content, or whose it is."""

    message_id: MessageId
    conversation_id: ConversationId
    number: Number
    origin: Origin
    direction: Direction
    sent_at: Instant
    kind: Kind | None = None
    content: Content | None = None
    media: MetaObject | None = Field(default=None, description=MEDIA_SAYS)
    command_id: CommandId | None = None
    author: Author | None = None
    historical: bool | None = None
    possibly_automatic: bool | None = Field(default=None, description=AUTOMATIC_SAYS)
    automatic_because: str | None = Field(default=None, description=BECAUSE_SAYS)
    reply_to: Id | None = None


class StatusChanged(Data):
    """A status of a message, each once whatever its rank; `current` never goes back (Meta contract 4)."""

    message_id: MessageId
    conversation_id: ConversationId | None = None
    number: Number
    origin: Origin | None = None
    status: Status
    current: Status = Field(description="The highest so far.")
    at: Instant
    recipient: Contact | None = None
    errors: MetaErrors | None = None
    pricing: Pricing | None = None
    command_id: CommandId | None = None


class IdentityMerged(Data):
    """Two conversations turned out to be one person's: read `retired` as `survivor` from now on."""

    survivor: ConversationId
    retired: ConversationId
    contact: Contact
    number: Number


class ConversationState(Data):
    """A conversation as it stands. Keep the highest `version`; a record without data says that it is gone."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "conversation_id": "c-01J8YQ5B7N",
                    "number": "106540352242922",
                    "contact": {"wa_id": "34600111222", "name": "Laia"},
                    "owner": "person_app",
                    "automation_paused_until": "2026-09-21T14:44:02Z",
                    "window_expires_at": "2026-09-22T14:13:20Z",
                    "last_inbound_at": "2026-09-21T14:13:20Z",
                    "last_outbound_at": "2026-09-21T14:14:02Z",
                    "unread": 0,
                    "version": 7,
                }
            ]
        }
    )

    conversation_id: ConversationId
    number: Number
    contact: Contact
    owner: Owner
    automation_paused_until: Instant | None = None
    assignee: str | None = None
    window_expires_at: Instant | None = Field(
        default=None, description="Until then free text may be sent; only a customer's message opens it."
    )
    last_inbound_at: Instant | None = None
    last_outbound_at: Instant | None = None
    unread: int = Field(ge=0)
    version: int = Field(ge=1, description="Rises with every change of this conversation.")


class ContactChanged(Data):
    """What is known of a customer, after a change of the address book, the profile or an identity."""

    number: Number
    conversation_id: ConversationId | None = None
    contact: Contact
    action: str | None = None
    at: Instant


class ContactRemoved(ContactChanged):
    """The contact was removed from the app's address book."""


class ContactErased(Data):
    """A person was erased on request: erase what you hold of the conversation, too."""

    number: Number
    conversation_id: ConversationId | None = None
    contact: Contact | None = None
    action: str | None = None
    at: Instant


class SendOutcome(Data):
    """What became of a command, so far."""

    command_id: CommandId
    number: Number
    conversation_id: ConversationId | None = None
    message_id: MessageId | None = None
    attempt: Attempt
    at: Instant
    reason: str | None = Field(default=None, description="In snake case, for programs.")
    error: MetaObject | None = Field(default=None, description="Meta's error object (Meta contract 8.1).")
    retry_at: Instant | None = None
    possible_duplicate: bool | None = None
    body: Annotated[str, Known(("message", "fallback"), ours=True)] | None = Field(
        default=None, description="Which body it is about: the fallback, where the window was closed."
    )


class SendAccepted(SendOutcome):
    """Meta took it; statuses follow on `timeline`."""


class SendRejected(SendOutcome):
    """It was refused, by Meta or before, and will not be tried again. `retry_at`: another one may go then."""


class SendDeferred(SendOutcome):
    """It waits, for the reason given, and is tried again at `retry_at` or when the reason is gone."""


class SendUnresolved(SendOutcome):
    """The answer was lost, evidence did not come in time, and the policy forbids a second request."""


class SendResolved(SendOutcome):
    """Evidence came after all: what was unresolved is known now."""


class SendWithdrawn(SendOutcome):
    """It did not leave, because a person answered first or a condition was not met."""


class SendExpired(SendOutcome):
    """It did not leave before its `expires_at`."""


class SendCancelled(SendOutcome):
    """It did not leave, because it was cancelled."""


class SendDuplicateDetected(SendOutcome):
    """Late evidence shows that a command reached the customer twice; `message_id` is the further message."""


class DeadLetter(Data):
    """A record that could not be handled, whole: it is kept until it is replayed or discarded."""

    topic: str
    partition: int | None = Field(default=None, ge=0, description="Where it stood; absent when it stood nowhere.")
    offset: int | None = Field(default=None, ge=0)
    event_id: str
    type: str
    reason: str
    version: str = Field(description="The version of Coexist that could not handle it.")
    raw: str = Field(description="Its data as text.")


_TYPES: dict[str, dict[str, type[Data]]] = {
    INBOUND: INBOUND_TYPES,
    HISTORY: HISTORY_TYPES,
    TIMELINE: {
        "message.added": MessageAdded,
        "message.edited": MessageEdited,
        "message.revoked": MessageRevoked,
        "message.completed": MessageCompleted,
        "status.changed": StatusChanged,
        "identity.merged": IdentityMerged,
    },
    CONVERSATIONS: {"conversation.state": ConversationState},
    CONTACTS: {
        "contact.changed": ContactChanged,
        "contact.removed": ContactRemoved,
        "identity.merged": IdentityMerged,
        "contact.erased": ContactErased,
    },
    ACCOUNT: ACCOUNT_TYPES,
    OUTBOUND: OUTBOUND_TYPES,
    OUTBOUND_BULK: BULK_TYPES,
    SENDS: {
        "send.accepted": SendAccepted,
        "send.rejected": SendRejected,
        "send.deferred": SendDeferred,
        "send.unresolved": SendUnresolved,
        "send.resolved": SendResolved,
        "send.withdrawn": SendWithdrawn,
        "send.expired": SendExpired,
        "send.cancelled": SendCancelled,
        "send.duplicate_detected": SendDuplicateDetected,
    },
    DEAD_LETTERS: {"dead.letter": DeadLetter},
}

DATA: dict[str, type[BaseModel]] = {name: model for types in _TYPES.values() for name, model in types.items()}
"""The model of each type's data."""

ON: dict[str, tuple[str, ...]] = {topic: tuple(types) for topic, types in _TYPES.items()}
"""The types that each topic carries."""


def validate_strict(type: str, data: bytes) -> Any:  # noqa: A002 - the word of CloudEvents
    """Return the model of an event's data when all of it is published: no unknown field, no unlisted value.

    For what we write ourselves. Raises KeyError for an unknown type and pydantic's ValidationError otherwise.
    """
    return DATA[type].model_validate_json(data, extra="forbid", context=WRITERS)
