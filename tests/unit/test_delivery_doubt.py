"""Attempts that nobody answered: what waits for them, how long, and what does not."""

import pytest

from sender.delivery import EVIDENCE_WAIT_S, LISTEN_S
from sender.graph import classify
from tests.simulation.line import Line

SECONDS_DOWN = 600


def test_attempts_in_doubt_hold_up_their_conversations_and_not_the_number():
    line = Line()
    for n in range(30):
        line.ask(f"c{n}", to=f"3460{n:07d}", policy="at_most_once")
    for _ in range(10):
        line.until_sent()
        line.answer("ambiguous")
    for _ in range(20):
        line.until_sent()
        line.answer("accepted")
    assert len(line.sent) == 30
    assert line.sent[-1][0] - line.sent[0][0] < 15


def test_the_time_in_which_nothing_could_be_heard_is_no_time_of_waiting():
    line = Line()
    line.ask("c1", policy="at_least_once")
    line.now += SECONDS_DOWN
    line.later(EVIDENCE_WAIT_S - 30)
    assert len(line.sent) == 1


def test_a_number_that_was_held_for_long_leaves_a_command_its_own_tries():
    line = Line()
    line.ask("c1", policy="at_most_once")
    for _ in range(40):
        line.answer("rejected", code=190, reason="pause_token")
        line.until_sent()
    line.answer("rejected", code=131057, reason="retry")
    assert "send.rejected" not in line.outcomes("c1")


@pytest.mark.parametrize("body", [b'{"error":{"message":"Bad gateway"}}', b'{"error":{}}'])
def test_an_error_without_a_code_says_nothing_about_a_message(body):
    assert classify(502, body).outcome == "ambiguous"


def test_doubt_is_decided_only_after_a_time_in_which_our_own_ingest_heard():
    line = Line()
    line.ask("c1", policy="at_most_once")
    line.answer("ambiguous")
    line.later(EVIDENCE_WAIT_S / 2)
    line.hearing = False
    line.later(3_600)
    assert line.outcomes("c1") == []
    line.hearing = True
    line.later(EVIDENCE_WAIT_S / 2 - LISTEN_S)
    assert line.outcomes("c1") == []
    line.later(3 * LISTEN_S)
    assert line.outcomes("c1") == ["send.unresolved"]


def test_a_stop_in_the_middle_of_the_doubt_is_no_time_of_listening():
    line = Line()
    line.ask("c1", policy="at_least_once")
    line.answer("ambiguous")
    line.later(30)
    line.now += SECONDS_DOWN
    line.later(EVIDENCE_WAIT_S - 30 - 2 * LISTEN_S)
    assert len(line.sent) == 1
