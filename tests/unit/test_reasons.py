"""A reason of a send in words: whatever the sender may refuse has a sentence and says what to do."""

import pytest

from sender.pauses import RESTS
from sender.people import PEOPLE_LIMIT
from sender.permission import STOPPED
from services.commands.reasons import fix, meaning

REFUSALS = {rest.reason for rest in RESTS.values()} | set(STOPPED.values()) | {PEOPLE_LIMIT, "no_token", "graph_error"}


@pytest.mark.parametrize("reason", sorted(REFUSALS))
def test_a_refusal_is_told_in_words_with_its_code_and_a_fix(reason):
    assert meaning(reason).endswith(f" ({reason})")
    assert fix(reason).endswith(".")


def test_what_is_no_reason_is_told_as_it_is():
    assert (meaning("1"), fix("1")) == ("1", "")
    assert (meaning(""), fix("")) == ("", "")
