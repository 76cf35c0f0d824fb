"""What an answer, or its absence, leads to: retries, doubt, evidence, crashes."""

import itertools

import pytest

from schemas.topics import OUTBOUND, SENDS
from sender.delivery import DOUBTS_MAX, EVIDENCE_WAIT_S
from sender.pace import ANSWER_WAIT_S, HOLD_S
from sender.pacing import RECOVER_S
from sender.refusals import REFUSALS_MAX, RETRY_S_MAX
from tests import harness as h
from tests.harness import T0
from tests.simulation.line import LAIA, Line

OVER_S = ANSWER_WAIT_S + EVIDENCE_WAIT_S + 5


def attempts(line, command_id="c1"):
    return [attempt for _, command, attempt in line.sent if command == command_id]


def waits(line):
    times = [at for at, _, _ in line.sent]
    return [round(later - at) for at, later in itertools.pairwise(times)]


# --- refusals


def test_a_final_refusal_is_told_with_metas_error_and_the_next_one_goes():
    line = Line()
    line.ask("c1")
    line.ask("c2")
    line.answer("rejected", code=131026, reason="dead")
    line.later(1)
    assert (line.outcomes("c1"), line.reasons("c1")) == (["send.rejected"], ["dead"])
    assert attempts(line, "c2") == [1]


def test_an_expired_window_is_told_as_needing_a_template():
    line = Line()
    line.ask("c1")
    line.answer("rejected", code=131047, reason="needs_template")
    assert line.reasons("c1") == ["needs_template"]


def test_a_passing_failure_is_tried_again_with_growing_waits_and_not_for_ever():
    line = Line()
    line.ask("c1")
    for _ in range(REFUSALS_MAX + 1):
        line.until_sent()
        line.answer("rejected", code=133004, reason="retry")
    assert attempts(line) == [1, 2, 3, 4, 5, 6]
    assert line.outcomes("c1")[-1] == "send.rejected"
    assert waits(line) == [2, 4, 8, 16, 32]


def test_a_request_that_never_left_is_tried_again_until_it_does():
    line = Line()
    line.ask("c1", policy="at_most_once")
    for _ in range(10):
        line.answer("not_sent", reason="unreachable")
        line.until_sent()
    assert attempts(line) == list(range(1, 12))
    assert max(waits(line)) == RETRY_S_MAX
    line.answer()
    assert line.outcomes("c1")[-1] == "send.accepted"


def test_a_limited_pair_rests_ever_longer_and_others_do_not():
    line = Line()
    line.ask("c1")
    for _ in range(3):
        line.answer("rejected", code=131056, reason="pair")
        line.later(70)
    line.ask("other", "34600333444")
    assert attempts(line) == [1, 2, 3, 4]
    assert [told["reason"] for told in line.told(SENDS)] == ["pair_limited"] * 3
    assert attempts(line, "other") == [1]


def test_a_limited_number_slows_down():
    line = Line()
    line.ask("c1")
    line.answer("rejected", code=130429, reason="slow")
    assert line.reasons("c1") == ["rate_limited"]
    assert line.queue().slowed_until == line.now + RECOVER_S
    line.later(0.9)
    assert attempts(line) == [1]
    line.later(0.2)
    assert attempts(line) == [1, 2]


def test_a_refused_token_holds_the_number_and_tries_one_request_a_minute():
    line = Line()
    for n in range(5):
        line.ask(f"c{n}", f"3460000000{n}")
    line.later(1)
    while line.wire:
        line.answer("rejected", code=190, reason="pause_token")
    for _ in range(3):
        line.later(HOLD_S + 1)
        assert len(line.wire) == 1
        line.answer("rejected", code=190, reason="pause_token")
    line.until_sent()
    line.auto = True
    line.answer()
    line.later(HOLD_S + 1)
    assert sorted(line.outcomes(f"c{n}")[-1] for n in range(5)) == ["send.accepted"] * 5


