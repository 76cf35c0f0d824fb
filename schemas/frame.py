"""What most interactive messages share: header, words, small print, and arrays in sections (Meta contract 6.3)."""

from typing import Annotated, Any, Literal

from pydantic import Field

from schemas.fields import wrong
from schemas.parts import HEADER_CHARS_MAX, OPTIONAL, ByType, Document, Media, Part, too_many


class BodyText(Part):
    """The words of an interactive message."""

    text: Annotated[str, Field(min_length=1, max_length=1024)]


class Footer(Part):
    """Small print."""

    text: Annotated[str, Field(min_length=1, max_length=HEADER_CHARS_MAX)]


class TextHeader(Part):
    """A headline."""

    type: Literal["text"]
    text: Annotated[str, Field(min_length=1, max_length=HEADER_CHARS_MAX)]


class ImageHeader(Part):
    """An image on top."""

    type: Literal["image"]
    image: Media


class VideoHeader(Part):
    """A video on top."""

    type: Literal["video"]
    video: Media


class DocumentHeader(Part):
    """A document on top."""

    type: Literal["document"]
    document: Document


Header = Annotated[
    dict[str, Any],
    ByType({"text": TextHeader, "image": ImageHeader, "video": VideoHeader, "document": DocumentHeader}),
]
Headline = Annotated[dict[str, Any], ByType({"text": TextHeader})]


class Framed(Part):
    """What most kinds have around their action."""

    header: Header = OPTIONAL
    body: BodyText
    footer: Footer = OPTIONAL


class Titled(Part):
    """A section; its title may only be missing where there is no other section."""

    title: Annotated[str, Field(max_length=24)] = OPTIONAL


def check_titles(sections: list[Any]) -> None:
    """Raise unless each section has a title, where there is more than one."""
    for index, section in enumerate(sections):
        if len(sections) > 1 and not section.title:
            raise wrong("is missing: with more than one section, each needs one", f"sections[{index}].title")


def check_in_all(counts: list[int], name: str, most: int, things: str) -> None:
    """Raise when the sections together, given how many each has, have more than the limit."""
    left = most
    for index, count in enumerate(counts):
        if count > left:
            raise too_many(f"sections[{index}].{name}[{left}]", most, things)
        left -= count
