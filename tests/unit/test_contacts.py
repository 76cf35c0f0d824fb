"""The owner's address book: in the order of Meta's own time, whatever the order of arrival."""

import itertools

import orjson

from echo_sync.contacts import Entry, entry_key
from echo_sync.identity import alias_keys
from echo_sync.messages import Messages
from schemas.items import Item
from schemas.states import MESSAGES
from schemas.topics import CONTACTS, HISTORY, INBOUND, TIMELINE
from tests.harness import KEY, NUMBER, T0, WABA, Raw, echo, event, message, phone, user
from tests.simulation.memory import Memory


def entry(action, contact, at):
    raw = Raw(orjson.dumps({"action": action, "at": at, "who": contact.wa_id + contact.user_id, "name": contact.name}))
    item = Item(number=NUMBER, waba=WABA, action=action, contact=contact, at=at, raw=raw)
    return event("webhook.contact", f"c:{action}:{contact.wa_id}{contact.user_id}:{contact.name}:{at}", item)


def ada(name="Ada", **more):
    return phone("34600111222", name=name, **more)


def world(*entries, before=()):
    memory = Memory([Messages(KEY)])
    memory.append(INBOUND, *before)
    memory.settle()
    memory.append(HISTORY, *entries)
    memory.settle()
    return memory


def told(memory):
    return [
        (one["type"], one["contact"].get("name")) for one in memory.told(CONTACTS) if one["type"] != "identity.merged"
    ]


def folded(memory):
    """What a reader of `contacts` holds at the end: the names in the address book."""
    book = {}
    for one in memory.told(CONTACTS, "contact.changed", "contact.removed"):
        book[one["conversation_id"]] = one["contact"]["name"] if one["type"] == "contact.changed" else None
    return {name for name in book.values() if name}


def test_added_edited_and_removed_are_told_once_each():
    memory = world(entry("add", ada(), T0), entry("add", ada("Ada L."), T0 + 1), entry("remove", ada(""), T0 + 2))
    assert told(memory) == [("contact.changed", "Ada"), ("contact.changed", "Ada L."), ("contact.removed", None)]


def test_any_order_and_any_repetition_end_in_the_newest_change():
    script = [entry("add", ada(), T0), entry("add", ada("Ada L."), T0 + 1), entry("remove", ada(""), T0 + 2)]
    for order in itertools.permutations(script * 2):
        assert folded(world(*order)) == set()
    for order in itertools.permutations(script[:2] * 2):
        assert folded(world(*order)) == {"Ada L."}


def test_a_removal_beats_an_addition_of_the_same_second():
    for order in itertools.permutations([entry("add", ada(), T0), entry("remove", ada(""), T0)]):
        assert folded(world(*order)) == set()


def test_the_same_words_at_a_later_time_are_no_news():
    memory = world(entry("add", ada(), T0), entry("add", ada(), T0 + 5), entry("add", ada("Old"), T0 + 3))
    assert told(memory) == [("contact.changed", "Ada")]


def test_the_removal_of_nobody_is_no_news_and_is_remembered():
    memory = world(entry("remove", ada(""), T0 + 5), entry("add", ada(), T0))
    assert told(memory) == []


def test_phone_and_user_id_of_one_person_are_one_entry():
    both = ada(user_id="ES.1")
    script = [entry("add", both, T0), entry("remove", ada(""), T0 + 2), entry("add", user("ES.1", name="Late"), T0 + 1)]
    memory = world(*script)
    assert folded(memory) == set()


def test_entries_of_people_who_turn_out_to_be_one_become_one():
    memory = world(entry("remove", ada(""), T0 + 2), entry("add", user("ES.1", name="Ada"), T0))
    memory.append(INBOUND, message("wamid.1", phone("34600111222", "ES.1"), T0 + 3))
    memory.settle()
    keys = [key for key in memory.states[MESSAGES] if key.startswith("b/")]
    (kept,) = keys
    assert memory.state(MESSAGES, kept).action == "remove"
    assert kept == entry_key(NUMBER, memory.told(TIMELINE, "identity.merged")[0]["survivor"])


def test_what_people_call_themselves_stays_what_they_are_called():
    memory = world(entry("add", ada("Fontaneria Ada"), T0 + 1), before=[message("wamid.1", ada("Ada"), T0)])
    alias = memory.state(MESSAGES, alias_keys(NUMBER, ada())[0])
    assert memory.state(MESSAGES, f"c/{alias.conversation}").name == "Ada"
    assert told(memory) == [("contact.changed", "Fontaneria Ada")]


def test_an_echo_is_shown_with_the_name_from_the_address_book():
    memory = world(entry("add", ada("Ada Sample"), T0))
    memory.append(INBOUND, echo("wamid.E", ada(""), T0 + 5))
    memory.settle()
    assert memory.told(TIMELINE, "message.added")[0]["contact"]["name"] == "Ada Sample"


def test_the_address_book_opens_no_conversation():
    assert world(entry("add", ada(), T0)).told(TIMELINE) == []


def test_an_entry_keeps_no_name():
    memory = world(entry("add", ada("Ada Sample"), T0))
    (kept,) = [state for state in memory.states[MESSAGES].values() if isinstance(state, Entry)]
    assert b"Ada" not in kept.digest
