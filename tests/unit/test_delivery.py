"""Which command goes when: order, pace, fairness, conditions, and requests that are no commands."""

import pytest
from msgspec import Raw

from schemas.instants import rfc3339
from schemas.topics import INBOUND, OUTBOUND, OUTBOUND_BULK, SENDS
from sender.command import Command, digest, read_request
from sender.pacing import PAIR_BURST, PAIR_INTERVAL_S, SLACK_S
from tests import harness as h
from tests.harness import T0
from tests.simulation.line import LAIA, Line

POL = h.phone("34600333444")


def sent_ids(line):
    return [command for _, command, _ in line.sent]


def most_within(times, window_s):
    return max(sum(1 for t in times if start <= t < start + window_s) for start in times)


def people(count):
    return [f"3460{n:07d}" for n in range(count)]


# --- requests


def test_a_request_leaves_at_once_and_its_acceptance_is_told():
    line = Line()
    line.ask("c1")
    assert sent_ids(line) == ["c1"]
    line.answer("accepted", "wamid.1")
    (told,) = line.told(SENDS)
    assert (told["type"], told["message_id"], told["attempt"]) == ("send.accepted", "wamid.1", 1)


def test_the_same_command_twice_is_one_send():
    line = Line(auto=True)
    line.ask("c1")
    line.ask("c1")
    line.later(60)
    assert sent_ids(line) == ["c1"]
    assert line.outcomes("c1") == ["send.accepted"]
    assert "duplicate:command_repeat" in line.notes


def test_the_same_id_with_another_body_is_refused():
    line = Line(auto=True)
    line.ask("c1")
    line.ask("c1", says="una altra cosa")
    assert sent_ids(line) == ["c1"]
    assert line.reasons("c1") == ["", "command_id_conflict"]


def test_a_command_for_an_unknown_number_is_refused():
    line = Line()
    event = h.request("c1", LAIA.wa_id)
    line.states["echo_sync.messages"].clear()
    line.hear(event, topic=OUTBOUND)
    assert line.reasons("c1") == ["unknown_number"]
    assert line.sent == []
    line.hear(event, topic=OUTBOUND)
    assert line.reasons("c1") == ["unknown_number"]


def test_what_is_kept_of_a_refused_command_tells_nobody_for_whom_it_was():
    line = Line(strict=False)
    event = h.request("c1", LAIA.wa_id, not_before="tomorrow")
    line.hear(event, topic=OUTBOUND)
    (kept,) = [state for state in line.states["sender.delivery"].values() if isinstance(state, Command)]
    assert LAIA.wa_id not in repr(kept)
    assert kept.digest != digest(read_request(event.data))
    line.hear(h.request("c1", LAIA.wa_id), topic=OUTBOUND)
    assert line.reasons("c1") == ["invalid_time", "command_id_conflict"]


@pytest.mark.parametrize(
    ("to", "more", "reason"),
    [
        ("nobody", {}, "invalid_command"),
        ("34600111222", {"not_before": "tomorrow"}, "invalid_time"),
        ("34600111222", {"expires_at": "2026-09-21T14:13:20"}, "invalid_time"),
    ],
)
def test_what_cannot_be_sent_is_refused_with_the_reason(to, more, reason):
    line = Line(strict=False)
    line.ask("c1", to, **more)
    assert line.reasons("c1") == [reason]
    assert line.sent == []


# --- order


def test_one_conversation_keeps_its_order_and_waits_for_each_answer():
    line = Line()
    for n in range(5):
        line.ask(f"c{n}")
    assert sent_ids(line) == ["c0"]
    for _ in range(5):
        line.answer()
        line.later(1)
    assert sent_ids(line) == ["c0", "c1", "c2", "c3", "c4"]


def test_the_variants_of_one_phone_are_one_line():
    line = Line()
    line.ask("c1", "5511987654321")
    line.ask("c2", "551187654321")
    assert sent_ids(line) == ["c1"]


def test_a_retry_goes_before_those_behind_it():
    line = Line()
    line.ask("c1")
    line.ask("c2")
    line.answer("rejected", code=133004, reason="retry")
    line.later(1)
    assert sent_ids(line) == ["c1"]
    line.later(2)
    assert [(command, attempt) for _, command, attempt in line.sent] == [("c1", 1), ("c1", 2)]
    line.answer()
    line.later(1)
    assert sent_ids(line) == ["c1", "c1", "c2"]


# --- pace


def test_a_number_sends_no_more_than_20_per_second():
    line = Line(auto=True)
    for n, to in enumerate(people(100)):
        line.ask(f"c{n}", to)
    line.later(10)
    times = [at for at, _, _ in line.sent]
    assert len(times) == 100
    assert times[-1] - times[0] == pytest.approx(99 / 18 * (1 + SLACK_S), abs=0.1)  # a new number keeps two free
    assert most_within(times, 1.0) <= 20


def test_inbound_messages_take_from_the_same_20_per_second():
    line = Line(auto=True)
    for n, to in enumerate(people(40)):
        line.ask(f"c{n}", to)
    for n in range(30):  # ten customer messages per second
        line.hear(h.message(f"wamid.in{n}", POL, line.now))
        line.later(0.1)
    assert 20 <= len(line.sent) <= 30


