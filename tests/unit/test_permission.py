"""What the sender knows of a conversation before it sends: its window, and what goes instead once that is over."""

import pytest

from schemas.instants import rfc3339
from schemas.states import HEARD_STEP_S, MESSAGES, WINDOW_S, conversation_key, reach_key
from schemas.topics import HISTORY, SENDS
from tests import harness as h
from tests.simulation.line import LAIA, Line
from tests.unit.permission import POL, heard, sent, template


@pytest.fixture
def line():
    return Line(auto=True)


# --- the window


def test_inside_the_window_free_text_goes(line):
    heard(line)
    line.later(WINDOW_S - 2)
    line.ask("c1")
    assert line.outcomes("c1") == ["send.accepted"]


def test_outside_the_window_free_text_is_refused_without_a_request(line):
    heard(line)
    line.later(WINDOW_S)
    line.ask("c1")
    assert (sent(line), line.outcomes("c1"), line.reasons("c1")) == ([], ["send.rejected"], ["needs_template"])


def test_of_a_person_who_never_wrote_meta_decides(line):
    line.ask("c1")
    line.hear(h.echo("wamid.e", POL, line.now))
    line.ask("c2", POL.wa_id, origin="agent")
    assert sent(line) == ["c1", "c2"]


def test_history_and_echoes_open_no_window(line):
    heard(line)
    line.later(WINDOW_S)
    line.hear(h.echo("wamid.e", LAIA, line.now))
    line.hear(h.history("wamid.h", LAIA, line.now - 60, "inbound"), topic=HISTORY)
    line.ask("c1", origin="agent")
    assert line.reasons("c1") == ["needs_template"]


def test_outside_the_window_the_fallback_goes_instead_and_says_so(line):
    heard(line)
    line.later(WINDOW_S)
    line.ask("c1", fallback=template())
    (told,) = line.told(SENDS)
    assert (told["type"], told["reason"], told["body"]) == ("send.accepted", "window_closed", "fallback")
    command = line.command("c1")
    assert (command.kind, command.template) == ("template", "en_US/order_update")
    assert [(event, detail) for _, event, detail in command.story] == [
        ("send.requested", ""),
        ("fallback", "window_closed"),
        ("send.attempted", "1"),
        ("send.accepted", "window_closed"),
    ]


def test_inside_the_window_the_message_goes_and_not_its_fallback(line):
    heard(line)
    line.ask("c1", fallback=template())
    (told,) = line.told(SENDS)
    assert (told["type"], told.get("reason"), told.get("body")) == ("send.accepted", None, None)
    assert line.command("c1").kind == "text"


def test_a_window_that_closes_while_a_command_waits_is_noticed(line):
    heard(line)
    line.ask("c1", not_before=rfc3339(line.now + WINDOW_S + 60), fallback=template())
    line.ask("c2", not_before=rfc3339(line.now + WINDOW_S + 60))
    line.later(WINDOW_S + 70)
    assert line.told(SENDS)[-1]["reason"] == "needs_template"
    assert line.command("c1").fell_back


@pytest.mark.parametrize(("given", "policy"), [({}, "at_most_once"), ({"policy": "at_least_once"}, "at_least_once")])
def test_a_fallback_is_billed_so_it_goes_at_most_once_unless_asked_otherwise(line, given, policy):
    heard(line)
    line.later(WINDOW_S)
    line.ask("c1", fallback=template(), **given)
    assert line.command("c1").policy == policy


def test_meta_s_own_word_that_the_window_is_closed_leads_to_the_fallback():
    line = Line()
    line.ask("c1", fallback=template())
    line.answer("rejected", code=131047, reason="needs_template")
    line.later(1)
    assert line.wire[0].kind == "template"
    line.answer()
    assert line.outcomes("c1") == ["send.deferred", "send.accepted"]
    assert line.reasons("c1") == ["window_closed", "window_closed"]


