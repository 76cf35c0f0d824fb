"""Commands: what is taken, and the one sentence that says why another is not."""

import json
from pathlib import Path

import jsonschema
import pytest
from pydantic import ValidationError

from schemas import events
from tests.send_bodies import TYPES

SCHEMA = json.loads((Path(__file__).parents[2] / "schemas" / "json" / "send.requested.schema.json").read_text())
WAMID = "wamid.TEST=="
TEXT = {"body": "hello"}
COMMAND = {"command_id": "k-1", "number": "106540352242922", "to": "15550100199", "message": {"text": TEXT}}


def strict(name: str, data: object) -> object:
    return events.validate_strict(name, json.dumps(data).encode())


@pytest.mark.parametrize(
    "more",
    [
        {"to": "+34 600 111 222"},
        {"to": "US.ENT.13491208655302741918"},
        {"message": {"text": {"body": "x" * 4096}}},
        {"message": {"type": "image", "image": {"link": "https://example.org/a.jpg"}}},
        {"message": {"type": "reaction", "reaction": {"message_id": WAMID, "emoji": ""}}},
        {"message": {"type": "location", "location": {"latitude": 0, "longitude": 0}}},
        {"message": {"type": "contacts", "contacts": [{"name": {"formatted_name": "Bo"}}]}},
        {"message": {"text": TEXT, "later": {"added": "by Meta"}}},
        {"message": {"messaging_product": "whatsapp", "type": "text", "text": TEXT}},
        {"fallback": {"type": "template", "template": {"name": "hello", "language": {"code": "en_US"}}}},
        {"policy": "at_most_once", "lane": "bulk", "origin": "campaign", "defer_until_released": True},
        {"not_before": "2026-09-21T16:13:20+02:00", "expires_at": "2026-09-21T14:13:20.5Z"},
        {"only_if": {"no_message_after": WAMID}},
        {"message": {"status": "read", "message_id": WAMID}},
        {"to": None, "message": {"status": "read", "message_id": WAMID, "typing_indicator": {"type": "text"}}},
        {"policy": None, "only_if": None, "trace": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
    ],
)
def test_a_good_command_is_taken_by_model_and_schema(more):
    strict("send.requested", {**COMMAND, **more})
    jsonschema.validate({**COMMAND, **more}, SCHEMA)


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"command_id": "a b"}, "command_id must be 1 to 128 characters out of A-Z a-z 0-9 . _ : -."),
        ({"command_id": "x" * 129}, "command_id must be 1 to 128 characters out of A-Z a-z 0-9 . _ : -."),
        ({"command_id": "k\n"}, "command_id must be 1 to 128 characters out of A-Z a-z 0-9 . _ : -."),
        ({"command_id": 7}, "command_id must be text."),
        ({"number": ""}, "number must be a phone_number_id: 1 to 64 visible ASCII characters."),
        ({"to": "Ada"}, "to must be a phone number of 5 to 15 digits or a user id like US.13491208655302741918."),
        ({"to": 34600}, "to must be a phone number of 5 to 15 digits or a user id like US.13491208655302741918."),
        ({"message": "hello"}, "message must be an object."),
        ({"message": {}}, "message.text is missing."),
        ({"to": None}, "to is missing."),
        ({"message": {"status": "delivered", "message_id": WAMID}}, "message.status must be read."),
        ({"message": {"status": "read"}}, "message.message_id is missing."),
        ({"message": {"status": "read", "message_id": ""}}, "message.message_id must not be empty."),
        (
            {"message": {"status": "read", "message_id": WAMID, "typing_indicator": {"type": "voice"}}},
            "message.typing_indicator.type must be text.",
        ),
        (
            {"message": {"status": "read", "message_id": WAMID, "type": "text", "text": TEXT}},
            "message.type has no place beside status.",
        ),
        ({"message": {"type": "text"}}, "message.text is missing."),
        ({"message": {"type": "text", "text": "hello"}}, "message.text must be an object."),
        ({"message": {"type": "text", "text": {}}}, "message.text.body is missing."),
        ({"message": {"text": {"body": "x" * 4097}}}, "message.text.body must have at most 4096 characters."),
        ({"message": {"text": {"body": 5}}}, "message.text.body must be text."),
        ({"message": {"type": "image", "image": {"caption": "x"}}}, "message.image.id or link is missing."),
        ({"message": {"type": "template", "template": {"name": "x"}}}, "message.template.language is missing."),
        ({"message": {"type": "contacts", "contacts": []}}, "message.contacts must not be empty."),
        ({"message": {"type": "Laia 34600"}}, f"message.type {TYPES}."),
        ({"message": {"type": ["text"]}}, f"message.type {TYPES}."),
        ({"message": {"text": TEXT, "to": "1"}}, "message.to belongs beside the message, as the command's own field."),
        (
            {"message": {"text": TEXT, "biz_opaque_callback_data": "x"}},
            "message.biz_opaque_callback_data is used by Coexist to recognise its own sends.",
        ),
        ({"fallback": {"type": "text", "text": TEXT}}, "fallback.type must be template."),
        ({"policy": "twice"}, "policy must be at_most_once or at_least_once."),
        ({"lane": "fast"}, "lane must be normal or bulk."),
        ({"origin": "customer"}, "origin must be bot, agent or campaign."),
        (
            {"expires_at": "2026-09-21T14:13:20"},
            "expires_at must be an RFC 3339 time with its zone, like 2026-09-21T14:13:20Z.",
        ),
        (
            {"not_before": "2026-02-30T00:00:00Z"},
            "not_before must be an RFC 3339 time with its zone, like 2026-09-21T14:13:20Z.",
        ),
        ({"not_before": 1790000000}, "not_before must be text."),
        (
            {"only_if": {"no_message_after": "2026-09-21"}},
            "only_if.no_message_after must be an RFC 3339 time with its zone, like 2026-09-21T14:13:20Z.",
        ),
        ({"only_if": {"not_takenover": True}}, "only_if.not_takenover is not a field of this event."),
        ({"only_if": {"not_taken_over": "yes"}}, "only_if.not_taken_over must be true or false."),
        ({"defer_until_released": 1}, "defer_until_released must be true or false."),
        ({"trace": "a b"}, "trace must be a W3C traceparent."),
    ],
)
def test_a_wrong_command_is_refused_in_one_sentence(more, sentence):
    with pytest.raises(ValidationError) as refused:
        events.DATA["send.requested"].model_validate_json(json.dumps({**COMMAND, **more}))
    assert events.explain(refused.value) == sentence


@pytest.mark.parametrize("field", ["command_id", "number", "to", "message"])
def test_a_command_without_what_it_needs_is_refused(field):
    with pytest.raises(ValidationError) as refused:
        strict("send.requested", {key: value for key, value in COMMAND.items() if key != field})
    assert events.explain(refused.value) == f"{field} is missing."


@pytest.mark.parametrize(("data", "sentence"), [(b"{", "is not valid JSON"), (b"[]", "must be an object")])
def test_what_is_no_object_at_all_is_said_to_be_none(data, sentence):
    with pytest.raises(ValidationError) as refused:
        events.validate_strict("send.requested", data)
    assert events.explain(refused.value) == f"The data {sentence}."


def test_a_takeover_lasts_a_month_at_most():
    with pytest.raises(ValidationError) as refused:
        strict("conversation.takeover", {"conversation_id": "c-1", "number": "1", "minutes": 10**9})
    assert events.explain(refused.value) == "minutes must be less than or equal to 43200."
