"""The published contract: models, JSON Schemas, the AsyncAPI document and the wire forms say the same."""

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import msgspec
import pytest
from pydantic import ValidationError

from schemas import contract, events, items, webhooks
from schemas.ports import Event
from schemas.topics import TOPICS

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT / "schemas" / "json"
SAMPLES = json.loads((Path(__file__).parent / "event_samples.json").read_text())
"""One record's data of every type as it is published; a later version must go on taking every one of them."""
NUMBER = "106540352242922"
TEXT = {"body": "hello"}

every_type = pytest.mark.parametrize("name", sorted(events.DATA))


def published(name: str) -> dict:
    return json.loads((PUBLISHED / name).read_text())


def strict(name: str, data: object) -> object:
    return events.validate_strict(name, json.dumps(data).encode())


# --- what is published -------------------------------------------------------------------------------------------


def test_the_published_files_are_those_of_the_code():
    assert contract.stale(PUBLISHED) == []


def test_writing_the_contract_twice_gives_the_same_bytes(tmp_path):
    contract.write(tmp_path / "one")
    assert contract.stale(tmp_path / "one") == []
    first = {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()}
    contract.write(tmp_path / "one")
    assert {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()} == first


def test_a_missing_a_changed_and_a_left_over_file_are_stale(tmp_path):
    contract.write(tmp_path)
    (tmp_path / "message.added.schema.json").unlink()
    (tmp_path / "send.cancel.schema.json").write_text("{}")
    (tmp_path / "message.lost.schema.json").write_text("{}")
    assert contract.stale(tmp_path) == [
        "message.added.schema.json",
        "message.lost.schema.json",
        "send.cancel.schema.json",
    ]


def test_everything_is_stale_where_nothing_was_written(tmp_path):
    assert len(contract.stale(tmp_path / "nowhere")) == len(events.DATA) + 1


def test_every_topic_says_which_types_it_carries_and_every_type_has_a_model_and_a_sample():
    assert set(events.ON) == set(TOPICS)
    assert {name for names in events.ON.values() for name in names} == set(events.DATA) == set(SAMPLES)


def test_a_type_is_sequenced_on_all_of_its_topics_or_on_none():
    for name in events.DATA:
        assert len({TOPICS[topic].sequenced for topic, names in events.ON.items() if name in names}) == 1


@every_type
def test_a_types_schema_is_valid_names_itself_and_stands_alone(name):
    schema = published(f"{name}.schema.json")
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"] == f"urn:coexist:{name}:v1"
    assert schema["description"]
    assert all(ref.startswith("#/$defs/") for ref in refs(schema))


def refs(node: object) -> list[str]:
    if isinstance(node, list):
        return [ref for item in node for ref in refs(item)]
    if isinstance(node, dict):
        own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        return own + [ref for value in node.values() for ref in refs(value)]
    return []


# --- the AsyncAPI document ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def asyncapi() -> dict:
    return published("asyncapi.json")


@pytest.fixture(scope="module")
def official() -> jsonschema.Draft7Validator:
    return jsonschema.Draft7Validator(json.loads((Path(__file__).parent / "asyncapi-3.0.0.json").read_text()))


def test_the_asyncapi_document_is_valid_by_the_official_schema(asyncapi, official):
    assert [error.json_path for error in official.iter_errors(asyncapi)] == []


@pytest.mark.parametrize("slip", [{"addres": "x"}, {"bindings": {"kafka": {"partitions": -1}}}])
def test_the_official_schema_would_see_a_slip(asyncapi, official, slip):
    channels = {**asyncapi["channels"], "timeline": {**asyncapi["channels"]["timeline"], **slip}}
    assert not official.is_valid({**asyncapi, "channels": channels})


def test_every_reference_of_the_asyncapi_document_leads_somewhere(asyncapi):
    for ref in refs(asyncapi):
        node = asyncapi
        for part in ref.removeprefix("#/").split("/"):
            node = node[part]
        assert node


def test_the_asyncapi_document_has_every_topic_with_its_types(asyncapi):
    for topic in TOPICS.values():
        channel = asyncapi["channels"][topic.name]
        assert channel["address"] == channel["bindings"]["kafka"]["topic"] == f"coexist.{topic.name}"
        assert set(channel["messages"]) == {name.replace(".", "_") for name in events.ON[topic.name]}
    assert {message["name"] for message in asyncapi["components"]["messages"].values()} == set(events.DATA)


def test_retention_and_compaction_in_the_asyncapi_document_are_those_of_the_topics(asyncapi):
    for topic in TOPICS.values():
        settings = asyncapi["channels"][topic.name]["bindings"]["kafka"]["topicConfiguration"]
        if topic.retention_s is None:
            assert settings == {"cleanup.policy": ["compact"]}
        else:
            assert settings["cleanup.policy"] == ["delete"]
            assert settings["retention.ms"] == topic.retention_s * 1000


@every_type
def test_headers_that_are_written_are_headers_that_are_described(asyncapi, name):
    topics = [TOPICS[topic] for topic, names in events.ON.items() if name in names]
    event = Event(id="i", type=name, number=NUMBER, data=b"{}", at=1, recorded_at=2, subject="s", cause="c", trace="t")
    if topics[0].sequenced:
        event = msgspec.structs.replace(event, seq=4294967297)
    written = {key: value.decode() for key, value in contract.headers(event)}
    described = asyncapi["components"]["messages"][name.replace(".", "_")]["headers"]
    jsonschema.Draft7Validator(described).validate(written)
    assert set(described["properties"]) == set(written)


# --- models and schemas ------------------------------------------------------------------------------------------


