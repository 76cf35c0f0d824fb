"""The fields that events share: one name, one shape and one meaning each, and how a wrong one is explained.

Everything here is the reading side for people and other programs. The hot path reads the same JSON through
`schemas.items` and through the states of the processors, so nothing there imports pydantic.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, GetCoreSchemaHandler, ValidationError
from pydantic import GetJsonSchemaHandler as JsonHandler
from pydantic import ValidationInfo as Info
from pydantic_core import ErrorDetails, PydanticCustomError, core_schema

from schemas.instants import parse_rfc3339

WRITERS = "writers"
"""The validation context in which our own open enums are closed: what Coexist writes must be listed."""

NUMBER_CHARS_MAX = 64
"""Meta's ids have about 16 digits; a key of any length would be a way to fill memory."""


class Data(BaseModel):
    """What the data of every event has in common.

    Readers ignore unknown fields, nothing is coerced from one type to another, a missing field and null say
    the same, and no error quotes what it refused, for that may be a name, a phone number or a text.
    """

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True, hide_input_in_errors=True, defer_build=True)


def wrong(says: str, where: str = "") -> PydanticCustomError:
    """Make the error of a field that breaks a rule of ours: `says` follows its name, `where` is inside."""
    return PydanticCustomError("rule", "{says}", {"says": says, "where": where})


@dataclass(frozen=True, slots=True)
class Text:
    """Text of a certain form: `pattern` for machines, `says` for people."""

    pattern: str
    says: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: core_schema.CoreSchema, handler: JsonHandler) -> dict[str, Any]:
        return {**handler(schema), "pattern": self.published}

    @property
    def published(self) -> str:
        """The pattern as JSON Schema writes it, anchored."""
        return f"^{self.pattern}$"

    def check(self, text: str) -> str:
        """Return the text itself, when all of it has the form."""
        if re.fullmatch(self.pattern, text) is None:
            raise wrong(self.says)
        return text


@dataclass(frozen=True, slots=True)
class Known:
    """An open enum: readers take any text, the published schema lists what is known today.

    `ours`: the values are Coexist's own and not Meta's, so what we write ourselves must be one of them.
    """

    values: tuple[str, ...]
    ours: bool = False

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.with_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: core_schema.CoreSchema, handler: JsonHandler) -> dict[str, Any]:
        return {**handler(schema), "x-known-values": list(self.values)}

    def check(self, text: str, info: Info) -> str:
        """Return the text itself; only for our own writers must it be among the known."""
        if self.ours and info.context == WRITERS and text not in self.values:
            raise wrong("must be one of " + ", ".join(self.values))
        return text


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """A value of Meta's own shape: a check of ours, and the JSON Schema that says the same."""

    check: Callable[[Any], Any]
    schema: dict[str, Any]

    def __get_pydantic_core_schema__(self, _source: Any, _handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, core_schema.any_schema())

    def __get_pydantic_json_schema__(self, _schema: core_schema.CoreSchema, _handler: JsonHandler) -> dict[str, Any]:
        return dict(self.schema)


def _content(value: Any) -> Any:
    if isinstance(value, dict) or (isinstance(value, list) and all(isinstance(item, dict) for item in value)):
        return value
    raise wrong("must be an object, or an array of objects")


def _of_meta(description: str) -> Rule:
    return Rule(_content, {"type": ["object", "array"], "items": {"type": "object"}, "description": description})


RFC3339 = Text(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})",
    "must be an RFC 3339 time with its zone, like 2026-09-21T14:13:20Z",
)


def instant(text: str) -> str:
    """Return the text itself, when it is an RFC 3339 time with a zone that exists in the calendar."""
    try:
        parse_rfc3339(RFC3339.check(text))
    except (ValueError, OverflowError):
        raise wrong(RFC3339.says) from None
    return text


