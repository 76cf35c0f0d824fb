"""Secrets at rest: they open under any of the keys, and in no other one's place."""

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from services.sealing.keys import CannotSeal, CannotUnseal, Sealer, sealer_of
from services.settings import SettingsError

OLD, NEW, OTHER = bytes(32), b"n" * 32, b"o" * 32


@given(st.binary(max_size=300), st.text(max_size=40))
def test_what_was_sealed_is_unsealed(plain, about):
    sealer = Sealer([NEW])
    envelope = sealer.seal(plain, about)
    assert sealer.unseal(envelope, about) == plain
    assert len(plain) < 4 or plain not in envelope


def test_two_envelopes_of_one_secret_differ():
    sealer = Sealer([NEW])
    assert sealer.seal(b"secret", "x") != sealer.seal(b"secret", "x")


def test_a_new_key_seals_and_the_old_one_still_unseals():
    before, after = Sealer([OLD]), Sealer([NEW, OLD])
    envelope = before.seal(b"secret", "x")
    assert after.unseal(envelope, "x") == b"secret"
    assert not after.is_current(envelope)
    anew = after.seal(b"secret", "x")
    assert after.is_current(anew)
    assert Sealer([NEW]).unseal(anew, "x") == b"secret"
    with pytest.raises(CannotUnseal, match="not in COEXIST_ENCRYPTION_KEYS"):
        Sealer([NEW]).unseal(envelope, "x")


@given(st.data())
def test_an_envelope_that_was_changed_anywhere_does_not_open(data):
    sealer = Sealer([NEW, OLD])
    envelope = bytearray(sealer.seal(b"secret", "x"))
    place = data.draw(st.integers(0, len(envelope) - 1))
    envelope[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(CannotUnseal):
        sealer.unseal(bytes(envelope), "x")


@given(st.binary(max_size=60))
def test_what_is_no_envelope_does_not_open(content):
    with pytest.raises(CannotUnseal):
        Sealer([NEW]).unseal(content, "x")


def test_an_envelope_does_not_open_in_another_one_s_place():
    sealer = Sealer([NEW])
    with pytest.raises(CannotUnseal):
        sealer.unseal(sealer.seal(b"secret", "access token of 1"), "access token of 2")


def test_without_a_key_nothing_is_sealed():
    with pytest.raises(CannotSeal, match="openssl rand"):
        Sealer([]).seal(b"secret", "x")
    assert not Sealer([])


@pytest.mark.parametrize(
    "wrong", ["short", "", b64encode(b"x" * 31).decode(), "=" * 44, b64encode(OTHER).decode() + "!"]
)
def test_a_key_of_the_wrong_form_is_refused_without_being_quoted(wrong):
    good = SecretStr(b64encode(NEW).decode())
    with pytest.raises(SettingsError, match="Key 2 of COEXIST_ENCRYPTION_KEYS is not 32 bytes") as refused:
        sealer_of([good, SecretStr(wrong)])
    assert not wrong or wrong not in str(refused.value)
    assert sealer_of([good])
