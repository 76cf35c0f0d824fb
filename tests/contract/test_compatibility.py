"""The compatibility gate: what was released is read by this code, and what this code writes by what was released.

It fails where a change breaks a subscriber or a stored record. Then keep the old field beside the new one; a change
that no addition can express gets a type or a topic of its own.
"""

import json
from base64 import b64decode
from functools import cache

import jsonschema
import msgspec
import pytest

from schemas import events
from tests.contract.growth import breaks
from tests.contract.record import RELEASED, kinds, today, written

VERSIONS = sorted(path.stem for path in RELEASED.glob("*.json"))
TEXT = written(today())
NOW = json.loads(TEXT)


@cache
def released(version):
    return json.loads((RELEASED / f"{version}.json").read_text())


def broken(old, new):
    """Everything that a reader or a writer of the old contract would miss in the new one."""
    found = []
    for name, topic in old["topics"].items():
        found += [f"topic {name}: {what}" for what in topic_breaks(topic, new["topics"].get(name))]
    for part, what in (("types", "schema"), ("types", "headers"), ("stored", "schema")):
        for name, entry in old[part].items():
            if name not in new[part]:
                found.append(f"{name} is gone")
            else:
                told = breaks(entry[what], new[part][name][what], taken=entry.get("taken", False))
                found += [f"{name}: {one}" for one in told]
    for name, entry in old["stored"].items():
        fields = new["stored"].get(name, entry)["fields"][: len(entry["fields"])]
        if fields != entry["fields"]:
            found.append(f"{name}: its fields were {entry['fields']}: a new one goes to the end, and none may go")
    return found


def topic_breaks(old, new):
    if new is None:
        return ["is gone"]
    lost = [f"carries no {name} any more" for name in sorted(set(old["types"]) - set(new["types"]))]
    return lost + [f"is not {word} as it was" for word in ("sequenced", "compacted") if old[word] != new[word]]


def entries(part):
    return [
        pytest.param(version, name, id=f"{version}-{name}") for version in VERSIONS for name in released(version)[part]
    ]


# --- the gate


def test_there_is_a_released_contract():
    assert VERSIONS


@pytest.mark.parametrize("version", VERSIONS)
def test_the_contract_has_only_grown(version):
    assert broken(released(version), NOW) == []


@pytest.mark.parametrize(("version", "name"), entries("types"))
def test_a_released_record_is_read_whole_by_todays_model(version, name):
    sample = released(version)["types"][name]["sample"]
    read = events.DATA[name].model_validate_json(json.dumps(sample))
    assert read.model_fields_set >= sample.keys()
    assert_valid(sample, NOW["types"][name]["schema"])


@pytest.mark.parametrize(("version", "name"), entries("types"))
def test_todays_record_is_valid_by_a_released_schema(version, name):
    schema = released(version)["types"][name]["schema"]
    assert_valid({**NOW["types"][name]["sample"], "added_later": {"any": 1}}, schema)


@pytest.mark.parametrize(("version", "name"), entries("stored"))
def test_a_stored_record_of_a_released_version_is_read_as_it_was_and_todays_would_be(version, name):
    old, kind = released(version)["stored"][name], KINDS[name]
    read = msgspec.msgpack.decode(b64decode(old["bytes"]), type=kind)
    assert json.loads(msgspec.json.encode(read))[: len(old["fields"])] == old["sample"]
    assert_valid(NOW["stored"][name]["sample"], old["schema"])


def assert_valid(sample, schema):
    """`jsonschema.validate` would look at the schema itself as well, each time."""
    assert list(jsonschema.Draft202012Validator(schema).iter_errors(sample)) == []


KINDS = {f"{kind.__module__}.{kind.__name__}": kind for kind in kinds()}


# --- it can fail


def changed():
    """A contract of its own, to be changed."""
    return json.loads(TEXT)


def gone(schema):
    del schema["properties"]["contact"]


def renamed(schema):
    schema["properties"]["customer"] = schema["properties"].pop("contact")


def retyped(schema):
    schema["properties"]["sent_at"]["type"] = "number"


def retyped_below(schema):
    schema["$defs"]["Contact"]["properties"]["wa_id"]["type"] = "integer"


def nullable(schema):
    schema["properties"]["kind"]["type"] = ["string", "null"]


