"""A number's life: what Meta and operators say of it, in any order and repeated, and what the sender sees of that."""

import itertools

import orjson
import pytest
from msgspec import Raw

from echo_sync.lifecycle import CONFIRM_EVERY_S
from echo_sync.messages import Messages
from schemas.items import Item
from schemas.states import MESSAGES, number_key
from schemas.topics import ACCOUNT, HISTORY, INBOUND
from tests.harness import (
    BUSINESS,
    KEY,
    NUMBER,
    T0,
    WABA,
    answered,
    attempted,
    contact_event,
    echo,
    event,
    message,
    phone,
)
from tests.simulation.memory import Memory

OTHER = "106540352242923"
CUSTOMER = phone("34600111222")
OFFBOARDED, RECONNECTED = "ACCOUNT_OFFBOARDED", "ACCOUNT_RECONNECTED"
HOUR = 3600


def update(name, at, *, number=NUMBER, field="account_update", business_phone="", **value):
    """An event about a number, or with `number=WABA` about the whole account."""
    raw = Raw(orjson.dumps({"event": name, **value}))
    item = Item(number=number, waba=WABA, business_phone=business_phone, field=field, event=name, at=at, raw=raw)
    return event("webhook.account", f"a:{name}:{at}:{business_phone}", item)


def ours(name, at, number=NUMBER, waba=WABA):
    item = Item(number=number, waba=waba, field="coexist", event=name, at=at)
    return event("webhook.account", f"admin:{number}:{name}:{at}", item)


def world(*events, met=True, registration="auto"):
    memory = Memory([Messages(KEY, registration=registration)])
    if met:
        memory.append(INBOUND, message("wamid.0", CUSTOMER, T0 - 100))
    memory.append(INBOUND, *events)
    memory.settle()
    return memory


def number(memory, number_id=NUMBER):
    return memory.state(MESSAGES, number_key(number_id))


def facts(memory, number_id=NUMBER):
    """The facts of a number beyond its first."""
    return [
        told
        for told in memory.told(ACCOUNT)
        if told.get("number") == number_id and told["type"] not in ("number.onboarded", "account.changed")
    ]


def paused(memory, number_id=NUMBER):
    return number(memory, number_id).paused_because


# --- one word at a time


@pytest.mark.parametrize(
    ("name", "value", "because", "kind"),
    [
        (OFFBOARDED, {}, "offboarded", "number.offboarded"),
        ("PARTNER_REMOVED", {}, "removed", "number.offboarded"),
        ("ACCOUNT_DELETED", {}, "deleted", "number.offboarded"),
        ("DISABLED_UPDATE", {"ban_info": {"waba_ban_state": "DISABLE"}}, "disabled", "number.changed"),
        ("DISABLED_UPDATE", {"ban_info": {"waba_ban_state": ["DISABLE"]}}, "disabled", "number.changed"),
        ("DISABLED_UPDATE", {"ban_info": {"waba_ban_state": "SCHEDULE_FOR_DISABLE"}}, "", "number.changed"),
        (
            "ACCOUNT_RESTRICTION",
            {"restriction_info": [{"restriction_type": "RESTRICTED_CUSTOMER_INITIATED_MESSAGING"}]},
            "restricted",
            "number.changed",
        ),
        (
            "ACCOUNT_RESTRICTION",
            {"restriction_info": [{"restriction_type": "RESTRICTED_BIZ_INITIATED_MESSAGING"}]},
            "",
            "number.changed",
        ),
        ("PARTNER_ADDED", {}, "", "number.changed"),
    ],
)
def test_each_word_of_meta_is_one_fact_and_pauses_what_it_must(name, value, because, kind):
    memory = world(update(name, T0, **value))
    assert paused(memory) == because
    (told,) = facts(memory)
    assert told["type"] == kind
    assert told["sending"] == ("paused" if because else "active")
    assert told.get("because", "") == because
    assert told["details"]["event"] == name


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ACCOUNT_VIOLATION", {"violation_info": {"violation_type": "SCAM"}}),
        ("VERIFIED_ACCOUNT", {}),
        ("DISABLED_UPDATE", {"ban_info": None}),
        ("DISABLED_UPDATE", {}),
        (
            "ACCOUNT_RESTRICTION",
            {"restriction_info": ["x", {"restriction_type": "RESTRICTED_ADD_PHONE_NUMBER_ACTION"}]},
        ),
        ("EVENT_OF_TOMORROW", {}),
    ],
)
def test_other_words_are_told_and_hold_up_nothing(name, value):
    memory = world(update(name, T0, **value))
    assert paused(memory) == ""
    assert [told["event"] for told in memory.told(ACCOUNT, "account.changed")] == [name]


