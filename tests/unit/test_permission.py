"""What the sender knows before it sends: windows and fallbacks, templates, wishes, restrictions."""

import orjson
import pytest
from msgspec import Raw

from schemas.instants import rfc3339
from schemas.items import Item
from schemas.states import DELIVERY, HEARD_STEP_S, MARKETING, MESSAGES, WINDOW_S, conversation_key, reach_key
from schemas.topics import HISTORY, INBOUND, SENDS
from sender.pauses import RESTS, pauses_key
from tests import harness as h
from tests.harness import BUSINESS, NUMBER, T0, WABA
from tests.simulation.line import LAIA, Line

HOUR = 3600.0
DAY = 24 * HOUR
POL = h.phone("34600333444")


def template(name="order_update", language="en_US"):
    return {"type": "template", "template": {"name": name, "language": {"code": language}}}


def heard(line, contact=LAIA, wamid="wamid.in", says="hola", **more):
    line.hear(h.message(wamid, contact, line.now, says=says, **more))


def about_template(line, event="PAUSED", *, name="order_update", category="UTILITY", field="", number=WABA, **value):
    """Meta's word on a template; it lands on the account's shard."""
    told = {
        "event": event,
        "message_template_name": name,
        "message_template_language": "en-US",
        "message_template_category": category,
        **value,
    }
    field = field or "message_template_status_update"
    item = Item(number=number, waba=WABA, field=field, event=event, at=line.now, raw=Raw(orjson.dumps(told)))
    line.hear(h.event("webhook.account", f"a:{field}:{event}:{name}:{line.now}", item))
    line.later(1)


def wish(line, event, contact=LAIA, scope=MARKETING, at=None):
    """An operator's word."""
    raw = Raw(orjson.dumps({"scope": scope}))
    item = Item(number=NUMBER, field="coexist", event=event, contact=contact, at=at or line.now, raw=raw)
    line.hear(h.event("webhook.account", f"admin:{event}:{scope}:{at or line.now}", item))


def prefers(line, value, contact=LAIA):
    """What a person chose in WhatsApp."""
    raw = Raw(orjson.dumps({"category": "marketing_messages", "value": value}))
    item = Item(number=NUMBER, waba=WABA, field="user_preferences", event=value, contact=contact, at=line.now, raw=raw)
    line.hear(h.event("webhook.account", f"a:pref:{value}:{line.now}", item))


def sent(line):
    return [command for _, command, _ in line.sent]


@pytest.fixture
def line():
    return Line(auto=True)


def known():
    """A line whose account is known, so that words on templates reach the number."""
    found = Line(auto=True)
    item = Item(number=NUMBER, waba=WABA, business_phone=BUSINESS, field="coexist", event="REGISTERED", at=T0 - 5)
    found.hear(h.event("webhook.account", "a:registered", item))
    return found


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


# --- what people want


def campaign(line, command_id, contact=LAIA, **more):
    line.ask(command_id, contact.wa_id or contact.user_id, origin="campaign", says=template("sale"), **more)


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
