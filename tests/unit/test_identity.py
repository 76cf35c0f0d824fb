"""Whose message it is: phones, user ids, changes of each, recycled phones, and ids that are never given twice."""

import pytest

from echo_sync.identity import resolve
from echo_sync.messages import Messages
from schemas.items import Contact
from schemas.marks import Tombstone, stone_key
from schemas.ports import FOREIGN, Missing
from schemas.states import MESSAGES, reach_key
from schemas.topics import CONTACTS, HISTORY, TIMELINE
from tests import harness as h
from tests.harness import KEY, T0
from tests.simulation.memory import Memory
from tests.simulation.truth import resolve_alias


@pytest.fixture
def memory():
    return Memory([Messages(KEY)])


def hear(memory, *contacts_and_times):
    """A message of each contact; their conversations as they were told."""
    for contact, at in contacts_and_times:
        wamid = f"wamid.{len(memory.log['inbound'])}"
        memory.append("inbound", h.message(wamid, contact, at))
    memory.settle()
    return [data["conversation_id"] for data in memory.told(TIMELINE, "message.added")]


def homes(memory):
    return [resolve_alias(memory, c["conversation_id"]) for c in memory.told(TIMELINE, "message.added")]


def change(memory, action, old, new, at):
    memory.append("inbound", h.contact_event(action, new, at, old, f"sys{at}"))
    memory.settle()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("5511987654321", "551187654321"),
        ("5215512345678", "525512345678"),
        ("5491123456789", "541123456789"),
        ("34600111222", "34600111222"),
    ],
)
def test_the_variants_of_one_phone_are_one_conversation_and_stay_as_written(memory, one, other):
    first, second = hear(memory, (Contact(wa_id=one), T0), (Contact(wa_id=other), T0))
    assert first == second
    told = [data["contact"]["wa_id"] for data in memory.told(TIMELINE, "message.added")]
    assert told == [one, other]


def test_two_phones_are_two_conversations(memory):
    assert len(set(hear(memory, (h.phone("34600111222"), T0), (h.phone("34600111223"), T0)))) == 2


def test_a_brazilian_landline_has_no_ninth_digit(memory):
    assert len(set(hear(memory, (h.phone("551131234567"), T0), (h.phone("5511931234567"), T0)))) == 2


def test_who_shows_both_was_the_same_person_all_along(memory):
    hear(memory, (h.phone("1555"), T0), (h.user("US.1"), T0), (h.phone("1555", "US.1"), T0))
    assert len(set(homes(memory))) == 1
    (merged,) = memory.told(TIMELINE, "identity.merged")
    assert merged["survivor"] < merged["retired"]
    assert [data["survivor"] for data in memory.told(CONTACTS, "identity.merged")] == [merged["survivor"]]
    assert hear(memory, (h.user("US.1"), T0), (h.phone("1555"), T0))[-2:] == [merged["survivor"]] * 2


def test_a_merge_is_told_once_however_often_it_is_heard(memory):
    both = (h.phone("1555", "US.1"), T0)
    hear(memory, (h.phone("1555"), T0), (h.user("US.1"), T0), both, both, both)
    assert len(memory.told(TIMELINE, "identity.merged")) == 1


def test_three_that_turn_out_to_be_one_end_in_the_smallest_id(memory):
    three = Contact(wa_id="1555", user_id="US.1", parent_user_id="US.ENT.1")
    parent = Contact(parent_user_id="US.ENT.1")
    told = hear(memory, (h.phone("1555"), T0), (h.user("US.1"), T0), (parent, T0), (three, T0))
    assert set(homes(memory)) == {min(told[:3])}


def test_a_recycled_phone_under_another_user_id_is_another_conversation(memory):
    told = hear(memory, (h.phone("1555", "US.1"), T0), (h.phone("1555", "US.2"), T0 + 9), (h.phone("1555"), T0 + 10))
    assert told[0] != told[1] == told[2]
    assert hear(memory, (h.user("US.1"), T0 + 20))[-1] == told[0]


def test_an_older_message_does_not_take_a_recycled_phone_back(memory):
    told = hear(memory, (h.phone("1555", "US.2"), T0 + 9), (h.phone("1555", "US.1"), T0), (h.phone("1555"), T0 + 10))
    assert told[0] == told[2] != told[1]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_people_with_user_ids_are_told_apart_on_one_phone_in_any_order(memory, order):
    items = [(h.phone("1555", "US.1"), T0), (h.phone("1555", "US.2"), T0 + 9)]
    hear(memory, *(items[n] for n in order), *items)
    assert [homes(memory)[n] for n in (0, 1)] == homes(memory)[2:4] or len(set(homes(memory))) == 2


def test_a_phone_that_leads_to_one_person_and_a_parent_id_to_another_joins_nobody(memory):
    hear(
        memory,
        (h.phone("1555", "US.1"), T0),
        (Contact(user_id="US.2", parent_user_id="US.ENT.2"), T0),
        (Contact(wa_id="1555", parent_user_id="US.ENT.2"), T0),
    )
    assert memory.told(TIMELINE, "identity.merged") == []


# --- changes that Meta tells


def test_after_a_change_of_number_old_and_new_are_one_conversation(memory):
    hear(memory, (h.phone("1555"), T0))
    change(memory, "changed_number", h.phone("1555"), h.phone("1777"), T0 + 5)
    hear(memory, (h.phone("1777"), T0 + 6))
    assert len(set(homes(memory))) == 1


def test_a_message_of_the_new_number_may_come_before_the_change(memory):
    hear(memory, (h.phone("1555"), T0), (h.phone("1777"), T0 + 6))
    change(memory, "changed_number", h.phone("1555"), h.phone("1777"), T0 + 5)
    assert len(set(homes(memory))) == 1


