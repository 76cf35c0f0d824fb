"""The interactive messages: buttons, lists, links, flows, products, cards and requests (Meta contract 6.3).

`INTERACTIVE` lists every kind. The limits are those of the contract's table; beyond it stand only the 160 characters
of a card's text and the 30 products of a list, from Meta's pages on those two kinds.
"""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from schemas.fields import Id, wrong
from schemas.frame import (
    BodyText,
    Footer,
    Framed,
    Headline,
    ImageHeader,
    Titled,
    VideoHeader,
    check_in_all,
    check_titles,
)
from schemas.parts import OPTIONAL, ByType, Items, Part

ROWS_MAX = 10
"""Of a list, over all of its sections."""
PRODUCTS_MAX = 30
"""Of a product list, over all of its sections (Meta's page on multi-product messages)."""
SECTIONS_MAX = 10


class Reply(Part):
    """A button's id, which comes back with the answer, and its label."""

    id: Annotated[str, Field(min_length=1, max_length=256)]
    title: Annotated[str, Field(min_length=1, max_length=20)]


class ReplyButton(Part):
    """A button under a message."""

    type: Literal["reply"]
    reply: Reply


class ButtonAction(Part):
    """Up to three buttons."""

    buttons: Annotated[list[ReplyButton], Items(1, 3, "buttons")]


class Button(Framed):
    """A message with buttons."""

    type: Literal["button"]
    action: ButtonAction


class Row(Part):
    """A row of a list."""

    id: Annotated[str, Field(min_length=1, max_length=200)]
    title: Annotated[str, Field(min_length=1, max_length=24)]
    description: Annotated[str, Field(max_length=72)] = OPTIONAL


class Section(Titled):
    """A section of a list."""

    rows: Annotated[list[Row], Items(1, ROWS_MAX, "rows in all")]


class ListBodyText(BodyText):
    """The words above a list, which may be more."""

    text: Annotated[str, Field(min_length=1, max_length=4096)]


class ListAction(Part):
    """The button that opens the list, and the list."""

    button: Annotated[str, Field(min_length=1, max_length=20)]
    sections: Annotated[list[Section], Items(1, SECTIONS_MAX, "sections")]

    @model_validator(mode="after")
    def _in_all(self) -> "ListAction":
        check_titles(self.sections)
        check_in_all([len(section.rows) for section in self.sections], "rows", ROWS_MAX, "rows in all")
        return self


class List(Framed):
    """A message with a list to choose from."""

    type: Literal["list"]
    header: Headline = OPTIONAL
    body: ListBodyText
    action: ListAction


class LinkParameters(Part):
    """A button's label and where it leads."""

    display_text: Annotated[str, Field(min_length=1, max_length=20)]
    url: Id


class LinkAction(Part):
    """A button that opens a page."""

    name: Literal["cta_url"]
    parameters: LinkParameters


class CtaUrl(Framed):
    """A message with a button that opens a page."""

    type: Literal["cta_url"]
    action: LinkAction


class FlowPayload(Part):
    """The first screen of a flow and its data."""

    screen: Id = OPTIONAL
    data: dict[str, Any] = OPTIONAL


class FlowParameters(Part):
    """Which flow, and how it starts."""

    model_config = ConfigDict(
        json_schema_extra={"anyOf": [{"required": ["flow_id"]}, {"required": ["flow_name"]}]},
    )

    flow_message_version: Id
    flow_id: Id = OPTIONAL
    flow_name: Id = OPTIONAL
    flow_token: Id = OPTIONAL
    flow_cta: Id
    flow_action: Literal["navigate", "data_exchange"] = OPTIONAL
    mode: Literal["draft", "published"] = OPTIONAL
    flow_action_payload: FlowPayload = OPTIONAL

    @model_validator(mode="after")
    def _named(self) -> "FlowParameters":
        if self.flow_id is None and self.flow_name is None:
            raise wrong("is missing", "flow_id or flow_name")
        return self


class FlowAction(Part):
    """Opens a flow."""

    name: Literal["flow"]
    parameters: FlowParameters


class Flow(Framed):
    """A message with a button that opens a flow."""

    type: Literal["flow"]
    action: FlowAction


class SendLocation(Part):
    """Asks for a place."""

    name: Literal["send_location"]


class LocationRequest(Framed):
    """Asks the customer where they are."""

    type: Literal["location_request_message"]
    action: SendLocation


class AddressParameters(Part):
    """The country whose form of an address is asked for."""

    country: Id


class AddressAction(Part):
    """Asks for an address."""

    name: Literal["address_message"]
    parameters: AddressParameters


