"""Who waits for whom: bulk for everybody, nobody for bulk, and no command for another's wait without being told."""

import pytest

from schemas.instants import rfc3339
from schemas.topics import OUTBOUND, OUTBOUND_BULK, SENDS
from sender.command import BULK
from sender.pacing import PAIR_BURST, PAIR_BURST_BULK, PAIR_INTERVAL_S, interval_s
from tests import harness as h
from tests.harness import T0
from tests.simulation.line import LAIA, Line

POL = h.phone("34600333444")
SOON_S = 2 * interval_s(18)
"""Time for one more message of a new number, and the one before it."""


def sent_ids(line):
    return [command for _, command, _ in line.sent]


def times(line):
    return {command: at for at, command, _ in line.sent}


def person(n):
    return f"3461{n:07d}"


# --- bulk


@pytest.mark.parametrize(("topic", "more"), [(OUTBOUND_BULK, {}), (OUTBOUND, {"lane": "bulk"})])
def test_a_live_send_does_not_wait_for_the_bulk_before_it(topic, more):
    line = Line(auto=True, strict=False)
    for n in range(300):
        line.ask(f"bulk{n}", person(n), topic, **more)
    line.later(3)
    for n in range(20):
        asked = line.now
        line.ask(f"live{n}", person(1000 + n))
        line.later(0.5)
        assert times(line)[f"live{n}"] - asked <= SOON_S
    line.later(20)
    assert len(line.sent) == 320


def test_bulk_goes_as_fast_as_the_rest_allows_where_there_is_no_other():
    line = Line(auto=True, strict=False)
    for n in range(200):
        line.ask(f"bulk{n}", person(n), OUTBOUND_BULK)
    line.later(200 * interval_s(18) + 1)
    assert len(line.sent) == 200


def test_bulk_to_a_person_waits_until_nothing_live_waits_for_them():
    line = Line()
    line.ask("live1")
    line.ask("bulk1", topic=OUTBOUND_BULK)
    line.ask("live2")
    line.ask("bulk2", topic=OUTBOUND_BULK)
    for _ in range(4):
        line.later(1)
        assert len(line.wire) == 1
        line.answer()
    line.later(1)
    assert sent_ids(line) == ["live1", "live2", "bulk1", "bulk2"]


def test_a_live_send_does_not_wait_for_the_answer_to_a_bulk_one():
    line = Line()
    line.ask("bulk1", topic=OUTBOUND_BULK)
    line.later(0.1)
    line.ask("live1")
    line.later(0.1)
    assert sent_ids(line) == ["bulk1", "live1"]


def test_a_live_send_does_not_wait_for_doubt_about_a_bulk_one():
    line = Line()
    line.ask("bulk1", topic=OUTBOUND_BULK, policy="at_most_once")
    line.answer("ambiguous")
    line.ask("live1")
    line.later(0.1)
    assert sent_ids(line) == ["bulk1", "live1"]
    line.answer()
    line.ask("bulk2", topic=OUTBOUND_BULK)
    line.later(50)
    assert sent_ids(line) == ["bulk1", "live1"]
    line.later(60)
    assert sent_ids(line) == ["bulk1", "live1", "bulk2"]


def test_bulk_leaves_room_among_the_open_attempts_when_graph_is_slow():
    line = Line()
    for n in range(30):
        line.ask(f"bulk{n}", person(n), OUTBOUND_BULK)
    line.later(10)
    assert len(line.wire) == 8
    line.ask("live1", person(1000))
    line.later(SOON_S)
    assert sent_ids(line)[-1] == "live1"


def test_both_lanes_of_a_person_draw_on_one_pair_and_bulk_leaves_half_of_its_burst():
    line = Line(auto=True)
    for n in range(30):
        line.ask(f"bulk{n}", topic=OUTBOUND_BULK)
    line.later(5)
    assert len(line.sent) == PAIR_BURST_BULK
    for n in range(PAIR_BURST):
        line.ask(f"live{n}")
    line.later(4)
    assert PAIR_BURST <= len(line.sent) <= PAIR_BURST + 1
    line.later(600)
    assert len(line.sent) <= PAIR_BURST + (line.now - T0) / PAIR_INTERVAL_S
    assert len(line.sent) == 50


