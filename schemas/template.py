"""Template messages: a name, a language and what fills the places in it (Meta contract 6.3).

Whether the parameters fit the template only Meta knows; a mismatch comes back as 132000 or 132012. An
authentication template to a user id cannot be told apart here either (131062).
"""

from typing import Annotated, Any

from pydantic import Field

from schemas.fields import Id, Rule, wrong
from schemas.parts import OPTIONAL, ByType, Document, Items, Location, Media, Part, either_case

BUTTONS = ("quick_reply", "url", "copy_code", "flow", "catalog", "mpm", "spm", "voice_call", "order_details", "app")


class Parameter(Part):
    """What fills one place; `parameter_name` only in templates with named ones."""

    parameter_name: Id = OPTIONAL


class TextParameter(Parameter):
    """Words."""

    type: Annotated[str, either_case("text")]
    text: Id


class Currency(Part):
    """An amount in thousandths of its unit."""

    fallback_value: Id
    code: Id
    amount_1000: int


class CurrencyParameter(Parameter):
    """An amount of money."""

    type: Annotated[str, either_case("currency")]
    currency: Currency


class DateTime(Part):
    """A date in words."""

    fallback_value: Id


class DateTimeParameter(Parameter):
    """A date."""

    type: Annotated[str, either_case("date_time")]
    date_time: DateTime


class ImageParameter(Parameter):
    """An image."""

    type: Annotated[str, either_case("image")]
    image: Media


class VideoParameter(Parameter):
    """A video."""

    type: Annotated[str, either_case("video")]
    video: Media


class GifParameter(Parameter):
    """A moving image."""

    type: Annotated[str, either_case("gif")]
    gif: Media


class DocumentParameter(Parameter):
    """A document."""

    type: Annotated[str, either_case("document")]
    document: Document


class LocationParameter(Parameter):
    """A place."""

    type: Annotated[str, either_case("location")]
    location: Location


class TemplateProduct(Part):
    """A product of a catalogue."""

    catalog_id: Id
    product_retailer_id: Id


class ProductParameter(Parameter):
    """A product."""

    type: Annotated[str, either_case("product")]
    product: TemplateProduct


class PayloadParameter(Parameter):
    """What comes back when the button is pressed."""

    type: Annotated[str, either_case("payload")]
    payload: Id


class CouponParameter(Parameter):
    """A code to copy."""

    type: Annotated[str, either_case("coupon_code")]
    coupon_code: Id


class ActionParameter(Parameter):
    """What a button needs: a flow's token and data, a catalogue's thumbnail and sections."""

    type: Annotated[str, either_case("action")]
    action: dict[str, Any]


class OfferParameter(Parameter):
    """When an offer ends."""

    type: Annotated[str, either_case("limited_time_offer")]
    limited_time_offer: dict[str, Any]


class OrderStatusParameter(Parameter):
    """Where an order stands."""

    type: Annotated[str, either_case("order_status")]
    order_status: dict[str, Any]


class TapTargetParameter(Parameter):
    """Where a tap on the message leads."""

    type: Annotated[str, either_case("tap_target_configuration")]
    tap_target_configuration: list[dict[str, Any]]


PARAMETERS: dict[str, type[Part]] = {
    "text": TextParameter,
    "currency": CurrencyParameter,
    "date_time": DateTimeParameter,
    "image": ImageParameter,
    "video": VideoParameter,
    "gif": GifParameter,
    "document": DocumentParameter,
    "location": LocationParameter,
    "product": ProductParameter,
    "payload": PayloadParameter,
    "coupon_code": CouponParameter,
    "action": ActionParameter,
    "limited_time_offer": OfferParameter,
    "order_status": OrderStatusParameter,
    "tap_target_configuration": TapTargetParameter,
}
Parameters = list[Annotated[dict[str, Any], ByType(PARAMETERS, either_case=True, brief=True)]]


class HeaderComponent(Part):
    """What fills the header."""

    type: Annotated[str, either_case("header")]
    parameters: Parameters = OPTIONAL


class BodyComponent(Part):
    """What fills the body."""

    type: Annotated[str, either_case("body")]
    parameters: Parameters = OPTIONAL


def _index(value: Any) -> Any:
    number = int(value) if isinstance(value, str) and len(value) == 1 and value in "0123456789" else value
    if isinstance(number, int) and not isinstance(number, bool) and number in range(10):
        return value
    raise wrong("must be 0 to 9, as a number or as text")


class ButtonComponent(Part):
    """What fills a button; `index` counts the template's buttons from 0."""

    type: Annotated[str, either_case("button")]
    sub_type: Annotated[str, either_case(*BUTTONS)]
    index: Annotated[Any, Rule(_index, {"enum": [*range(10), *map(str, range(10))]})]
    parameters: Parameters = OPTIONAL


class OfferComponent(Part):
    """A limited offer."""

    type: Annotated[str, either_case("limited_time_offer")]
    parameters: Parameters


class OrderStatusComponent(Part):
    """The state of an order."""

    type: Annotated[str, either_case("order_status")]
    parameters: Parameters


class TapTargetComponent(Part):
    """Where a tap on the message leads."""

    type: Annotated[str, either_case("tap_target_configuration")]
    parameters: Parameters


CARD_COMPONENTS: dict[str, type[Part]] = {"header": HeaderComponent, "body": BodyComponent, "button": ButtonComponent}


class TemplateCard(Part):
    """What fills a card of a carousel."""

    card_index: Annotated[int, Field(ge=0, le=9)]
    components: list[Annotated[dict[str, Any], ByType(CARD_COMPONENTS, either_case=True)]]


class CarouselComponent(Part):
    """What fills the cards of a carousel."""

    type: Annotated[str, either_case("carousel")]
    cards: Annotated[list[TemplateCard], Items(2, 10, "cards")]


COMPONENTS: dict[str, type[Part]] = {
    **CARD_COMPONENTS,
    "carousel": CarouselComponent,
    "limited_time_offer": OfferComponent,
    "order_status": OrderStatusComponent,
    "tap_target_configuration": TapTargetComponent,
}


class Language(Part):
    """Meta's code of a language, such as en_US."""

    code: Id


class Template(Part):
    """Which template, and what fills it."""

    name: Annotated[str, Field(min_length=1, max_length=512)]
    language: Language
    components: list[Annotated[dict[str, Any], ByType(COMPONENTS, either_case=True)]] = OPTIONAL
