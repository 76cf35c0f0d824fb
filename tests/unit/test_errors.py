"""The error table: what follows from each of Graph's codes (Meta contract 8)."""

import pytest

from sender.errors import ACTIONS, Action, action_for


@pytest.mark.parametrize(
    ("code", "action"),
    [
        (190, Action.PAUSE_TOKEN),
        (0, Action.PAUSE_TOKEN),
        (10, Action.PAUSE_TOKEN),
        (200, Action.PAUSE_TOKEN),
        (299, Action.PAUSE_TOKEN),
        (131005, Action.PAUSE_TOKEN),
        (4, Action.THROTTLED),
        (80007, Action.THROTTLED),
        (130429, Action.SLOW),
        (131056, Action.PAIR),
        (131047, Action.TEMPLATE),
        (131026, Action.DEAD),
        (131057, Action.RETRY),
        (133004, Action.RETRY),
        (131048, Action.PAUSE_NUMBER),
        (368, Action.PAUSE_NUMBER),
        (131042, Action.PAUSE_NUMBER),
        (132015, Action.PAUSE_TEMPLATE),
        (131050, Action.SUPPRESS),
        (131049, Action.LATER),
        (132000, Action.FIX),
        (131008, Action.FIX),
    ],
)
def test_a_listed_code_has_its_action(code, action):
    assert action_for(code, 400) is action


@pytest.mark.parametrize("code", [1, 2, 131000, 131016])
@pytest.mark.parametrize("status", [200, 400, 500, 503])
def test_codes_after_which_nobody_knows_are_ambiguous(code, status):
    assert action_for(code, status) is Action.AMBIGUOUS


@pytest.mark.parametrize(
    ("status", "action"), [(400, Action.DEAD), (404, Action.DEAD), (429, Action.SLOW), (500, Action.RETRY)]
)
def test_an_unknown_code_goes_by_its_class(status, action):
    assert action_for(987_654, status) is action


def test_a_bad_parameter_is_to_be_fixed_but_a_missing_number_pauses_it():
    assert action_for(100, 400) is Action.FIX
    assert action_for(100, 400, 33) is Action.PAUSE_NUMBER


def test_every_action_of_the_table_is_one_of_the_vocabulary():
    assert set(ACTIONS.values()) <= set(Action)
    assert len(ACTIONS) > 150
