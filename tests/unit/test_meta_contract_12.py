"""The traps of Meta contract 12, row by row: each has a test by name, here or where the behaviour lives.

`ROWS` names them. What is tested here goes the whole way, from a webhook's bytes to what a subscriber reads.
"""

import ast
import json
import re
from functools import cache
from pathlib import Path

import pytest

from ingest.normalize import normalize
from schemas.states import BOT, PERSON_APP, UNKNOWN
from schemas.topics import CONVERSATIONS, OUTBOUND, TIMELINE
from tests import harness as h
from tests.harness import BUSINESS, NUMBER, T0, WABA
from tests.simulation.line import Line

HERE = "unit/test_meta_contract_12.py"
TESTS = Path(__file__).parent.parent
ROOT = TESTS.parent

ROWS = {
    1: [
        "simulation/test_races.py::test_race",
        "app/test_app_timeline.py::test_an_echo_that_comes_before_the_answer_to_its_send_is_still_ours",
    ],
    2: [f"{HERE}::test_row_02_the_same_words_in_other_chats_are_messages_of_their_own"],
    3: [f"{HERE}::test_row_03_whatever_form_an_identity_has_a_message_is_one_line"],
    4: [f"{HERE}::test_row_04_an_echo_is_never_inbound"],
    5: [f"{HERE}::test_row_05_an_echo_is_a_persons_and_names_no_agent"],
    6: [
        "app/test_app_timeline.py::test_what_the_owner_writes_in_the_app_is_on_the_timeline_and_takes_the_conversation_over"
    ],
    7: [f"{HERE}::test_row_07_an_echo_keeps_what_it_quotes_even_if_that_is_unknown"],
    8: [
        "simulation/test_confluence_embedded.py::test_crashes_before_and_after_the_commit_lose_and_repeat_nothing",
        "simulation/test_races.py::test_repeating_everything_changes_nothing",
    ],
    9: ["unit/test_normalize_nestings.py::test_n_items_in_n_facts_out_in_random_nestings"],
    10: [f"{HERE}::test_row_10_a_webhook_of_a_number_nobody_knows_yet_is_taken_and_told"],
    11: ["simulation/test_races.py::test_a_placeholder_becomes_the_real_message_in_either_order"],
    12: ["app/test_app_sends.py::test_a_lost_answer_is_resolved_by_the_status_and_nothing_is_sent_twice"],
    13: ["simulation/test_sender_any_script.py::test_a_message_behind_an_unanswered_one_waits_a_bounded_time"],
    14: [
        "unit/test_delivery_answers.py::test_a_status_that_comes_before_the_answer_is_an_acceptance",
        "simulation/test_races.py::test_a_status_of_an_unknown_message_is_told_and_kept",
    ],
    15: [
        "unit/test_message_state.py::test_the_current_status_never_goes_back",
        "unit/test_message_state.py::test_a_failure_counts_only_while_no_delivery_is_known",
    ],
    16: [f"{HERE}::test_row_16_a_failed_status_is_told_with_metas_error"],
    17: [f"{HERE}::test_row_17_accepted_is_not_sent"],
    18: ["unit/test_graph.py::test_a_phone_goes_into_to_and_a_user_id_into_recipient"],
    19: [f"{HERE}::test_row_19_nothing_is_marked_as_read_for_the_people_at_the_phone"],
    20: ["app/test_media.py::test_an_uploaded_file_can_be_sent_by_its_id"],
    21: [
        "unit/test_identity.py::test_the_variants_of_one_phone_are_one_conversation_and_stay_as_written",
        "unit/test_identity.py::test_a_brazilian_landline_has_no_ninth_digit",
    ],
    22: ["unit/test_identity.py::test_the_variants_of_one_phone_are_one_conversation_and_stay_as_written"],
    23: [
        "unit/test_identity.py::test_the_variants_of_one_phone_are_one_conversation_and_stay_as_written",
        "unit/test_phones.py::test_numbers_of_different_subscribers_never_match",
    ],
    24: [f"{HERE}::test_row_24_a_customer_without_a_phone_is_a_customer"],
    25: [
        "unit/test_identity.py::test_after_a_change_of_number_old_and_new_are_one_conversation",
        "unit/test_identity.py::test_a_recycled_phone_under_another_user_id_is_another_conversation",
    ],
    26: [f"{HERE}::test_row_26_an_echo_never_names_the_customer_after_the_business"],
    27: [
        "simulation/test_races.py::test_a_human_echo_while_a_bot_reply_waits_withdraws_it_before_the_socket",
        "app/test_app_sends.py::test_a_person_who_answers_first_in_the_app_withdraws_the_bot_s_reply",
    ],
    28: [f"{HERE}::test_row_28_a_pause_says_when_it_ends_and_a_release_ends_it_however_often_it_was_renewed"],
    29: [
        "unit/test_automatic.py::test_a_greeting_pauses_no_bot_owns_nothing_and_leaves_the_message_unread",
        "unit/test_automatic.py::test_the_third_time_a_text_is_said_at_once_all_three_are_automatic",
    ],
    30: ["unit/test_conversations.py::test_one_conversations_pause_is_no_others"],
    31: [
        "simulation/test_races.py::test_history_pauses_nobody_and_opens_no_window",
        "app/test_app_timeline.py::test_a_contact_and_its_history_are_imported_without_waking_anybody",
    ],
    32: ["unit/test_conversations.py::test_neither_echoes_nor_sends_nor_history_open_a_window"],
    33: ["unit/test_conversations.py::test_a_customers_message_opens_the_window_by_its_own_time"],
    34: [f"{HERE}::test_row_34_a_webhook_that_comes_days_late_says_how_old_its_message_is"],
    35: [f"{HERE}::test_row_35_edits_and_deletions_are_no_new_messages_and_a_reaction_says_what_it_is"],
    36: [
        "app/test_onboard.py::test_the_app_is_subscribed_first_then_contacts_then_history_each_once",
        "app/test_onboard.py::test_a_lost_answer_is_never_asked_again_in_the_same_run_and_is_known_in_the_next",
    ],
    37: ["unit/test_lifecycle_history.py::test_nothing_for_a_day_after_it_was_asked_for_is_told_once"],
    38: [f"{HERE}::test_row_38_no_number_is_ever_registered_or_deregistered"],
    39: [
        "app/test_onboard.py::test_offboarding_pauses_a_send_and_reconnecting_lets_it_go_by_itself",
        "app/test_app_sends.py::test_a_paused_number_sends_nothing_and_what_a_person_answered_meanwhile_is_withdrawn",
        "unit/test_delivery.py::test_a_send_that_waited_too_long_expires",
    ],
    40: [
        "unit/test_lifecycle.py::test_the_phone_is_seen_by_echoes_and_the_address_book_and_not_by_customers",
        "unit/test_lifecycle.py::test_a_removal_tells_metas_reason",
    ],
    41: [f"{HERE}::test_row_41_what_a_companion_cannot_show_is_a_placeholder_and_never_a_text"],
    42: ["unit/test_media.py::test_every_kind_of_media_is_fetched_at_once"],
    43: [f"{HERE}::test_row_43_a_missing_or_null_body_degrades_and_blocks_nobody"],
    44: [
        "unit/test_signature.py::test_the_vectors_of_the_contract_hold",
        "app/test_edge_contract.py::test_the_signature_is_over_the_raw_bytes_however_text_is_escaped",
    ],
    45: ["app/test_edge_contract.py::test_append_without_confirmation_is_503_with_retry_after"],
    46: [f"{HERE}::test_row_46_a_stop_word_in_an_echo_is_the_owners_and_no_opt_out"],
}


