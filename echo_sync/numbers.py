"""What happens to a number on its own shard: it is met, stands somewhere, imports its history, loses its token."""

import copy
import math

from echo_sync import consent, imports, lifecycle, limits, templates
from echo_sync.account import account_facts, preference_data
from echo_sync.imports import Import, import_key
from echo_sync.lifecycle import CONNECTED, LIFE, ONBOARDING, OURS, TOKEN, Word
from echo_sync.turn import Turn
from echo_sync.wabas import introduce, is_of_waba, on_waba
from schemas.instants import rfc3339
from schemas.items import Item
from schemas.states import Number, number_key
from schemas.topics import ACCOUNT

NOBODY = frozenset({"", "unknown"})
REGISTERED = "REGISTERED"
PHONE_SEEN_EVERY_S = 86_400.0


def meet(turn: Turn, item: Item) -> None:
    """The first signed item that names a number registers it; later ones tell what is still unknown of it."""
    assert turn.event is not None  # noqa: S101 - handlers of events have one
    number = item.number
    if number in NOBODY or is_of_waba(turn.event, item):
        return
    known: Number | None = turn.get(number_key(number))
    if known is not None:
        if (item.waba and not known.waba) or (item.business_phone and not known.business_phone):
            _complete(turn, known, item)
        return
    by_hand = item.field == OURS and item.event == REGISTERED
    if turn.rules.registration != "auto" and not by_hand:
        return
    state = Number(number=number, waba=item.waba, business_phone=item.business_phone, line="numbers", place=0)
    turn.put(number_key(number), state)
    data = {"number": number, "waba": item.waba, "registration": "listed" if by_hand else "auto"}
    turn.emit(ACCOUNT, "number.onboarded", number, number, "onboarded", data)
    if state.waba:
        introduce(turn, state, item)


def _complete(turn: Turn, known: Number, item: Item) -> None:
    found = copy.copy(known)
    found.waba, found.business_phone = known.waba or item.waba, known.business_phone or item.business_phone
    turn.put(number_key(found.number), found)
    if found.waba:
        introduce(turn, found, item)


def on_the_phone(turn: Turn, item: Item) -> None:
    """Somebody used the Business App: a phone that is not opened for two weeks is disconnected (Meta contract 5.8)."""
    known: Number | None = turn.get(number_key(item.number))
    if known is not None and item.at >= known.phone_at + PHONE_SEEN_EVERY_S:
        seen = copy.copy(known)
        seen.phone_at = item.at
        turn.put(number_key(item.number), seen)


def on_account(turn: Turn, item: Item) -> None:
    """A word on a number or its account, from Meta, from an operator, or handed on by the account's shard."""
    assert turn.event is not None  # noqa: S101 - handlers of events have one
    if is_of_waba(turn.event, item):
        on_waba(turn, item)
        return
    known: Number | None = turn.get(number_key(item.number))
    if known is not None and (limited := limits.heard(known, item)) is not known:
        turn.put(number_key(item.number), limited)
    if imports.is_asked(item):
        _put_import(turn, imports.asked(_import(turn, item.number), item))
    elif imports.is_declined(item):
        _on_declined(turn, item)
    elif said := lifecycle.words(item):
        hear(turn, item, said)
    elif not templates.on_number(turn, item) and not (consent.on_words(turn, item) and item.field == OURS):
        _tell(turn, item)


def _tell(turn: Turn, item: Item) -> None:
    """What changes no state of ours is told as it came, once."""
    if turn.is_first():
        facts = list(account_facts(item))
        for kind, _, data in facts:
            if kind == "preference.changed":
                data.update(preference_data(turn, item))
        turn.tell_account(item.number, facts)


