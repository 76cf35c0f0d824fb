"""One update of every kind by name, for `coexist trigger`, the control API and tests."""

from __future__ import annotations

import difflib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from services.sandbox import contents, history, wire
from services.sandbox.config import Number, SandboxConfig
from services.sandbox.faults import calm
from services.sandbox.meta import UNDELIVERABLE, Meta
from services.sandbox.wire import Change, Json, Update
from services.sandbox.world import Customer, Message, digits

DEFAULT_CONTACT = "34600111222"


@dataclass(frozen=True, slots=True)
class Ask:
    """What a trigger should be about; everything left out is made up.

    `number` is a phone number id, `target` the wamid that an edit, revoke, status or reaction refers to.
    """

    number: str | None = None
    contact: str | None = None
    text: str | None = None
    target: str | None = None


@dataclass(frozen=True, slots=True)
class _Scene:
    meta: Meta
    number: Number
    customer: Customer
    wamid: str
    target: str
    at_s: int
    text: str | None

    def message(self, kind: str, text: str, *, ours: bool = False) -> Message:
        content = contents.content(kind, self.text or text, self.meta.dice, self.wamid, self.target)
        return Message(
            wamid=self.target if ours else self.wamid,
            number=self.number.phone_number_id,
            contact=self.customer.wa_id,
            side="api" if ours else "customer",
            kind=kind,
            content=content,
            at_s=self.at_s,
        )

    def change(self, text: str) -> Change:
        return Change(self.wamid, self.target, self.at_s, "text", {"body": self.text or text})


Build = Callable[[_Scene], Update]


def _inbound(kind: str, text: str = "") -> Build:
    def build(scene: _Scene) -> Update:
        extra = {"errors": [contents.UNSUPPORTED]} if kind == "unsupported" else None
        return wire.inbound(scene.number, scene.customer, scene.message(kind, text), extra)

    return build


def _echo(kind: str, text: str) -> Build:
    return lambda scene: wire.echo(scene.number, scene.customer, scene.message(kind, text))


def _status(name: str) -> Build:
    def build(scene: _Scene) -> Update:
        errors = (UNDELIVERABLE,) if name == "failed" else ()
        message = scene.message("text", "…", ours=True)
        return wire.status(scene.number, scene.customer, message, name, at_s=scene.at_s, errors=errors)

    return build


def _edit(text: str, *, by_app: bool) -> Build:
    return lambda scene: wire.edit(scene.number, scene.customer, scene.change(text), by_app=by_app)


def _revoke(*, by_app: bool) -> Build:
    return lambda scene: wire.revoke(scene.number, scene.customer, scene.change(""), by_app=by_app)


def _contact(action: str) -> Build:
    return lambda scene: wire.app_contact(scene.number, scene.customer, action, scene.at_s)


def _whole(field: str, value: Callable[[_Scene], Json], kind: str = "account") -> Build:
    def build(scene: _Scene) -> Update:
        return wire.whole(kind, f"{field}:{scene.wamid}", scene.number, field, value(scene), time_s=scene.at_s)

    return build


def _removed(scene: _Scene) -> Json:
    waba = {"waba_id": scene.number.waba, "owner_business_id": "940000000000001"}
    why = {"reason": "ACCOUNT_DISCONNECTED", "initiated_by": "USER"}
    phone = scene.number.display
    return {"event": "PARTNER_REMOVED", "phone_number": phone, "waba_info": waba, "disconnection_info": why}


def _template(scene: _Scene) -> Json:
    return {
        "event": "PAUSED", "message_template_id": 970000000000001, "message_template_name": "order_update",
        "message_template_language": "en-US", "reason": "NONE", "message_template_category": "UTILITY",
        "other_info": {"title": "FIRST_PAUSE", "description": scene.text or "Paused for three hours."},
    }  # fmt: skip


def _quality(scene: _Scene) -> Json:
    limit = {"max_daily_conversations_per_business": "TIER_2K"}
    return {"display_phone_number": scene.number.display, "event": "ONBOARDING", **limit}


def _with_number(scene: _Scene, **more: Any) -> Json:
    return {"messaging_product": "whatsapp", "metadata": wire.metadata(scene.number), **more}


def _preference(scene: _Scene) -> Json:
    who = {"wa_id": scene.customer.wa_id, "user_id": scene.customer.user_id}
    what = {
        "detail": scene.text or "User stopped marketing.",
        "category": "marketing_messages",
        "value": "stop",
    }
    wish = {**who, **what, "timestamp": scene.at_s}
    return _with_number(scene, contacts=[wire.contact_card(scene.customer)], user_preferences=[wish])


def _unknown(scene: _Scene) -> Json:
    return _with_number(scene, tomorrow=[{"id": scene.wamid, "text": scene.text or "nobody knows this yet"}])