@cache
def functions_of(path):
    tree = ast.parse((TESTS / path).read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize("row", range(1, 47))
def test_every_row_has_a_test_that_exists(row):
    assert ROWS[row]
    for name in ROWS[row]:
        path, _, test = name.partition("::")
        assert test in functions_of(path), f"row {row}: {name} is not there any more"


def test_every_row_tested_here_stands_in_the_table():
    named = {name.partition("::")[2] for names in ROWS.values() for name in names if name.startswith(HERE)}
    assert {name for name in functions_of(HERE) if name.startswith("test_row_")} == named


# --- from bytes to facts


LAIA, PAU = "34600111222", "34600333444"


@pytest.fixture
def line():
    return Line(auto=True)


def hears(line, *items, field="messages", key="messages", at=None, **value):
    """One webhook of Meta's, as bytes."""
    metadata = {"display_phone_number": BUSINESS, "phone_number_id": NUMBER}
    value = {"messaging_product": "whatsapp", "metadata": metadata, key: list(items)} | value
    entry = {"id": WABA, "changes": [{"field": field, "value": value}]}
    body = json.dumps({"object": "whatsapp_business_account", "entry": [entry]}).encode()
    for topic, event in normalize(body, line.now if at is None else at):
        line.hear(event, topic=topic)


def echoes(line, *items, **more):
    hears(line, *items, field="smb_message_echoes", key="message_echoes", **more)


def said(wamid, text="hola", who=LAIA, at=T0 - 60, **more):
    return {"from": who, "id": wamid, "timestamp": str(int(at)), "type": "text", "text": {"body": text}} | more


def answered(wamid, text="digui", who=LAIA, at=T0, **more):
    return said(wamid, text, BUSINESS, at, to=who) | more


def imported(wamid, text="hola", who=LAIA, *, at=T0 - 62, by_us=False):
    message = (answered(wamid, text, who, at) if by_us else said(wamid, text, who, at)) | {
        "history_context": {"status": "READ"}
    }
    chunk = {"metadata": {"phase": 0, "chunk_order": 1, "progress": 5}, "threads": [{"id": who, "messages": [message]}]}
    return {"field": "history", "key": "history", "items": [chunk]}


def imports(line, *more, **told):
    chunk = imported(*more, **told)
    hears(line, *chunk.pop("items"), **chunk)


def added(line):
    return line.told(TIMELINE, "message.added")


def test_row_02_the_same_words_in_other_chats_are_messages_of_their_own(line):
    line.hear(h.attempted("c9", h.phone(LAIA), T0, "ok"))
    echoes(line, answered("wamid.1", "ok", PAU), answered("wamid.2", "ok", "34600555666"))
    assert [(one["message_id"], one["origin"]) for one in added(line)] == [
        ("wamid.1", "business_app"),
        ("wamid.2", "business_app"),
    ]


def test_row_03_whatever_form_an_identity_has_a_message_is_one_line(line):
    hears(line, said("wamid.0", from_user_id="ES.1"))
    forms = [{"to": LAIA}, {"to": f"+{LAIA}"}, {"to": LAIA, "to_user_id": "ES.1"}, {"to_user_id": "ES.1"}]
    for form in forms:
        message = answered("wamid.1")
        del message["to"]
        echoes(line, message | form)
    assert [one["message_id"] for one in added(line)] == ["wamid.0", "wamid.1"]
    assert len({one["conversation_id"] for one in added(line)}) == 1


def test_row_04_an_echo_is_never_inbound(line):
    hears(line, said("wamid.1"))
    echoes(line, answered("wamid.2"))
    assert [(one["direction"], one["origin"]) for one in added(line)] == [
        ("inbound", "customer"),
        ("outbound", "business_app"),
    ]
    assert line.told(CONVERSATIONS)[-1]["unread"] == 0


def test_row_05_an_echo_is_a_persons_and_names_no_agent(line):
    hears(line, said("wamid.1"))
    echoes(line, answered("wamid.2"))
    assert added(line)[-1]["origin"] == "business_app"
    assert "author" not in added(line)[-1]
    assert line.owner(h.phone(LAIA)) == PERSON_APP


def test_row_07_an_echo_keeps_what_it_quotes_even_if_that_is_unknown(line):
    echoes(line, answered("wamid.2", context={"from": LAIA, "id": "wamid.never.seen"}))
    assert added(line)[-1]["reply_to"] == "wamid.never.seen"


def test_row_10_a_webhook_of_a_number_nobody_knows_yet_is_taken_and_told(line):
    metadata = {"display_phone_number": "34600777888", "phone_number_id": "999"}
    hears(line, said("wamid.1"), metadata=metadata)
    assert [(one["message_id"], one["number"]) for one in added(line)] == [("wamid.1", "999")]
    assert "999" in {told["number"] for told in line.told("account", "number.onboarded")}


def test_row_16_a_failed_status_is_told_with_metas_error(line):
    errors = [{"code": 131026, "title": "Message undeliverable"}]
    status = {"id": "wamid.1", "status": "failed", "timestamp": str(int(T0)), "recipient_id": LAIA, "errors": errors}
    hears(line, status, key="statuses")
    (told,) = line.told(TIMELINE, "status.changed")
    assert (told["status"], told["current"], told["errors"]) == ("failed", "failed", errors)


def test_row_17_accepted_is_not_sent(line):
    line.ask("c1")
    assert line.outcomes("c1") == ["send.accepted"]
    assert line.told(TIMELINE, "status.changed") == []
    assert line.message("wamid.c1.1").current == ""


def test_row_19_nothing_is_marked_as_read_for_the_people_at_the_phone(line):
    hears(line, said("wamid.1"))
    assert line.sent == []
    for path in [*(ROOT / "sender").glob("*.py"), *(ROOT / "services").glob("*.py")]:
        assert not re.search(r"""["']status["']:\s*["']read["']|typing_indicator""", path.read_text()), path.name


def test_row_24_a_customer_without_a_phone_is_a_customer(line):
    for n in range(3):
        message = said(f"wamid.{n}", from_user_id="ES.1")
        del message["from"]
        hears(line, message)
    assert len(added(line)) == 3
    assert len({one["conversation_id"] for one in added(line)}) == 1
    assert added(line)[0]["contact"] == {"user_id": "ES.1"}


def test_row_26_an_echo_never_names_the_customer_after_the_business(line):
    card = {"profile": {"name": "La Botiga"}, "wa_id": BUSINESS}
    echoes(line, answered("wamid.1"), contacts=[card])
    assert added(line)[-1]["contact"] == {"wa_id": LAIA}


def test_row_28_a_pause_says_when_it_ends_and_a_release_ends_it_however_often_it_was_renewed(line):
    hears(line, said("wamid.0"))
    for n in range(5):
        line.later(20 * 60)
        echoes(line, answered(f"wamid.e{n}", at=line.now))
    told = line.told(CONVERSATIONS)[-1]
    assert told["owner"] == PERSON_APP
    assert "automation_paused_until" in told
    release = h.outbound("conversation.release", line.now, conversation_id=told["conversation_id"])
    line.hear(release, topic=OUTBOUND)
    assert line.owner(h.phone(LAIA)) == BOT


def test_row_34_a_webhook_that_comes_days_late_says_how_old_its_message_is(line):
    hears(line, said("wamid.1", at=T0 - 6 * 86_400), at=T0)
    (told,) = added(line)
    assert (told["sent_at"], told["received_at"]) == ("2026-09-15T14:13:20Z", "2026-09-21T14:13:20Z")
    assert line.told(CONVERSATIONS)[-1]["window_expires_at"] == "2026-09-16T14:13:20Z"


def test_row_35_edits_and_deletions_are_no_new_messages_and_a_reaction_says_what_it_is(line):
    hears(line, said("wamid.1"), said("wamid.5"))
    edit = {
        "original_message_id": "wamid.1",
        "message": {"context": {"id": "M0"}, "type": "text", "text": {"body": "x"}},
    }
    reaction = {"message_id": "wamid.1", "emoji": "👍"}
    hears(
        line,
        said("wamid.2", type="edit", edit=edit),
        said("wamid.3", type="revoke", revoke={"original_message_id": "wamid.5"}),
        said("wamid.4", type="reaction", reaction=reaction),
    )
    assert [(one["message_id"], one["kind"]) for one in added(line)] == [
        ("wamid.1", "text"),
        ("wamid.5", "text"),
        ("wamid.4", "reaction"),
    ]
    assert [one["message_id"] for one in line.told(TIMELINE, "message.edited", "message.revoked")] == [
        "wamid.1",
        "wamid.5",
    ]


def test_row_38_no_number_is_ever_registered_or_deregistered():
    for path in [*(ROOT / "sender").glob("*.py"), *(ROOT / "services").glob("*.py")]:
        assert not re.search(r"/(de)?register\b", path.read_text()), path.name


def test_row_41_what_a_companion_cannot_show_is_a_placeholder_and_never_a_text(line):
    unsupported = said("wamid.1", type="unsupported", errors=[{"code": 131060, "title": "unavailable"}])
    del unsupported["text"]
    hears(line, unsupported)
    assert (added(line)[0]["kind"], added(line)[0]["content"]) == ("unsupported", {})


@pytest.mark.parametrize(
    "body",
    [
        {"type": "order", "order": {"text": None, "product_items": None}},
        {"type": "order", "order": None},
        {"type": "interactive"},
        {"type": "interactive", "interactive": None},
        {"type": "button"},
        {"type": "text", "text": None},
    ],
)
def test_row_43_a_missing_or_null_body_degrades_and_blocks_nobody(line, body):
    broken = said("wamid.1") | {"text": None} | body
    hears(line, broken, said("wamid.2"))
    assert [one["message_id"] for one in added(line)] == ["wamid.1", "wamid.2"]
    assert line.log["dead-letters"] == []


def test_row_46_a_stop_word_in_an_echo_is_the_owners_and_no_opt_out(line):
    hears(line, said("wamid.1"))
    echoes(line, answered("wamid.2", "STOP"))
    assert [one["direction"] for one in added(line)] == ["inbound", "outbound"]
    assert line.told("account", "preference.changed") == []


# --- the same message from several sources: one line each


@pytest.mark.parametrize("order", ["history after live", "live after history"])
def test_a_live_message_and_its_history_copy_are_one_line(line, order):
    steps = [lambda: hears(line, said("wamid.1")), lambda: imports(line, "wamid.1")]
    for step in steps if order == "history after live" else reversed(steps):
        step()
    assert [one["message_id"] for one in added(line)] == ["wamid.1"]
    newest = line.told(TIMELINE)[-1]
    assert (newest["historical"], newest["sent_at"]) == (False, "2026-09-21T14:12:18Z")
    assert line.told(CONVERSATIONS)[-1]["unread"] == 1


@pytest.mark.parametrize("order", ["history after echo", "echo after history"])
def test_an_echo_and_its_history_copy_are_one_line(line, order):
    steps = [lambda: echoes(line, answered("wamid.1")), lambda: imports(line, "wamid.1", at=T0 - 2, by_us=True)]
    for step in steps if order == "history after echo" else reversed(steps):
        step()
    assert [one["message_id"] for one in added(line)] == ["wamid.1"]
    assert line.owner(h.phone(LAIA)) == PERSON_APP


def test_history_alone_is_one_line_that_wakes_nobody(line):
    for _ in range(2):
        imports(line, "wamid.1")
        imports(line, "wamid.2", by_us=True)
    assert [(one["message_id"], one["historical"]) for one in added(line)] == [("wamid.1", True), ("wamid.2", True)]
    assert line.owner(h.phone(LAIA)) == UNKNOWN
    assert line.told(CONVERSATIONS)[-1]["unread"] == 0
