"""Events of a whole WhatsApp Business Account, which name no number: its shard hands them to each of its numbers.

Numbers lie on shards of their own. So the shard of a number tells the account's shard once that there is this number,
and the account's shard re-emits what concerns its numbers to `inbound`, one event per number, under an id that
follows from the event and the number. It keeps the newest of those events, and all templates, for numbers that it
learns of later.
"""

import copy
from hashlib import blake2b

from echo_sync import templates
from echo_sync.account import account_facts
from echo_sync.imports import is_declined
from echo_sync.lifecycle import OURS, words
from echo_sync.turn import Turn
from schemas import items
from schemas.items import Item
from schemas.phones import match_key
from schemas.ports import Event, State
from schemas.states import Number
from schemas.topics import INBOUND

NUMBER_MET = "NUMBER_MET"
NUMBER_FIELDS = frozenset(
    {
        "business_capability_update",
        "business_username_update",
        "business_username_updates",
        "phone_number_name_update",
        "phone_number_quality_update",
        "security",
    }
)
"""Fields that are about the one number whose phone stands in them, or about all (Meta contract 9.3)."""
NUMBERS_MAX = 10_000
TEMPLATES_MAX = 10_000
"""Meta allows an account 6,000 (Meta contract 8.3, 2388019)."""


class Waba(State):
    """An account: its numbers with their phones, and by respect or field, and phone, the newest event about them.

    `unmet`: numbers that still have to be told of the templates; they are once what was decided before is committed.
    """

    waba: str = ""
    numbers: dict[str, str] = {}
    kept: dict[str, tuple[float, str, bytes]] = {}
    unmet: list[str] = []


def waba_key(waba: str) -> str:
    """Where an account is kept."""
    return f"w/{waba}"


def is_of_waba(event: Event, item: Item) -> bool:
    """Whether an event lies on an account's shard instead of a number's."""
    return bool(item.waba) and event.number == item.waba


def introduce(turn: Turn, number: Number, item: Item) -> None:
    """Let the account's shard know of a number."""
    told = Item(
        number=number.number,
        waba=number.waba,
        business_phone=number.business_phone,
        field=OURS,
        event=NUMBER_MET,
        at=item.at,
        received_at=item.received_at,
    )
    phone = blake2b(number.business_phone.encode(), digest_size=8).hexdigest()
    _hand(turn, f"met:{number.number}:{phone}", number.waba, told)


def on_waba(turn: Turn, item: Item) -> None:
    """An event on an account's shard: a number to be learnt, something for its numbers, or a fact of its own."""
    if item.field == OURS and item.event == NUMBER_MET:
        _learn(turn, item)
        return
    if not turn.is_first():
        return
    if templates.is_of_template(item):
        _on_templates(turn, item)
        return
    if not _concerns_numbers(item):
        turn.tell_account(item.waba, account_facts(item))
        return
    assert turn.event is not None  # noqa: S101 - handlers of events have one
    known = _known(turn, item.waba)
    _keep(turn, known, item, turn.event.id)
    meant = _meant(known, item)
    for number in meant:
        _pass_on(turn, number, item, turn.event.id)
    if not meant:
        turn.tell_account(item.waba, account_facts(item))


def _on_templates(turn: Turn, item: Item) -> None:
    """Keep what is said of templates, hand it to the account's numbers, and tell it once if it is Meta's word."""
    assert turn.event is not None  # noqa: S101 - handlers of events have one
    for said in templates.told(item):
        templates.keep(turn, item.waba, said)
    for number in sorted(_known(turn, item.waba).numbers):
        _pass_on(turn, number, item, turn.event.id)
    if item.field != OURS:
        turn.tell_account(item.waba, account_facts(item))


def hand_over(turn: Turn, known: Waba) -> None:
    """Tell the numbers that were learnt of last what is known of the account's templates."""
    found = copy.copy(known)
    found.unmet, found.wake_at = [], None
    turn.put(waba_key(known.waba), found)
    kept = [state for _, state in turn.heads(templates.templates_line(known.waba), 0.0, TEMPLATES_MAX)]
    for raw in templates.pieces(kept):
        mark = blake2b(bytes(raw), digest_size=8).hexdigest()
        for number in known.unmet:
            said = Item(number=number, waba=known.waba, field=OURS, event=templates.TEMPLATES, at=turn.now, raw=raw)
            _hand(turn, f"templates:{mark}>{number}", number, said)


def _known(turn: Turn, waba: str) -> Waba:
    found: Waba | None = turn.get(waba_key(waba))
    return found if found is not None else Waba(waba=waba)


def _learn(turn: Turn, item: Item) -> None:
    known = _known(turn, item.waba)
    phone = known.numbers.get(item.number)
    if phone == item.business_phone or (phone is None and len(known.numbers) >= NUMBERS_MAX):
        return
    found = copy.copy(known)
    found.numbers = {**known.numbers, item.number: item.business_phone}
    if phone is None:
        found.unmet, found.wake_at = [*known.unmet, item.number], turn.now
    turn.put(waba_key(item.waba), found)
    for _, event_id, body in known.kept.values():
        old = items.read(body)
        if item.number in _meant(found, old):
            _pass_on(turn, item.number, old, event_id)


def _concerns_numbers(item: Item) -> bool:
    return bool(words(item)) or item.field in NUMBER_FIELDS or is_declined(item)


def _keep(turn: Turn, known: Waba, item: Item, event_id: str) -> None:
    """Remember the newest event of each respect: a number may be learnt of after it."""
    said = words(item)
    place = f"{said[0].respect if said else item.field}:{item.business_phone}"
    body = items.encode(item)
    if (item.at, event_id) > known.kept.get(place, (0.0, "", b""))[:2]:
        found = copy.copy(known)
        found.kept = {**known.kept, place: (item.at, event_id, body)}
        turn.put(waba_key(item.waba), found)


def _meant(known: Waba, item: Item) -> list[str]:
    """The numbers an event is about: the one whose phone it names, or, where it names none, all of them."""
    if not item.business_phone:
        return sorted(known.numbers)
    phone = match_key(item.business_phone)
    named = [number for number, own in known.numbers.items() if own and match_key(own) == phone]
    return named or sorted(number for number, own in known.numbers.items() if not own)


def _pass_on(turn: Turn, number: str, item: Item, event_id: str) -> None:
    passed = copy.copy(item)
    passed.number = number
    passed.field = passed.field or "history"
    _hand(turn, f"{event_id}>{number}", number, passed)


def _hand(turn: Turn, event_id: str, shard: str, item: Item) -> None:
    cause, recorded_at = (turn.event.id, turn.event.recorded_at) if turn.event else ("", turn.now)
    body = items.encode(item)
    event = Event(event_id, "webhook.account", shard, body, item.at, recorded_at, item.number, cause=cause)
    turn.decision.emit.append((INBOUND, event))
