"""What the sender knows of people before it sends: what they want, and what they were heard to say."""

import pytest
from msgspec import Raw

from schemas.states import WINDOW_S
from schemas.topics import HISTORY, SENDS
from tests import harness as h
from tests.simulation.line import LAIA, Line
from tests.unit.permission import DAY, about_template, campaign, heard, known, prefers, sent, template, wish


@pytest.fixture
def line():
    return Line(auto=True)


# --- what people want


def test_who_stopped_marketing_gets_none_and_still_gets_the_rest():
    line = known()
    about_template(line, "APPROVED", name="sale", category="MARKETING")
    heard(line)
    prefers(line, "stop")
    line.ask("m1", says=template("sale"))
    line.ask("u1", says=template())
    line.ask("t1")
    line.later(1)
    assert (line.reasons("m1"), sent(line)) == (["opted_out"], ["u1", "t1"])
    line.later(60)
    prefers(line, "resume")
    line.ask("m2", says=template("sale"))
    assert sent(line)[-1] == "m2"


def test_of_a_template_whose_category_is_unknown_the_campaign_decides(line):
    prefers(line, "stop")
    campaign(line, "m1")
    line.ask("b1", says=template("sale"))
    assert (line.reasons("m1"), sent(line)) == (["opted_out"], ["b1"])


def test_a_reminder_in_a_campaign_is_no_marketing_when_meta_calls_it_utility():
    line = known()
    about_template(line, "APPROVED", name="sale", category="UTILITY")
    prefers(line, "stop")
    campaign(line, "m1")
    assert sent(line) == ["m1"]


def test_a_wish_follows_the_person_from_user_id_to_phone(line):
    both = h.phone(LAIA.wa_id, "ES.1")
    heard(line, both)
    prefers(line, "stop", h.user("ES.1"))
    campaign(line, "m1")
    campaign(line, "m2", h.user("ES.1"))
    assert (line.reasons("m1"), line.reasons("m2")) == (["opted_out"], ["opted_out"])


def test_wishes_of_two_who_turn_out_to_be_one_are_one(line):
    prefers(line, "stop", h.user("ES.1"))
    wish(line, "SUPPRESSED", LAIA, "all")
    heard(line, h.phone(LAIA.wa_id, "ES.1"))
    campaign(line, "m1", h.user("ES.1"))
    line.ask("t1", origin="agent")
    assert (line.reasons("m1"), line.reasons("t1")) == (["suppressed"], ["suppressed"])


def test_whoever_is_suppressed_gets_nothing_until_the_operator_takes_it_back(line):
    heard(line)
    wish(line, "SUPPRESSED", scope="all")
    line.ask("c1", origin="agent")
    line.later(1)
    wish(line, "UNSUPPRESSED", scope="all")
    line.ask("c2", origin="agent")
    assert (line.reasons("c1"), sent(line)) == (["suppressed"], ["c2"])
    told = line.told("account", "preference.changed")
    assert [(data["event"], data["category"], data["because"]) for data in told] == [
        ("stop", "all", "operator"),
        ("resume", "all", "operator"),
    ]


def test_late_and_repeated_wishes_change_nothing(line):
    wish(line, "UNSUPPRESSED", at=line.now + 10)
    wish(line, "SUPPRESSED", at=line.now + 5)
    wish(line, "UNSUPPRESSED", at=line.now + 10)
    campaign(line, "m1")
    assert sent(line) == ["m1"]
    assert line.told("account", "preference.changed") == []


@pytest.mark.parametrize("how", ["answer", "status"])
def test_meta_s_word_that_a_person_stopped_marketing_is_remembered(line, how):
    refused(line, how, 131050)
    campaign(line, "m2")
    line.ask("b1", says=template("sale"))
    assert (line.reasons("m2"), sent(line)) == (["opted_out"], ["m1", "b1"])
    (told,) = line.told("account", "preference.changed")
    assert (told["event"], told["category"], told["because"]) == ("stop", "marketing", "meta_refusal")


@pytest.mark.parametrize("how", ["answer", "status"])
def test_after_meta_s_limit_on_marketing_a_person_gets_none_for_a_day(line, how):
    refused(line, how, 131049)
    assert "send.deferred" not in line.outcomes("m1")
    campaign(line, "m2")
    line.later(DAY + 1)
    campaign(line, "m3")
    assert (line.reasons("m2"), sent(line)) == (["marketing_limit"], ["m1", "m3"])