def test_a_bulk_command_can_be_cancelled_expires_and_is_withdrawn_like_another():
    line = Line()
    line.ask("bulk0", topic=OUTBOUND_BULK)
    line.ask("bulk1", topic=OUTBOUND_BULK)
    line.ask("bulk2", topic=OUTBOUND_BULK, expires_at=rfc3339(T0 + 5))
    line.ask("bulk3", topic=OUTBOUND_BULK)
    line.hear(h.outbound("send.cancel", line.now, command_id="bulk1"), topic=OUTBOUND)
    line.later(6)
    line.hear(h.echo("wamid.human", LAIA, line.now))
    line.later(1)
    line.answer()
    line.later(5)
    ends = [line.outcomes(f"bulk{n}")[-1] for n in range(4)]
    assert ends == ["send.accepted", "send.cancelled", "send.expired", "send.withdrawn"]


def test_a_command_is_the_same_on_either_topic_when_it_is_bulk():
    line = Line(auto=True)
    line.ask("c1", topic=OUTBOUND, lane="bulk")
    line.ask("c1", topic=OUTBOUND_BULK)
    assert line.outcomes("c1") == ["send.accepted"]
    assert line.command("c1").lane.startswith(BULK)


# --- fairness


def test_a_blocked_pair_holds_up_nobody_else():
    line = Line(auto=True)
    for n in range(PAIR_BURST + 5):
        line.ask(f"many{n:02d}")
    line.later(3)
    assert len(line.sent) == PAIR_BURST
    line.ask("other", POL.wa_id)
    line.later(0.1)
    assert sent_ids(line)[-1] == "other"


# --- told on time


def waiting_head(line):
    """The head of Laia's lane waits two minutes, because Graph cannot be reached."""
    line.ask("head", policy="at_most_once", origin="agent")
    for _ in range(7):
        line.until_sent()
        line.answer("not_sent", reason="unreachable")
    assert line.lane().place > line.now + 100


def ended_at(line, command_id):
    return line.command(command_id).story[-1][0]


def test_what_expires_behind_a_waiting_head_is_told_when_it_expires():
    line = Line()
    waiting_head(line)
    at = line.now + 10
    line.ask("c2", expires_at=rfc3339(at))
    line.later(11)
    assert line.outcomes("c2") == ["send.expired"]
    assert ended_at(line, "c2") == pytest.approx(at, abs=0.01)


def test_a_head_that_expires_while_it_waits_lets_the_next_one_go():
    line = Line()
    line.ask("head", policy="at_most_once", expires_at=rfc3339(T0 + 200))
    while line.lane().place is None or line.lane().place < T0 + 200:
        line.until_sent()
        line.answer("not_sent", reason="unreachable")
    line.ask("c2")
    line.run_until(T0 + 201)
    assert line.outcomes("head")[-1] == "send.expired"
    assert sent_ids(line)[-1] == "c2"


def test_what_expires_before_it_may_start_is_told_when_it_expires():
    line = Line()
    line.ask("c1", not_before=rfc3339(T0 + 100), expires_at=rfc3339(T0 + 50))
    line.later(51)
    assert line.outcomes("c1") == ["send.deferred", "send.expired"]


@pytest.mark.parametrize("bulk", [False, True])
def test_what_a_person_answered_is_withdrawn_behind_a_waiting_head_at_once(bulk):
    line = Line()
    waiting_head(line)
    for n in range(450):
        line.ask(f"c{n}", topic=OUTBOUND_BULK if bulk else OUTBOUND)
    line.hear(h.echo("wamid.human", LAIA, line.now, "jo mateixa"))
    line.later(1)
    assert {line.outcomes(f"c{n}")[-1] for n in range(450)} == {"send.withdrawn"}
    assert line.outcomes("head")[-1] == "send.deferred"


def test_a_newer_message_withdraws_what_depends_on_it_at_once():
    line = Line()
    line.hear(h.message("wamid.0", LAIA, line.now))
    waiting_head(line)
    line.ask("c2", only_if={"no_message_after": "wamid.0"})
    line.ask("c3")
    line.hear(h.message("wamid.1", LAIA, line.now))
    line.later(1)
    assert (line.outcomes("c2"), line.reasons("c2")) == (["send.withdrawn"], ["newer_message"])
    assert line.outcomes("c3") == []


def take_over(line, kind="conversation.takeover", **more):
    conversation = line.conversation().conversation_id
    line.hear(h.outbound(kind, line.now, conversation_id=conversation, **more), topic=OUTBOUND)


