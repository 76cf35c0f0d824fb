"""Phone numbers: what means one person matches, and nothing else does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.phones import digits, match_key

numbers = st.from_regex(r"[1-9][0-9]{4,14}", fullmatch=True)
FILL = " -().\u00a0\u202f\u2011"


@given(numbers, st.data())
def test_digits_are_the_same_however_a_number_is_written(number, data):
    written = "+" + "".join(data.draw(st.sampled_from(["", *FILL])) + digit for digit in number)
    assert digits(written) == number


@given(st.text())
def test_digits_are_ascii_digits_or_nothing(text):
    found = digits(text)
    assert found == "" or (found.isascii() and found.isdigit())


@pytest.mark.parametrize("text", ["", "Laia", "+34 600 x", "٣٤٦٠٠", "ES.1349120865530274", "120363041@g.us"])
def test_what_is_no_phone_number_has_no_digits(text):
    assert digits(text) == ""


@given(st.one_of(numbers, st.text()))
def test_a_match_key_is_its_own_match_key(text):
    assert match_key(match_key(text)) == match_key(text)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("+55 11 98765-4321", "551187654321"),
        ("5215512345678", "525512345678"),
        ("5491123456789", "541123456789"),
        ("+34 600 111 222", "34600111222"),
    ],
)
def test_variants_of_one_number_match(one, other):
    assert match_key(one) == match_key(other)


@given(st.integers(11, 99), st.from_regex(r"[6-9][0-9]{7}", fullmatch=True))
def test_a_brazilian_mobile_matches_with_and_without_its_ninth_digit(area, subscriber):
    assert match_key(f"55{area}{subscriber}") == match_key(f"55{area}9{subscriber}") == f"55{area}9{subscriber}"


@given(st.integers(11, 99), st.from_regex(r"[2-5][0-9]{7}", fullmatch=True))
def test_a_brazilian_landline_stays_as_it_is(area, subscriber):
    assert match_key(f"55{area}{subscriber}") == f"55{area}{subscriber}"
    assert match_key(f"55{area}{subscriber}") != match_key(f"55{area}9{subscriber}")


@given(numbers.filter(lambda number: not number.startswith(("55", "52", "54"))))
def test_numbers_of_other_countries_are_their_own_match_key(number):
    assert match_key(number) == number


@given(numbers, numbers)
def test_numbers_of_different_subscribers_never_match(one, other):
    if one[-8:] != other[-8:]:
        assert match_key(one) != match_key(other)