def test_inbound_traffic_holds_outbound_back_by_a_second_at_most():
    line = Line(auto=True)
    line.hear(*(h.message(f"wamid.in{n}", POL, T0) for n in range(500)))
    line.ask("c1")
    line.later(1.1)
    assert sent_ids(line) == ["c1"]


def test_one_person_gets_a_burst_and_then_one_message_per_six_seconds():
    line = Line(auto=True)
    for n in range(PAIR_BURST + 5):
        line.ask(f"c{n:02d}")
    line.later(3)
    assert len(line.sent) == PAIR_BURST
    line.later(5 * PAIR_INTERVAL_S)
    assert sent_ids(line) == [f"c{n:02d}" for n in range(PAIR_BURST + 5)]
    times = [at for at, _, _ in line.sent]
    assert most_within(times, 60) <= PAIR_BURST + 60 / PAIR_INTERVAL_S


def test_five_hundred_messages_to_one_person_delay_two_hundred_others_by_little():
    line = Line(auto=True, strict=False)
    for n in range(500):
        line.ask(f"many{n}")
    line.later(0.2)
    start = line.now
    for n, to in enumerate(people(200)):
        line.ask(f"other{n}", to)
    line.later(200 / 18 + PAIR_BURST / 18 + 1)
    times = {command: at for at, command, _ in line.sent}
    others = [times[f"other{n}"] - start for n in range(200)]
    assert max(others) <= (200 + PAIR_BURST) / 18


def test_bulk_is_read_last():
    line = Line(auto=True)
    assert line.processors[2].inputs[-1] == OUTBOUND_BULK
    line.ask("c1", topic=OUTBOUND_BULK)
    assert sent_ids(line) == ["c1"]


def test_no_more_than_ten_attempts_are_open_at_once():
    line = Line()
    for n, to in enumerate(people(30)):
        line.ask(f"c{n}", to)
    line.later(5)
    assert len(line.wire) == 10
    line.answer()
    line.later(1)
    assert len(line.wire) == 10


# --- conditions


def test_a_persons_answer_withdraws_what_waits_behind_the_open_send():
    line = Line()
    line.ask("c1")
    line.ask("c2")
    line.hear(h.echo("wamid.human", LAIA, line.now, "jo mateixa"))
    line.answer()
    line.later(20)
    assert sent_ids(line) == ["c1"]
    assert (line.outcomes("c2"), line.reasons("c2")) == (["send.withdrawn"], ["taken_over"])


def test_an_agents_send_is_not_withdrawn_by_a_person_in_the_app():
    line = Line(auto=True)
    line.hear(h.echo("wamid.human", LAIA, line.now))
    line.ask("c1", origin="agent")
    line.ask("c2", origin="agent", only_if={"not_taken_over": True})
    line.later(1)
    assert sent_ids(line) == ["c1"]
    assert line.reasons("c2") == ["taken_over"]


def test_a_deferred_send_waits_until_the_conversation_is_released():
    line = Line(auto=True)
    line.hear(h.echo("wamid.human", LAIA, line.now))
    line.ask("c1", defer_until_released=True)
    line.later(600)
    assert line.outcomes("c1") == ["send.deferred"]
    assert line.sent == []
    conversation = line.conversation().conversation_id
    line.hear(h.outbound("conversation.release", line.now, conversation_id=conversation), topic=OUTBOUND)
    line.later(61)
    assert line.outcomes("c1") == ["send.deferred", "send.accepted"]


def test_a_deferred_send_lets_the_agent_who_took_the_conversation_pass():
    line = Line(auto=True)
    line.hear(h.echo("wamid.human", LAIA, line.now))
    line.ask("c1", defer_until_released=True)
    line.ask("c2", origin="agent")
    line.later(1)
    assert sent_ids(line) == ["c2"]


def test_another_condition_under_a_known_id_is_a_conflict():
    line = Line(auto=True)
    line.hear(h.message("wamid.0", LAIA, line.now))
    line.ask("c1")
    line.ask("c1", only_if={"not_taken_over": True})
    assert line.reasons("c1")[-1] == "command_id_conflict"


def test_a_condition_that_is_not_known_is_never_taken_for_none():
    line = Line(auto=True)
    with pytest.raises(ValueError, match="not_taken_ovr"):
        line.ask("c1", only_if={"not_taken_ovr": True})
    assert line.sent == []


def test_a_deferred_send_goes_when_the_pause_is_over():
    line = Line(auto=True)
    line.hear(h.echo("wamid.human", LAIA, line.now))
    line.ask("c1", defer_until_released=True)
    line.later(30 * 60 - 10)
    assert line.sent == []
    line.later(20)
    assert sent_ids(line) == ["c1"]


@pytest.mark.parametrize(("newest", "goes"), [("wamid.1", True), ("wamid.0", False)])
def test_a_send_may_depend_on_the_newest_message(newest, goes):
    line = Line(auto=True)
    line.hear(h.message("wamid.0", LAIA, T0 - 9), h.message("wamid.1", LAIA, T0 - 5))
    line.ask("c1", only_if={"no_message_after": newest})
    line.later(1)
    assert bool(line.sent) is goes
    assert line.reasons("c1") == ([""] if goes else ["newer_message"])


