"""What records and states name, and what a tombstone keeps out."""

import base64

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.items import Contact
from schemas.marks import ERASED, NOBODY, About, Tombstone, barring, digest_of, marks, named
from schemas.ports import Event
from tests.harness import KEY, NUMBER, contact_event, edit, message, phone, request, status, user

LAIA, T = "34600111222", 1_790_000_000.0


def event(kind, data, at=T):
    return Event("id", kind, NUMBER, orjson.dumps(data), at, at)


def stones(*found, at=T, by_user=False):
    return dict.fromkeys(found, Tombstone(at=at, by_user=by_user))


def test_a_message_names_its_wamid_and_its_person():
    found = named(message("wamid.A", phone(LAIA, "ES.1"), T))
    assert found.things == ("m:wamid.A",)
    assert set(marks(found)) == {"m:wamid.A", "u:ES.1", f"p:{LAIA}"}


def test_an_edit_names_both_wamids_and_a_change_of_number_both_people():
    assert set(named(edit("wamid.A", "wamid.B", user("ES.1"), T, "x")).things) == {"m:wamid.A", "m:wamid.B"}
    found = named(contact_event("changed_number", phone("34600111333"), T, previous=phone(LAIA)))
    assert {f"p:{LAIA}", "p:34600111333"} <= set(marks(found))


def test_a_command_names_whom_it_is_for():
    assert set(marks(named(request("c1", "+34 600 111 222")))) == {"k:c1", f"p:{LAIA}"}
    assert set(marks(named(request("c1", "ES.12345")))) == {"k:c1", "u:ES.12345"}


@pytest.mark.parametrize(
    "data", [{"raw": {"from": LAIA, "id": "wamid.X=="}}, {"raw": f'{{"from":"{LAIA}","id":"wamid.X=="}}'}]
)
def test_what_nobody_understood_is_looked_through_for_phones_and_wamids(data):
    found = named(event("webhook.unknown", data | {"reason": "x"}))
    assert {"m:wamid.X==", f"p:{LAIA}"} <= set(marks(found))


def test_what_travels_in_base64_is_looked_through_too():
    raw = base64.b64encode(f"broken {LAIA} wamid.X\\/Y==".encode()).decode()
    assert {"m:wamid.X/Y==", f"p:{LAIA}"} <= set(
        marks(named(event("webhook.unknown", {"raw_base64": raw, "reason": "x"})))
    )


@pytest.mark.parametrize("kind", ["privacy.erase", "contact.erased", ERASED])
def test_the_words_of_an_erasure_name_nobody(kind):
    assert named(event(kind, {"conversation_id": "c1", "contact": {"wa_id": LAIA}})) is NOBODY


def test_a_person_is_kept_out_until_the_erasure_and_welcome_after_it():
    known = stones(f"p:{LAIA}")
    assert barring(named(message("a", phone(LAIA), T)), known)
    assert not barring(named(message("a", phone(LAIA), T + 1)), known)


def test_a_thing_is_kept_out_whenever_it_comes():
    assert barring(named(status("wamid.A", "read", phone("34600999000"), T + 9e6)), stones("m:wamid.A"))


@pytest.mark.parametrize(("one", "other"), [("5511987654321", "551187654321"), ("525512345678", "5215512345678")])
def test_variants_of_a_phone_are_one_person(one, other):
    known = stones(f"p:{one}")
    assert barring(named(message("a", phone(other), T)), known)


def test_the_address_book_does_not_bring_an_erased_person_back():
    assert barring(named(contact_event("add", phone(LAIA), T + 1000)), stones(f"p:{LAIA}"))


def test_a_stranger_who_got_the_phone_is_not_taken_for_the_erased_person():
    stranger = named(message("a", phone(LAIA, "ES.2"), T))
    assert not barring(stranger, stones(f"p:{LAIA}", by_user=True))
    assert barring(stranger, stones(f"p:{LAIA}", by_user=False))
    assert barring(stranger, stones("u:ES.2", by_user=True))


def test_digests_differ_by_key_number_and_mark():
    found = {digest_of(key, number, mark) for key in (KEY, b"other") for number in "12" for mark in ("p:1", "u:1")}
    assert len(found) == 8


words = st.text("abc.:0123456789", min_size=1, max_size=6)
contacts = st.builds(Contact, wa_id=st.text("0123456789", max_size=8), user_id=words | st.just(""))


@given(
    st.lists(words, max_size=3), st.lists(contacts, max_size=3), st.floats(0, 100), st.sets(words), st.floats(0, 100)
)
def test_only_what_names_a_mark_is_kept_out_and_what_names_nobody_never_is(things, people, at, known, until):
    about = About(NUMBER, tuple(things), tuple(people), at)
    held = stones(*known, at=until)
    found = barring(about, held)
    assert found is None or set(marks(about)) & set(held)
    assert barring(About(NUMBER), held) is None
    if set(things) & set(held):
        assert found is not None
