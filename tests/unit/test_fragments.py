"""Fragments of JSON: an object is read as it is, and nothing else raises."""

import json

from hypothesis import given
from hypothesis import strategies as st

from schemas.fragments import object_of

SIMPLE = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text()
ANY = st.recursive(SIMPLE, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=10)


@given(st.dictionaries(st.text(), ANY))
def test_an_object_is_read_as_it_is_from_bytes_and_from_text(written):
    text = json.dumps(written)
    assert object_of(text) == object_of(text.encode()) == written


@given(ANY)
def test_what_is_no_object_is_an_empty_one(written):
    assert isinstance(written, dict) or object_of(json.dumps(written)) == {}


@given(st.none() | st.binary() | st.text())
def test_no_fragment_raises(fragment):
    assert isinstance(object_of(fragment), dict)
