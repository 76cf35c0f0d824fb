"""The contract on disk: one JSON Schema for each event type, and an AsyncAPI 3.0 document of all topics.

Both are generated from `schemas.topics` and `schemas.events` and are the same to the byte for the same code;
nobody edits them by hand. The wire forms that they describe are in `schemas.cloudevents`.
"""

import json
from pathlib import Path
from typing import Any

from pydantic.json_schema import JsonSchemaMode

from schemas.cloudevents import SPECVERSION, NotAnEvent, cloudevent, dataschema, event_from_headers, headers
from schemas.commands import OUTBOUND_TYPES
from schemas.events import DATA, ON
from schemas.fields import RFC3339
from schemas.topics import (
    CONVERSATIONS,
    DEAD_LETTERS,
    HISTORY,
    INBOUND,
    PARTITIONS_DEFAULT,
    RECORD_BYTES_MAX,
    TOPICS,
    Topic,
)

__all__ = ["NotAnEvent", "cloudevent", "event_from_headers", "headers", "stale", "write"]

CONTRACT_VERSION = "1.0.0"
"""Of the published contract, which only grows: what would break a reader gets a topic of its own."""
PREFIX = "coexist."
DIALECT = "https://json-schema.org/draft/2020-12/schema"
MULTI_FORMAT = "application/schema+json;version=draft-2020-12"
ASYNCAPI = "asyncapi.json"
BINDING_VERSION = "0.5.0"
LARGE = frozenset({INBOUND, HISTORY, DEAD_LETTERS})
"""Topics whose records may hold a whole webhook, so that they take `RECORD_BYTES_MAX`."""

DESCRIPTION = """\
One WhatsApp business number, in the Business App and in the Cloud API, on one clean timeline.

Every record is a CloudEvent 1.0 in Kafka binary mode: attributes in headers, data as JSON in the value.
Records are keyed by the business number, so its events are in one order; `conversations` is compacted and
keyed by conversation. Where there is `ce_seq`, it counts per number from 1 without gaps: a reader that stores
the last one together with its effect, and skips what is not above it, has each event exactly once. Readers
ignore unknown fields, unknown types and unknown values of open enums (`x-known-values`). The prefix of the
addresses is a setting (COEXIST_TOPIC_PREFIX)."""


def write(directory: Path) -> None:
    """Write every file of the contract into `directory`, which is made when it is missing."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in documents().items():
        (directory / name).write_text(text, encoding="utf-8", newline="\n")


def stale(directory: Path) -> list[str]:
    """Name the files in `directory` that are missing, differ from the contract, or belong to no type."""
    wanted = documents()
    there = {path.name: path.read_text(encoding="utf-8") for path in directory.glob("*.json")}
    return sorted(name for name in wanted.keys() | there.keys() if wanted.get(name) != there.get(name))


def documents() -> dict[str, str]:
    """Make the text of every file of the contract, by its name."""
    schemas = {name: json_schema(name) for name in sorted(DATA)}
    files = {f"{name}.schema.json": schema for name, schema in schemas.items()}
    files[ASYNCAPI] = asyncapi(schemas)
    return {name: json.dumps(file, indent=2, ensure_ascii=False) + "\n" for name, file in files.items()}


def json_schema(name: str) -> dict[str, Any]:
    """Make the JSON Schema (draft 2020-12) of a type's data: what commands may be, what events are."""
    mode: JsonSchemaMode = "validation" if name in OUTBOUND_TYPES else "serialization"
    schema = DATA[name].model_json_schema(mode=mode, union_format="primitive_type_array")
    return {"$schema": DIALECT, "$id": dataschema(name), "title": name, **_plain(schema)}


