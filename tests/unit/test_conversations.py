"""Who answers whom: owner, takeover, release, assignment, pause, window, unread; merged, late and repeated."""

import pytest

from echo_sync.conversations import PAUSE_S_DEFAULT
from schemas.instants import rfc3339
from schemas.states import AGENT, BOT, CLAIMS_MAX, PERSON_APP, UNKNOWN
from schemas.topics import CONVERSATIONS, HISTORY, OUTBOUND
from tests import harness as h
from tests.harness import T0
from tests.simulation.line import LAIA, Line
from tests.simulation.truth import assert_folds, fold_conversations

MINUTE = 60.0


@pytest.fixture
def line():
    return Line(auto=True)


def conversation(line):
    return line.conversation().conversation_id


def desk(line, kind, at=None, event_id="", **more):
    event = h.outbound(
        f"conversation.{kind}", line.now if at is None else at, event_id, conversation_id=conversation(line), **more
    )
    line.hear(event, topic=OUTBOUND)
    return event


def told(line):
    return line.told(CONVERSATIONS)[-1]


# --- owner


def test_nobody_is_known_to_own_a_new_conversation(line):
    line.hear(h.message("wamid.1", LAIA, T0))
    assert told(line)["owner"] == UNKNOWN


def test_a_person_who_answers_in_the_app_owns_it_and_pauses_automation(line):
    line.hear(h.message("wamid.1", LAIA, T0 - 50), h.echo("wamid.2", LAIA, T0))
    assert told(line)["owner"] == PERSON_APP
    assert told(line)["automation_paused_until"] == rfc3339(T0 + PAUSE_S_DEFAULT)


def test_the_pause_ends_by_itself_and_says_so(line):
    line.hear(h.echo("wamid.1", LAIA, T0))
    line.later(PAUSE_S_DEFAULT - 1)
    assert told(line)["owner"] == PERSON_APP
    line.later(2)
    assert told(line)["owner"] == BOT
    assert "automation_paused_until" not in told(line)


def test_another_answer_makes_the_pause_longer(line):
    line.hear(h.echo("wamid.1", LAIA, T0))
    line.later(20 * MINUTE)
    line.hear(h.echo("wamid.2", LAIA, line.now))
    line.later(20 * MINUTE)
    assert line.owner() == PERSON_APP
    line.later(11 * MINUTE)
    assert line.owner() == BOT


def test_a_late_echo_pauses_only_for_what_is_left(line):
    line.hear(h.echo("wamid.1", LAIA, T0 - 40 * MINUTE))
    assert line.owner() == BOT
    line.hear(h.echo("wamid.2", LAIA, T0 - 20 * MINUTE))
    assert line.owner() == PERSON_APP
    line.later(11 * MINUTE)
    assert line.owner() == BOT


def test_a_bots_send_owns_nothing_but_makes_it_the_bots(line):
    line.ask("c1")
    assert told(line)["owner"] == BOT
    assert "automation_paused_until" not in told(line)


def test_one_conversations_pause_is_no_others(line):
    line.hear(h.echo("wamid.1", LAIA, T0), h.message("wamid.2", h.phone("34600333444"), T0))
    assert line.owner(h.phone("34600333444")) == UNKNOWN


# --- the desk


def test_a_takeover_holds_for_the_minutes_it_asks_for(line):
    line.hear(h.message("wamid.1", LAIA, T0))
    desk(line, "takeover", minutes=90)
    assert (line.owner(), told(line)["automation_paused_until"]) == (AGENT, rfc3339(T0 + 90 * MINUTE))
    line.later(91 * MINUTE)
    assert told(line)["owner"] == BOT


def test_an_agent_who_writes_keeps_the_time_he_took(line):
    line.hear(h.message("wamid.1", LAIA, T0))
    desk(line, "takeover", minutes=8 * 60)
    line.hear(h.echo("wamid.2", LAIA, line.now + 10))
    line.later(PAUSE_S_DEFAULT + 60)
    assert told(line)["owner"] == AGENT


def test_many_answers_in_the_app_do_not_make_a_long_takeover_forgotten(line):
    line.hear(h.message("wamid.1", LAIA, T0))
    desk(line, "takeover", minutes=8 * 60)
    for n in range(3 * CLAIMS_MAX):
        line.later(MINUTE)
        line.hear(h.echo(f"wamid.e{n}", LAIA, line.now))
    line.later(6 * 60 * MINUTE)
    assert line.owner() == AGENT
    desk(line, "release")
    assert line.owner() == BOT


def test_a_takeover_without_minutes_holds_as_long_as_the_setting_says(line):
    line.hear(h.message("wamid.1", LAIA, T0))
    desk(line, "takeover")
    line.later(PAUSE_S_DEFAULT - 1)
    assert line.owner() == AGENT
    line.later(2)
    assert line.owner() == BOT


def test_a_release_gives_it_to_the_bot_at_once(line):
    line.hear(h.echo("wamid.1", LAIA, T0 - 1))
    desk(line, "release")
    assert told(line)["owner"] == BOT


def test_an_older_release_that_comes_late_ends_no_newer_pause(line):
    line.hear(h.echo("wamid.1", LAIA, T0))
    desk(line, "release", at=T0 - 60)
    assert line.owner() == PERSON_APP


def test_an_older_echo_that_comes_late_undoes_no_release(line):
    line.hear(h.message("wamid.1", LAIA, T0 - 90))
    desk(line, "release", at=T0)
    line.hear(h.echo("wamid.2", LAIA, T0 - 60))
    assert line.owner() == BOT