def test_what_a_bot_sent_is_no_newer_message_and_one_of_the_same_second_is_none():
    line = Line(auto=True)
    line.hear(h.message("wamid.0", LAIA, T0 - 5), h.message("wamid.1", LAIA, T0 - 5))
    line.ask("c1", only_if={"no_message_after": "wamid.0"})
    line.later(2)
    line.ask("c2", only_if={"no_message_after": "wamid.1"})
    line.later(2)
    assert sent_ids(line) == ["c1", "c2"]


@pytest.mark.parametrize(("after", "goes"), [("wamid.1", True), ("wamid.0", False), ("wamid.never", False)])
def test_who_read_of_a_message_may_be_faster_than_its_conversation(after, goes):
    line = Line(auto=True)
    line.hear(h.message("wamid.0", LAIA, T0 - 9), h.message("wamid.known", LAIA, T0 - 7))
    line.append(INBOUND, h.message("wamid.1", LAIA, T0 - 5))
    line.read(line.processors[0])
    line.append(OUTBOUND, h.request("c1", LAIA.wa_id, line.now, only_if={"no_message_after": after}))
    line.read(line.processors[2])
    assert line.conversation().newest_id == "wamid.known"
    line.later(6)
    assert line.reasons("c1") == ([""] if goes else ["newer_message"])
    assert bool(line.sent) is goes


def test_a_send_may_depend_on_nobody_having_written_since_an_earlier_send():
    line = Line(auto=True)
    line.hear(h.message("wamid.0", LAIA, T0 - 9))
    line.ask("c1")
    line.later(1)
    for n in range(20):
        line.ask(f"more-{n}")
        line.later(10)
    line.ask("c2", only_if={"no_message_after": "wamid.c1.1"})
    line.later(5)
    line.hear(h.message("wamid.1", LAIA, line.now))
    line.ask("c3", only_if={"no_message_after": "wamid.c1.1"})
    line.later(5)
    assert [c for c in sent_ids(line) if c.startswith("c")] == ["c1", "c2"]
    assert line.reasons("c3") == ["newer_message"]


@pytest.mark.parametrize(("after", "goes"), [(-4, True), (-6, False)])
def test_a_send_may_depend_on_a_time_since_which_nothing_came(after, goes):
    line = Line(auto=True)
    line.hear(h.message("wamid.1", LAIA, T0 - 5))
    line.ask("c1", only_if={"no_message_after": rfc3339(T0 + after)})
    line.later(1)
    assert bool(line.sent) is goes


def test_a_send_may_wait_for_a_time():
    line = Line(auto=True)
    line.ask("c1", not_before=rfc3339(T0 + 100))
    assert line.outcomes("c1") == ["send.deferred"]
    line.later(99)
    assert line.sent == []
    line.later(2)
    assert sent_ids(line) == ["c1"]


def test_a_send_that_waited_too_long_expires():
    line = Line()
    line.ask("c1")
    line.ask("c2", expires_at=rfc3339(T0 + 5))
    line.later(10)
    line.answer()
    line.later(1)
    assert line.outcomes("c2") == ["send.expired"]
    assert sent_ids(line) == ["c1"]


@pytest.mark.parametrize("more", [{}, {"not_before": rfc3339(T0 + 3600)}])
def test_a_waiting_command_can_be_cancelled(more):
    line = Line(auto=False)
    line.ask("c1")
    line.ask("c2", **more)
    line.hear(h.outbound("send.cancel", line.now, command_id="c2"), topic=OUTBOUND)
    assert line.outcomes("c2")[-1] == "send.cancelled"
    line.auto = True
    line.answer()
    line.ask("c3")
    line.later(4000)
    assert sent_ids(line) == ["c1", "c3"]


def test_a_command_that_has_left_cannot_be_cancelled():
    line = Line()
    line.ask("c1")
    line.hear(h.outbound("send.cancel", line.now, command_id="c1"), topic=OUTBOUND)
    line.answer()
    assert line.outcomes("c1") == ["send.accepted"]


def test_cancelling_what_nobody_asked_for_is_refused():
    line = Line()
    line.hear(h.outbound("send.cancel", line.now, command_id="c9"), topic=OUTBOUND)
    assert line.reasons("c9") == ["unknown_command"]


def test_a_paused_number_sends_nothing_until_it_is_resumed():
    line = Line(auto=True)
    line.hear(h.account("PAUSED", line.now))
    line.ask("c1")
    line.later(600)
    assert line.sent == []
    line.hear(h.account("RESUMED", line.now))
    line.later(6)
    assert sent_ids(line) == ["c1"]


def test_inbound_messages_are_counted_without_reading_their_content():
    line = Line()
    item = line.processors[2].parse(h.message("wamid.1", LAIA, T0))
    assert item.content is not Raw(b"{}")
    assert item.message_id == ""
    assert line.log[INBOUND][0].type == "webhook.account"
