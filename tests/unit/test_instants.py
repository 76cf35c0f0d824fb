"""Instants: one form inside, one form outside, and Meta's many."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.instants import MS_THRESHOLD, parse_rfc3339, rfc3339, wire_instant

YEAR_9999 = 253_402_300_799
milliseconds = st.integers(0, 4_102_444_800_000)


@given(milliseconds)
def test_an_instant_of_whole_milliseconds_comes_back_exactly(ms):
    assert parse_rfc3339(rfc3339(ms / 1000)) == ms / 1000


@given(st.floats(0, 4_102_444_800))
def test_an_instant_is_written_to_the_nearest_millisecond(instant_s):
    assert abs(parse_rfc3339(rfc3339(instant_s)) - instant_s) <= 0.000_501


@given(milliseconds)
def test_what_is_written_is_what_the_calendar_says(ms):
    expected = datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    assert rfc3339(ms / 1000) == expected + (f".{ms % 1000:03d}Z" if ms % 1000 else "Z")


def test_a_fraction_that_rounds_up_moves_the_second():
    assert rfc3339(1790000000.9996) == "2026-09-21T14:13:21Z"


def test_the_last_second_that_a_year_of_four_digits_has_can_be_written():
    assert rfc3339(YEAR_9999) == "9999-12-31T23:59:59Z"


@pytest.mark.parametrize("text", ["2026-09-21T14:13:20Z", "2026-09-21T16:13:20+02:00", "2026-09-21T09:13:20.000-05:00"])
def test_one_instant_may_be_written_in_any_zone(text):
    assert parse_rfc3339(text) == 1790000000


@pytest.mark.parametrize("text", ["", "soon", "2026-09-21", "2026-09-21T14:13:20", "2026-02-30T00:00:00Z"])
def test_what_has_no_zone_or_is_no_time_is_refused(text):
    with pytest.raises(ValueError):
        parse_rfc3339(text)


@given(st.integers(1, MS_THRESHOLD // 1000 - 1))
def test_metas_time_is_read_as_text_and_number_in_seconds_and_milliseconds(seconds):
    assert wire_instant(seconds) == wire_instant(str(seconds)) == wire_instant(float(seconds)) == seconds
    if seconds * 1000 > MS_THRESHOLD:
        assert wire_instant(seconds * 1000 + 999) == wire_instant(str(seconds * 1000)) == seconds


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(json_values)
def test_nothing_that_meta_may_write_as_a_time_raises(value):
    instant = wire_instant(value)
    assert instant is None or 0 < instant < MS_THRESHOLD


@pytest.mark.parametrize("value", ["", "abc", None, 0, -5, "9" * 5000, float("nan"), float("inf"), [], {}])
def test_what_is_no_time_is_none(value):
    assert wire_instant(value) is None