def test_a_removal_tells_metas_reason():
    memory = world(update("PARTNER_REMOVED", T0, disconnection_info={"reason": "PRIMARY_INACTIVITY"}))
    assert facts(memory)[0]["reason"] == "primary_inactivity"


def test_a_paused_template_does_not_pause_the_number():
    memory = world(update("PAUSED", T0, number=WABA, field="message_template_status_update"))
    assert paused(memory) == ""
    assert memory.told(ACCOUNT, "template.changed")


def test_a_template_is_named_as_sends_name_it():
    value = {
        "message_template_id": 970000000000001,
        "message_template_name": "order_update",
        "message_template_language": "en-US",
        "reason": "NONE",
    }
    memory = world(update("APPROVED", T0, number=WABA, field="message_template_status_update", **value))
    (told,) = memory.told(ACCOUNT, "template.changed")
    assert (told["template_id"], told["name"], told["language"]) == ("970000000000001", "order_update", "en_US")
    assert "reason" not in told
    assert "number" not in told


# --- order and repetition


def test_offboarded_and_back_in_any_order_ends_connected():
    script = [update(OFFBOARDED, T0), update(RECONNECTED, T0 + 60)]
    for order in itertools.permutations(script * 2):
        memory = world(*order)
        assert paused(memory) == ""
        assert len(facts(memory)) in (0, 2)


def test_the_newest_word_of_metas_own_time_counts_in_every_order():
    script = [
        update(OFFBOARDED, T0),
        update(RECONNECTED, T0 + 60),
        update("PARTNER_REMOVED", T0 + 120),
        update("PARTNER_ADDED", T0 + 180),
        update(OFFBOARDED, T0 + 240),
    ]
    ends = {paused(world(*order)) for order in itertools.permutations(script)}
    assert ends == {"offboarded"}


def test_on_a_tie_the_word_that_lets_it_send_counts():
    for order in itertools.permutations([update(OFFBOARDED, T0), update(RECONNECTED, T0)]):
        assert paused(world(*order)) == ""


def test_a_repeated_and_a_stale_event_tell_nothing():
    memory = world(update(OFFBOARDED, T0), update(OFFBOARDED, T0), update(RECONNECTED, T0 - 50))
    assert [told["type"] for told in facts(memory)] == ["number.offboarded"]
    assert paused(memory) == "offboarded"


def test_respects_do_not_lift_each_other():
    memory = world(ours("PAUSED", T0), update(OFFBOARDED, T0 + 1), update(RECONNECTED, T0 + 2))
    assert paused(memory) == "operator"
    memory.append(INBOUND, ours("RESUMED", T0 + 3))
    memory.settle()
    assert paused(memory) == ""


def test_an_operator_can_lift_everything_that_was_said_before():
    memory = world(update(OFFBOARDED, T0), update("DISABLED_UPDATE", T0, ban_info={"waba_ban_state": "DISABLE"}))
    memory.append(INBOUND, ours("RESUMED", T0 + 1))
    memory.settle()
    assert paused(memory) == ""
    assert facts(memory)[-1]["type"] == "number.reconnected"


def test_a_disabled_account_that_is_reinstated_sends_again():
    memory = world(
        update("DISABLED_UPDATE", T0, ban_info={"waba_ban_state": "DISABLE"}),
        update("DISABLED_UPDATE", T0 + 9, ban_info={"waba_ban_state": "REINSTATE"}),
    )
    assert paused(memory) == ""
    assert [told["sending"] for told in facts(memory)] == ["paused", "active"]