class AddressRequest(Framed):
    """Asks the customer for a postal address."""

    type: Literal["address_message"]
    action: AddressAction


class ProductAction(Part):
    """One product of a catalogue."""

    catalog_id: Id
    product_retailer_id: Id


class Product(Part):
    """A message about one product; words are optional."""

    type: Literal["product"]
    body: BodyText = OPTIONAL
    footer: Footer = OPTIONAL
    action: ProductAction


class ProductItem(Part):
    """A product in a list."""

    product_retailer_id: Id


class ProductSection(Titled):
    """A section of a product list."""

    product_items: Annotated[list[ProductItem], Items(1, PRODUCTS_MAX, "products in all")]


class ProductListAction(Part):
    """Products of a catalogue, in sections."""

    catalog_id: Id
    sections: Annotated[list[ProductSection], Items(1, SECTIONS_MAX, "sections")]

    @model_validator(mode="after")
    def _in_all(self) -> "ProductListAction":
        check_titles(self.sections)
        counts = [len(section.product_items) for section in self.sections]
        check_in_all(counts, "product_items", PRODUCTS_MAX, "products in all")
        return self


class ProductList(Framed):
    """A message about several products; it needs a headline."""

    type: Literal["product_list"]
    header: Headline
    action: ProductListAction


class CatalogParameters(Part):
    """Whose picture stands for the catalogue."""

    thumbnail_product_retailer_id: Id = OPTIONAL


class CatalogAction(Part):
    """Opens the catalogue."""

    name: Literal["catalog_message"]
    parameters: CatalogParameters = OPTIONAL


class Catalog(Framed):
    """A message that opens the catalogue."""

    type: Literal["catalog_message"]
    action: CatalogAction


CardHeader = Annotated[dict[str, Any], ByType({"image": ImageHeader, "video": VideoHeader})]


class CardText(Part):
    """The words of a card (Meta's page on carousels)."""

    text: Annotated[str, Field(min_length=1, max_length=160)]


class QuickReplyButton(Part):
    """A button on a card."""

    type: Literal["quick_reply"]
    quick_reply: Reply


class CardAction(Part):
    """What a card leads to: a page, replies, or a product."""

    name: Literal["cta_url"] = OPTIONAL
    parameters: LinkParameters = OPTIONAL
    buttons: Annotated[list[QuickReplyButton], Field(min_length=1)] = OPTIONAL
    catalog_id: Id = OPTIONAL
    product_retailer_id: Id = OPTIONAL


class Card(Part):
    """A card of a carousel; one with replies carries no type of its own, or `cta_url`."""

    card_index: Annotated[int, Field(ge=0, le=9)]
    type: Literal["cta_url", "product"] = OPTIONAL
    header: CardHeader = OPTIONAL
    body: CardText = OPTIONAL
    action: CardAction

    @model_validator(mode="after")
    def _complete(self) -> "Card":
        if self.type != "product" and self.header is None:
            raise wrong("is missing", "header")
        needs: tuple[str, ...] = () if self.action.buttons else ("name", "parameters")
        if self.type == "product":
            needs = ("catalog_id", "product_retailer_id")
        for name in needs:
            if getattr(self.action, name) is None:
                raise wrong("is missing", f"action.{name}")
        return self


class CarouselAction(Part):
    """Two to ten cards."""

    cards: Annotated[list[Card], Items(2, 10, "cards")]


class Carousel(Part):
    """Cards to leaf through."""

    type: Literal["carousel"]
    body: BodyText
    action: CarouselAction


class CallPermission(Part):
    """Asks for calls."""

    name: Literal["call_permission_request"]


class CallPermissionRequest(Part):
    """Asks the customer whether they may be called; words are optional."""

    type: Literal["call_permission_request"]
    body: BodyText = OPTIONAL
    action: CallPermission


class ContactInfoRequest(Framed):
    """Asks the customer for their phone number; the form of its action is not certain, so any object passes."""

    type: Literal["request_contact_info"]
    action: dict[str, Any] = OPTIONAL


INTERACTIVE: dict[str, type[Part]] = {
    "button": Button,
    "list": List,
    "cta_url": CtaUrl,
    "flow": Flow,
    "location_request_message": LocationRequest,
    "address_message": AddressRequest,
    "product": Product,
    "product_list": ProductList,
    "catalog_message": Catalog,
    "carousel": Carousel,
    "call_permission_request": CallPermissionRequest,
    "request_contact_info": ContactInfoRequest,
}
Interactive = Annotated[dict[str, Any], ByType(INTERACTIVE)]
