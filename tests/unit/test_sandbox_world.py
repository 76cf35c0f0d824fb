"""The sandbox's seed, limits, settings and checks."""

import pytest

from services.sandbox import answers, faults
from services.sandbox.config import Number, SandboxConfig, make_numbers
from services.sandbox.dice import Dice
from services.sandbox.faults import FaultError, Faults
from services.sandbox.ledger import Ledger, Send
from services.sandbox.limits import Pairs, Throughput
from services.sandbox.meta import Draft, Meta
from services.sandbox.traffic import Plan, Script
from services.sandbox.world import WINDOW_S, Unknown, variant

NUMBER = Number().phone_number_id


def new_meta(seed: int = 1, numbers: int = 1, **more) -> Meta:
    config = SandboxConfig(seed=seed, numbers=make_numbers(numbers), faults=faults.calm(), **more)
    return Meta(config, lambda: 1790000000.0)


def played(seed: int, acts: int = 300) -> list[dict]:
    meta = new_meta(seed, numbers=2)
    script = Script(meta, Plan(customers=4))
    for _ in range(acts):
        script.act()
    return [meta.view(message) for message in meta.world.messages.values()]


def test_one_seed_is_one_story():
    assert played(7) == played(7)
    assert played(7) != played(8)


def test_a_story_has_every_side_edits_and_deletions():
    story = played(7)
    assert {message["side"] for message in story} == {"customer", "app"}
    assert any(message["edits"] for message in story)
    assert any(message["revoked"] for message in story)
    assert any(message["reply_to"] for message in story)
    assert len({message["number"] for message in story}) == 2


def test_fate_depends_on_the_thing_and_not_on_what_happened_before():
    first, second = Dice(5), Dice(5)
    second.roll("other", "thing")
    assert first.roll("duplicate", "a") == second.roll("duplicate", "a")
    share = sum(first.hits(0.2, "duplicate", str(n)) for n in range(5000)) / 5000
    assert share == pytest.approx(0.2, abs=0.03)


def test_the_twenty_first_message_in_a_second_is_too_many():
    limit = Throughput()
    for _ in range(5):
        limit.note(10.0)
    assert [limit.admit(10.1, 20) for _ in range(16)] == [True] * 15 + [False]
    assert not limit.admit(10.9, 20)
    assert limit.admit(11.0, 20)
    assert limit.admit(11.0, 0)


def test_a_pair_may_burst_and_then_pays_for_it():
    pairs = Pairs()
    assert [pairs.admit("p", 0.0, 6.0, 45) for _ in range(46)] == [True] * 45 + [False]
    assert not pairs.admit("p", 5.9, 6.0, 45)
    assert pairs.admit("p", 6.0, 6.0, 45)
    assert not pairs.admit("p", 6.1, 6.0, 45)
    assert pairs.admit("other", 6.1, 6.0, 45)


def test_settings_change_all_or_none():
    settings = Faults()
    faults.patch(settings, {"duplicate_p": 0.5, "paused": True})
    assert (settings.duplicate_p, settings.paused) == (0.5, True)
    with pytest.raises(FaultError):
        faults.patch(settings, {"duplicate_p": 0.1, "reorder_p": 2})
    with pytest.raises(FaultError, match="Did you mean reorder_p"):
        faults.patch(settings, {"duplicate_p": 0.1, "reoder_p": 1})
    assert settings.duplicate_p == 0.5


def test_only_a_customer_opens_the_window():
    world = (meta := new_meta()).world
    meta.app_writes(Draft(NUMBER, "34600000001", "hola"))
    assert not world.window_open(NUMBER, "34600000001", 1790000000.0)
    meta.customer_writes(Draft(NUMBER, "34600000001", "hola"))
    assert world.window_open(NUMBER, "34600000001", 1790000000.0 + WINDOW_S - 1)
    assert not world.window_open(NUMBER, "34600000001", 1790000000.0 + WINDOW_S)


def test_only_the_author_changes_a_message_and_only_while_it_exists():
    meta = new_meta()
    theirs = meta.customer_writes(Draft(NUMBER, "34600000001", "hola"))
    with pytest.raises(ValueError, match="author"):
        meta.edit(theirs.wamid, "adeu", "app")
    meta.edit(theirs.wamid, "bona nit", "customer")
    assert theirs.content == {"body": "bona nit"}
    meta.revoke(theirs.wamid, "customer")
    with pytest.raises(ValueError, match="deleted"):
        meta.edit(theirs.wamid, "adeu", "customer")
    with pytest.raises(Unknown):
        meta.revoke("wamid.NONE", "customer")


def test_both_spellings_of_a_phone_are_one_person():
    world = new_meta().world
    assert world.customer("5511987654321") is world.customer("551187654321")
    assert variant("525512345678") == "5215512345678"
    assert variant("551132165498") == "551132165498"


def test_a_cap_keeps_chats_and_ledger_small():
    meta = new_meta(chat_messages_max=3, ledger_items_max=3)
    for n in range(10):
        meta.customer_writes(Draft(NUMBER, "34600000001", str(n)))
    assert [m.content["body"] for m in meta.world.chat(NUMBER, "34600000001").messages] == ["7", "8", "9"]
    assert len(meta.world.messages) == 3
    assert meta.ledger.summary()["items"] == 10, "what is not acknowledged is never forgotten"


def test_the_ledger_counts_tokens_that_were_accepted_twice():
    ledger = Ledger()
    for wamid, token in (("wamid.1", "token"), ("wamid.2", "token"), ("wamid.3", "other")):
        ledger.sent(Send(NUMBER, "34600000001", wamid, None, token, "", 0.0, "answered"))
    assert ledger.summary()["sends"]["tokens_accepted_twice"] == 1
    assert [send["token_accepted"] for send in ledger.sends()] == [2, 2, 1]


TEXT = {"messaging_product": "whatsapp", "to": "+34600000001", "type": "text", "text": {"body": "x"}}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({}, None),
        ({"messaging_product": "sms"}, 100),
        ({"to": None}, 131008),
        ({"type": "poll"}, 131051),
        ({"text": None}, 131008),
        ({"text": {"body": ""}}, 131008),
        ({"text": {"body": "x" * 4096}}, None),
        ({"text": {"body": "x" * 4097}}, 100),
        ({"biz_opaque_callback_data": "x" * 513}, 100),
        ({"context": {}}, 131008),
        ({"type": "image", "image": {"caption": "x"}}, 131008),
        ({"type": "reaction", "reaction": {"emoji": "x"}}, 131008),
        ({"type": "interactive", "interactive": {"type": "button", "action": {"buttons": []}}}, 131009),
        ({"type": "template", "template": {"name": "x"}}, 131008),
        ({"type": "template", "template": {"name": "x", "language": {"code": "es"}}}, 132001),
        ({"type": "template", "template": {"name": "order_update", "language": {"code": "es"}}}, None),
    ],
)
def test_send_bodies_are_refused_as_meta_refuses_them(change, code):
    refusal = answers.check_send(TEXT | change, templates_strict=True)
    assert (refusal.code if refusal else None) == code
