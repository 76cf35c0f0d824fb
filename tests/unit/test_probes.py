"""A probe of our own is told apart by a proof; what is no proof, or an old one, is anybody's request."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.probes import AGE_S_MAX, HEADER, is_probe, proof

NOW = 1_790_000_000.5
OLD, NEW = b"o" * 32, b"n" * 32


def headers(value):
    return [(b"host", b"x"), (HEADER.encode(), value.encode("latin-1"))]


@pytest.mark.parametrize("secret", [OLD, NEW])
def test_whoever_holds_a_secret_that_is_valid_proves_it(secret):
    assert is_probe(headers(proof(secret, NOW)), [NEW, OLD], NOW + 1)


def test_another_secret_and_an_old_proof_prove_nothing():
    assert not is_probe(headers(proof(b"x" * 32, NOW)), [NEW, OLD], NOW)
    for later in (AGE_S_MAX + 1, -AGE_S_MAX - 1):
        assert not is_probe(headers(proof(NEW, NOW)), [NEW], NOW + later)
    at, _, digest = proof(NEW, NOW).partition(" ")
    assert not is_probe(headers(f"{int(at) + 1} {digest}"), [NEW], NOW)
    assert not is_probe([], [NEW], NOW)


@given(st.text(st.characters(max_codepoint=255), max_size=90))
def test_whatever_stands_there_is_judged_and_never_raises(value):
    assert not is_probe(headers(value), [NEW], NOW)
