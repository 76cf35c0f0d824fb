"""Every body of the Send API, checked before it is written down: what Meta would refuse costs nobody a turn.

`MESSAGES` has the model of each `type`, `Message` and `Fallback` are the fields of a command. They look and
change nothing: the object that leaves is the caller's. Fields that are not known pass, since Meta adds some; a
`type` or an interactive kind that is not known is refused with the list of those that are, even though Meta may
add one, because a typo would cost a message. The limits are those of Meta contract 6.3; characters are counted as
Unicode code points.
"""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field

from schemas.fields import Id, Rule, wrong
from schemas.interactive import Interactive
from schemas.parts import OPTIONAL, ByType, CaptionedMedia, Document, Items, Location, Media, Part
from schemas.template import Template

TEXT_CHARS_MAX = 4096
"""Meta's limit of a text body (Meta contract 6.3)."""
CONTACTS_MAX = 257
"""Meta's limit of contacts in one message (Meta's page on contacts messages)."""
ENVELOPE = {
    "to": "belongs beside the message, as the command's own field",
    "recipient": "belongs beside the message, as the command's own field to",
    "biz_opaque_callback_data": "is used by Coexist to recognise its own sends",
}
"""Keys around Meta's message object that a caller must not set there, and why (Meta contract 6.2)."""


class Context(Part):
    """The message that this one answers."""

    message_id: Id


class Common(Part):
    """What every message may carry (Meta contract 6.2)."""

    model_config = ConfigDict(json_schema_extra={"not": {"anyOf": [{"required": [key]} for key in ENVELOPE]}})

    messaging_product: Literal["whatsapp"] = OPTIONAL
    recipient_type: Literal["individual"] = OPTIONAL
    context: Context = OPTIONAL
    recipient_identity_key_hash: Id = OPTIONAL


class TextBody(Part):
    """Words, and whether the first link in them is shown as a preview."""

    body: Annotated[str, Field(min_length=1, max_length=TEXT_CHARS_MAX)]
    preview_url: bool = OPTIONAL


class TextMessage(Common):
    """Words; what a message is that names no type."""

    type: Literal["text"] = "text"
    text: TextBody


class ImageMessage(Common):
    """An image."""

    type: Literal["image"]
    image: CaptionedMedia


class VideoMessage(Common):
    """A video."""

    type: Literal["video"]
    video: CaptionedMedia


class Audio(Media):
    """Sound; `voice` shows it as a voice note."""

    voice: bool = OPTIONAL


class AudioMessage(Common):
    """Sound."""

    type: Literal["audio"]
    audio: Audio


class DocumentMessage(Common):
    """A file."""

    type: Literal["document"]
    document: Document


class StickerMessage(Common):
    """A sticker."""

    type: Literal["sticker"]
    sticker: Media


class LocationMessage(Common):
    """A place."""

    type: Literal["location"]
    location: Location


class Name(Part):
    """A person's name; the whole of it is needed, its parts are not."""

    formatted_name: Id
    first_name: str = OPTIONAL
    last_name: str = OPTIONAL
    middle_name: str = OPTIONAL
    suffix: str = OPTIONAL
    prefix: str = OPTIONAL


class Phone(Part):
    """A phone number; with `wa_id` the customer can write to it."""

    phone: str = OPTIONAL
    type: str = OPTIONAL
    wa_id: str = OPTIONAL


class Email(Part):
    """An e-mail address."""

    email: str = OPTIONAL
    type: str = OPTIONAL


class Address(Part):
    """A postal address."""

    street: str = OPTIONAL
    city: str = OPTIONAL
    state: str = OPTIONAL
    zip: str = OPTIONAL
    country: str = OPTIONAL
    country_code: str = OPTIONAL
    type: str = OPTIONAL


class Organisation(Part):
    """Where a person works."""

    company: str = OPTIONAL
    department: str = OPTIONAL
    title: str = OPTIONAL


class Url(Part):
    """A web address."""

    url: str = OPTIONAL
    type: str = OPTIONAL


class Card(Part):
    """A person's card (Meta contract 3.6)."""

    name: Name
    phones: list[Phone] = OPTIONAL
    emails: list[Email] = OPTIONAL
    addresses: list[Address] = OPTIONAL
    org: Organisation = OPTIONAL
    urls: list[Url] = OPTIONAL
    birthday: str = OPTIONAL


class ContactsMessage(Common):
    """People's cards."""

    type: Literal["contacts"]
    contacts: Annotated[list[Card], Items(1, CONTACTS_MAX, "contacts")]


class Reaction(Part):
    """An emoji on a message; an empty one takes it back."""

    message_id: Id
    emoji: str


class ReactionMessage(Common):
    """An emoji on a message."""

    type: Literal["reaction"]
    reaction: Reaction


class InteractiveMessage(Common):
    """A message to act on."""

    type: Literal["interactive"]
    interactive: Interactive


class TemplateMessage(Common):
    """A message that Meta has approved beforehand; it may open a conversation."""

    type: Literal["template"]
    template: Template


class TypingIndicator(Part):
    """Shows for 25 seconds that somebody types, or until a message is sent."""

    type: Literal["text"]


def _no_type(_value: Any) -> Any:
    raise wrong("has no place beside status")


class ReadReceipt(Part):
    """No message: it marks one of the customer's, and all before it, as read (Meta contract 6.4).

    On a coexistence number that clears the unread badge of the people with the phone, so it only goes on request.
    """

    messaging_product: Literal["whatsapp"] = OPTIONAL
    status: Literal["read"]
    message_id: Id
    typing_indicator: TypingIndicator = OPTIONAL
    type: Annotated[Any, Rule(_no_type, {"not": {}})] = OPTIONAL


MESSAGES: dict[str, type[Part]] = {
    "text": TextMessage,
    "image": ImageMessage,
    "video": VideoMessage,
    "audio": AudioMessage,
    "document": DocumentMessage,
    "sticker": StickerMessage,
    "location": LocationMessage,
    "contacts": ContactsMessage,
    "reaction": ReactionMessage,
    "interactive": InteractiveMessage,
    "template": TemplateMessage,
}


def _without_envelope(value: Any) -> Any:
    for key, why in ENVELOPE.items():
        if isinstance(value, dict) and key in value:
            raise wrong(why, key)
    return value


Message = Annotated[
    dict[str, Any],
    ByType(MESSAGES, default="text", untyped={"status": ReadReceipt}),
    BeforeValidator(_without_envelope),
    Field(description="Meta's message object without its envelope, or a read receipt (Meta contract 6.3, 6.4)."),
]
Fallback = Annotated[
    dict[str, Any],
    ByType({"template": TemplateMessage}),
    BeforeValidator(_without_envelope),
    Field(description="A template message to send instead when the customer service window is closed."),
]
