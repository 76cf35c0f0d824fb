"""Bodies of the Send API: a good one of every kind, and what makes each of them wrong."""

import copy

WAMID = "wamid.TEST=="
IMAGE = {"link": "https://example.org/1.jpg"}
GONE = object()
"""Stands for a field that is taken away."""


def interactive(kind, action, **more):
    return {"type": "interactive", "interactive": {"type": kind, "body": {"text": "Tria"}, "action": action, **more}}


def template(*components, **more):
    about = {"name": "order_update", "language": {"code": "en_US"}, **more}
    return {"type": "template", "template": about | ({"components": [*components]} if components else {})}


def reply(title="Sí", reply_id="yes"):
    return {"type": "reply", "reply": {"id": reply_id, "title": title}}


def rows(count):
    return [{"id": f"row-{index}", "title": f"Fila {index}"} for index in range(count)]


def products(count):
    return [{"product_retailer_id": f"SKU-{index}"} for index in range(count)]


def page(text="Obre"):
    return {"name": "cta_url", "parameters": {"display_text": text, "url": "https://example.org/1"}}


def card(index, action=None, **more):
    return {
        "card_index": index,
        "type": "cta_url",
        "header": {"type": "image", "image": IMAGE},
        "body": {"text": "Una targeta"},
        "action": action or page(),
        **more,
    }


QUICK = {"buttons": [{"type": "quick_reply", "quick_reply": {"id": "q", "title": "Aquesta"}}]}
CARDS = [card(0), card(1)]
HEADER = {"type": "header", "parameters": [{"type": "image", "image": {"id": "950000000000001"}}]}
BODY = {
    "type": "body",
    "parameters": [
        {"type": "text", "parameter_name": "first_name", "text": "Ada"},
        {"type": "currency", "currency": {"fallback_value": "$1", "code": "USD", "amount_1000": 1000}},
        {"type": "date_time", "date_time": {"fallback_value": "today"}},
    ],
}


def button(sub_type, index, *parameters):
    return {"type": "button", "sub_type": sub_type, "index": index, "parameters": [*parameters]}


FLOW = {
    "flow_message_version": "3",
    "flow_id": "960000000000001",
    "flow_token": "tok",
    "flow_cta": "Obre",
    "flow_action": "navigate",
    "mode": "published",
    "flow_action_payload": {"screen": "START", "data": {"k": "v"}},
}
PERSON = {
    "name": {"formatted_name": "Bo Sample", "first_name": "Bo"},
    "phones": [{"phone": "+15550100200", "type": "WORK", "wa_id": "15550100200"}],
    "emails": [{"email": "bo@example.org", "type": "WORK"}],
    "addresses": [{"street": "1 Rd", "city": "X", "country_code": "zz"}],
    "org": {"company": "Acme"},
    "urls": [{"url": "https://example.org"}],
    "birthday": "1990-01-31",
}