def test_a_restriction_ends_by_itself_and_says_so():
    restriction = {"restriction_type": "RESTRICTED_CUSTOMER_INITIATED_MESSAGING", "expiration": str(int(T0 + HOUR))}
    memory = world(update("ACCOUNT_RESTRICTION", T0, restriction_info=[restriction]))
    assert paused(memory) == "restricted"
    memory.run_until(T0 + HOUR - 1)
    assert paused(memory) == "restricted"
    memory.run_until(T0 + HOUR + 1)
    assert paused(memory) == ""
    assert facts(memory)[-1]["sending"] == "active"


def test_a_number_that_is_said_to_be_back_sends_once_graph_confirms_it():
    memory = world()
    memory.confirms = False
    memory.append(INBOUND, update(OFFBOARDED, T0), update(RECONNECTED, T0 + 60))
    memory.run_until(T0 + 60)
    assert paused(memory) == "reconnecting"
    assert [told["type"] for told in facts(memory)] == ["number.offboarded"]
    memory.confirms = True
    memory.run_until(T0 + 60 + CONFIRM_EVERY_S)
    assert paused(memory) == ""
    assert [told["type"] for told in facts(memory)] == ["number.offboarded", "number.reconnected"]


def test_graph_is_asked_every_minute_and_not_for_what_was_overtaken():
    memory = world()
    memory.confirms = False
    memory.append(INBOUND, update(RECONNECTED, T0))
    memory.run_until(T0 + 10 * CONFIRM_EVERY_S + 1)
    assert len(memory.asked) == 11
    memory.append(INBOUND, update(OFFBOARDED, T0 + 700))
    memory.run_until(T0 + HOUR)
    assert len(memory.asked) == 11
    memory.append(INBOUND, ours("CONFIRMED", T0))
    memory.run_until(T0 + HOUR + 1)
    assert paused(memory) == "offboarded"


def test_a_person_may_say_that_a_number_is_back():
    memory = world()
    memory.confirms = False
    memory.append(INBOUND, update(RECONNECTED, T0), ours("RESUMED", T0 + 1))
    memory.run_until(T0 + 1)
    assert paused(memory) == ""


def test_the_phone_is_seen_by_echoes_and_the_address_book_and_not_by_customers():
    memory = world(message("wamid.1", CUSTOMER, T0 - 5))
    assert number(memory).phone_at == 0
    memory.append(INBOUND, echo("wamid.2", CUSTOMER, T0), echo("wamid.3", CUSTOMER, T0 + HOUR))
    memory.settle()
    assert number(memory).phone_at == T0
    memory.append(HISTORY, contact_event("add", CUSTOMER, T0 + 30 * HOUR))
    memory.settle()
    assert number(memory).phone_at == T0 + 30 * HOUR


def test_onboarding_is_over_after_a_day_at_the_latest():
    memory = world(update("PARTNER_ADDED", T0))
    memory.run_until(T0 + 25 * HOUR)
    assert number(memory).wake_at is None
    assert paused(memory) == ""


# --- the account's shard


def account_world(*events):
    """Two numbers of one account, each met by a message."""
    memory = Memory([Messages(KEY)])
    memory.append(INBOUND, message("wamid.1", CUSTOMER, T0 - 100))
    second = message("wamid.2", CUSTOMER, T0 - 99)
    item = Item(
        number=OTHER,
        waba=WABA,
        business_phone="34910000002",
        message_id="wamid.2",
        contact=CUSTOMER,
        at=T0 - 99,
        kind="text",
        content=Raw(b'{"body":"hola"}'),
        raw=Raw(b"{}"),
    )
    memory.append(INBOUND, event(second.type, second.id, item), *events)
    memory.settle()
    return memory


def test_a_word_on_the_account_reaches_each_of_its_numbers_once():
    memory = account_world(*[update(OFFBOARDED, T0, number=WABA)] * 3)
    assert (paused(memory), paused(memory, OTHER)) == ("offboarded", "offboarded")
    handed = [one for one in memory.log[INBOUND] if one.type == "webhook.account" and b"OFFBOARDED" in one.data]
    assert sorted(one.number for one in handed) == sorted([WABA] * 3 + [NUMBER, OTHER])
    assert len({one.id for one in handed}) == 3
    assert [told["type"] for told in facts(memory)] == ["number.offboarded"]