def test_a_number_that_a_stranger_had_before_leaves_the_stranger_his_messages(memory):
    hear(memory, (h.phone("1777"), T0 - 1000), (h.phone("1555"), T0))
    change(memory, "changed_number", h.phone("1555"), h.phone("1777"), T0 + 5)
    hear(memory, (h.phone("1777"), T0 + 6))
    stranger, before, after = homes(memory)
    assert stranger != before == after


@pytest.mark.parametrize("first", ["change", "message"])
def test_after_a_change_of_user_id_old_and_new_are_one_conversation(memory, first):
    hear(memory, (h.phone("1555", "US.1"), T0))
    if first == "message":
        hear(memory, (h.phone("1555", "US.2"), T0 + 6))
    change(memory, "changed_user_id", h.user("US.1"), h.user("US.2"), T0 + 5)
    hear(memory, (h.phone("1555", "US.2"), T0 + 6), (h.user("US.1"), T0 - 5), (h.phone("1555"), T0 + 9))
    assert len(set(homes(memory))) == 1


def test_a_change_of_somebody_unknown_makes_one_person(memory):
    change(memory, "changed_user_id", h.user("US.1"), h.user("US.2"), T0)
    hear(memory, (h.user("US.2"), T0), (h.user("US.1"), T0))
    assert len(set(homes(memory))) == 1


def test_an_echo_that_waits_survives_a_merge(memory):
    memory.append("inbound", h.attempted("c1", h.user("US.1"), T0))
    memory.append("inbound", h.echo("wamid.e", h.user("US.1"), T0))
    memory.append(
        "inbound", h.message("wamid.m", h.phone("1555"), T0), h.message("wamid.n", h.phone("1555", "US.1"), T0)
    )
    memory.append("inbound", h.answered("c1", "accepted", h.user("US.1"), T0, "wamid.e"))
    memory.run_until(T0 + 60)
    assert sorted({data["message_id"] for data in memory.told(TIMELINE, "message.added")}) == [
        "wamid.e",
        "wamid.m",
        "wamid.n",
    ]
    assert len(set(homes(memory))) == 1


# --- ids


def test_a_conversation_id_tells_nothing_and_differs_between_installations():
    ids = set()
    for key in (KEY, b"o" * 32):
        memory = Memory([Messages(key)])
        ids |= set(hear(memory, (h.phone("34600111222"), T0)))
    assert len(ids) == 2
    assert not any("34600111222" in conversation for conversation in ids)


def test_numbers_do_not_share_conversations(memory):
    memory.append(
        "inbound", h.message("wamid.1", h.phone("1555"), T0), h.message("wamid.2", h.phone("1555"), T0, number="2")
    )
    memory.settle()
    assert len(set(homes(memory))) == 2


def test_names_of_the_contact_are_kept_and_the_last_one_counts(memory):
    hear(memory, (h.phone("1555", name="Laia"), T0), (h.phone("1555"), T0), (h.phone("1555", name="Laia P."), T0))
    (person,) = [state for key, state in memory.states[MESSAGES].items() if key.startswith("c/")]
    assert (person.name, person.wa_id) == ("Laia P.", "1555")


def test_a_contact_event_is_told_once_however_often_it_is_heard(memory):
    contact = h.contact_event("add", h.phone("1555", name="Laia"), T0)
    memory.append(HISTORY, contact, contact)
    memory.settle()
    memory.append(HISTORY, contact)
    memory.settle()
    assert len(memory.told(CONTACTS, "contact.changed")) == 1


class Loading:
    """States of which nobody is there yet, and those with a prefix are not loaded before they are asked for."""

    def __init__(self, *prefixes):
        self.prefixes, self.loaded = prefixes, {}

    def get(self, key):
        if key.startswith(self.prefixes) and key not in self.loaded:
            raise Missing([key])
        return self.loaded.get(key)


def test_whoever_is_met_for_the_first_time_costs_one_question():
    states, questions = Loading(FOREIGN, "r/"), []
    while not questions or questions[-1]:
        try:
            found = resolve(states, KEY, h.NUMBER, h.phone("34600111222", "US.1"), T0, "")
            states.get(reach_key(found.person.conversation_id))
            questions.append([])
        except Missing as missing:
            questions.append(missing.keys)
            states.loaded |= dict.fromkeys(missing.keys)
    assert len(questions) == 2


class Stones(dict):
    """States of a shard where nobody is known but who was erased."""

    def heads(self, line, until, limit):
        return []


@pytest.mark.parametrize(
    ("contact", "by_user", "stop"),
    [
        (Contact(wa_id="34600111222"), False, "all"),
        (Contact(wa_id="34600111222"), True, "all"),
        (Contact(wa_id="34600111222", user_id="ES.1"), True, "all"),
        (Contact(wa_id="34600111222", user_id="ES.2"), False, "all"),
        (Contact(wa_id="34600111222", user_id="ES.2"), True, ""),
    ],
    ids=["phone", "phone, user erased too", "the same user", "no user was erased", "a stranger with the phone"],
)
def test_whose_stop_it_is_shows_in_the_user_id_where_there_was_one(contact, by_user, stop):
    stone = Tombstone(at=T0, by_user=by_user, stop="all")
    states = Stones({stone_key(KEY, h.NUMBER, "p:34600111222"): stone})
    if by_user:
        states[stone_key(KEY, h.NUMBER, "u:ES.1")] = stone
    found = resolve(states, KEY, h.NUMBER, contact, T0 + 1, "m")
    assert (found.stone.stop if found.stone else "") == stop