def test_a_takeover_at_the_desk_withdraws_what_waits_at_once():
    line = Line()
    line.hear(h.message("wamid.0", LAIA, line.now))
    waiting_head(line)
    line.ask("c2")
    take_over(line, minutes=5)
    line.later(1)
    assert line.outcomes("c2") == ["send.withdrawn"]


def test_a_deferred_command_goes_at_once_when_the_conversation_is_released():
    line = Line(auto=True)
    line.hear(h.echo("wamid.human", LAIA, line.now))
    line.ask("c1", defer_until_released=True)
    line.ask("c2", defer_until_released=True, topic=OUTBOUND_BULK)
    line.later(100)
    released_at = line.now
    take_over(line, "conversation.release")
    line.later(1)
    assert sent_ids(line) == ["c1", "c2"]
    assert times(line)["c1"] - released_at < 0.1


def test_a_deferred_command_expires_when_it_is_due():
    line = Line(auto=True)
    line.hear(h.echo("wamid.human", LAIA, line.now))
    line.ask("c1", defer_until_released=True, expires_at=rfc3339(T0 + 20))
    line.later(21)
    assert line.outcomes("c1") == ["send.deferred", "send.expired"]
    assert ended_at(line, "c1") == pytest.approx(T0 + 20, abs=0.01)


# --- holds


def test_a_resumed_number_sends_at_once():
    line = Line(auto=True)
    line.hear(h.account("PAUSED", line.now))
    line.ask("c1")
    line.later(601.7)
    resumed_at = line.now
    line.hear(h.account("RESUMED", line.now))
    line.later(0.5)
    assert times(line)["c1"] - resumed_at < 0.1


def refused(line, count, code, reason):
    for n in range(count):
        line.ask(f"c{n}", person(n))
    line.later(1)
    while line.wire:
        line.answer("rejected", code=code, reason=reason)


@pytest.mark.parametrize("word", ["RESUMED", "TOKEN_SET"])
def test_a_new_token_is_tried_at_once_with_one_request_and_then_all_go(word):
    line = Line()
    refused(line, 5, 190, "pause_token")
    line.later(7)
    line.hear(h.account(word, line.now))
    line.later(0.1)
    assert len(line.wire) == 1
    line.answer()
    line.later(1)
    assert len(line.wire) == 4


def test_a_refused_token_needs_nobody_once_it_is_good_again():
    line = Line()
    refused(line, 5, 190, "pause_token")
    line.later(61)
    assert len(line.wire) == 1
    line.answer()
    line.later(1)
    assert len(line.wire) == 4
    assert [told["sending"] for told in line.told("account", "number.changed")][-1] == "active"


def test_a_blocked_number_is_tried_ever_more_seldom():
    line = Line()
    line.ask("c1")
    gaps, last = [], line.now
    for _ in range(8):
        line.until_sent(4000)
        line.answer("rejected", code=368, reason="pause_number")
        gaps.append(round(line.sent[-1][0] - last))
        last = line.sent[-1][0]
    assert gaps == [0, 60, 120, 240, 480, 960, 1920, 3600]


def test_a_spent_quota_holds_the_number_for_the_time_that_graph_names():
    line = Line()
    line.ask("c1")
    call = line.wire.pop()
    spent = {"code": 80007, "reason": "throttled", "regain_s": 600, "usage": 100}
    line.hear(h.answered("c1", "rejected", call.to, call.opened_at, **spent))
    line.later(599)
    assert line.wire == []
    line.later(2)
    assert len(line.wire) == 1
    assert line.reasons("c1") == ["quota_refused"]


def test_a_quota_that_is_nearly_spent_slows_the_number_down_before_it_is():
    line = Line(auto=True)
    line.later(60)
    line.ask("c0")
    event = h.answered("c0", "accepted", LAIA, line.now, "wamid.c0.1", usage=95)
    line.hear(event)
    line.sent.clear()
    for n in range(40):
        line.ask(f"c{n + 1}", person(n))
    line.later(5)
    assert len(line.sent) == pytest.approx(5 * 20 * 0.2, abs=3)


def test_every_outcome_of_a_held_number_is_told_as_deferred_and_none_is_lost():
    line = Line()
    refused(line, 5, 190, "pause_token")
    assert {data["type"] for data in line.told(SENDS)} == {"send.deferred"}
    line.auto = True
    line.later(200)
    assert sorted(line.outcomes(f"c{n}")[-1] for n in range(5)) == ["send.accepted"] * 5
