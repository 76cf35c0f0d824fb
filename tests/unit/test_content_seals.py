"""Content at rest: sealed values open under any of the keys, in their own place alone, and no nonce comes twice."""

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.sealing.content import HEAD_BYTES, Seals, about_state, seals_of
from services.sealing.keys import CannotUnseal
from services.settings import Settings, SettingsError

OLD, NEW = bytes(32), b"n" * 32
TEXT = b"\x93 what was said between two people"


def keyed(*keys, **more):
    return Settings.model_validate({"encryption_keys": ",".join(b64encode(key).decode() for key in keys), **more})


@given(st.binary(max_size=300).map(lambda rest: b"\x90" + rest), st.text(max_size=40))
def test_what_was_sealed_is_opened_by_another_process_with_the_same_key(plain, about):
    envelope = Seals([NEW], wanted=True).seal(plain, about)
    assert Seals([OLD, NEW], wanted=False).open(envelope, about) == plain
    assert len(plain) < 4 or plain not in envelope


def test_no_two_envelopes_have_one_nonce_under_one_key():
    seals = [Seals([NEW], wanted=True) for _ in range(3)]
    heads = {one.seal(TEXT, "x")[: HEAD_BYTES + 8] for one in seals for _ in range(1_000)}
    assert len(heads) == 3_000


def test_what_was_never_sealed_is_read_as_it_is_and_nothing_is_sealed_unless_it_is_wanted():
    seals = Seals([NEW], wanted=False)
    assert seals.open(TEXT, "x") == TEXT
    assert seals.seal(TEXT, "x") == TEXT


@given(st.data())
def test_an_envelope_that_was_changed_anywhere_does_not_open_as_something_else(data):
    seals = Seals([NEW, OLD], wanted=True)
    envelope = bytearray(seals.seal(TEXT, "x"))
    place = data.draw(st.integers(2, len(envelope) - 1))
    envelope[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(CannotUnseal):
        seals.open(bytes(envelope), "x")


@given(st.integers(2, HEAD_BYTES + 40))
def test_an_envelope_that_was_cut_off_does_not_open(length):
    seals = Seals([NEW], wanted=True)
    with pytest.raises(CannotUnseal):
        seals.open(seals.seal(TEXT, "x")[:length], "x")


def test_nobody_can_put_one_persons_state_in_anothers_place():
    seals = Seals([NEW], wanted=True)
    envelope = seals.seal(TEXT, about_state("p", 1, "v/anna"))
    with pytest.raises(CannotUnseal, match="another one's"):
        seals.open(envelope, about_state("p", 1, "v/berta"))


def test_a_new_first_key_seals_from_now_on_and_the_old_one_still_opens():
    before, after = Seals([OLD], wanted=True), Seals([NEW, OLD], wanted=True)
    envelope = before.seal(TEXT, "x")
    assert after.open(envelope, "x") == TEXT
    assert not after.is_current(envelope)
    assert after.is_current(after.seal(TEXT, "x"))
    assert Seals([NEW], wanted=True).open(after.seal(TEXT, "x"), "x") == TEXT


def test_where_nothing_is_sealed_nor_shall_be_there_is_no_layer_at_all():
    assert seals_of(keyed(NEW), {}) is None
    assert seals_of(Settings(), {}, shared=True) is None


def test_a_process_with_the_key_reads_what_another_one_begins_to_seal():
    running, new = seals_of(keyed(NEW), {}, shared=True), seals_of(keyed(NEW, encrypt_content=True), {}, shared=True)
    assert running.open(new.seal(TEXT, "x"), "x") == TEXT
    assert running.seal(TEXT, "x") == TEXT


@pytest.mark.parametrize("wanted", [False, True])
def test_a_start_without_a_key_that_has_sealed_something_is_refused_in_one_sentence(wanted):
    marks = dict([Seals([OLD], wanted=True).mark(), Seals([NEW], wanted=True).mark()])
    assert seals_of(keyed(NEW, OLD, encrypt_content=wanted), marks)
    with pytest.raises(SettingsError, match="Put that key back, behind the first") as refused:
        seals_of(keyed(NEW, encrypt_content=wanted), marks)
    assert str(refused.value).count(". ") == 1


def test_sealing_without_a_key_is_refused_and_says_how_to_make_one():
    with pytest.raises(SettingsError, match=r"COEXIST_ENCRYPTION_KEYS is not\. Make one with `openssl rand"):
        seals_of(Settings(encrypt_content=True), {})