Instant = Annotated[
    str,
    AfterValidator(instant),
    Field(json_schema_extra={"format": "date-time", "pattern": RFC3339.published}),
]
Seconds = Annotated[float, Field(ge=0, description="Seconds since 1970.")]
Id = Annotated[str, Field(min_length=1)]
Number = Annotated[
    str,
    Text(
        rf"[!-~]{{1,{NUMBER_CHARS_MAX}}}",
        f"must be a phone_number_id: 1 to {NUMBER_CHARS_MAX} visible ASCII characters",
    ),
    Field(description="The business number's phone_number_id (the WABA id where there is no number)."),
]
MessageId = Annotated[Id, Field(description="Meta's id of the message (wamid).")]
ConversationId = Annotated[
    Id, Field(description="Ours; never reused. After identity.merged both ids name one conversation.")
]
CommandId = Annotated[Id, Field(description="The caller's id of the send that this belongs to.")]
Attempt = Annotated[int, Field(ge=0, description="Counts the requests to Meta from 1; 0 before the first.")]
Content = Annotated[Any, _of_meta("What Meta has under the kind's key; an array of objects only for contacts.")]
MetaFragment = Annotated[Any, _of_meta("Meta's own fragment, passed on as it came.")]
MetaObject = Annotated[dict[str, Any], Field(description="Meta's own object, passed on as it came.")]
MetaErrors = Annotated[
    list[dict[str, Any]],
    Field(description="Meta's error objects: code, title, error_data (Meta contract 2.3)."),
]
Pricing = Annotated[
    dict[str, Any],
    Field(description="Meta's pricing object: billable, pricing_model, type, category (Meta contract 4)."),
]
Raw = Annotated[Any, Field(description="The fragment of the webhook that this came from, untouched.")]
Trace = Annotated[
    str,
    Text(r"[!-~]{1,256}", "must be a W3C traceparent"),
    Field(description="W3C traceparent of the caller."),
]

Origin = Annotated[
    str,
    Known(("customer", "business_app", "api", "other"), ours=True),
    Field(description="Who wrote it: the customer, a person in the Business App, our send, or another app."),
]
Direction = Annotated[str, Known(("inbound", "outbound"), ours=True), Field(description="Seen from the business.")]
Side = Annotated[str, Known(("customer", "business"), ours=True), Field(description="Which side did it.")]
Author = Annotated[str, Known(("bot", "agent", "campaign"), ours=True), Field(description="Who asked for the send.")]
Owner = Annotated[
    str,
    Known(("person_app", "agent", "bot", "unknown"), ours=True),
    Field(description="Who faces the customer now."),
]
Kind = Annotated[
    str,
    Known(
        (
            *(
                "text",
                "image",
                "video",
                "audio",
                "document",
                "sticker",
                "location",
                "contacts",
                "interactive",
            ),
            *("button", "order", "reaction", "template", "unsupported", "media_placeholder", "unknown"),
        )
    ),
    Field(description="Meta's type of the message, or unknown (Meta contract 3.1)."),
]
Status = Annotated[
    str,
    Known(("sent", "delivered", "read", "played", "failed", "deleted", "warning")),
    Field(description="Meta's status of the message (Meta contract 4)."),
]


class Contact(Data):
    """The customer as far as known: any of these may be all there is (Meta contract 2.1, 2.2)."""

    wa_id: str | None = None
    user_id: str | None = None
    username: str | None = None
    name: str | None = None


PLAIN = {
    "missing": "is missing",
    "extra_forbidden": "is not a field of this event",
    "string_type": "must be text",
    "string_too_short": "must not be empty",
    "string_unicode": "must be valid Unicode",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "list_type": "must be an array",
    "json_invalid": "is not valid JSON",
}


def says(error: ErrorDetails) -> str:
    """What is wrong with a field, to stand behind its name."""
    if error["type"] == "literal_error":
        return "must be " + str(error["ctx"]["expected"]).replace("'", "")
    plain = PLAIN.get(error["type"], error["msg"])
    return re.sub(r"^(Input|String|Value) should ", "must ", plain)


def name_of(part: str) -> str:
    """Tell a name of a field from what somebody wrote in its place, which may be anything."""
    return part if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,63}", part) else "?"


def locate(error: ValidationError) -> tuple[str, str]:
    """Return the path of the first wrong field, empty for the data as a whole, and what is wrong with it."""
    first = error.errors(include_url=False, include_input=False)[0]
    places = [f"[{part}]" if isinstance(part, int) else f".{name_of(part)}" for part in first["loc"]]
    where = first.get("ctx", {}).get("where", "") if first["type"] == "rule" else ""
    path = "".join(places) + (f".{where}" if where and not where.startswith("[") else where)
    return path.removeprefix("."), says(first)


def explain(error: ValidationError) -> str:
    """Say in one plain sentence which field is wrong first and why; its value is never quoted."""
    where, says = locate(error)
    return f"{where or 'The data'} {says}."
