"""The data of `account`: numbers, templates, preferences and the history import, and how they change."""

from typing import Annotated

from pydantic import Field

from schemas.fields import Contact, ConversationId, Data, Instant, Known, MetaErrors, MetaFragment, Number


class NumberEvent(Data):
    """What the events of a number's life have in common (Meta contract 5.8, 9.3)."""

    number: Number
    waba: str | None = None
    at: Instant | None = None
    field: str | None = Field(default=None, description="The webhook field that it came from.")
    event: str | None = Field(default=None, description="Meta's name of it.")
    sending: str | None = Field(default=None, json_schema_extra={"x-known-values": ["active", "paused"]})
    because: str | None = Field(default=None, description="Why sending is paused, in snake case.")
    reason: str | None = Field(default=None, description="Meta's reason for the change, in snake case.")
    details: MetaFragment | None = None


class NumberOnboarded(NumberEvent):
    """The number entered the registry."""

    registration: Annotated[str, Known(("auto", "listed"), ours=True)] | None = Field(
        default=None, description="By the first signed webhook that named it, or by hand."
    )


class NumberOffboarded(NumberEvent):
    """The number left the Cloud API: nothing is sent until it is back."""


class NumberReconnected(NumberEvent):
    """The number is back; queued sends are looked at anew."""


class NumberChanged(NumberEvent):
    """Something else about the number: its quality, limits, name, token, or whether it sends."""


class AccountChanged(Data):
    """A change of the business account that has no event of its own (Meta contract 5.8, 9)."""

    waba: str
    number: Number | None = None
    field: str
    event: str
    details: MetaFragment
    at: Instant


class TemplateChanged(AccountChanged):
    """A template was approved, paused, rejected, or changed in category or quality (Meta contract 9.1)."""

    template_id: str | None = None
    name: str | None = None
    language: str | None = None
    category: str | None = None
    quality: str | None = None
    reason: str | None = None


class PreferenceChanged(AccountChanged):
    """What a person wants of us changed; `event` is stop, resume, signup (Meta contract 9.4) or our opt_in.

    `field` is `coexist` where it was not the person's setting in WhatsApp: then `because` says what it was, and
    `category` is all, marketing, blocked (by the business) or capped (by Meta's limit on marketing).
    """

    conversation_id: ConversationId | None = None
    contact: Contact | None = None
    category: str | None = None
    because: Annotated[str, Known(("operator", "words", "wrote", "meta_refusal"), ours=True)] | None = None
    until: Instant | None = None


class Gap(Data):
    """Chunks of one phase that have not come although later ones have; both ends are missing, too."""

    phase: int
    first: int
    last: int


class HistoryProgress(Data):
    """How far the history import is, as Meta's chunks tell it (Meta contract 5.6)."""

    number: Number
    phase: int | None = Field(description="0: the last day, 1: up to 90 days, 2: up to 180 days.")
    chunk_order: int | None = Field(description="Counts within the phase; chunks may come out of order.")
    progress: int | None = Field(description="Percent of the whole; 100 is complete.")
    missing: list[Gap] | None = Field(default=None, description="Which chunks are missing so far.")
    stalled: bool | None = Field(default=None, description="Nothing has come for 24 hours; it may still.")
    at: Instant | None = None


class HistoryDeclined(AccountChanged):
    """The business did not share its history (Meta contract 5.6, error 2593109)."""

    errors: MetaErrors | None = None


ACCOUNT_TYPES: dict[str, type[Data]] = {
    "number.onboarded": NumberOnboarded,
    "number.offboarded": NumberOffboarded,
    "number.reconnected": NumberReconnected,
    "number.changed": NumberChanged,
    "template.changed": TemplateChanged,
    "preference.changed": PreferenceChanged,
    "history.progress": HistoryProgress,
    "history.declined": HistoryDeclined,
    "account.changed": AccountChanged,
}
