"""What a subscriber's reader helper promises: each fact once, and a gap is never passed over."""

import pytest

from schemas.reader import SeqGap, is_new

ONE, TWO = "106540352242922", "106540352242923"


def test_each_fact_is_new_once_however_often_it_comes():
    seen = {}
    comes = [1, 2, 3, 2, 3, 4, 1, 4, 5]
    assert [seq for seq in comes if is_new(seen, "timeline", ONE, seq)] == [1, 2, 3, 4, 5]


def test_numbers_and_topics_count_for_themselves():
    seen = {}
    assert is_new(seen, "timeline", ONE, 1)
    assert is_new(seen, "timeline", TWO, 1)
    assert is_new(seen, "sends", ONE, 1)
    assert not is_new(seen, "timeline", ONE, 1)


def test_a_reader_may_begin_in_the_middle():
    seen = {}
    assert is_new(seen, "timeline", ONE, 41)
    assert seen == {("timeline", ONE): 41}


def test_a_gap_is_told_and_not_noted():
    seen = {("timeline", ONE): 3}
    with pytest.raises(SeqGap):
        is_new(seen, "timeline", ONE, 5)
    assert is_new(seen, "timeline", ONE, 4)
