"""The data of `outbound` and `outbound-bulk`: what anyone may ask of Coexist.

Callers write these, so they are checked in full and every refusal names the field in one plain sentence
(`schemas.fields.explain`). A field that is not known yet is ignored as everywhere; an unknown condition in
`only_if` refuses the command, because a send that ignores its condition cannot be taken back.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field

from schemas.fields import ConversationId, Data, Id, Instant, Number, Rule, Text, Trace, instant, wrong
from schemas.phones import digits

TEXT_CHARS_MAX = 4096
"""Meta's limit of a text body (Meta contract 6.3)."""
USER_ID = r"[A-Z]{2}\.[A-Za-z0-9.]{1,140}"
"""A business-scoped user id, or a parent one with its `ENT.` part (Meta contract 2.2)."""
PHONE_DIGITS = range(5, 16)
"""E.164 ends at 15 digits; shorter than 5 is no subscriber anywhere."""
TAKEOVER_MINUTES_MAX = 30 * 24 * 60
"""A month: whoever means for ever assigns the conversation."""
WHO_CHARS_MAX = 128
"""A name or id of a person at a desk."""

NEEDS: dict[str, tuple[str, ...]] = {
    "text": ("body",),
    "image": ("id|link",),
    "video": ("id|link",),
    "audio": ("id|link",),
    "document": ("id|link",),
    "sticker": ("id|link",),
    "location": ("latitude", "longitude"),
    "reaction": ("message_id",),
    "interactive": ("type",),
    "template": ("name", "language"),
}
"""What the object of a type cannot do without (Meta contract 6.3); unknown types pass, for Meta adds some."""

ENVELOPE = {
    "to": "belongs beside the message, as the command's own field",
    "recipient": "belongs beside the message, as the command's own field to",
    "biz_opaque_callback_data": "is used by Coexist to recognise its own sends",
}
"""Keys around Meta's message object that a caller must not set there, and why (Meta contract 6.2)."""


def _text_body(body: object) -> None:
    if not isinstance(body, str) or not 1 <= len(body) <= TEXT_CHARS_MAX:
        raise wrong(f"must be text of 1 to {TEXT_CHARS_MAX} characters", "text.body")


def _part(kind: str, part: object) -> None:
    if kind == "contacts":
        if not isinstance(part, list) or not part or not all(isinstance(card, dict) for card in part):
            raise wrong("must be an array of at least one object", kind)
        return
    if not isinstance(part, dict):
        raise wrong("must be an object" if part is not None else "is missing", kind)
    for need in NEEDS.get(kind, ()):
        if not any(part.get(name) not in (None, "") for name in need.split("|")):
            raise wrong("is missing", f"{kind}.{need.replace('|', ' or ')}")
    if kind == "text":
        _text_body(part["body"])


def _message(value: Any) -> Any:
    if not isinstance(value, dict):
        raise wrong("must be an object")
    for key, why in ENVELOPE.items():
        if key in value:
            raise wrong(why, key)
    kind = value.get("type", "text")
    if not isinstance(kind, str) or not re.fullmatch("[a-z_]{1,64}", kind):
        raise wrong("must be one of Meta's types of message", "type")
    _part(kind, value.get(kind))
    return value


def _template(value: Any) -> Any:
    if not isinstance(value, dict):
        raise wrong("must be an object")
    if value.get("type") != "template":
        raise wrong("must be template", "type")
    return _message(value)


def _to(value: Any) -> Any:
    if isinstance(value, str) and (len(digits(value)) in PHONE_DIGITS or re.fullmatch(USER_ID, value)):
        return value
    raise wrong("must be a phone number of 5 to 15 digits or a user id like US.13491208655302741918")


def _no_message_after(text: str) -> str:
    return instant(text) if re.match(r"[0-9]{4}-", text) else text


