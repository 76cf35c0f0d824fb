"""What the tests of permission share: words of Meta, of people and of operators, as the sender hears them."""

import orjson
from msgspec import Raw

from schemas.items import Item
from schemas.states import MARKETING
from tests import harness as h
from tests.harness import BUSINESS, NUMBER, T0, WABA
from tests.simulation.line import LAIA, Line

HOUR = 3600.0
DAY = 24 * HOUR
POL = h.phone("34600333444")


def template(name="order_update", language="en_US"):
    return {"type": "template", "template": {"name": name, "language": {"code": language}}}


def heard(line, contact=LAIA, wamid="wamid.in", says="hola", **more):
    line.hear(h.message(wamid, contact, line.now, says=says, **more))


def about_template(line, event="PAUSED", *, name="order_update", category="UTILITY", field="", number=WABA, **value):
    """Meta's word on a template; it lands on the account's shard."""
    told = {
        "event": event,
        "message_template_name": name,
        "message_template_language": "en-US",
        "message_template_category": category,
        **value,
    }
    field = field or "message_template_status_update"
    item = Item(number=number, waba=WABA, field=field, event=event, at=line.now, raw=Raw(orjson.dumps(told)))
    line.hear(h.event("webhook.account", f"a:{field}:{event}:{name}:{line.now}", item))
    line.later(1)


def wish(line, event, contact=LAIA, scope=MARKETING, at=None):
    """An operator's word."""
    raw = Raw(orjson.dumps({"scope": scope}))
    item = Item(number=NUMBER, field="coexist", event=event, contact=contact, at=at or line.now, raw=raw)
    line.hear(h.event("webhook.account", f"admin:{event}:{scope}:{at or line.now}", item))


def prefers(line, value, contact=LAIA):
    """What a person chose in WhatsApp."""
    raw = Raw(orjson.dumps({"category": "marketing_messages", "value": value}))
    item = Item(number=NUMBER, waba=WABA, field="user_preferences", event=value, contact=contact, at=line.now, raw=raw)
    line.hear(h.event("webhook.account", f"a:pref:{value}:{line.now}", item))


def sent(line):
    return [command for _, command, _ in line.sent]


def known():
    """A line whose account is known, so that words on templates reach the number."""
    found = Line(auto=True)
    item = Item(number=NUMBER, waba=WABA, business_phone=BUSINESS, field="coexist", event="REGISTERED", at=T0 - 5)
    found.hear(h.event("webhook.account", "a:registered", item))
    return found


def campaign(line, command_id, contact=LAIA, **more):
    line.ask(command_id, contact.wa_id or contact.user_id, origin="campaign", says=template("sale"), **more)
