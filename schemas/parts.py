"""What the bodies of the Send API are made of: objects chosen by their `type`, counted arrays, media, coordinates.

These models only look. What was checked leaves as the caller wrote it: fields that Meta may have added pass, and
nothing is coerced, trimmed or filled in. A known field that is null is refused like any other of a wrong type, for
Meta does not promise to read it as a missing one.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Annotated, Any

from pydantic import ConfigDict, Field, GetCoreSchemaHandler, ValidationError, model_validator
from pydantic import GetJsonSchemaHandler as JsonHandler
from pydantic_core import core_schema

from schemas.fields import Data, Id, Rule, locate, wrong
from schemas.links import Link

CAPTION_CHARS_MAX = 1024
HEADER_CHARS_MAX = 60
"""Limits of Meta contract 6.3."""

DEGREES = r"[+-]?[0-9]{1,3}(\.[0-9]{1,32})?"

OPTIONAL: Any = None
"""The default of a field that may be left out; given as null it is refused."""


class Part(Data):
    """An object inside a body; fields that are not known here are Meta's business."""


@dataclass(frozen=True, slots=True, eq=False)
class ByType:
    """An object whose `type` says which model it must obey; `default` is what a missing type means.

    A type that is not listed is refused, though Meta may have added it since: a typo would cost a message, and
    perhaps money. `untyped`: objects without a type, by the key that tells them. `either_case`: Meta takes these names
    in lower case and in capitals. `brief`: the published schema names the types and leaves out their models, which
    would be repeated wherever they may stand.
    """

    models: Mapping[str, type[Part]]
    default: str = ""
    untyped: Mapping[str, type[Part]] = field(default_factory=dict)
    either_case: bool = False
    brief: bool = False

    def __get_pydantic_core_schema__(self, _source: Any, _handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(self.check)

    def __get_pydantic_json_schema__(self, _schema: core_schema.CoreSchema, handler: JsonHandler) -> dict[str, Any]:
        if self.brief:
            names = [*self.models, *(name.upper() for name in self.models if self.either_case)]
            return {"type": "object", "properties": {"type": {"enum": names}}, "required": ["type"]}
        models = {**self.models, **self.untyped}
        for model in models.values():
            model.model_rebuild()
        choices = {name: model.__pydantic_core_schema__ for name, model in models.items()}
        return handler(core_schema.tagged_union_schema(choices, discriminator=lambda _: None))

    def check(self, value: Any) -> Any:
        """Return the object itself, when it obeys the model of its type."""
        if not isinstance(value, dict):
            raise wrong("must be an object")
        try:
            untyped = next((model for key, model in self.untyped.items() if key in value), None)
            (untyped or self._model(value.get("type", self.default))).model_validate(value)
        except ValidationError as error:
            where, says = locate(error)
            raise wrong(says, where) from None
        return value

    def _model(self, kind: Any) -> type[Part]:
        if kind == "":
            raise wrong("is missing", "type")
        if isinstance(kind, str):
            known = self.models.get(kind.lower() if self.either_case and kind.isupper() else kind)
            if known is not None:
                return known
        raise wrong("must be " + _any_of(tuple(self.models)), "type")


@dataclass(frozen=True, slots=True)
class Items:
    """An array of `least` to `most` `things`; a refusal points at the first one too many."""

    least: int
    most: int
    things: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_before_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: core_schema.CoreSchema, handler: JsonHandler) -> dict[str, Any]:
        return {**handler(schema), "minItems": self.least, "maxItems": self.most}

    def check(self, value: Any) -> Any:
        """Return the array itself; what is none is left to its own check."""
        if isinstance(value, list) and len(value) < self.least:
            raise wrong("must not be empty" if self.least == 1 else f"must have at least {self.least} {self.things}")
        if isinstance(value, list) and len(value) > self.most:
            raise too_many(f"[{self.most}]", self.most, self.things)
        return value


def too_many(where: str, most: int, things: str) -> Exception:
    """Make the error of the first item beyond a limit."""
    return wrong(f"is one too many: at most {most} {things}", where)


def _any_of(names: tuple[str, ...]) -> str:
    return ("one of " if len(names) > 1 else "") + ", ".join(names)


def either_case(*names: str) -> Rule:
    """Make the rule of a name that Meta takes in lower case and in capitals."""

    def check(value: Any) -> Any:
        if isinstance(value, str) and (value in names or (value.isupper() and value.lower() in names)):
            return value
        raise wrong("must be " + _any_of(names))

    return Rule(check, {"type": "string", "enum": [*names, *(name.upper() for name in names)]})


def coordinate(degrees_max: int) -> Rule:
    """Make the rule of a latitude or longitude: a number, or one written as text (Meta contract 6.3)."""

    def check(value: Any) -> Any:
        if isinstance(value, str) and re.fullmatch(DEGREES, value):
            degrees = float(value)
        elif isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value):
            degrees = value
        else:
            raise wrong("must be a number, or a number as text")
        if abs(degrees) > degrees_max:
            raise wrong(f"must be between -{degrees_max} and {degrees_max}")
        return value

    limits = {"minimum": -degrees_max, "maximum": degrees_max, "pattern": f"^{DEGREES}$"}
    return Rule(check, {"type": ["number", "string"], **limits})


Caption = Annotated[str, Field(max_length=CAPTION_CHARS_MAX)]


class Media(Part):
    """A file: the id of an upload, or a link that Meta fetches; one of them (Meta contract 6.3, 6.6)."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["id"]}, {"required": ["link"]}]})

    id: Id = OPTIONAL
    link: Link = OPTIONAL

    @model_validator(mode="after")
    def _one(self) -> "Media":
        if self.id is None and self.link is None:
            raise wrong("is missing", "id or link")
        if self.id is not None and self.link is not None:
            raise wrong("must have an id or a link, not both")
        return self


class CaptionedMedia(Media):
    """An image or a video, with words below it."""

    caption: Caption = OPTIONAL


class Document(CaptionedMedia):
    """A file of any type; `filename` is what the customer sees."""

    filename: Id = OPTIONAL


class Location(Part):
    """A place on the map."""

    latitude: Annotated[Any, coordinate(90)]
    longitude: Annotated[Any, coordinate(180)]
    name: str = OPTIONAL
    address: str = OPTIONAL
