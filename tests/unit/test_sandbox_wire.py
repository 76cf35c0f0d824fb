"""The sandbox's webhook bodies, against the contract with Meta."""

import hmac
import json
from hashlib import sha256

import pytest

from services.sandbox import triggers, wire
from services.sandbox.config import Number, SandboxConfig, make_numbers
from services.sandbox.faults import calm
from services.sandbox.history import HistoryPlan, build
from services.sandbox.meta import Draft, Meta
from services.sandbox.triggers import TRIGGERS, trigger_body

NUMBER = Number()
SECRET = b"coexist-demo-secret"


def values(body: bytes) -> list[dict]:
    return [change["value"] for entry in json.loads(body)["entry"] for change in entry["changes"]]


def new_meta(seed: int = 1, numbers: int = 1) -> Meta:
    return Meta(SandboxConfig(seed=seed, numbers=make_numbers(numbers), faults=calm()), lambda: 1790000000.0)


@pytest.mark.parametrize(
    ("body", "signature"),
    [
        (
            b'{"object":"whatsapp_business_account","entry":[]}',
            "ad9b302abf87bd3466aa5f29fcf13b67ce2360e681cab617fe1116acdf9d0d08",
        ),
        (
            b'{"object": "whatsapp_business_account", "entry": []}',
            "7d4bc9851a1ea3705cbf73119b578f3ab4ff2b8a4e59b85e9bf13dfcdbed6428",
        ),
    ],
)
def test_signatures_are_those_of_the_contract(body, signature):
    assert wire.sign(body, SECRET) == f"sha256={signature}"


def test_bodies_are_escaped_as_meta_escapes_them():
    value = {"t": "café 😀 a/b"}
    entry = [{"id": "700000000000001", "changes": [{"field": "messages", "value": value}]}]
    body = wire.dumps({"object": "whatsapp_business_account", "entry": entry})
    assert len(body) == 150
    assert wire.sign(body, SECRET) == "sha256=a29f1c2b041f7ce83909c38d79d3a8b7437152bf73d68abd5416729ab3411e2d"


@pytest.mark.parametrize("name", TRIGGERS)
def test_every_trigger_is_one_ascii_body_in_metas_envelope(name):
    body = trigger_body(name, seed=3)
    body.decode("ascii")
    parsed = json.loads(body)
    assert parsed["object"] == "whatsapp_business_account"
    assert [len(entry["changes"]) for entry in parsed["entry"]] == [1]
    assert trigger_body(name, seed=3, clock=lambda: 1.0) == trigger_body(name, seed=3, clock=lambda: 1.0)


def test_a_trigger_without_a_seed_is_new_each_time():
    ids = {values(trigger_body("message"))[0]["messages"][0]["id"] for _ in range(20)}
    assert len(ids) == 20


def test_a_trigger_is_about_what_was_asked_for():
    body = trigger_body("message", "800000000000001", "bona tarda", contact="34611000000")
    value = values(body)[0]
    assert value["metadata"]["phone_number_id"] == "800000000000001"
    assert value["messages"][0]["text"] == {"body": "bona tarda"}
    assert value["messages"][0]["from"] == value["contacts"][0]["wa_id"] == "34611000000"
    edit = values(trigger_body("edit", target="wamid.T"))[0]["messages"][0]["edit"]
    assert edit["original_message_id"] == "wamid.T"
    assert edit["message"]["context"] == {"id": "M0"}


def test_a_mistyped_trigger_names_the_right_one():
    with pytest.raises(ValueError, match="Did you mean message"):
        trigger_body("mesage")


def test_an_echo_goes_from_the_business_to_the_customer():
    value = values(trigger_body("echo"))[0]
    echo = value["message_echoes"][0]
    assert (echo["from"], echo["to"]) == (NUMBER.display, triggers.DEFAULT_CONTACT)
    assert echo["to_user_id"] == value["contacts"][0]["user_id"]
    assert "messages" not in value


def test_a_failed_status_has_errors_and_no_contact():
    value = values(trigger_body("failed"))[0]
    assert value["statuses"][0]["errors"][0]["code"] == 131026
    assert "contacts" not in value
    assert "pricing" not in value["statuses"][0]
    assert values(trigger_body("sent"))[0]["statuses"][0]["pricing"]["pricing_model"] == "PMP"


def test_hidden_customers_show_a_user_id_and_no_phone():
    meta = new_meta()
    message = meta.customer_writes(Draft(NUMBER.phone_number_id, "34600000001", "hola", hidden=True))
    update = wire.inbound(NUMBER, meta.world.customer(message.contact), message)
    text = wire.body([update]).decode()
    assert "34600000001" not in text
    assert values(text.encode())[0]["messages"][0]["from_user_id"].startswith("ES.")


def test_a_batch_holds_every_item_once_whatever_its_shape():
    meta = new_meta(numbers=3)
    updates = []
    for n, number in enumerate([*meta.world.numbers.values()] * 4):
        draft = Draft(number.phone_number_id, f"3460000000{n % 4}", f"text {n}")
        message = meta.customer_writes(draft)
        customer = meta.world.customer(message.contact)
        updates += [wire.inbound(number, customer, message), wire.echo(number, customer, message)]
        updates.append(wire.status(number, customer, message, "read", at_s=1))
    for merged, side_by_side in ((True, False), (False, False), (True, True)):
        body = wire.body(updates, merged=merged, side_by_side=side_by_side)
        found = [
            (array, item["id"])
            for value in values(body)
            for array in ("messages", "message_echoes", "statuses")
            for item in value.get(array, ())
        ]
        assert len(found) == len(set(found)) == len(updates)
        assert len(json.loads(body)["entry"]) == 2
    assert len(values(wire.body(updates))) == 9
    assert len(values(wire.body(updates, merged=False))) == len(updates)
    assert len(values(wire.body(updates, side_by_side=True))) == 6


def test_history_holds_as_many_messages_as_asked_in_known_phases():
    meta = new_meta()
    plan = HistoryPlan(NUMBER.phone_number_id, messages=101, contacts=4, per_chunk=20, media_p=0.5)
    updates = build(meta, NUMBER, plan)
    chunks = [update for update in updates if "history" in update.item]
    late = [update for update in updates if "history" not in update.item]
    lines = [m for c in chunks for h in c.item["history"] for t in h["threads"] for m in t["messages"]]
    assert len(lines) == len({line["id"] for line in lines}) == 101
    assert chunks[-1].item["history"][0]["metadata"]["progress"] == 100
    placeholders = {line["id"] for line in lines if line["type"] == "media_placeholder"}
    assert late
    assert {update.refs[0].wamid for update in late} <= placeholders
    assert {ref.wamid for chunk in chunks for ref in chunk.refs[1:]} == {line["id"] for line in lines}


def test_history_can_repeat_live_messages():
    meta = new_meta()
    live = meta.customer_writes(Draft(NUMBER.phone_number_id, "34600000001", "en directe"))
    plan = HistoryPlan(NUMBER.phone_number_id, messages=0, overlap=True)
    assert [ref.wamid for update in build(meta, NUMBER, plan) for ref in update.refs[1:]] == [live.wamid]


def test_the_signature_is_over_the_bytes_and_nothing_else():
    body = trigger_body("message", text="ñ")
    assert wire.sign(body, b"k") == "sha256=" + hmac.new(b"k", body, sha256).hexdigest()