def test_a_refused_token_is_told_once_as_a_change_of_the_number():
    line = Line()
    line.ask("c1")
    line.answer("rejected", code=190, reason="pause_token")
    answered = line.log["inbound"][-1]
    line.hear(answered)
    changed = [data for data in line.told("account", "number.changed") if data.get("because")]
    assert [(data["sending"], data["because"]) for data in changed] == [("paused", "token")]


# --- no answer


def test_without_evidence_at_most_once_stays_unresolved_and_the_next_one_goes():
    line = Line()
    line.ask("c1", policy="at_most_once")
    line.ask("c2")
    line.answer("ambiguous")
    line.later(EVIDENCE_WAIT_S - 1)
    assert attempts(line, "c2") == []
    line.later(2)
    assert line.outcomes("c1") == ["send.unresolved"]
    assert (attempts(line), attempts(line, "c2")) == ([1], [1])


def test_without_evidence_at_least_once_sends_again_and_says_so():
    line = Line()
    line.ask("c1", policy="at_least_once")
    line.answer("ambiguous")
    line.later(EVIDENCE_WAIT_S + 1)
    assert attempts(line) == [1, 2]
    line.answer()
    assert line.told(SENDS)[-1]["possible_duplicate"] is True


def test_at_least_once_does_not_repeat_itself_without_end():
    line = Line()
    line.ask("c1", policy="at_least_once")
    for _ in range(DOUBTS_MAX):
        line.answer("ambiguous")
        line.later(EVIDENCE_WAIT_S + 1)
    assert attempts(line) == list(range(1, DOUBTS_MAX + 1))
    assert line.wire == []
    assert line.outcomes("c1")[-1] == "send.unresolved"


@pytest.mark.parametrize(("kind", "policy"), [("text", "at_least_once"), ("template", "at_most_once")])
def test_the_policy_follows_from_the_kind(kind, policy):
    line = Line()
    part = {"body": "hola"} if kind == "text" else {"name": "cita", "language": {"code": "ca"}}
    line.ask("c1", says={"type": kind, kind: part})
    assert line.command("c1").policy == policy


def test_an_attempt_that_was_open_when_we_crashed_becomes_doubtful_and_not_a_second_send():
    line = Line(hold=True)
    line.ask("c1", policy="at_most_once")
    line.held.clear()  # the process ended between the commit and the request
    line.later(OVER_S)
    assert line.sent == []
    assert line.outcomes("c1") == ["send.unresolved"]
    assert line.command("c1").attempt == 1


def test_after_a_crash_with_eight_open_attempts_the_number_sends_again():
    line = Line(hold=True)
    for n in range(10):
        line.ask(f"c{n}", f"3460000000{n}", policy="at_most_once")
    line.later(1)
    line.held.clear()
    line.hold, line.auto = False, True
    line.later(OVER_S)
    assert line.queue().open == 0
    line.ask("c10", "34600000099")
    line.later(1)
    assert attempts(line, "c10") == [1]


# --- evidence


def test_a_status_that_comes_before_the_answer_is_an_acceptance():
    line = Line()
    line.ask("c1")
    line.hear(h.status("wamid.1", "sent", LAIA, T0, h.token_of("c1")))
    assert line.outcomes("c1") == ["send.accepted"]
    line.answer("accepted", "wamid.1")
    assert line.outcomes("c1") == ["send.accepted"]


def test_an_echo_of_the_same_words_resolves_a_lost_answer():
    line = Line()
    line.ask("c1", policy="at_most_once")
    line.answer("ambiguous")
    line.hear(h.echo("wamid.1", LAIA, T0, "hola"))
    assert line.outcomes("c1") == ["send.accepted"]
    assert line.command("c1").guessed


def test_a_late_status_resolves_what_was_unresolved():
    line = Line()
    line.ask("c1", policy="at_most_once")
    line.answer("ambiguous")
    line.later(OVER_S)
    line.hear(h.status("wamid.1", "read", LAIA, line.now, h.token_of("c1")))
    assert line.outcomes("c1") == ["send.unresolved", "send.resolved"]


