"""People change their number and their ids, and numbers are given to others: still one conversation per person.

Scripts by seed: a few people, each with some lives (a phone, a user id, perhaps a parent id), tied by Meta's system
messages. Phones are handed on to strangers. Every item may come in any order and more than once. Whatever the order:
two messages stand in one conversation exactly when one person wrote them, and no published conversation id is ever
given to somebody else. Left out is what nobody can know: a phone that two people had, in items with the phone alone.
"""

import itertools
import os
import random
from dataclasses import dataclass, field

import pytest

from echo_sync.identity import survivor
from echo_sync.messages import Messages
from schemas.items import Contact
from schemas.states import MESSAGES
from schemas.topics import INBOUND, TIMELINE
from tests.harness import KEY, NUMBER, T0, contact_event, message, phone, user
from tests.simulation.memory import Memory

CASES = 6_000 if os.environ.get("COEXIST_TEST_LONG") == "1" else 600
CHUNKS = 6


def conversation(memory, wamid):
    """Where a message stands now, after everything that was merged."""
    return survivor(memory._views[MESSAGES], NUMBER, memory.state(MESSAGES, f"m/{NUMBER}/{wamid}").conversation)


def world(*events):
    memory = Memory([Messages(KEY)], strict=False)
    memory.append(INBOUND, *events)
    memory.settle()
    return memory


def groups(memory, wamids):
    """The messages by conversation."""
    found = {}
    for wamid in wamids:
        found.setdefault(conversation(memory, wamid).conversation_id, set()).add(wamid)
    return sorted(map(sorted, found.values()))


# --- plain facts


def changed_number(old, new, at, event_id="sys1"):
    return contact_event("changed_number", new, at, previous=old, event_id=event_id)


def changed_id(old, new, at, event_id="sys2"):
    return contact_event("changed_user_id", user(new), at, previous=user(old), event_id=event_id)


def test_a_new_number_is_the_same_conversation_in_every_order():
    script = [
        message("w1", phone("34600000001", "ES.1"), T0),
        changed_number(phone("34600000001", "ES.1"), phone("34600000002", "ES.2"), T0 + 10),
        message("w2", phone("34600000002", "ES.2"), T0 + 20),
    ]
    for order in itertools.permutations(script):
        assert groups(world(*order), ["w1", "w2"]) == [["w1", "w2"]]


def test_a_new_user_id_alone_is_the_same_conversation_in_every_order():
    script = [
        message("w1", user("ES.1"), T0),
        changed_id("ES.1", "ES.2", T0 + 10),
        message("w2", user("ES.2"), T0 + 20),
    ]
    for order in itertools.permutations(script):
        assert groups(world(*order), ["w1", "w2"]) == [["w1", "w2"]]


def test_two_changes_in_a_row_are_one_conversation_in_every_order():
    script = [
        message("w1", phone("34600000001", "ES.1"), T0),
        changed_number(phone("34600000001", "ES.1"), phone("34600000002", "ES.2"), T0 + 10, "sys1"),
        message("w2", user("ES.2"), T0 + 20),
        changed_id("ES.2", "ES.3", T0 + 30, "sys2"),
        message("w3", user("ES.3"), T0 + 40),
    ]
    for order in itertools.permutations(script):
        assert groups(world(*order), ["w1", "w2", "w3"]) == [["w1", "w2", "w3"]]


def test_what_came_late_from_the_old_number_still_belongs_to_its_person():
    old, new = phone("34600000001", "ES.1"), phone("34600000002", "ES.2")
    memory = world(
        message("w1", old, T0),
        changed_number(old, new, T0 + 10),
        message("w2", new, T0 + 20),
        message("w3", old, T0 + 5),
    )
    assert groups(memory, ["w1", "w2", "w3"]) == [["w1", "w2", "w3"]]


def test_a_recycled_number_under_a_new_user_id_is_a_new_conversation_in_every_order():
    script = [
        message("w1", phone("34600000001", "ES.1"), T0),
        changed_number(phone("34600000001", "ES.1"), phone("34600000002", "ES.2"), T0 + 10),
        message("w2", phone("34600000001", "ES.9"), T0 + 20),
        message("w3", phone("34600000002", "ES.2"), T0 + 30),
    ]
    for order in itertools.permutations(script):
        assert groups(world(*order), ["w1", "w2", "w3"]) == [["w1", "w3"], ["w2"]]


def test_somebody_who_gets_a_strangers_old_number_does_not_get_the_strangers_conversation():
    script = [
        message("w1", phone("34600000002", "ES.9"), T0),
        message("w2", phone("34600000001", "ES.1"), T0 + 5),
        changed_number(phone("34600000001", "ES.1"), phone("34600000002", "ES.2"), T0 + 10),
        message("w3", phone("34600000002", "ES.2"), T0 + 20),
    ]
    for order in itertools.permutations(script):
        assert groups(world(*order), ["w1", "w2", "w3"]) == [["w1"], ["w2", "w3"]]


def test_a_late_message_of_a_former_owner_does_not_take_the_number_back():
    memory = world(
        message("w1", phone("34600000001", "ES.1"), T0),
        message("w2", phone("34600000001", "ES.9"), T0 + 20),
        message("w3", phone("34600000001", "ES.1"), T0 + 5),
        message("w4", phone("34600000001"), T0 + 30),
    )
    assert groups(memory, ["w1", "w2", "w3", "w4"]) == [["w1", "w3"], ["w2", "w4"]]


