"""Whose echo it is: what may claim one, what it waits for, and for how long."""

import pytest

from echo_sync.echoes import (
    AMBIGUOUS,
    ATTEMPT_KEEP_S,
    ATTEMPT_OPEN_S,
    CLOSED,
    ECHO_WAIT_S,
    OPEN,
    Attempt,
    attempt_key,
    claimant,
    must_wait,
    open_attempts,
)
from schemas.states import MESSAGES
from schemas.topics import TIMELINE
from tests import harness as h
from tests.harness import NUMBER, T0
from tests.simulation.line import LAIA, Line


def attempt(token="t", kind="text", content=b'{"body":"hola"}', **more):
    return Attempt(number=NUMBER, token=token, kind=kind, content=content, **more)


@pytest.mark.parametrize(
    ("kind", "content", "claimed"),
    [
        ("text", b'{"body":"hola"}', True),
        ("text", b'{"body":"hola","preview_url":true}', True),
        ("text", b'{"body":"Hola"}', False),
        ("text", b"", False),
        ("image", b'{"body":"hola"}', False),
    ],
)
def test_only_the_same_words_of_the_same_kind_claim_an_echo(kind, content, claimed):
    assert (claimant([attempt()], kind, content) is not None) is claimed


def test_between_two_open_attempts_nothing_is_certain():
    assert claimant([attempt("a"), attempt("b")], "text", b'{"body":"hola"}') is None
    assert claimant([attempt("a", matched="w"), attempt("b")], "text", b'{"body":"hola"}').token == "b"
    assert claimant([], "text", b'{"body":"hola"}') is None


def test_what_is_settled_is_not_open_any_more():
    class Kept(dict):
        pass

    states = Kept({attempt_key(NUMBER, name): attempt(name, outcome=name) for name in (OPEN, AMBIGUOUS, CLOSED)})
    found = open_attempts(states, NUMBER, [OPEN, AMBIGUOUS, CLOSED, "gone"])
    assert [one.token for one in found] == [OPEN, AMBIGUOUS]
    assert must_wait(found)
    assert not must_wait(found[1:])


def test_an_echo_waits_as_long_as_a_request_may_take():
    line = Line()
    line.hear(h.attempted("c1", LAIA, T0), h.echo("wamid.1", LAIA, T0, "altres"))
    line.later(ECHO_WAIT_S - 0.1)
    assert line.told(TIMELINE) == []
    line.later(0.2)
    assert [data["origin"] for data in line.told(TIMELINE)] == ["business_app"]


def test_a_repeat_of_a_waiting_echo_does_not_make_it_wait_longer():
    line = Line()
    line.hear(h.attempted("c1", LAIA, T0), h.echo("wamid.1", LAIA, T0, "altres"))
    for _ in range(4):
        line.later(ECHO_WAIT_S / 5)
        line.hear(h.echo("wamid.1", LAIA, T0, "altres"))
    line.later(ECHO_WAIT_S / 5 + 0.1)
    assert line.added() == ["wamid.1"]


def test_an_attempt_that_is_long_gone_claims_no_echo():
    line = Line()
    line.hear(h.attempted("c1", LAIA, T0), h.answered("c1", "ambiguous", LAIA, T0))
    line.later(ATTEMPT_OPEN_S + 1)
    line.hear(h.echo("wamid.1", LAIA, line.now, "hola"))
    assert [data["origin"] for data in line.told(TIMELINE)] == ["business_app"]


def test_late_proof_is_worth_a_week_and_then_the_attempt_is_forgotten():
    line = Line()
    line.hear(h.attempted("c1", LAIA, T0))
    line.later(7 * 86_400)
    line.hear(h.status("wamid.1", "read", LAIA, line.now, h.token_of("c1")))
    assert line.added() == ["wamid.1"]
    line.later(ATTEMPT_KEEP_S)
    assert not [key for key in line.states[MESSAGES] if key.startswith("a/")]


def test_a_history_copy_of_a_waiting_echo_is_judged_with_it():
    line = Line()
    line.hear(h.attempted("c1", LAIA, T0), h.echo("wamid.1", LAIA, T0, "hola"))
    line.hear(h.history("wamid.1", LAIA, T0 - 1, "outbound", "hola"), topic="history")
    assert line.added() == []
    line.hear(h.answered("c1", "ambiguous", LAIA, T0))
    assert [data["origin"] for data in line.told(TIMELINE)] == ["api"]


def test_an_echo_after_its_history_copy_is_judged_as_well():
    line = Line()
    line.hear(h.attempted("c1", LAIA, T0), h.answered("c1", "ambiguous", LAIA, T0))
    line.hear(h.history("wamid.1", LAIA, T0 - 1, "outbound", "hola"), topic="history")
    line.hear(h.echo("wamid.1", LAIA, T0, "hola"))
    assert line.told(TIMELINE)[-1]["origin"] == "api"
