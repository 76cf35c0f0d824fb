"""When silence means something: while webhooks come, or nothing stood in their way."""

import pytest

from services.hearing import FAILED_S, HEARD_S, SILENCE_S_MAX, Hearing
from tests.harness import Clock


def test_a_process_that_listens_hears_unless_a_webhook_was_lost_of_late():
    clock = Clock()
    hearing = Hearing(clock, listens=True)
    assert hearing()
    hearing.failed()
    assert not hearing()
    clock.now += FAILED_S + 1
    assert hearing()


def test_a_process_that_only_sends_hears_by_what_others_append():
    clock = Clock()
    hearing = Hearing(clock, listens=False)
    assert not hearing()
    hearing.read(clock.now - HEARD_S - 1)
    assert not hearing()
    hearing.read(clock.now)
    assert hearing()
    clock.now += HEARD_S + 1
    assert not hearing()


@pytest.mark.parametrize("heard", [False, True])
def test_a_silence_of_a_quarter_of_an_hour_is_an_answer(heard):
    clock = Clock()
    hearing = Hearing(clock, listens=False)
    if heard:
        hearing.read(clock.now)
    clock.now += SILENCE_S_MAX + 1
    assert hearing()