def test_the_same_parent_is_the_same_person():
    script = [
        message("w1", user("ES.1", parent_user_id="ES.ENT.1"), T0),
        message("w2", user("", parent_user_id="ES.ENT.1"), T0 + 1),
    ]
    for order in itertools.permutations(script):
        assert groups(world(*order), ["w1", "w2"]) == [["w1", "w2"]]


def test_a_phone_that_turns_out_to_be_somebodys_joins_what_was_apart():
    script = [
        message("w1", phone("5511987654321"), T0),
        message("w2", user("BR.1"), T0 + 1),
        message("w3", phone("551187654321", "BR.1"), T0 + 2),
    ]
    for order in itertools.permutations(script):
        memory = world(*order)
        assert groups(memory, ["w1", "w2", "w3"]) == [["w1", "w2", "w3"]]
        merged = memory.told(TIMELINE, "identity.merged")
        assert all(one["survivor"] < one["retired"] for one in merged)


def test_a_change_that_nobody_was_known_before_is_met_under_its_new_name():
    memory = world(changed_id("ES.1", "ES.2", T0), message("w1", user("ES.2"), T0 + 1))
    assert conversation(memory, "w1").user_id == "ES.2"


def test_the_newest_ids_are_what_a_person_is_known_by_whatever_came_last():
    script = [changed_id("ES.1", "ES.2", T0 + 10, "sys1"), changed_id("ES.2", "ES.3", T0 + 20, "sys2")]
    for order in itertools.permutations([message("w1", user("ES.1"), T0), *script]):
        assert conversation(world(*order), "w1").user_id == "ES.3"


# --- any script


@dataclass
class Life:
    """One phone and one user id of a person, from `since` until `until`."""

    phone: str
    user_id: str
    parent: str
    since: float
    until: float


@dataclass
class Script:
    """People with their lives, and the items that tell of them; `author` by message id."""

    seed: int
    events: list = field(default_factory=list)
    author: dict = field(default_factory=dict)

    def write(self):
        dice = random.Random(self.seed)
        free, shared, ids = [], set(), itertools.count(1)
        people = []
        for person in range(dice.randint(2, 4)):
            lives, since = [], T0 + dice.randrange(0, 400)
            for n in range(dice.randint(1, 3)):
                handed_on = [one for one in free if one[1] < since]
                keeps = lives and dice.random() < 0.3
                if keeps:
                    number = lives[-1].phone
                elif handed_on and dice.random() < 0.5:
                    number = dice.choice(handed_on)[0]
                    free = [one for one in free if one[0] != number]
                    shared.add(number)
                else:
                    number = f"346000000{next(ids):02d}"
                until = since + dice.randrange(50, 300)
                parent = f"ES.ENT.{person}" if dice.random() < 0.3 else ""
                lives.append(Life(number, f"ES.{person}{n}", parent, since, until))
                since = until + 1
            for one, later in itertools.pairwise(lives):
                if one.phone != later.phone:
                    free.append((one.phone, one.until))
            free.append((lives[-1].phone, lives[-1].until))
            people.append(lives)
        for person, lives in enumerate(people):
            self._person(dice, person, lives, shared)
        return self

    def _person(self, dice, person, lives, shared):
        for n, life in enumerate(lives):
            for k in range(dice.randint(1, 3)):
                wamid = f"w{person}{n}{k}"
                at = float(dice.randrange(int(life.since), int(life.until)))
                who = dice.choice([self._both, self._id, self._phone])(life, shared)
                self.author[wamid] = person
                self.events.append(message(wamid, who, at))
            # at least once everything of this life is named together: else nothing ties a phone to an id
            self.author[f"w{person}{n}x"] = person
            self.events.append(message(f"w{person}{n}x", self._both(life, shared), life.since))
        for n, (old, new) in enumerate(itertools.pairwise(lives)):
            self.events.append(self._change(old, new, f"sys{person}{n}"))

    def _both(self, life, shared):
        return phone(life.phone, life.user_id, parent_user_id=life.parent)

    def _id(self, life, shared):
        return user(life.user_id)

    def _phone(self, life, shared):
        return self._both(life, shared) if life.phone in shared else phone(life.phone)

    def _change(self, old, new, event_id):
        if old.phone == new.phone:
            before = Contact(user_id=old.user_id)
            after = Contact(user_id=new.user_id)
            return contact_event("changed_user_id", after, new.since, previous=before, event_id=event_id)
        before, after = phone(old.phone, old.user_id), phone(new.phone, new.user_id)
        return changed_number(before, after, new.since, event_id)


def check(seed):
    script = Script(seed).write()
    dice = random.Random(seed + 1)
    order = script.events + dice.sample(script.events, len(script.events) // 3)
    dice.shuffle(order)
    memory = Memory([Messages(KEY)], strict=False)
    given = {}
    for event in order:
        memory.append(INBOUND, event)
        memory.settle()
        wamid = event.subject
        if wamid in script.author:
            given.setdefault(conversation(memory, wamid).conversation_id, set()).add(script.author[wamid])
    assert all(len(owners) == 1 for owners in given.values()), f"seed {seed}: two people in one conversation"
    by_person = {}
    for wamid, person in script.author.items():
        by_person.setdefault(person, []).append(wamid)
    expected = sorted(sorted(wamids) for wamids in by_person.values())
    assert groups(memory, script.author) == expected, f"seed {seed}: not one conversation per person"


@pytest.mark.parametrize("part", range(CHUNKS))
def test_any_script_of_changes_ends_in_one_conversation_per_person_and_merges_nobody_else(part):
    for seed in range(part, CASES, CHUNKS):
        check(seed)