def refused(line, how, code):
    line.auto = how == "status"
    campaign(line, "m1")
    if how == "answer":
        line.answer("rejected", code=code, reason="later")
    else:
        line.hear(h.status("wamid.m1.1", "failed", LAIA, line.now, h.token_of("m1"), code))
    line.auto = True


def test_whom_the_business_blocked_gets_nothing_until_they_write_again(line):
    line.auto = False
    line.ask("c1")
    line.answer("rejected", code=130403, reason="suppress")
    line.auto = True
    line.ask("c2")
    line.later(60)
    heard(line)
    line.ask("c3")
    assert (line.reasons("c1"), line.reasons("c2"), sent(line)) == (["blocked"], ["blocked"], ["c1", "c3"])


def test_an_operator_who_lifts_all_lifts_a_block_too(line):
    line.auto = False
    line.ask("c1")
    line.answer("rejected", code=130403, reason="suppress")
    line.auto = True
    line.later(5)
    wish(line, "UNSUPPRESSED", scope="all")
    line.ask("c2")
    assert sent(line) == ["c1", "c2"]


# --- words and opt-in, by setting


def listening(**more):
    from echo_sync.conversations import Conversations
    from echo_sync.messages import Messages
    from sender.delivery import Delivery

    words = {"opt_out_words": ["STOP", "Baja", "no más"], "opt_in_words": ["ALTA"]}
    return Line(Messages(h.KEY, **words), Conversations(), Delivery(h.KEY, **more), auto=True)


@pytest.mark.parametrize(
    ("says", "stops"),
    [
        ("STOP", True),
        (" stop! ", True),
        ("¡Baja!", True),
        ("No   más.", True),
        (("button", Raw(b'{"payload":"x","text":"Stop"}')), True),
        (("interactive", Raw(b'{"type":"button_reply","button_reply":{"id":"1","title":"BAJA"}}')), True),
        ("Don't stop", False),
        ("la planta baja", False),
        ("", False),
        (("image", Raw(b'{"id":"1","caption":"stop"}')), False),
    ],
)
def test_a_message_that_is_one_of_the_words_stops_marketing(says, stops):
    line = listening()
    heard(line, says=says)
    campaign(line, "m1")
    assert line.reasons("m1") == (["opted_out"] if stops else [""])


def test_words_in_echoes_edits_and_history_are_nobody_s_wish():
    line = listening()
    line.hear(
        h.echo("wamid.e", LAIA, line.now, says="STOP"),
        h.edit("wamid.x", "e1", LAIA, line.now, ("text", Raw(b'{"body":"STOP"}'))),
    )
    line.hear(h.history("wamid.h", LAIA, line.now - 60, "inbound", says="STOP"), topic=HISTORY)
    campaign(line, "m1", defer_until_released=False)
    assert line.reasons("m1") == [""]


def test_who_says_so_may_be_told_again():
    line = listening()
    heard(line, says="stop")
    line.later(5)
    heard(line, wamid="wamid.2", says="Alta")
    campaign(line, "m1")
    assert sent(line) == ["m1"]


def test_without_the_setting_words_mean_nothing(line):
    heard(line, says="STOP")
    campaign(line, "m1")
    assert sent(line) == ["m1"]


def test_where_opt_in_is_required_marketing_goes_only_to_those_who_asked():
    line = listening(opt_in_required=True)
    campaign(line, "m1")
    line.ask("u1", says=template())
    wish(line, "OPTED_IN")
    campaign(line, "m2")
    line.later(5)
    wish(line, "UNSUPPRESSED")
    campaign(line, "m3")
    assert (line.reasons("m1"), line.reasons("m3"), sent(line)) == (["no_opt_in"], ["no_opt_in"], ["u1", "m2"])


def test_the_fallback_must_be_allowed_itself():
    line = known()
    heard(line)
    line.later(WINDOW_S)
    about_template(line, "PAUSED")
    line.ask("c1", fallback=template())
    (told,) = line.told(SENDS)
    assert (told["type"], told["body"]) == ("send.rejected", "fallback")
    line.ask("c2", fallback=template("sale"), origin="campaign")
    prefers(line, "stop")
    line.ask("c3", fallback=template("sale"), origin="campaign")
    assert (line.reasons("c3"), sent(line)) == (["opted_out"], ["c2"])