def test_evidence_before_the_second_request_leaves_makes_it_needless():
    line = Line()
    line.ask("c1", policy="at_least_once")
    line.ask("c2", policy="at_most_once")
    line.answer("ambiguous")
    line.hear(h.status("wamid.1", "sent", LAIA, T0, h.token_of("c1")))
    line.later(OVER_S)
    assert attempts(line) == [1]
    assert attempts(line, "c2") == [1]


def test_two_messages_of_one_command_are_told_as_a_duplicate_once():
    line = Line()
    line.ask("c1", policy="at_least_once")
    line.answer("ambiguous")
    line.later(EVIDENCE_WAIT_S + 1)
    line.answer("accepted", "wamid.2")
    for name in ("sent", "delivered", "read"):
        line.hear(h.status("wamid.1", name, LAIA, T0, h.token_of("c1", 1)))
        line.hear(h.status("wamid.2", name, LAIA, T0, h.token_of("c1", 2)))
    duplicates = line.told(SENDS, "send.duplicate_detected")
    assert [told["message_id"] for told in duplicates] == ["wamid.1"]
    assert line.command("c1").message_id == "wamid.2"


def test_what_was_withdrawn_after_a_lost_answer_and_yet_arrived_is_resolved():
    line = Line()
    line.ask("c1", policy="at_least_once")
    line.answer("ambiguous")
    line.hear(h.echo("wamid.human", LAIA, line.now, "jo mateixa"))
    line.later(OVER_S)
    assert line.outcomes("c1")[-1] == "send.withdrawn"
    line.hear(h.status("wamid.1", "sent", LAIA, T0, h.token_of("c1")))
    assert line.outcomes("c1")[-1] == "send.resolved"


def test_an_answer_of_an_earlier_attempt_ends_nothing():
    line = Line()
    line.ask("c1", policy="at_least_once")
    line.answer("ambiguous")
    line.later(EVIDENCE_WAIT_S + 1)
    line.hear(h.answered("c1", "rejected", LAIA, T0, attempt=1, code=131026, reason="dead"))
    assert line.outcomes("c1") == ["send.deferred"]
    line.answer()
    assert line.outcomes("c1") == ["send.deferred", "send.accepted"]


def test_the_answer_is_read_once():
    line = Line()
    line.ask("c1")
    line.ask("c2")
    line.answer()
    first = next(event for event in line.log["inbound"] if event.type == "send.answered")
    line.hear(first, first)
    line.later(0.1)
    assert line.queue().open == 1
    assert line.outcomes("c1") == ["send.accepted"]


def test_a_lane_that_comes_to_stand_while_timers_fire_is_not_forgotten():
    """One batch of timers: a command is given up, and the number's own timer is due as well."""
    line = Line()
    line.ask("c1", policy="at_most_once")
    line.ask("c2")
    line.answer("ambiguous")
    line.run_until(T0 + EVIDENCE_WAIT_S - 0.01)
    for n in range(4):
        line.ask(f"other{n}", f"3460000000{n}")
    line.now = T0 + EVIDENCE_WAIT_S + 30  # nobody looked for a while: all of it is due at once
    line.fire_all()
    line.later(5)
    assert attempts(line, "c2") == [1]


def test_a_command_is_not_queued_twice_by_its_cancellation_and_its_timer():
    line = Line(auto=True)
    line.ask("c1", not_before="2026-09-21T15:00:00Z")
    line.hear(h.outbound("send.cancel", line.now, command_id="c1"), topic=OUTBOUND)
    line.later(4000)
    assert line.sent == []


def test_a_deferred_send_whose_conversation_was_taken_over_before_the_socket_waits_like_another():
    line = Line()
    line.ask("c1", defer_until_released=True)
    line.hear(h.echo("wamid.human", LAIA, line.now))
    line.answer("withdrawn", reason="taken_over")
    assert (line.outcomes("c1"), line.reasons("c1")) == (["send.deferred"], ["taken_over"])
    assert line.command("c1").state == "queued"