GOOD = {
    "text": {"type": "text", "text": {"body": "See https://example.org", "preview_url": True}},
    "text without a type": {"text": {"body": "Hola"}},
    "text as long as may be": {"type": "text", "text": {"body": "é" * 4096}},
    "reply": {"type": "text", "text": {"body": "Sí"}, "context": {"message_id": WAMID}},
    "text with what Meta may add": {"type": "text", "text": {"body": "x", "style": {"bold": [1, None]}}, "ttl": 60},
    "image": {"type": "image", "image": {"id": "950000000000001", "caption": "x" * 1024}},
    "image by link": {"type": "image", "image": IMAGE},
    "video": {"type": "video", "video": {"id": "950000000000002", "caption": "Mira"}},
    "audio": {"type": "audio", "audio": {"id": "950000000000003", "voice": True}},
    "document": {
        "type": "document",
        "document": {"link": "https://example.org/a.pdf", "caption": "Comanda", "filename": "a.pdf"},
    },
    "sticker": {"type": "sticker", "sticker": {"id": "950000000000004"}},
    "location": {"type": "location", "location": {"latitude": 38.7, "longitude": -9.1}},
    "location as text": {
        "type": "location",
        "location": {"latitude": "38.7", "longitude": "-9.1", "name": "Office", "address": "1 Rd"},
    },
    "contacts": {"type": "contacts", "contacts": [PERSON]},
    "reaction": {"type": "reaction", "reaction": {"message_id": WAMID, "emoji": "👍"}},
    "reaction taken back": {"type": "reaction", "reaction": {"message_id": WAMID, "emoji": ""}},
    "button": interactive(
        "button",
        {"buttons": [reply(), reply("x" * 20, "i" * 256), reply("No", "no")]},
        header={"type": "text", "text": "h" * 60},
        footer={"text": "f" * 60},
    ),
    "list": interactive(
        "list",
        {
            "button": "Opcions",
            "sections": [
                {"title": "Matí", "rows": rows(4)},
                {"title": "Tarda", "rows": [*rows(5), {"id": "r" * 200, "title": "t" * 24, "description": "d" * 72}]},
            ],
        },
        body={"text": "b" * 4096},
    ),
    "list of one section": interactive("list", {"button": "Opcions", "sections": [{"rows": rows(10)}]}),
    "cta_url": interactive("cta_url", page(), header={"type": "document", "document": {"id": "95"}}),
    "flow": interactive("flow", {"name": "flow", "parameters": FLOW}),
    "location_request_message": interactive("location_request_message", {"name": "send_location"}),
    "address_message": interactive("address_message", {"name": "address_message", "parameters": {"country": "IN"}}),
    "product": interactive("product", {"catalog_id": "93", "product_retailer_id": "SKU-7"}),
    "product_list": interactive(
        "product_list",
        {
            "catalog_id": "93",
            "sections": [{"title": "A", "product_items": products(15)}, {"title": "B", "product_items": products(15)}],
        },
        header={"type": "text", "text": "Novetats"},
    ),
    "product_list of one product": interactive(
        "product_list",
        {"catalog_id": "93", "sections": [{"product_items": products(1)}]},
        header={"type": "text", "text": "Novetats"},
    ),
    "catalog_message": interactive(
        "catalog_message", {"name": "catalog_message", "parameters": {"thumbnail_product_retailer_id": "SKU-7"}}
    ),
    "carousel": interactive("carousel", {"cards": CARDS}),
    "carousel of replies": interactive("carousel", {"cards": [card(0, QUICK), card(1, QUICK)]}),
    "carousel of products": interactive(
        "carousel",
        {
            "cards": [
                {
                    "card_index": index,
                    "type": "product",
                    "action": {"catalog_id": "93", "product_retailer_id": f"SKU-{index}"},
                }
                for index in range(10)
            ]
        },
    ),
    "call_permission_request": interactive("call_permission_request", {"name": "call_permission_request"}),
    "request_contact_info": interactive("request_contact_info", {"name": "request_contact_info"}),
    "template": template(),
    "template with components": template(
        HEADER,
        BODY,
        button("quick_reply", "0", {"type": "payload", "payload": "STOP-1"}),
        button("url", "1", {"type": "text", "text": "suffix"}),
        button("copy_code", 2, {"type": "coupon_code", "coupon_code": "X1"}),
        button("flow", "3", {"type": "action", "action": {"flow_token": "t", "flow_action_data": {}}}),
    ),
    "template with cards": template(
        BODY,
        {
            "type": "CAROUSEL",
            "cards": [
                {
                    "card_index": index,
                    "components": [
                        HEADER | {"type": "HEADER"},
                        button("QUICK_REPLY", "0", {"type": "payload", "payload": "p"}) | {"type": "BUTTON"},
                    ],
                }
                for index in range(2)
            ],
        },
    ),
    "template with an offer": template(
        {
            "type": "limited_time_offer",
            "parameters": [{"type": "limited_time_offer", "limited_time_offer": {"expiration_time_ms": 1790000000000}}],
        }
    ),
}

TYPES = (
    "must be one of text, image, video, audio, document, sticker, location, contacts, reaction, interactive, template"
)
KINDS = (
    "must be one of button, list, cta_url, flow, location_request_message, address_message, product, product_list, "
    "catalog_message, carousel, call_permission_request, request_contact_info"
)
PLAIN_URL = "must be an https URL with a plain host, without user, blanks or backslashes"
PUBLIC_URL = "must name a host on the public internet"

