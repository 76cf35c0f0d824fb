"""Tokens: ours are known, all others are not, and none tells anything of a person."""

from hypothesis import given
from hypothesis import strategies as st

from schemas.tokens import make_token, read_token

KEY, OTHER = b"k" * 32, b"o" * 32
commands = st.from_regex(r"[A-Za-z0-9._:-]{1,128}", fullmatch=True)
TOKEN_CHARS_MAX = 512
"""Meta's limit of biz_opaque_callback_data (Meta contract 6.2)."""


@given(commands, st.integers(1, 999_999_999))
def test_what_was_made_is_read_back(command, attempt):
    token = make_token(KEY, command, attempt)
    assert read_token(KEY, token) == (command, attempt)
    assert len(token) <= TOKEN_CHARS_MAX


@given(commands, st.integers(1, 999))
def test_a_token_of_another_installation_is_nobodys(command, attempt):
    assert read_token(KEY, make_token(OTHER, command, attempt)) is None


@given(st.text())
def test_any_other_text_is_nobodys(text):
    assert read_token(KEY, text) is None
    assert read_token(KEY, "c1." + text) is None


@given(commands, st.integers(1, 999), st.data())
def test_a_changed_token_is_nobodys(command, attempt, data):
    token = make_token(KEY, command, attempt)
    at = data.draw(st.integers(0, len(token) - 1))
    changed = token[:at] + data.draw(st.characters(codec="utf-8")) + token[at + 1 :]
    assert changed == token or read_token(KEY, changed) is None