MESSAGE_SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "Meta's message object without its envelope (Meta contract 6.3).",
    "properties": {
        "type": {"type": "string", "default": "text", "x-known-values": [*NEEDS, "contacts"]},
        "text": {
            "type": "object",
            "properties": {
                "body": {"type": "string", "minLength": 1, "maxLength": TEXT_CHARS_MAX},
                "preview_url": {"type": "boolean"},
            },
            "required": ["body"],
        },
    },
    "not": {"anyOf": [{"required": [key]} for key in ENVELOPE]},
}
TEMPLATE_SCHEMA: dict[str, Any] = {
    **MESSAGE_SCHEMA,
    "description": "A template message to send instead when the customer service window is closed.",
    "properties": {"type": {"const": "template"}, "template": {"type": "object"}},
    "required": ["type", "template"],
}

CommandId = Annotated[
    str,
    Text(r"[A-Za-z0-9._:-]{1,128}", "must be 1 to 128 characters out of A-Z a-z 0-9 . _ : -"),
    Field(description="The caller's own id, unique: the same id twice is one send."),
]
Who = Annotated[str, Field(min_length=1, max_length=WHO_CHARS_MAX, description="A name or id at the desk.")]


class OnlyIf(Data):
    """Conditions, checked once more right before the request leaves; one not met withdraws the send."""

    model_config = ConfigDict(extra="forbid")

    no_message_after: Annotated[Id, AfterValidator(_no_message_after)] | None = Field(
        default=None,
        description="A message id or an RFC 3339 time: nothing newer stands in the conversation.",
    )
    not_taken_over: bool | None = Field(default=None, description="No person has taken the conversation over.")


class SendRequested(Data):
    """Send one message, at most once or at least once, as soon as the limits allow."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "command_id": "booking-1042-confirmation",
                    "number": "106540352242922",
                    "to": "34600111222",
                    "message": {"type": "text", "text": {"body": "See you on Friday at nine."}},
                    "origin": "bot",
                    "only_if": {"not_taken_over": True},
                    "expires_at": "2026-09-21T16:00:00Z",
                }
            ]
        }
    )

    command_id: CommandId
    number: Number
    to: Annotated[
        str,
        Rule(_to, {"type": "string", "description": "A phone number however written, or a user id (BSUID)."}),
    ]
    message: Annotated[dict[str, Any], Rule(_message, MESSAGE_SCHEMA)]
    origin: Literal["bot", "agent", "campaign"] = Field(default="bot", description="Who asks to send.")
    policy: Literal["at_most_once", "at_least_once"] | None = Field(
        default=None,
        description="What a lost answer leads to; by default it follows from the kind of message.",
    )
    lane: Literal["normal", "bulk"] = Field(default="normal", description="bulk never delays a conversation.")
    not_before: Instant | None = None
    expires_at: Instant | None = None
    only_if: OnlyIf | None = None
    defer_until_released: bool = Field(
        default=False, description="Wait while a person has the conversation, instead of being withdrawn."
    )
    fallback: Annotated[dict[str, Any], Rule(_template, TEMPLATE_SCHEMA)] | None = None
    trace: Trace | None = None


class SendCancel(Data):
    """Withdraw a command that has not left yet."""

    command_id: CommandId
    number: Number


class ConversationCommand(Data):
    """What the commands to a conversation have in common: which one, who asks and when."""

    conversation_id: ConversationId
    number: Number
    by: Who | None = None
    at: Instant | None = None


class ConversationTakeover(ConversationCommand):
    """A person at a desk takes over; bots are quiet for `minutes`, or as long as the setting says."""

    minutes: Annotated[float, Field(gt=0, le=TAKEOVER_MINUTES_MAX)] | None = None


class ConversationRelease(ConversationCommand):
    """The person is done; bots may speak again."""


class ConversationAssign(ConversationCommand):
    """The conversation is this person's at the desk; null is nobody's."""

    assignee: Who | None


OUTBOUND_TYPES: dict[str, type[Data]] = {
    "send.requested": SendRequested,
    "send.cancel": SendCancel,
    "conversation.takeover": ConversationTakeover,
    "conversation.release": ConversationRelease,
    "conversation.assign": ConversationAssign,
}
BULK_TYPES: dict[str, type[Data]] = {"send.requested": SendRequested, "send.cancel": SendCancel}