def hear(turn: Turn, item: Item, said: tuple[Word, ...]) -> None:
    """Words on where a number stands; what they change is one fact."""
    before: Number | None = turn.get(number_key(item.number))
    if before is None:
        if turn.is_first():
            turn.tell_account(item.number, account_facts(item))
        return
    after = lifecycle.heard(before, said, item.at, turn.now)
    if after is before:
        turn.note("stale:account")
        return
    turn.put(number_key(item.number), after)
    turn.tell_account(item.number, lifecycle.facts(before, after, item, turn.now, turn.now))
    asked = lifecycle.confirmation(after, turn.now)
    if asked is not None and asked != lifecycle.confirmation(before, turn.now):
        turn.decision.calls.append(asked)


def on_answer(turn: Turn, item: Item) -> None:
    """An answer of Graph tells whether the number's token is still good (Meta contract 8.3)."""
    number: Number | None = turn.get(number_key(item.number))
    if number is None:
        return
    refused = item.outcome == "rejected" and item.reason == "pause_token"
    accepted = item.outcome == "accepted" and TOKEN in number.standings
    if not refused and not accepted:
        return
    after = lifecycle.heard(number, (Word(TOKEN, "token" if refused else ""),), item.at, turn.now)
    if after is not number:
        turn.put(number_key(item.number), after)
        plain = Item(at=item.at)
        turn.tell_account(item.number, lifecycle.facts(number, after, plain, turn.now, turn.now))


def wake(turn: Turn, number: Number) -> None:
    """A restriction or the time of onboarding is over, or it is time to ask Graph once more."""
    assert number.wake_at is not None  # noqa: S101 - it was due
    after = lifecycle.settled(copy.copy(number), turn.now)
    turn.put(number_key(number.number), after)
    just_before = math.nextafter(number.wake_at, 0)
    turn.tell_account(number.number, lifecycle.facts(number, after, None, turn.now, just_before))
    if (asked := lifecycle.confirmation(after, turn.now)) is not None:
        turn.decision.calls.append(asked)


# --- history imports


def _import(turn: Turn, number: str) -> Import:
    found: Import | None = turn.get(import_key(number))
    return found if found is not None else Import(number=number)


def _put_import(turn: Turn, state: Import) -> None:
    turn.put(import_key(state.number), state)


def on_chunk(turn: Turn, item: Item) -> None:
    """How far the import is, or why there is none."""
    item.field = "history"
    if imports.is_declined(item):
        on_account(turn, item)
        return
    if item.phase is None and item.progress is None:
        turn.note("unknown:chunk")
        return
    before = _import(turn, item.number)
    after = imports.chunk(before, item, turn.now)
    if after is before:
        turn.note("duplicate:redelivery")
        return
    _put_import(turn, after)
    suffix = f"history:{item.phase}:{item.chunk_order}:{item.progress}"
    data = imports.progress_data(after, item)
    turn.emit(ACCOUNT, "history.progress", item.number, item.number, suffix, data)
    if imports.is_complete(after):
        _onboarded(turn, item)


def _on_declined(turn: Turn, item: Item) -> None:
    before = _import(turn, item.number)
    after = imports.declined(before, item)
    if after is not before:
        _put_import(turn, after)
        turn.tell_account(item.number, account_facts(item))
        _onboarded(turn, item)


def _onboarded(turn: Turn, item: Item) -> None:
    """Done or declined, either way the onboarding is over (Meta contract 5.10)."""
    known: Number | None = turn.get(number_key(item.number))
    if known is not None and lifecycle.life(known, turn.now) == ONBOARDING:
        hear(turn, item, (Word(LIFE, CONNECTED),))


def stall(turn: Turn, state: Import) -> None:
    """Nothing has come for a day: told once (Meta contract 12.5, trap 37)."""
    found = copy.copy(state)
    found.stalled, found.wake_at = True, None
    _put_import(turn, found)
    since = max(state.asked_at, state.heard_at)
    data = imports.progress_data(found, None) | {"at": rfc3339(turn.now)}
    turn.emit(ACCOUNT, "history.progress", state.number, state.number, f"stalled:{since:.0f}", data)