def newly_required(schema):
    schema["properties"]["mood"] = {"type": "string"}
    schema["required"].append("mood")


def no_longer_required(schema):
    schema["required"].remove("conversation_id")


def value_lost(schema):
    schema["properties"]["origin"]["x-known-values"].remove("business_app")


def value_closed(schema):
    schema["properties"]["origin"]["enum"] = ["customer"]


def reformatted(schema):
    schema["properties"]["sent_at"]["format"] = "date"


BREAKING = [
    reformatted,
    gone,
    renamed,
    retyped,
    retyped_below,
    nullable,
    newly_required,
    no_longer_required,
    value_lost,
    value_closed,
]


@pytest.mark.parametrize("change", BREAKING)
def test_a_breaking_change_of_an_event_is_found(change):
    new = changed()
    change(new["types"]["message.added"]["schema"])
    assert broken(NOW, new)


def wider(schema):
    schema["properties"]["mood"] = {"type": ["string", "null"]}
    schema["$defs"]["Contact"]["properties"]["pronoun"] = {"type": "string"}
    schema["properties"]["origin"]["x-known-values"].append("telepathy")
    schema["description"] = "Said otherwise."


def test_an_addition_to_an_event_is_no_break():
    new = changed()
    wider(new["types"]["message.added"]["schema"])
    new["types"]["message.dreamt"] = new["types"]["message.added"]
    new["topics"]["timeline"]["types"].append("message.dreamt")
    assert broken(NOW, new) == []


def shorter(schema):
    schema["$defs"]["BodyText"]["properties"]["text"]["maxLength"] -= 1


def form_lost(schema):
    forms = next(field["oneOf"] for field in schema["properties"].values() if len(field.get("oneOf", ())) > 2)
    forms.pop()


def command_needs_more(schema):
    schema.setdefault("required", []).append("origin")


@pytest.mark.parametrize("change", [shorter, form_lost, command_needs_more])
def test_a_command_that_was_taken_and_would_be_refused_is_found_and_the_reverse_is_none(change):
    new = changed()
    change(new["types"]["send.requested"]["schema"])
    assert broken(NOW, new)
    assert broken(new, NOW) == []


@pytest.mark.parametrize("part", ["types", "topics", "stored"])
def test_what_is_gone_is_found(part):
    (gone, _), *kept = NOW[part].items()
    assert any(gone in one and "is gone" in one for one in broken(NOW, NOW | {part: dict(kept)}))


def test_a_type_that_leaves_its_topic_and_a_topic_that_loses_its_order_are_found():
    new = changed()
    new["topics"]["timeline"]["types"].remove("message.added")
    new["topics"]["sends"]["sequenced"] = False
    assert broken(NOW, new) == [
        "topic timeline: carries no message.added any more",
        "topic sends: is not sequenced as it was",
    ]


@pytest.mark.parametrize(
    ("fields", "places"),
    [
        (lambda names: names[::-1], lambda found: found),
        (lambda names: [*names[:4], "new", *names[4:]], lambda found: [*found[:4], {"type": "string"}, *found[4:]]),
        (lambda names: names[:-1], lambda found: found[:-1]),
        (lambda names: names, lambda found: [*found[:-1], {"type": "boolean"}]),
        (lambda names: names, lambda found: [*found[:-1], found[-1] | {"default": "other"}]),
        (lambda names: names, lambda found: [*found[:-1], {"type": found[-1]["type"]}]),
    ],
    ids=["in another order", "one in between", "one less", "one of another type", "another default", "no default"],
)
def test_a_stored_record_that_would_be_misread_is_found(fields, places):
    name = "schemas.states.Conversation"
    new = changed()
    entry = new["stored"][name]
    entry["fields"] = fields(entry["fields"])
    shape = entry["schema"]["$defs"]["Conversation"]
    shape["prefixItems"] = places(shape["prefixItems"])
    assert broken(NOW, new)


def test_a_field_at_the_end_of_a_stored_record_is_no_break():
    new = changed()
    entry = new["stored"]["schemas.states.Conversation"]
    entry["fields"].append("mood")
    entry["schema"]["$defs"]["Conversation"]["prefixItems"].append({"type": "string", "default": ""})
    assert broken(NOW, new) == []


def test_a_recorded_contract_is_read_back_as_it_was():
    assert json.loads(written(NOW)) == NOW