def test_a_window_that_is_clearly_open_is_asked_about_once_more():
    line = Line()
    heard(line)
    line.ask("c1", fallback=template())
    line.answer("rejected", code=131047, reason="needs_template")
    line.later(5)
    assert line.wire[0].kind == "text"
    line.answer("rejected", code=131047, reason="needs_template")
    line.later(5)
    assert line.wire[0].kind == "template"


def gives_up(line, wamid, token, code=131047):
    """Meta took it, and says later that it will not be delivered."""
    line.hear(h.status(wamid, "failed", LAIA, line.now, token, code))


def test_a_window_that_meta_calls_closed_in_a_status_leads_to_the_fallback_too():
    line = Line()
    line.ask("c1", fallback=template())
    token = line.answer().token
    gives_up(line, "wamid.c1.1", token)
    assert [call.kind for call in line.wire] == ["template"]
    gives_up(line, "wamid.c1.1", token)  # Meta repeats itself
    line.answer()
    gives_up(line, "wamid.c1.1", token)
    assert line.outcomes("c1") == ["send.accepted", "send.deferred", "send.accepted"]
    assert line.reasons("c1") == ["", "window_closed", "window_closed"]
    assert line.command("c1").message_id == "wamid.c1.2"
    gives_up(line, "wamid.c1.2", line.command("c1").token)
    assert (line.wire, line.command("c1").state) == ([], "accepted")


def test_a_status_that_calls_an_open_window_closed_is_asked_about_once_more():
    line = Line()
    heard(line)
    line.ask("c1", fallback=template())
    gives_up(line, "wamid.c1.1", line.answer().token)
    line.later(5)
    assert line.wire[0].kind == "text"
    gives_up(line, "wamid.c1.2", line.answer().token)
    line.later(5)
    assert line.wire[0].kind == "template"


@pytest.mark.parametrize("more", [{}, {"fallback": template()}])
def test_without_a_fallback_or_of_another_code_what_meta_gave_up_is_left(more):
    line = Line()
    line.ask("c1", **more)
    gives_up(line, "wamid.c1.1", line.answer().token, 131026 if more else 131047)
    line.later(5)
    assert (line.wire, line.outcomes("c1")) == ([], ["send.accepted"])


def test_a_status_before_the_answer_leads_to_the_fallback_once():
    line = Line()
    line.ask("c1", fallback=template())
    gives_up(line, "wamid.c1.1", line.wire[0].token)
    line.answer(nth=0)
    line.answer(nth=0)
    line.later(5)
    assert (line.wire, line.command("c1").message_id) == ([], "wamid.c1.2")
    assert [command for _, command, _ in line.sent] == ["c1", "c1"]


def test_a_reply_to_what_was_just_published_is_never_refused_for_a_state_that_is_behind(line):
    """Whoever reads of a message may answer before `conversations` has: the reach stands in the message's commit."""
    heard(line)
    line.later(2 * WINDOW_S)
    behind = line.conversation()
    heard(line, wamid="wamid.new")
    line.states["echo_sync.conversations"][conversation_key(behind.conversation_id)] = behind
    assert behind.window_until < line.now
    line.ask("c1")
    assert sent(line) == ["c1"]


def test_a_long_chat_is_written_down_once_an_hour(line):
    written = []
    for n in range(60):
        heard(line, wamid=f"wamid.{n}")
        written.append(line.state(MESSAGES, reach_key(line.conversation().conversation_id)).heard_at)
        line.later(120)
    assert len(set(written)) == 1 + 60 * 120 // HEARD_STEP_S - 1
    assert line.now - written[-1] <= HEARD_STEP_S + 120


def test_a_field_that_is_null_is_a_missing_one(line):
    line.ask("c1", fallback=None, expires_at=None, only_if={"no_message_after": None, "not_taken_over": True})
    assert line.outcomes("c1") == ["send.accepted"]


def test_the_caller_s_trace_goes_with_every_outcome(line):
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    line.ask("c1", trace=trace, not_before=rfc3339(line.now + 30))
    line.later(40)
    events = [event for event in line.log[SENDS] if event.subject == "c1"]
    assert [event.type for event in events] == ["send.deferred", "send.accepted"]
    assert {event.trace for event in events} == {trace}