def asyncapi(schemas: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Make the AsyncAPI document of all topics out of the schemas of all types."""
    sequenced = {name for topic in TOPICS.values() if topic.sequenced for name in ON[topic.name]}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Coexist",
            "version": CONTRACT_VERSION,
            "description": DESCRIPTION,
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {topic.name: _channel(topic) for topic in TOPICS.values()},
        "operations": {_operation_id(topic): _operation(topic) for topic in TOPICS.values()},
        "components": {
            "messages": {_key(name): _message(schema, sequenced=name in sequenced) for name, schema in schemas.items()}
        },
    }


def _plain(node: Any, *, names: bool = False) -> Any:
    """Drop titles of fields and null as a default, which nobody reads. `names`: the keys name fields."""
    if isinstance(node, list):
        return [_plain(item) for item in node]
    if not isinstance(node, dict):
        return node
    if not names and "anyOf" in node:
        node = _nullable(node)
    return {
        key: value if key == "examples" else _plain(value, names=not names and key in ("properties", "$defs"))
        for key, value in node.items()
        if names or not (key == "title" or (key == "default" and value is None))
    }


def _nullable(node: dict[str, Any]) -> dict[str, Any]:
    """Write a plain type or null as a list of types, which reads better than a choice of two schemas."""
    inner, *others = node["anyOf"]
    if others != [{"type": "null"}] or "type" not in inner or "not" in inner:
        return node
    values = {"enum": [*inner["enum"], None]} if "enum" in inner else {}
    beside = {key: value for key, value in node.items() if key != "anyOf"}
    types = inner["type"] if isinstance(inner["type"], list) else [inner["type"]]
    return {**inner, "type": [*types, "null"], **values, **beside}


def _inline(node: Any, shared: dict[str, Any]) -> Any:
    """Put definitions where they are used: within AsyncAPI not every tool resolves references of a schema."""
    if isinstance(node, list):
        return [_inline(item, shared) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        beside = {key: value for key, value in node.items() if key != "$ref"}
        return {**_inline(shared[node["$ref"].removeprefix("#/$defs/")], shared), **beside}
    return {key: _inline(value, shared) for key, value in node.items() if key != "$defs"}


def _key(name: str) -> str:
    return name.replace(".", "_")


def _operation_id(topic: Topic) -> str:
    return ("take_" if _is_command(topic) else "publish_") + topic.name.replace("-", "_")


def _is_command(topic: Topic) -> bool:
    return set(ON[topic.name]) <= OUTBOUND_TYPES.keys()


def _channel(topic: Topic) -> dict[str, Any]:
    configuration: dict[str, Any] = {"cleanup.policy": ["compact" if topic.retention_s is None else "delete"]}
    if topic.retention_s is not None:
        configuration["retention.ms"] = topic.retention_s * 1000
    if topic.name in LARGE:
        configuration["max.message.bytes"] = RECORD_BYTES_MAX
    return {
        "address": PREFIX + topic.name,
        "description": f"{topic.holds[:1].upper()}{topic.holds[1:]}. Written by {topic.writer}.",
        "messages": {_key(name): {"$ref": f"#/components/messages/{_key(name)}"} for name in ON[topic.name]},
        "bindings": {
            "kafka": {
                "topic": PREFIX + topic.name,
                "partitions": PARTITIONS_DEFAULT,
                "topicConfiguration": configuration,
                "bindingVersion": BINDING_VERSION,
            }
        },
    }


def _operation(topic: Topic) -> dict[str, Any]:
    return {
        "action": "receive" if _is_command(topic) else "send",
        "channel": {"$ref": f"#/channels/{topic.name}"},
        "summary": f"{'Commands to' if _is_command(topic) else 'Events of'} Coexist: {topic.holds}.",
    }


def _message(schema: dict[str, Any], *, sequenced: bool) -> dict[str, Any]:
    name = schema["title"]
    keyed_by = "conversation_id" if name in ON[CONVERSATIONS] else "the business number (phone_number_id)"
    message = {
        "name": name,
        "title": name,
        "summary": schema["description"].partition("\n")[0],
        "contentType": "application/json",
        "headers": _headers(name, sequenced=sequenced),
        "payload": {"schemaFormat": MULTI_FORMAT, "schema": _inline(schema, schema.get("$defs", {}))},
        "bindings": {
            "kafka": {
                "key": {"type": "string", "description": f"Keyed by {keyed_by}."},
                "bindingVersion": BINDING_VERSION,
            }
        },
    }
    if "examples" in schema:
        message["examples"] = [{"name": "one", "payload": example} for example in schema["examples"]]
    return message


def _headers(name: str, *, sequenced: bool) -> dict[str, Any]:
    text = {"type": "string"}
    instant = {"type": "string", "format": "date-time", "pattern": RFC3339.published}
    required = ["ce_specversion", "ce_id", "ce_type", "ce_source", "ce_time", "ce_number"]
    properties: dict[str, Any] = {
        "ce_specversion": {"const": SPECVERSION},
        "ce_id": {**text, "description": "Follows from the fact alone: a repeat has the same id."},
        "ce_type": {"const": name},
        "ce_source": {**text, "description": "/whatsapp/{number}"},
        "ce_subject": {**text, "description": "What it is about: a message, conversation or command."},
        "ce_time": {**instant, "description": "When it happened."},
        "ce_number": {**text, "description": "The business number's phone_number_id."},
        "ce_seq": {**text, "pattern": "^[1-9][0-9]*$", "description": "Counts per key and topic, gapless."},
        "ce_recordedtime": {**instant, "description": "When Coexist first had it."},
        "ce_causationid": {**text, "description": "The id of the event that led to this one."},
        "ce_dataschema": {"const": dataschema(name)},
        "ce_traceparent": {**text, "description": "W3C trace context of its origin."},
        "traceparent": {**text, "description": "W3C trace context of the hop that wrote the record."},
        "content-type": {**text, "description": "application/json; absent where there is no data."},
    }
    if sequenced:
        required.append("ce_seq")
    else:
        del properties["ce_seq"]
    if name in OUTBOUND_TYPES:
        required = ["ce_id", "ce_type"]
    return {"type": "object", "required": required, "properties": properties}
