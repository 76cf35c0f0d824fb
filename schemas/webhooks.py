"""The data of `inbound` and `history`: Meta's webhook items, normalised, and our own attempts to send.

The fields are those of `schemas.items.Item`, which the hot path reads; here they stand type by type, with
what is always there. Times are seconds since 1970, as numbers. What is unknown is left out.
"""

from typing import Annotated

from pydantic import Field

from schemas.fields import (
    Attempt,
    Author,
    CommandId,
    Contact,
    Content,
    Data,
    Direction,
    Id,
    Kind,
    Known,
    MessageId,
    MetaErrors,
    MetaObject,
    Number,
    Pricing,
    Raw,
    Seconds,
    Side,
    Status,
)


class ItemContact(Contact):
    """The customer's side of an item; `parent_user_id` only for enrolled portfolios (Meta contract 2.1)."""

    parent_user_id: str | None = None


class WebhookItem(Data):
    """What every item may carry: where it belongs, whose it is (empty when unknown), and when we had it."""

    number: Number | None = None
    waba: str | None = None
    business_phone: str | None = None
    contact: ItemContact | None = None
    received_at: Seconds | None = None


class WebhookMessage(WebhookItem):
    """A customer's message, of whatever type (Meta contract 3)."""

    message_id: MessageId
    at: Seconds
    kind: Kind
    content: Content | None = None
    reply_to: Id | None = None
    forwarded: bool | None = None
    group_id: str | None = None
    side: Side | None = None
    errors: MetaErrors | None = None
    raw: Raw


class WebhookEcho(WebhookMessage):
    """A message that the business sent from its app or a linked device (Meta contract 5.4)."""


class WebhookStatus(WebhookItem):
    """What became of a message that left (Meta contract 4). `token` is our send's own."""

    message_id: MessageId
    status: Status
    at: Seconds
    participant: str | None = None
    group_id: str | None = None
    errors: MetaErrors | None = None
    pricing: Pricing | None = None
    token: str | None = None
    raw: Raw


class WebhookEdit(WebhookItem):
    """New content of a message (Meta contract 3.12, 5.4). `event_id` is its own."""

    message_id: MessageId
    event_id: Id | None = None
    side: Side
    at: Seconds
    kind: Kind | None = None
    content: Content | None = None
    group_id: str | None = None
    raw: Raw


class WebhookRevoke(WebhookEdit):
    """A message that was deleted for everyone (Meta contract 3.11, 5.4). `message_id` is the original's."""


class WebhookHistory(WebhookItem):
    """One message of the history import, or the progress of one chunk (Meta contract 5.6)."""

    phase: int | None = None
    chunk_order: int | None = None
    progress: int | None = None
    message_id: MessageId | None = None
    direction: Direction | None = None
    status: str | None = Field(default=None, description="Meta's final status of the message, in capitals.")
    at: Seconds | None = None
    kind: Kind | None = None
    content: Content | None = None
    reply_to: Id | None = None
    forwarded: bool | None = None
    group_id: str | None = None
    side: Side | None = None
    errors: MetaErrors | None = None
    raw: Raw = None


Action = Annotated[str, Known(("add", "remove", "changed_number", "changed_user_id", "identity_changed"), ours=True)]
Outcome = Annotated[str, Known(("accepted", "rejected", "ambiguous", "not_sent", "withdrawn"), ours=True)]


class WebhookContact(WebhookItem):
    """A change of the address book (Meta contract 5.7) or of a person's identity (3.13)."""

    action: Action
    message_id: MessageId | None = None
    event_id: Id | None = None
    previous: ItemContact | None = None
    at: Seconds
    raw: Raw


class WebhookAccount(WebhookItem):
    """A change of the number, the WABA, a template or a preference (Meta contract 5.8, 9).

    `field` is `coexist` where the word is our own: an operator's, or of one shard to another.
    """

    field: str
    event: str | None = None
    errors: MetaErrors | None = None
    at: Seconds
    raw: Raw = None


class WebhookUnknown(WebhookItem):
    """What could not be understood, whole: `raw` is its JSON, `raw_base64` its bytes where it is none or too deep.

    An empty body has neither.
    """

    field: str | None = None
    at: Seconds | None = None
    reason: str
    raw: Raw = None
    raw_base64: str | None = None


class SendAttempted(Data):
    """A request about to leave for Meta; written before it does, so that no echo can come before it."""

    number: Number
    command_id: CommandId
    attempt: Attempt
    token: Id = Field(description="What the statuses of this attempt bring back (biz_opaque_callback_data).")
    contact: ItemContact
    kind: Kind
    content: Content
    author: Author | None = None
    reply_to: Id | None = None
    at: Seconds
    received_at: Seconds | None = None


class SendAnswered(Data):
    """What the attempt led to: Meta's answer, or what is known without one."""

    number: Number
    command_id: CommandId
    attempt: Attempt
    token: Id
    outcome: Outcome
    contact: ItemContact | None = None
    message_id: MessageId | None = None
    at: Seconds
    received_at: Seconds | None = None
    code: int | None = Field(default=None, description="Meta's error code.")
    error: MetaObject | None = None
    reason: str | None = None
    usage: float | None = Field(default=None, ge=0, description="Percent of Graph's quota that is spent, as told.")
    regain_s: float | None = Field(default=None, ge=0, description="Seconds until a spent quota is given back.")


class MediaObject(Data):
    """A media object: as Meta tells of it, or with `ref` and `bytes` as it is kept here."""

    id: Id
    ref: str | None = Field(default=None, description="Its place under COEXIST_MEDIA_URL, named by its content.")
    sha256: str | None = Field(default=None, description="Of what is kept: hex. As Meta tells it: base64 or hex.")
    bytes: int | None = Field(default=None, ge=0)
    mime_type: str | None = None


class MediaWanted(WebhookItem):
    """Fetch the media of a message: what a dead letter about media replays."""

    number: Number
    message_id: MessageId
    kind: Kind
    media: MediaObject
    at: Seconds


class MediaStored(WebhookItem):
    """The media of a message was fetched, checked and kept."""

    number: Number
    message_id: MessageId
    attempt: Attempt
    media: MediaObject
    at: Seconds


class MediaMissed(MediaStored):
    """One attempt to fetch it failed; whether there is another is decided from this."""

    reason: str = Field(description="In snake case, for programs.")


class MediaFailed(MediaMissed):
    """It was given up, and stands in `dead-letters`."""


INBOUND_TYPES: dict[str, type[Data]] = {
    "webhook.message": WebhookMessage,
    "webhook.echo": WebhookEcho,
    "webhook.status": WebhookStatus,
    "webhook.edit": WebhookEdit,
    "webhook.revoke": WebhookRevoke,
    "webhook.contact": WebhookContact,
    "webhook.account": WebhookAccount,
    "webhook.unknown": WebhookUnknown,
    "send.attempted": SendAttempted,
    "send.answered": SendAnswered,
    "media.wanted": MediaWanted,
    "media.stored": MediaStored,
    "media.missed": MediaMissed,
    "media.failed": MediaFailed,
}
HISTORY_TYPES: dict[str, type[Data]] = {
    "webhook.history": WebhookHistory,
    "webhook.status": WebhookStatus,
    "webhook.edit": WebhookEdit,
    "webhook.revoke": WebhookRevoke,
    "webhook.contact": WebhookContact,
    "webhook.unknown": WebhookUnknown,
}
