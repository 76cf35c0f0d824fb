"""A history sync: months of chats in chunks and phases, late media, or a refusal (Meta contract 5.6)."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from services.sandbox import contents, people, wire
from services.sandbox.config import Number
from services.sandbox.meta import Meta
from services.sandbox.traffic import FIRST_PHONE
from services.sandbox.wire import Json, Ref, Update
from services.sandbox.world import Customer

DAY_S = 86_400
PHASE_DAYS = {0: (0, 1), 1: (1, 90), 2: (90, 180)}
STATUSES = ("READ", "DELIVERED", "SENT", "PLAYED")
MEDIA_DAYS_MAX = 14  # media older than this is not brought along
DECLINED: Json = {
    "code": 2593109,
    "title": "History sharing is turned off by the business",
    "message": "History sharing is turned off by the business",
    "error_data": {"details": "History sharing is turned off by the business."},
}


class HistoryPlan(msgspec.Struct, forbid_unknown_fields=True):
    """What a sync brings. `overlap` repeats the number's live messages; `shuffled` chunks overtake."""

    number: str
    messages: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 100
    contacts: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 5
    phases: list[Annotated[int, msgspec.Meta(ge=0, le=2)]] = msgspec.field(default_factory=lambda: [0, 1, 2])
    per_chunk: Annotated[int, msgspec.Meta(ge=1, le=5000)] = 50
    media_p: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.05
    overlap: bool = False
    shuffled: bool = True
    declined: bool = False


def import_history(meta: Meta, plan: HistoryPlan) -> list[str]:
    """Queue every chunk of a sync and the media that follow; return the keys of the chunks."""
    number = meta.world.number(plan.number)
    updates = [declined(number, meta.world.wamid())] if plan.declined else build(meta, number, plan)
    if plan.shuffled:
        updates.sort(key=lambda update: meta.dice.roll("history_order", update.refs[0].key))
    for update in updates:
        meta.delivery.push(update)
    return [update.refs[0].key for update in updates]


def build(meta: Meta, number: Number, plan: HistoryPlan) -> list[Update]:
    """Return the updates of a sync in their proper order."""
    serial = meta.world.wamid()[-20:]
    chunks: list[tuple[int, list[Json]]] = []
    late: list[Update] = []
    per_phase = -(-plan.messages // max(len(plan.phases), 1))
    for place, phase in enumerate(sorted(plan.phases)):
        count = min(per_phase, plan.messages - place * per_phase)
        lines = [_line(meta, number, plan, phase, n, late=late) for n in range(max(count, 0))]
        chunks += [(phase, lines[at : at + plan.per_chunk]) for at in range(0, len(lines), plan.per_chunk)]
    if plan.overlap:
        chunks.insert(0, (0, _live(meta, number)))
    orders: dict[int, int] = {}
    updates = []
    for place, (phase, lines) in enumerate(chunks, start=1):
        orders[phase] = orders.get(phase, 0) + 1
        head = {"phase": phase, "chunk_order": orders[phase], "progress": 100 * place // len(chunks)}
        updates.append(chunk(meta, number, head, lines, serial))
    return updates + late


def chunk(meta: Meta, number: Number, head: Json, lines: list[Json], serial: str) -> Update:
    """Return one chunk; each line is `{"contact": wa_id, "message": {...}}`."""
    pnid = number.phone_number_id
    key = f"history:{pnid}:{serial}:{head['phase']}:{head['chunk_order']}"
    threads: dict[str, list[Json]] = {}
    refs = [Ref(key, "history", pnid, "", "")]
    for line in lines:
        wamid = line["message"]["id"]
        threads.setdefault(line["contact"], []).append(line["message"])
        refs.append(Ref(f"history_message:{wamid}", "history_message", pnid, line["contact"], wamid))
    listed = [_thread(meta.world.customer(contact), messages) for contact, messages in threads.items()]
    value = _value(number) | {"history": [{"metadata": head, "threads": listed}]}
    return Update(tuple(refs), number.waba, "history", None, None, value)


def declined(number: Number, serial: str) -> Update:
    """Return the answer of a business that shares no history."""
    value = _value(number) | {"history": [{"errors": [DECLINED]}]}
    return wire.whole("history", f"{number.phone_number_id}:{serial}:declined", number, "history", value)


def _value(number: Number) -> Json:
    return {"messaging_product": "whatsapp", "metadata": wire.metadata(number)}


def _thread(customer: Customer, messages: list[Json]) -> Json:
    context = {"wa_id": customer.wa_id, "user_id": customer.user_id}
    return {"id": customer.wa_id, "context": context, "messages": messages}


def _line(meta: Meta, number: Number, plan: HistoryPlan, phase: int, n: int, *, late: list[Update]) -> Json:
    dice, wamid = meta.dice, meta.world.wamid()
    customer = meta.world.customer(str(FIRST_PHONE + int(dice.roll("history_person", wamid) * plan.contacts)))
    young, old = PHASE_DAYS[phase]
    age_s = (young + (old - young) * (n + 1) / (plan.messages + 1)) * DAY_S
    from_app = dice.roll("history_side", wamid) < 0.5
    lines = people.APP_LINES if from_app else people.CUSTOMER_LINES
    text = dice.pick(lines[customer.language], "history_line", wamid)
    message = _who(number, customer, from_app=from_app)
    message |= {"id": wamid, "timestamp": str(int(meta.clock() - age_s))}
    if dice.hits(plan.media_p, "history_media", wamid):
        if age_s < MEDIA_DAYS_MAX * DAY_S:
            late.append(_late_media(meta, number, customer, dict(message), from_app=from_app))
        message |= {"type": "media_placeholder"}
    else:
        message |= {"type": "text", "text": {"body": text}}
    message["history_context"] = {"status": dice.pick(STATUSES, "history_status", wamid)}
    return {"contact": customer.wa_id, "message": message}


def _who(number: Number, customer: Customer, *, from_app: bool) -> Json:
    if from_app:
        return {"from": number.display, "to": customer.wa_id}
    return {"from": customer.wa_id, "from_user_id": customer.user_id}


def _late_media(meta: Meta, number: Number, customer: Customer, message: Json, *, from_app: bool) -> Update:
    media = contents.media_object("image", contents.media_id("image", meta.dice, "late", message["id"]), None)
    array = "message_echoes" if from_app else "messages"
    value: dict[str, Any] = _value(number) | {"contacts": [wire.contact_card(customer)]}
    value[array] = [message | {"type": "image", "image": media}]
    wamid = message["id"]
    ref = Ref(f"history_media:{wamid}", "history_media", number.phone_number_id, customer.wa_id, wamid)
    return Update((ref,), number.waba, "history", None, None, value)


def _live(meta: Meta, number: Number) -> list[Json]:
    lines = []
    for (pnid, contact), chat in meta.world.chats.items():
        customer = meta.world.customer(contact)
        for message in chat.messages if pnid == number.phone_number_id else ():
            if message.revoked or message.kind != "text":
                continue
            line = _who(number, customer, from_app=message.side != "customer")
            line |= {
                "id": message.wamid,
                "timestamp": str(message.at_s),
                "type": "text",
                "text": message.content,
            }
            lines.append({"contact": contact, "message": line | {"history_context": {"status": "READ"}}})
    return lines