# The kind, the path of one field, what stands there instead, and the sentence, which begins with the path unless
# it says otherwise.
BROKEN = [
    ("text", "type", "txet", TYPES),
    ("text", "type", "hologram", TYPES),
    ("text", "type", ["text"], TYPES),
    ("text", "type", None, TYPES),
    ("text", "text", GONE, "is missing"),
    ("text", "text", "hello", "must be an object"),
    ("text", "text.body", GONE, "is missing"),
    ("text", "text.body", "", "must not be empty"),
    ("text", "text.body", 5, "must be text"),
    ("text", "text.body", None, "must be text"),
    ("text", "text.body", "x" * 4097, "must have at most 4096 characters"),
    ("text", "text.preview_url", "yes", "must be true or false"),
    ("text without a type", "text", GONE, "is missing"),
    ("reply", "context", "wamid", "must be an object"),
    ("reply", "context.message_id", GONE, "is missing"),
    ("reply", "context.message_id", "", "must not be empty"),
    ("image", "image", [], "must be an object"),
    ("image", "image.id", GONE, "image.id or link is missing"),
    ("image", "image.id", 950000000000001, "must be text"),
    ("image", "image.caption", "x" * 1025, "must have at most 1024 characters"),
    ("image", "image.caption", None, "must be text"),
    ("image by link", "image.id", "95", "image must have an id or a link, not both"),
    ("image by link", "image.link", "http://example.org/a.jpg", PLAIN_URL),
    ("image by link", "image.link", "https://10.0.0.1/a.jpg", PUBLIC_URL),
    ("video", "video.caption", "x" * 1025, "must have at most 1024 characters"),
    ("video", "video.id", "", "must not be empty"),
    ("audio", "audio.voice", 1, "must be true or false"),
    ("audio", "audio.id", GONE, "audio.id or link is missing"),
    ("document", "document.link", "https://localhost/a.pdf", PUBLIC_URL),
    ("document", "document.filename", 7, "must be text"),
    ("document", "document.caption", "x" * 1025, "must have at most 1024 characters"),
    ("sticker", "sticker.id", GONE, "sticker.id or link is missing"),
    ("location", "location.latitude", GONE, "is missing"),
    ("location", "location.latitude", 90.5, "must be between -90 and 90"),
    ("location", "location.longitude", True, "must be a number, or a number as text"),
    ("location as text", "location.longitude", "9,1", "must be a number, or a number as text"),
    ("location as text", "location.longitude", "-181", "must be between -180 and 180"),
    ("location as text", "location.name", 7, "must be text"),
    ("contacts", "contacts", GONE, "is missing"),
    ("contacts", "contacts", {}, "must be an array"),
    ("contacts", "contacts", [], "must not be empty"),
    ("contacts", "contacts", [PERSON] * 258, "contacts[257] is one too many: at most 257 contacts"),
    ("contacts", "contacts.0.name", GONE, "is missing"),
    ("contacts", "contacts.0.name.formatted_name", "", "must not be empty"),
    ("contacts", "contacts.0.phones", {}, "must be an array"),
    ("contacts", "contacts.0.phones.0.phone", 34600, "must be text"),
    ("reaction", "reaction.message_id", GONE, "is missing"),
    ("reaction", "reaction.emoji", GONE, "is missing"),
    ("button", "interactive", GONE, "is missing"),
    ("button", "interactive", "button", "must be an object"),
    ("button", "interactive.type", GONE, "is missing"),
    ("button", "interactive.type", "buttons", KINDS),
    ("button", "interactive.body", GONE, "is missing"),
    ("button", "interactive.body.text", "x" * 1025, "must have at most 1024 characters"),
    ("button", "interactive.header.type", "txt", "must be one of text, image, video, document"),
    ("button", "interactive.header.type", GONE, "is missing"),
    ("button", "interactive.header.text", "x" * 61, "must have at most 60 characters"),
    ("button", "interactive.header", {"type": "image"}, "interactive.header.image is missing"),
    ("button", "interactive.footer.text", "x" * 61, "must have at most 60 characters"),
    ("button", "interactive.action", GONE, "is missing"),
    ("button", "interactive.action.buttons", [], "must not be empty"),
    ("button", "interactive.action.buttons", {}, "must be an array"),
    (
        "button",
        "interactive.action.buttons",
        [reply()] * 4,
        "interactive.action.buttons[3] is one too many: at most 3 buttons",
    ),
    ("button", "interactive.action.buttons.1.type", "replay", "must be reply"),
    ("button", "interactive.action.buttons.1.reply.title", "x" * 21, "must have at most 20 characters"),
    ("button", "interactive.action.buttons.1.reply.title", "", "must not be empty"),
    ("button", "interactive.action.buttons.2.reply.id", "x" * 257, "must have at most 256 characters"),
    ("list", "interactive.body.text", "x" * 4097, "must have at most 4096 characters"),
    ("list", "interactive.header", {"type": "image", "image": IMAGE}, "interactive.header.type must be text"),
    ("list", "interactive.action.button", "x" * 21, "must have at most 20 characters"),
    ("list", "interactive.action.sections", [], "must not be empty"),
    (
        "list",
        "interactive.action.sections",
        [{"title": "A", "rows": rows(1)}] * 11,
        "interactive.action.sections[10] is one too many: at most 10 sections",
    ),
    (
        "list",
        "interactive.action.sections.1.title",
        GONE,
        "is missing: with more than one section, each needs one",
    ),
    ("list", "interactive.action.sections.0.title", "x" * 25, "must have at most 24 characters"),
    ("list", "interactive.action.sections.0.rows", [], "must not be empty"),
    (
        "list",
        "interactive.action.sections.0.rows",
        rows(6),
        "interactive.action.sections[1].rows[4] is one too many: at most 10 rows in all",
    ),
    ("list", "interactive.action.sections.1.rows.0.id", "x" * 201, "must have at most 200 characters"),
    ("list", "interactive.action.sections.1.rows.0.title", "x" * 25, "must have at most 24 characters"),
    ("list", "interactive.action.sections.1.rows.0.description", "x" * 73, "must have at most 72 characters"),
    (
        "list of one section",
        "interactive.action.sections.0.rows",
        rows(11),
        "interactive.action.sections[0].rows[10] is one too many: at most 10 rows in all",
    ),
    ("cta_url", "interactive.action.name", "cta", "must be cta_url"),
    ("cta_url", "interactive.action.parameters.display_text", "x" * 21, "must have at most 20 characters"),
    ("cta_url", "interactive.action.parameters.url", GONE, "is missing"),
    ("cta_url", "interactive.header.document.id", GONE, "interactive.header.document.id or link is missing"),
    ("flow", "interactive.action.name", GONE, "is missing"),
    (
        "flow",
        "interactive.action.parameters.flow_id",
        GONE,
        "interactive.action.parameters.flow_id or flow_name is missing",
    ),
    ("flow", "interactive.action.parameters.flow_cta", GONE, "is missing"),
    ("flow", "interactive.action.parameters.flow_message_version", 3, "must be text"),
    ("flow", "interactive.action.parameters.flow_action", "open", "must be navigate or data_exchange"),
    ("flow", "interactive.action.parameters.mode", "test", "must be draft or published"),
    ("flow", "interactive.action.parameters.flow_action_payload.data", [], "must be an object"),
    ("location_request_message", "interactive.action.name", "location", "must be send_location"),
    ("location_request_message", "interactive.body", GONE, "is missing"),
    ("address_message", "interactive.action.parameters.country", GONE, "is missing"),
    ("address_message", "interactive.action.name", "address", "must be address_message"),
    ("product", "interactive.action.product_retailer_id", GONE, "is missing"),
    ("product", "interactive.action.catalog_id", 93, "must be text"),
    ("product_list", "interactive.header", GONE, "is missing"),
    ("product_list", "interactive.header.type", "image", "must be text"),
    (
        "product_list",
        "interactive.action.sections.0.title",
        "",
        "is missing: with more than one section, each needs one",
    ),
    (
        "product_list",
        "interactive.action.sections.0.product_items",
        products(16),
        "interactive.action.sections[1].product_items[14] is one too many: at most 30 products in all",
    ),
    ("product_list", "interactive.action.sections.1.product_items.0.product_retailer_id", GONE, "is missing"),
    ("product_list of one product", "interactive.action.sections", [], "must not be empty"),
    ("product_list of one product", "interactive.action.sections.0.product_items", [], "must not be empty"),
    ("catalog_message", "interactive.action.name", "catalog", "must be catalog_message"),
    ("catalog_message", "interactive.action.parameters.thumbnail_product_retailer_id", 7, "must be text"),
    ("carousel", "interactive.body", GONE, "is missing"),
    ("carousel", "interactive.action.cards", [card(0)], "must have at least 2 cards"),
    (
        "carousel",
        "interactive.action.cards",
        [card(index % 10) for index in range(11)],
        "interactive.action.cards[10] is one too many: at most 10 cards",
    ),
    ("carousel", "interactive.action.cards.1.card_index", GONE, "is missing"),
    ("carousel", "interactive.action.cards.1.card_index", "1", "must be a whole number"),
    ("carousel", "interactive.action.cards.0.type", "button", "must be cta_url or product"),
    ("carousel", "interactive.action.cards.0.header", GONE, "is missing"),
    ("carousel", "interactive.action.cards.0.header.type", "text", "must be one of image, video"),
    ("carousel", "interactive.action.cards.0.header.image.link", "https://127.0.0.1/1.jpg", PUBLIC_URL),
    ("carousel", "interactive.action.cards.1.body.text", "x" * 161, "must have at most 160 characters"),
    ("carousel", "interactive.action.cards.1.action.parameters", GONE, "is missing"),
    (
        "carousel of replies",
        "interactive.action.cards.0.action.buttons.0.quick_reply.title",
        "x" * 21,
        "must have at most 20 characters",
    ),
    ("carousel of products", "interactive.action.cards.9.action.catalog_id", GONE, "is missing"),
    ("call_permission_request", "interactive.action", GONE, "is missing"),
    ("request_contact_info", "interactive.action", [], "must be an object"),
    ("template", "template.name", GONE, "is missing"),
    ("template", "template.name", "x" * 513, "must have at most 512 characters"),
    ("template", "template.language", GONE, "is missing"),
    ("template", "template.language", "en_US", "must be an object"),
    ("template", "template.language.code", "", "must not be empty"),
    ("template", "template.components", {}, "must be an array"),
    (
        "template with components",
        "template.components.0.type",
        "haeder",
        "must be one of header, body, button, carousel, limited_time_offer, order_status, tap_target_configuration",
    ),
    ("template with components", "template.components.0.parameters.0.image", GONE, "is missing"),
    (
        "template with components",
        "template.components.0.parameters.0.image",
        {"link": "https://[::1]/"},
        "template.components[0].parameters[0].image.link " + PUBLIC_URL,
    ),
    ("template with components", "template.components.1.parameters.0.text", 7, "must be text"),
    ("template with components", "template.components.1.parameters.0.text", "", "must not be empty"),
    ("template with components", "template.components.1.parameters.0.parameter_name", "", "must not be empty"),
    (
        "template with components",
        "template.components.1.parameters.1.currency.amount_1000",
        "1000",
        "must be a whole number",
    ),
    ("template with components", "template.components.1.parameters.2.date_time", {}, ".fallback_value is missing"),
    ("template with components", "template.components.2.index", GONE, "is missing"),
    ("template with components", "template.components.2.index", "10", "must be 0 to 9, as a number or as text"),
    ("template with components", "template.components.2.sub_type", GONE, "is missing"),
    (
        "template with components",
        "template.components.2.sub_type",
        "reply",
        "must be one of quick_reply, url, copy_code, flow, catalog, mpm, spm, voice_call, order_details, app",
    ),
    ("template with components", "template.components.2.parameters.0.payload", GONE, "is missing"),
    ("template with components", "template.components.4.parameters.0.coupon_code", 5, "must be text"),
    ("template with components", "template.components.5.parameters.0.action", "t", "must be an object"),
    ("template with cards", "template.components.1.cards", [], "must have at least 2 cards"),
    ("template with cards", "template.components.1.cards.1.card_index", 10, "must be less than or equal to 9"),
    (
        "template with cards",
        "template.components.1.cards.1.components.0.type",
        "carousel",
        "must be one of header, body, button",
    ),
]


def changed(message, path, value):
    """A message with one field set or taken away; `path` is written with dots."""
    message = copy.deepcopy(message)
    *way, last = [int(part) if part.isdecimal() else part for part in path.split(".")]
    node = message
    for part in way:
        node = node[part]
    if value is GONE:
        del node[last]
    else:
        node[last] = value
    return message


def written(path):
    """A path as a sentence writes it."""
    parts = [f"[{part}]" if part.isdecimal() else f".{part}" for part in path.split(".")]
    return "".join(parts).removeprefix(".")


def sentence(path, says):
    """What a refusal says, with its path where the row leaves it out."""
    if says.startswith("."):
        return f"{written(path)}{says}."
    named = says.startswith(path.split(".")[0])
    return f"{says}." if named else f"{written(path)} {says}."


CASES = [(changed(GOOD[kind], path, value), sentence(path, says)) for kind, path, value, says in BROKEN]
NAMES = [f"{kind}: {path}" for kind, path, _, _ in BROKEN]
