"""Who said what about being written to: customers, operators, and Meta where it refuses a message for their sake."""

import unicodedata
from typing import Any

import orjson
from msgspec import UNSET

from echo_sync.contacts import contact_data
from echo_sync.identity import Person, find, survivor
from echo_sync.lifecycle import OURS, raw_object
from echo_sync.message import raw_bytes
from echo_sync.reach import Wish, heard, wished
from echo_sync.turn import Turn
from schemas.instants import rfc3339
from schemas.items import Contact, Item
from schemas.states import ALL, BLOCKED, CAPPED, MARKETING, OPT_IN, STOP, Number, Reach, number_key, reach_key
from schemas.topics import ACCOUNT

SUPPRESSED, UNSUPPRESSED, OPTED_IN = "SUPPRESSED", "UNSUPPRESSED", "OPTED_IN"
"""An operator's words; the item's raw object names the `scope`."""
SCOPES = (ALL, MARKETING)
PREFERENCES = {"stop": STOP, "resume": OPT_IN, "signup": OPT_IN}
CAP_S = 24 * 3600.0
"""Meta's limit on marketing to one person (131049) holds for a day at least (Meta contract 7.3)."""

_REFUSALS = {
    131050: (MARKETING, 0.0, "meta_refusal"),
    131049: (CAPPED, CAP_S, "meta_refusal"),
    130403: (BLOCKED, 0.0, "meta_refusal"),
}


def words(text: str) -> str:
    """A text as opt-out words are compared: without case, marks around it and runs of spaces."""
    plain = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return plain.strip("".join(sign for sign in plain if not sign.isalnum()))


def on_words(turn: Turn, item: Item) -> bool:
    """What an account item says of a person's wishes; False where it says nothing of them."""
    wish = _wish_of(item)
    if wish is None or not (item.contact.wa_id or item.contact.user_id):
        return False
    fallback = turn.event.id if turn.event is not None else ""
    _hear(turn, turn.person(item, fallback), (wish,), item.at, tells=item.field == OURS)
    return True


def _wish_of(item: Item) -> Wish | None:
    if item.field == "user_preferences":
        value = PREFERENCES.get(item.event)
        return Wish(MARKETING, value, why="user_preferences") if value is not None else None
    if item.field != OURS or item.event not in (SUPPRESSED, UNSUPPRESSED, OPTED_IN):
        return None
    scope = raw_object(item).get("scope", MARKETING)
    value = {SUPPRESSED: STOP, UNSUPPRESSED: "", OPTED_IN: OPT_IN}[item.event]
    return Wish(scope if scope in SCOPES else MARKETING, value, why="operator")


def on_heard(turn: Turn, item: Item, person: Person) -> None:
    """A live message of a customer: it opens the window, ends a block, and may ask us to stop, or to begin."""
    before = _reach(turn, item.number, person.conversation_id)
    after = heard(before, item.at)
    if after is not before:
        turn.put(reach_key(person.conversation_id), after)
    blocked = after.wishes.get(BLOCKED)
    wishes = [Wish(BLOCKED, "", why="wrote")] if blocked is not None and blocked.value else []
    said = _said(turn, item)
    if said:
        wishes.append(Wish(MARKETING, said, why="words"))
    if wishes:
        _hear(turn, person, tuple(wishes), item.at)


def _said(turn: Turn, item: Item) -> str:
    """Whether the message as a whole is one of the words that the installation listens to."""
    rules = turn.rules
    if not (rules.opt_out_words or rules.opt_in_words) or item.content is UNSET:
        return ""
    text = words(_text(item.kind, orjson.loads(raw_bytes(item.content))))
    return STOP if text in rules.opt_out_words else OPT_IN if text in rules.opt_in_words else ""


def _text(kind: str, content: Any) -> str:
    """What a person wrote, or what stood on the button that they pressed."""
    if not isinstance(content, dict):
        return ""
    if kind == "interactive":
        content = content.get("button_reply")
    found = content.get({"text": "body", "button": "text", "interactive": "title"}.get(kind, "")) if content else ""
    return found if isinstance(found, str) else ""


def on_refusal(turn: Turn, item: Item, code: int, conversation: str = "") -> None:
    """Meta refused a message, at once or by a status, because of whom it was for."""
    if code not in _REFUSALS:
        return
    person = find(turn, item.number, item.contact) or survivor(turn, item.number, conversation)
    if person is None:
        return
    scope, for_s, why = _REFUSALS[code]
    _hear(turn, person, (Wish(scope, STOP, item.at + for_s if for_s else 0, why),), item.at)


def _reach(turn: Turn, number: str, conversation: str) -> Reach:
    found: Reach | None = turn.get(reach_key(conversation))
    return found if found is not None else Reach(number=number, conversation=conversation)


def _hear(turn: Turn, person: Person, wishes: tuple[Wish, ...], at: float, *, tells: bool = True) -> None:
    before = _reach(turn, person.number, person.conversation_id)
    after = wished(before, wishes, at)
    if after is before:
        return
    turn.put(reach_key(person.conversation_id), after)
    if tells:
        changed = [wish for wish in wishes if before.wishes.get(wish.scope) != after.wishes.get(wish.scope)]
        for wish in changed:
            _tell(turn, person, wish, at)


def _tell(turn: Turn, person: Person, wish: Wish, at: float) -> None:
    number: Number | None = turn.get(number_key(person.number))
    contact = Contact(wa_id=person.wa_id, user_id=person.user_id, username=person.username, name=person.name)
    data: dict[str, Any] = {
        "waba": number.waba if number is not None else "",
        "number": person.number,
        "field": OURS,
        "event": wish.value or "resume",
        "category": wish.scope,
        "because": wish.why,
        "conversation_id": person.conversation_id,
        "contact": contact_data(contact),
        "details": {},
        "at": rfc3339(at),
    }
    if wish.until:
        data["until"] = rfc3339(wish.until)
    suffix = f"wish:{wish.scope}:{wish.value}:{at}"
    turn.emit(ACCOUNT, "preference.changed", person.number, person.conversation_id, suffix, data)