def _system(kind: str) -> Build:
    """Return the builder of a changed phone or user id, without contact card (Meta contract 3.13)."""

    def build(scene: _Scene) -> Update:
        new = scene.meta.world.customer(digits(scene.text or "34600111333"))
        system = {"type": kind, "body": "changed", "user_id": new.user_id}
        system["previous_user_id"] = scene.customer.user_id
        item: Json = {"id": scene.wamid, "timestamp": str(scene.at_s), "type": "system", "system": system}
        if kind == "user_changed_number":
            item["from"], system["wa_id"] = scene.customer.wa_id, new.wa_id
        update = wire.inbound(scene.number, scene.customer, scene.message("text", ""))
        return replace(update, item=item, contact=None)

    return build


def _history(scene: _Scene) -> Update:
    plan = history.HistoryPlan(scene.number.phone_number_id, 3, 1, [0], media_p=0)
    return history.build(scene.meta, scene.number, plan)[0]


_BUILDERS: dict[str, Build] = {
    "message": _inbound("text", "Bon dia! Teniu la jaqueta en vermell?"),
    "image": _inbound("image", "Com aquesta 📷"),
    "video": _inbound("video"),
    "audio": _inbound("audio"),
    "document": _inbound("document"),
    "sticker": _inbound("sticker"),
    "location": _inbound("location"),
    "contacts": _inbound("contacts"),
    "reaction": _inbound("reaction", "👍"),
    "interactive": _inbound("interactive", "Sí"),
    "button": _inbound("button", "Sí"),
    "order": _inbound("order"),
    "unsupported": _inbound("unsupported"),
    "echo": _echo("text", "Sí! Te la guardo."),
    "echo_image": _echo("image", "Aquesta?"),
    "status": _status("delivered"),
    "sent": _status("sent"),
    "delivered": _status("delivered"),
    "read": _status("read"),
    "failed": _status("failed"),
    "edit": _edit("Bon dia! La teniu en blau?", by_app=False),
    "echo_edit": _edit("Sí! Te la guardo fins dissabte.", by_app=True),
    "revoke": _revoke(by_app=False),
    "echo_revoke": _revoke(by_app=True),
    "history": _history,
    "history_declined": lambda scene: history.declined(scene.number, scene.wamid),
    "contact": _contact("add"),
    "contact_removed": _contact("remove"),
    "offboard": _whole("account_update", lambda _: {"event": "ACCOUNT_OFFBOARDED"}),
    "reconnect": _whole("account_update", lambda _: {"event": "ACCOUNT_RECONNECTED"}),
    "removed": _whole("account_update", _removed),
    "template": _whole("message_template_status_update", _template),
    "quality": _whole("phone_number_quality_update", _quality),
    "preference": _whole("user_preferences", _preference),
    "number_changed": _system("user_changed_number"),
    "user_id_changed": _system("user_changed_user_id"),
    "unknown": _whole("field_of_tomorrow", _unknown, "unknown"),
}
TRIGGERS: tuple[str, ...] = tuple(_BUILDERS)


def updates_of(meta: Meta, name: str, ask: Ask) -> list[Update]:
    """Return the updates of a trigger in this world; raises ValueError for a name that does not exist."""
    if name not in _BUILDERS:
        near = difflib.get_close_matches(name, TRIGGERS, n=1)
        hint = f"Did you mean {near[0]}?" if near else f"One of: {', '.join(TRIGGERS)}."
        raise ValueError(f"{name} is not a trigger. {hint}")
    number = meta.world.number(ask.number) if ask.number else next(iter(meta.world.numbers.values()))
    customer = meta.world.customer(ask.contact or DEFAULT_CONTACT)
    wamid = meta.world.wamid()
    scene = _Scene(meta, number, customer, wamid, ask.target or meta.world.wamid(), int(meta.clock()), ask.text)
    return [_BUILDERS[name](scene)]


def trigger_body(
    name: str,
    number: str | Number | None = None,
    text: str | None = None,
    *,
    contact: str | None = None,
    target: str | None = None,
    seed: int | None = None,
    clock: Callable[[], float] = time.time,
) -> bytes:
    """Return one webhook body ready to be signed.

    `number` is a phone number id or a whole Number. Without a seed every call has new message ids; a customer
    is the same one in every call, and in the sandbox.
    Raises ValueError for a name that does not exist.
    """
    business = Number(phone_number_id=number) if isinstance(number, str) else number or Number()
    seed = secrets.randbits(63) if seed is None else seed
    meta = Meta(SandboxConfig(seed=seed, numbers=(business,), faults=calm()), clock)
    return wire.body(updates_of(meta, name, Ask(contact=contact, text=text, target=target)))