def test_a_word_with_a_phone_reaches_only_the_number_with_that_phone():
    memory = account_world(update("PARTNER_REMOVED", T0, number=WABA, business_phone=BUSINESS))
    assert (paused(memory), paused(memory, OTHER)) == ("removed", "")


def test_a_number_learnt_of_later_hears_what_was_said_before():
    before = update(OFFBOARDED, T0, number=WABA)
    for order in itertools.permutations([before, message("wamid.0", CUSTOMER, T0 - 100)]):
        assert paused(world(*order, met=False)) == "offboarded"


def test_a_word_on_an_account_without_numbers_is_told_of_the_account():
    memory = world(update(OFFBOARDED, T0, number=WABA), met=False)
    (told,) = memory.told(ACCOUNT, "account.changed")
    assert (told["waba"], told["event"]) == (WABA, OFFBOARDED)
    assert memory.told(ACCOUNT, "number.onboarded") == []


def test_the_quality_of_a_number_is_a_fact_of_that_number():
    quality = update("ONBOARDING", T0, number=WABA, field="phone_number_quality_update", business_phone=BUSINESS)
    memory = account_world(quality, quality)
    (told,) = memory.told(ACCOUNT, "number.changed")
    assert told["number"] == NUMBER


def test_an_account_is_never_taken_for_a_number():
    memory = account_world(update("VERIFIED_ACCOUNT", T0, number=WABA))
    assert number(memory, WABA) is None
    assert {told["number"] for told in memory.told(ACCOUNT, "number.onboarded")} == {NUMBER, OTHER}


def test_what_names_no_number_registers_none():
    memory = Memory([Messages(KEY)])
    memory.append(INBOUND, event("webhook.unknown", "u:1", Item(number="unknown", at=T0, reason="not_json")))
    memory.settle()
    assert memory.told(ACCOUNT) == []


# --- registration and tokens


def test_a_number_that_must_be_listed_is_met_only_by_hand():
    memory = world(registration="listed")
    assert number(memory) is None
    memory.append(INBOUND, ours("REGISTERED", T0))
    memory.settle()
    assert [told["registration"] for told in memory.told(ACCOUNT, "number.onboarded")] == ["listed"]


def test_what_a_number_was_added_without_is_learnt_from_its_first_webhook():
    memory = world(ours("REGISTERED", T0 - 500, waba=""), message("wamid.9", CUSTOMER, T0), met=False)
    assert (number(memory).waba, number(memory).business_phone) == (WABA, BUSINESS)
    memory.append(INBOUND, update(OFFBOARDED, T0 + 1, number=WABA))
    memory.settle()
    assert paused(memory) == "offboarded"


def test_a_refused_token_is_told_once_and_told_again_when_it_is_mended():
    memory = world()
    for n, (outcome, code) in enumerate([("rejected", 190), ("rejected", 190), ("accepted", 0)]):
        at = T0 + n * 60
        memory.append(
            INBOUND,
            attempted(f"c{n}", CUSTOMER, at),
            answered(
                f"c{n}",
                outcome,
                CUSTOMER,
                at,
                wamid="wamid.A" if outcome == "accepted" else "",
                code=code,
                reason="pause_token" if code else "",
            ),
        )
    memory.settle()
    assert [(told["sending"], told.get("because")) for told in facts(memory)] == [("paused", "token"), ("active", None)]
    assert paused(memory) == ""


def test_a_word_on_a_number_that_is_not_listed_is_told_and_registers_nobody():
    memory = world(update(OFFBOARDED, T0), registration="listed")
    assert [told["event"] for told in memory.told(ACCOUNT)] == [OFFBOARDED]


def test_history_that_names_only_the_account_declines_for_its_number():
    errors = Raw(b'[{"code":2593109,"title":"History sharing is turned off"}]')
    item = Item(number=WABA, waba=WABA, errors=errors, raw=errors, at=T0)
    memory = world()
    memory.append(HISTORY, event("webhook.history", "hc:declined", item))
    memory.settle()
    (told,) = memory.told(ACCOUNT, "history.declined")
    assert told["number"] == NUMBER