@every_type
def test_a_sample_is_valid_by_model_schema_and_asyncapi_payload(asyncapi, name):
    sample = SAMPLES[name]
    strict(name, sample)
    jsonschema.validate(sample, published(f"{name}.schema.json"))
    payload = asyncapi["components"]["messages"][name.replace(".", "_")]["payload"]["schema"]
    assert refs(payload) == []
    jsonschema.validate(sample, payload)


@every_type
def test_published_examples_are_valid(name):
    schema = published(f"{name}.schema.json")
    for example in schema.get("examples", []):
        strict(name, example)
        jsonschema.validate(example, schema)


@every_type
def test_readers_ignore_an_unknown_field_and_writers_may_not_write_one(name):
    sample = {**SAMPLES[name], "tomorrow": 1}
    events.DATA[name].model_validate_json(json.dumps(sample))
    jsonschema.validate(sample, published(f"{name}.schema.json"))
    with pytest.raises(ValidationError) as refused:
        strict(name, sample)
    assert events.explain(refused.value) == "tomorrow is not a field of this event."


NEEDED = {"send.requested": ["command_id", "number", "to", "message"]}
"""Where it depends on the rest: a read receipt needs no `to`, the sample does."""


@every_type
def test_model_and_schema_agree_on_what_must_be_there(name):
    schema = published(f"{name}.schema.json")
    validator = jsonschema.Draft202012Validator(schema)
    for missing in SAMPLES[name]:
        rest = {key: value for key, value in SAMPLES[name].items() if key != missing}
        if missing in NEEDED.get(name, schema.get("required", [])):
            assert not validator.is_valid(rest)
            with pytest.raises(ValidationError):
                strict(name, rest)
        else:
            assert validator.is_valid(rest)
            strict(name, rest)


@every_type
def test_model_and_schema_agree_on_kinds_of_values(name):
    validator = jsonschema.Draft202012Validator(published(f"{name}.schema.json"))
    for field in SAMPLES[name]:
        for value in (None, True, -1, 1.5, "", "x", [], ["x"], {}, {"x": 1}):
            sample = {**SAMPLES[name], field: value}
            if (name, field) in {("send.requested", "to"), ("send.requested", "message")}:
                continue  # phones and Meta's messages are checked further than a schema says
            assert validator.is_valid(sample) == accepts(name, sample), (field, value)


def accepts(name: str, data: object) -> bool:
    try:
        events.DATA[name].model_validate_json(json.dumps(data))
    except ValidationError:
        return False
    return True


def test_an_unknown_field_deep_inside_is_seen_when_writers_are_checked():
    with pytest.raises(ValidationError) as refused:
        strict("message.added", {**SAMPLES["message.added"], "contact": {"wa_id": "1", "phone": "2"}})
    assert events.explain(refused.value) == "contact.phone is not a field of this event."


def test_metas_own_objects_may_hold_anything():
    strict("message.added", {**SAMPLES["message.added"], "content": {"anything": {"at": ["all", 1]}}})
    strict("message.added", {**SAMPLES["message.added"], "kind": "contacts", "content": [{"name": {}}]})


def test_readers_take_new_values_of_open_enums_and_our_writers_only_known_ones():
    sample = {**SAMPLES["message.added"], "origin": "telepathy"}
    events.DATA["message.added"].model_validate_json(json.dumps(sample))
    jsonschema.validate(sample, published("message.added.schema.json"))
    with pytest.raises(ValidationError) as refused:
        strict("message.added", sample)
    assert events.explain(refused.value) == "origin must be one of customer, business_app, api, other."
    strict("message.added", {**SAMPLES["message.added"], "kind": "hologram"})


def test_an_unknown_type_is_a_key_error():
    with pytest.raises(KeyError):
        strict("message.lost", {})


# --- what the hot path writes is what is published ---------------------------------------------------------------


def test_items_and_their_published_models_have_the_same_fields():
    models = {**webhooks.INBOUND_TYPES, **webhooks.HISTORY_TYPES}.values()
    assert {name for model in models for name in model.model_fields} == set(items.Item.__struct_fields__)
    assert set(webhooks.ItemContact.model_fields) == set(items.Contact.__struct_fields__)


@pytest.mark.parametrize("name", sorted({*webhooks.INBOUND_TYPES, *webhooks.HISTORY_TYPES}))
def test_an_item_that_the_hot_path_reads_and_writes_is_valid(name):
    item = msgspec.json.decode(json.dumps(SAMPLES[name]), type=items.Item)
    assert {"contact": {}, **SAMPLES[name]} == {"contact": {}, **json.loads(items.encode(item))}
    events.validate_strict(name, items.encode(item))


# --- privacy and cost -----------------------------------------------------------------------------------------------


@every_type
def test_no_error_quotes_what_it_refuses(name):
    secret = "Laia 34600111222"
    for field in [*events.DATA[name].model_fields, secret]:
        for value in (
            secret,
            [secret],
            {"type": secret},
            {"text": {"body": [secret]}},
            {"type": "text", "text": secret},
        ):
            error = refusal(name, {**SAMPLES[name], field: value})
            assert error is None or secret not in events.explain(error)
            assert error is None or field == secret or secret not in str(error)


def refusal(name: str, data: object) -> ValidationError | None:
    try:
        strict(name, data)
    except ValidationError as error:
        return error
    return None


def test_nothing_that_runs_all_day_imports_pydantic():
    modules = "schemas.ports, schemas.items, schemas.topics, schemas.instants, schemas.phones, schemas.cloudevents"
    code = f"import sys, {modules}; sys.exit('pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, timeout=60).returncode == 0
