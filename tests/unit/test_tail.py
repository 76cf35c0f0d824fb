"""What `coexist tail` prints of a record: text as people wrote it, and nothing that moves the terminal's cursor."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.events import ON
from schemas.ports import Event, Record
from services.settings import Settings
from services.tail import _line, doubt, legible

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


def test_an_erased_record_is_a_line_with_the_time_of_its_append():
    hole = Record("timeline", 3, 41, Event("erased:1:7", "record.erased", "1", b"{}", 0, 0, seq=7), 1790000001)
    assert _line(hole, as_json=False) == "2026-09-21T14:13:21Z 3/41 #7 record.erased 1 {}"


@pytest.mark.parametrize(
    ("topic", "kind", "says"),
    [
        (
            "timeline",
            "mesage.added",
            "mesage.added is no type that this version knows on timeline. Did you mean message.",
        ),
        ("coexist.timeline", "message.aded", "Did you mean message.added"),
        ("sends", "nope", "There are: record.erased, send.accepted, "),
        ("inbound", "message.added", "message.added is not on inbound, but on timeline."),
    ],
)
def test_a_type_that_a_topic_does_not_carry_is_doubted_and_those_near_it_are_named(topic, kind, says):
    assert says in doubt(Settings(), topic, kind)


def test_no_type_that_a_topic_carries_is_doubted_nor_is_any_on_a_topic_that_is_none():
    assert {doubt(Settings(), topic, kind) for topic, kinds in ON.items() for kind in kinds} == {""}
    assert doubt(Settings(), "nope", "nope") == ""
