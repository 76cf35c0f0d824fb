"""What the sender knows of templates before it sends, and of what the number may not begin."""

import orjson
import pytest
from msgspec import Raw

from schemas.instants import rfc3339
from schemas.items import Item
from schemas.states import DELIVERY
from schemas.topics import INBOUND, SENDS
from sender.pauses import RESTS, pauses_key
from tests import harness as h
from tests.harness import BUSINESS, NUMBER, T0, WABA
from tests.simulation.line import LAIA, Line
from tests.unit.permission import DAY, HOUR, POL, about_template, heard, known, sent, template


@pytest.fixture
def line():
    return Line(auto=True)


# --- templates


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        ("PAUSED", "template_paused"),
        ("DISABLED", "template_disabled"),
        ("REJECTED", "template_rejected"),
        ("DELETED", "template_deleted"),
    ],
)
def test_a_template_that_meta_stopped_stops_early_until_meta_approves_it(event, reason):
    line = known()
    about_template(line, event)
    line.ask("c1", says=template())
    line.ask("c2", says=template("hello_world"))
    assert (line.reasons("c1"), sent(line)) == ([reason], ["c2"])
    about_template(line, "APPROVED")
    line.ask("c3", says=template())
    assert sent(line) == ["c2", "c3"]


@pytest.mark.parametrize(("title", "hours"), [("FIRST_PAUSE", 3), ("SECOND_PAUSE", 6), ("OTHER", 6)])
def test_a_paused_template_is_tried_again_when_its_time_is_over(title, hours):
    line = known()
    about_template(line, "PAUSED", other_info={"title": title})
    since = line.now - 1
    line.ask("c1", says=template())
    assert line.told(SENDS)[-1]["retry_at"] == rfc3339(since + hours * HOUR)
    line.later(hours * HOUR)
    line.ask("c2", says=template())
    assert sent(line) == ["c2"]


def test_another_language_of_a_paused_template_goes():
    line = known()
    about_template(line, "PAUSED")
    line.ask("c1", says=template(language="ca"))
    assert sent(line) == ["c1"]


def test_late_and_repeated_words_on_a_template_change_nothing():
    line = known()
    about_template(line, "PAUSED")
    paused = line.log[INBOUND][-1]
    about_template(line, "APPROVED")
    line.hear(paused)
    line.ask("c1", says=template())
    assert sent(line) == ["c1"]


def test_a_number_that_is_met_later_knows_the_templates_of_its_account(line):
    about_template(line, "PAUSED")
    item = Item(number=NUMBER, waba=WABA, business_phone=BUSINESS, field="coexist", event="REGISTERED", at=line.now)
    line.hear(h.event("webhook.account", "a:registered", item))
    line.later(1)
    line.ask("c1", says=template())
    assert line.reasons("c1") == ["template_paused"]


def test_a_change_of_a_template_is_told_once_however_many_numbers_there_are():
    line = known()
    other = Item(number="106540352242999", waba=WABA, field="coexist", event="REGISTERED", at=T0)
    line.hear(h.event("webhook.account", "a:registered:2", other))
    about_template(line, "PAUSED")
    about_template(line, "", field="message_template_quality_update", new_quality_score="RED")
    told = line.told("account", "template.changed")
    assert [(data["event"], data.get("quality")) for data in told] == [("PAUSED", None), ("", "RED")]


@pytest.mark.parametrize("code", [132001, 132007, 132015, 132016, 132068, 134102, 131064])
def test_a_refused_template_rests_for_its_time_and_others_do_not(code):
    line = known()
    line.auto = False
    line.ask("c1", says=template())
    line.answer("rejected", code=code, reason="pause_template")
    line.auto = True
    line.ask("c2", POL.wa_id, says=template())
    line.ask("c3", says=template("hello_world"))
    assert line.reasons("c1") == line.reasons("c2") == [RESTS[code].reason]
    assert sent(line) == ["c1", "c3"]
    if RESTS[code].for_s:
        line.later(RESTS[code].for_s)
    else:
        line.later(30 * DAY)
        about_template(line, "APPROVED")
    line.ask("c4", says=template())
    assert sent(line)[-1] == "c4"


def test_a_template_that_meta_dropped_later_rests_too():
    line = known()
    line.ask("c1", says=template())
    line.hear(h.status("wamid.c1.1", "failed", LAIA, line.now, h.token_of("c1"), 132015))
    line.ask("c2", POL.wa_id, says=template())
    assert line.reasons("c2") == ["template_paused"]
    assert line.command("c1").state == "accepted"


def test_what_rested_is_forgotten_once_it_is_over():
    line = known()
    for n, code in enumerate((132015, 134102, 132001)):
        line.auto = False
        line.ask(f"c{n}", says=template(f"t{n}"))
        line.answer("rejected", code=code, reason="pause_template")
        line.later(4 * HOUR)
    assert len(line.state(DELIVERY, pauses_key(NUMBER)).resting) == 1


def test_marketing_that_meta_disabled_rests_and_the_rest_goes():
    line = known()
    about_template(line, "APPROVED", name="sale", category="MARKETING")
    line.auto = False
    line.ask("c1", says=template("sale"))
    line.answer("rejected", code=131063, reason="pause_template")
    line.auto = True
    line.ask("c2", POL.wa_id, says=template("sale"))
    line.ask("c3", says=template())
    assert (line.reasons("c2"), sent(line)) == (["marketing_disabled"], ["c1", "c3"])


# --- what the number may not begin


def test_a_number_that_meta_calls_a_spammer_begins_nothing_and_still_answers(line):
    line.auto = False
    line.ask("c1", says=template())
    line.answer("rejected", code=131048, reason="pause_number")
    line.auto = True
    heard(line, POL)
    line.ask("c2", "34600555666", says=template())
    line.ask("c3", POL.wa_id)
    line.ask("c4", POL.wa_id, says=template())
    line.later(1)
    assert (line.reasons("c1"), line.reasons("c2")) == (["spam_limited"], ["spam_limited"])
    assert sent(line) == ["c1", "c3", "c4"]


def test_a_number_that_may_not_begin_conversations_still_answers(line):
    until = line.now + 3 * DAY
    info = [{"restriction_type": "RESTRICTED_BIZ_INITIATED_MESSAGING", "expiration": int(until)}]
    raw = Raw(orjson.dumps({"event": "ACCOUNT_RESTRICTION", "restriction_info": info}))
    item = Item(number=NUMBER, field="account_update", event="ACCOUNT_RESTRICTION", at=line.now, raw=raw)
    line.hear(h.event("webhook.account", "a:restricted", item))
    heard(line)
    line.ask("c1")
    line.ask("c2", POL.wa_id, says=template())
    line.later(1)
    assert (sent(line), line.reasons("c2")) == (["c1"], ["restricted_business_initiated"])
    assert line.told(SENDS)[-1]["retry_at"] == rfc3339(until)
    line.later(3 * DAY)
    line.ask("c3", POL.wa_id, says=template())
    assert sent(line)[-1] == "c3"