def test_a_repeated_takeover_is_one(line):
    line.hear(h.message("wamid.1", LAIA, T0))
    event = desk(line, "takeover", event_id="take1")
    versions = told(line)["version"]
    line.hear(event, topic=OUTBOUND)
    assert told(line)["version"] == versions


def test_an_agents_send_takes_the_conversation(line):
    line.ask("c1", origin="agent")
    assert told(line)["owner"] == AGENT


def test_an_assignment_stays_and_null_is_nobody(line):
    line.hear(h.message("wamid.1", LAIA, T0))
    desk(line, "assign", at=T0 + 1, assignee="ana")
    line.later(PAUSE_S_DEFAULT * 2)
    assert told(line)["assignee"] == "ana"
    desk(line, "assign", at=T0, assignee="pol")
    assert told(line)["assignee"] == "ana"
    desk(line, "assign", at=T0 + 2, assignee=None)
    assert "assignee" not in told(line)
    assert line.log["dead-letters"] == []


# --- the window


def test_a_customers_message_opens_the_window_by_its_own_time(line):
    line.hear(h.message("wamid.1", LAIA, T0 - 3600))
    assert told(line)["window_expires_at"] == rfc3339(T0 - 3600 + 86_400)
    line.hear(h.message("wamid.0", LAIA, T0 - 7200))
    assert told(line)["window_expires_at"] == rfc3339(T0 - 3600 + 86_400)


def test_neither_echoes_nor_sends_nor_history_open_a_window(line):
    line.hear(h.echo("wamid.1", LAIA, T0))
    line.hear(h.history("wamid.2", LAIA, T0, "inbound"), topic=HISTORY)
    line.ask("c1", origin="agent")
    assert "window_expires_at" not in told(line)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_history_copy_leaves_the_same_window_whether_it_comes_first_or_last(line, order):
    copies = [
        (h.message("wamid.1", LAIA, T0 - 1), "inbound"),
        (h.history("wamid.1", LAIA, T0 - 4, "inbound"), HISTORY),
    ]
    for n in order:
        line.hear(copies[n][0], topic=copies[n][1])
    assert told(line)["window_expires_at"] == rfc3339(T0 - 4 + 86_400)
    assert told(line)["unread"] == 1


# --- unread


def test_unread_counts_what_came_after_our_last_message(line):
    line.hear(*(h.message(f"wamid.{n}", LAIA, T0 - 100 + 10 * n) for n in range(3)))
    assert told(line)["unread"] == 3
    line.hear(h.echo("wamid.e", LAIA, T0 - 85))
    assert told(line)["unread"] == 1
    line.hear(h.echo("wamid.f", LAIA, T0))
    assert told(line)["unread"] == 0


def test_a_repeated_message_is_unread_once(line):
    line.hear(*(h.message("wamid.1", LAIA, T0) for _ in range(3)))
    assert told(line)["unread"] == 1


# --- telling


def test_every_version_is_told_once_and_only_when_something_changed(line):
    line.hear(h.message("wamid.1", LAIA, T0 - 9))
    line.hear(h.message("wamid.1", LAIA, T0 - 9), h.status("wamid.x", "sent", LAIA, T0))
    line.hear(h.echo("wamid.2", LAIA, T0))
    versions = [data["version"] for data in line.told(CONVERSATIONS)]
    assert versions == list(range(1, len(versions) + 1))
    assert len(versions) == 2
    assert_folds(line)


# --- merges


def merged(line):
    """A conversation by phone, taken over; one by user id, with a person's echo; and the proof that they are one."""
    line.hear(h.message("wamid.1", h.phone("1555"), T0 - 50), h.message("wamid.2", h.user("US.1"), T0 - 40))
    by_phone = line.conversation(h.phone("1555")).conversation_id
    by_user = line.conversation(h.user("US.1")).conversation_id
    line.hear(h.echo("wamid.3", h.user("US.1"), T0 - 30))
    line.hear(h.outbound("conversation.assign", T0, conversation_id=by_phone, assignee="ana"), topic=OUTBOUND)
    line.hear(h.message("wamid.4", h.phone("1555", "US.1"), T0 - 20))
    return sorted([by_phone, by_user])


def test_a_merge_keeps_the_owner_the_window_the_assignee_and_the_unread(line):
    survivor, _ = merged(line)
    view = line.view(survivor)
    assert (view["owner"], view["assignee"], view["unread"]) == (PERSON_APP, "ana", 1)
    assert view["window_expires_at"] == rfc3339(T0 - 20 + 86_400)
    assert_folds(line)


def test_the_retired_conversation_is_a_tombstone(line):
    survivor, retired = merged(line)
    newest = fold_conversations(line.log[CONVERSATIONS])
    assert newest[retired] is None
    assert newest[survivor]["conversation_id"] == survivor


def test_the_retired_id_is_accepted_for_ever(line):
    survivor, retired = merged(line)
    line.hear(h.outbound("conversation.release", line.now, conversation_id=retired), topic=OUTBOUND)
    assert line.view(survivor)["owner"] == BOT
    assert fold_conversations(line.log[CONVERSATIONS])[retired] is None


def test_a_merge_that_is_told_twice_is_one(line):
    merged(line)
    before = len(line.log[CONVERSATIONS])
    line.hear(*(event for event in line.log["timeline"] if event.type == "identity.merged"), topic="timeline")
    assert len(line.log[CONVERSATIONS]) == before
