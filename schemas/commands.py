"""The data of `outbound` and `outbound-bulk`: what anyone may ask of Coexist.

Callers write these, so they are checked in full and every refusal names the field in one plain sentence
(`schemas.fields.explain`). A field that is not known yet is ignored as everywhere; an unknown condition in
`only_if` refuses the command, because a send that ignores its condition cannot be taken back.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from schemas.bodies import Fallback, Message
from schemas.fields import ConversationId, Data, Id, Instant, Number, Rule, Text, Trace, instant, wrong
from schemas.phones import digits

USER_ID = r"[A-Z]{2}\.[A-Za-z0-9.]{1,140}"
"""A business-scoped user id, or a parent one with its `ENT.` part (Meta contract 2.2)."""
PHONE_DIGITS = range(5, 16)
"""E.164 ends at 15 digits; shorter than 5 is no subscriber anywhere."""
TAKEOVER_MINUTES_MAX = 30 * 24 * 60
"""A month: whoever means for ever assigns the conversation."""
WHO_CHARS_MAX = 128
"""A name or id of a person at a desk."""


def _to(value: Any) -> Any:
    if isinstance(value, str) and (len(digits(value)) in PHONE_DIGITS or re.fullmatch(USER_ID, value)):
        return value
    raise wrong("must be a phone number of 5 to 15 digits or a user id like US.13491208655302741918")


def _no_message_after(text: str) -> str:
    return instant(text) if re.match(r"[0-9]{4}-", text) else text


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
            ],
            "anyOf": [{"required": ["to"]}, {"properties": {"message": {"required": ["status"]}}}],
        }
    )

    command_id: CommandId
    number: Number
    to: (
        Annotated[str, Rule(_to, {"type": "string", "description": "A phone number however written, or a user id."})]
        | None
    ) = Field(default=None, description="Needed for everything but a read receipt.")
    message: Message
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
    fallback: Fallback | None = None
    trace: Trace | None = None

    @model_validator(mode="after")
    def _to_whom(self) -> "SendRequested":
        if self.to is None and "status" not in self.message:
            raise wrong("is missing", "to")
        return self


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
