"""What `coexist tail` prints of a record: text as people wrote it, and nothing that moves the terminal's cursor."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.tail import legible

UNFIT = {*map(chr, range(0x20)), *map(chr, range(0x7F, 0xA0)), *"\u2028\u2029\u202e\u2066", "\ud800"}


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        (r'{"body":"caf\u00e9"}', '{"body":"café"}'),
        (r'{"body":"\ud83d\ude00 \u0645"}', '{"body":"😀 م"}'),
        ('{"body":"café 😀"}', '{"body":"café 😀"}'),
        (r'{"body":"a\\u00e9"}', r'{"body":"a\\u00e9"}'),
        (r'{"body":"\u0022\u005c\n\u001b[2J"}', r'{"body":"\u0022\u005c\n\u001b[2J"}'),
        ("\x1b[2J\u202e\x9b", r"\u001b[2J\u202e\u009b"),
        (r'{"body":"\ud83d"}', r'{"body":"\ud83d"}'),
        ("a\\", "a\\"),
    ],
)
def test_text_stands_as_it_is_and_control_characters_are_escaped(stored, shown):
    assert legible(stored) == shown


@given(st.text(st.characters()), st.booleans())
def test_it_stays_the_same_json_and_fits_a_line(text, escaped):
    shown = legible(json.dumps({"body": text}, ensure_ascii=escaped))
    assert json.loads(shown) == {"body": text}
    assert not UNFIT & set(shown)
