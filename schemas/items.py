"""The data of `inbound` and `history` as the hot path writes and reads it: one lenient struct.

`schemas.events` documents and validates the same fields, type by type, for everybody else. An item is written once
by ingest (or by the sender, for its attempts) and read by every processor, so it is msgspec and not pydantic
(one decode is about 1.5 microseconds).
"""

import msgspec
from msgspec import UNSET, Raw, UnsetType

from schemas.ports import Event


class Contact(msgspec.Struct, omit_defaults=True, gc=False):
    """The customer's side of an item: any of these may be all that is known (Meta contract 2.1, 2.2)."""

    wa_id: str = ""
    user_id: str = ""
    parent_user_id: str = ""
    username: str = ""
    name: str = ""


class Media(msgspec.Struct, omit_defaults=True):
    """A media object of a message.

    As Meta tells of it: id, sha256 (base64 or hex), mime_type as the sender declared it.
    As it is kept here: id, ref (its place in our store), sha256 (hex), bytes, mime_type as we believe it.
    """

    id: str = ""
    ref: str = ""
    sha256: str = ""
    bytes: int = 0
    mime_type: str = ""


class Item(msgspec.Struct, omit_defaults=True, gc=False):
    """One normalised webhook item or attempt. Times are seconds since 1970; which fields stand depends on the type.

    webhook.message, webhook.echo: message_id, contact, at, kind, content, reply_to?, forwarded?, errors?, raw
    webhook.status: message_id, status, at, contact (recipient), participant?, errors?, pricing?, token?, raw
    webhook.edit, webhook.revoke: message_id (of the original), event_id, side, contact, at, kind?, content?, raw
    webhook.history: phase?, chunk_order?, progress?, and for a message: direction, status, and as webhook.message
    webhook.contact: action (add, remove, changed_number, changed_user_id, …), contact, previous?, at, raw
    webhook.account: waba, field, event, at, raw
    webhook.unknown: field?, reason, raw or raw_base64
    send.attempted: command_id, attempt, token, contact (to), kind, content, author, at
    send.answered: command_id, attempt, token, outcome, contact (to), message_id?, at, code?, error?, usage?, regain_s?
    media.wanted: message_id, kind, media (as Meta tells of it), at
    media.stored: message_id, attempt, media (as we keep it), at
    media.missed, media.failed: message_id, attempt, media (its id), reason, at
    """

    number: str = ""
    waba: str = ""
    business_phone: str = ""
    message_id: str = ""
    event_id: str = ""
    side: str = ""  # customer | business
    contact: Contact = msgspec.field(default_factory=Contact)
    previous: Contact | None = None
    at: float = 0
    received_at: float = 0
    kind: str = ""
    content: Raw | UnsetType = UNSET
    reply_to: str = ""
    forwarded: bool = False
    group_id: str = ""
    errors: Raw | UnsetType = UNSET
    status: str = ""
    participant: str = ""
    pricing: Raw | UnsetType = UNSET
    token: str = ""
    direction: str = ""  # inbound | outbound, on history only
    phase: int | None = None
    chunk_order: int | None = None
    progress: int | None = None
    action: str = ""
    field: str = ""
    event: str = ""
    command_id: str = ""
    attempt: int = 0
    author: str = ""  # bot | agent | campaign: who asked for the send
    outcome: str = ""  # accepted | rejected | ambiguous | not_sent | withdrawn
    code: int = 0
    error: Raw | UnsetType = UNSET
    reason: str = ""
    raw: Raw | UnsetType = UNSET
    raw_base64: str = ""
    media: Media | None = None
    usage: float = 0  # percent of the app's or account's quota that is spent, as the answer's headers tell
    regain_s: float = 0  # seconds until a spent quota is given back, as the answer's headers tell


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Item)


def encode(item: Item) -> bytes:
    """The item as JSON, without the fields that say nothing."""
    return _encoder.encode(item)


def decode(event: Event) -> Item:
    """The item that an event of `inbound` or `history` carries. Raises msgspec.DecodeError on anything else."""
    return read(event.data or b"{}")


def read(data: bytes) -> Item:
    """The item that was encoded. Raises msgspec.DecodeError on anything else."""
    return _decoder.decode(data)


def code_of(errors: Raw | UnsetType) -> int:
    """The code of the first of Meta's error objects, 0 where there is none."""
    if errors is UNSET:
        return 0
    try:
        code = msgspec.json.decode(errors)[0]["code"]
    except (msgspec.DecodeError, IndexError, KeyError, TypeError):
        return 0
    return code if isinstance(code, int) else 0
