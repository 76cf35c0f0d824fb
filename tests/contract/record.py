"""The contract of this code as a file, to hold later versions against: `python -m tests.contract.record v2`.

Recorded at a release and never edited afterwards. It has, of every event and command, the schema and a sample; of every
record that is stored by position (states, batches) its fields, their shapes, and a sample as it lies on the disk; and
which topic carries what.
"""

import importlib
import json
import pkgutil
import sys
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from schemas import contract, events
from schemas.commands import OUTBOUND_TYPES
from schemas.topics import TOPICS

HERE = Path(__file__).parent
RELEASED = HERE / "released"
SAMPLES = HERE.parent / "unit" / "event_samples.json"
PACKAGES = ("schemas", "echo_sync", "sender")
STORING = ("services.relays.state", "services.relays.shard", "services.console.letters")
"""Modules of `services` with records of their own."""
SAID = frozenset({"description", "examples"})


def today() -> dict[str, dict[str, Any]]:
    """The contract of this code."""
    samples = json.loads(SAMPLES.read_text())
    return {
        "types": {
            name: {
                "schema": _slim(contract.json_schema(name)),
                "sample": samples[name],
                "taken": name in OUTBOUND_TYPES,
                "headers": _slim(headers),
            }
            for name, headers in _headers().items()
        },
        "topics": {
            topic.name: {
                "types": sorted(events.ON[topic.name]),
                "sequenced": topic.sequenced,
                "compacted": topic.retention_s is None,
            }
            for topic in TOPICS.values()
        },
        "stored": {f"{kind.__module__}.{kind.__name__}": _stored(kind) for kind in kinds()},
    }


def kinds() -> list[type[msgspec.Struct]]:
    """Every struct that is stored as an array, so that its fields are known by their places alone."""
    for name in PACKAGES:
        for module in pkgutil.walk_packages(importlib.import_module(name).__path__, f"{name}."):
            importlib.import_module(module.name)
    for name in STORING:
        importlib.import_module(name)
    found = [kind for kind in _below(msgspec.Struct) if kind.__struct_config__.array_like and kind.__struct_fields__]
    return sorted({kind for kind in found if kind.__module__.partition(".")[0] in (*PACKAGES, "services")}, key=repr)


def _below(kind: type[Any]) -> Iterator[type[Any]]:
    for inner in kind.__subclasses__():
        yield inner
        yield from _below(inner)


def _stored(kind: type[msgspec.Struct]) -> dict[str, Any]:
    schema = msgspec.json.schema(kind)
    sample = made(schema, schema["$defs"])
    stored = msgspec.msgpack.encode(msgspec.json.decode(msgspec.json.encode(sample), type=kind))
    fields = list(kind.__struct_fields__)
    return {"fields": fields, "schema": _slim(schema), "sample": sample, "bytes": b64encode(stored).decode()}


def made(schema: dict[str, Any], shared: dict[str, Any], nth: int = 0) -> Any:
    """A value of a schema, in which no two places of one record hold the same text or number."""
    if "$ref" in schema:
        return made(shared[schema["$ref"].removeprefix("#/$defs/")], shared, nth)
    if "anyOf" in schema:
        return made(schema["anyOf"][0], shared, nth)
    kind = schema.get("type")
    if kind == "array":
        places = schema.get("prefixItems", [])
        items = schema.get("items")
        return [made(place, shared, at) for at, place in enumerate(places)] or [made(items or {}, shared, nth)]
    if "properties" in schema:
        return {name: made(field, shared, at) for at, (name, field) in enumerate(schema["properties"].items())}
    if kind == "object":
        return {f"{nth + 1}": made(schema.get("additionalProperties") or {}, shared, nth)}
    text = b64encode(b"v%d" % nth).decode() if "contentEncoding" in schema else f"v{nth}"
    return {"number": nth + 0.5, "integer": nth + 1, "boolean": True}.get(str(kind), text)


def _headers() -> dict[str, dict[str, Any]]:
    messages = contract.asyncapi({name: contract.json_schema(name) for name in events.DATA})["components"]["messages"]
    return {message["name"]: message["headers"] for message in messages.values()}


def _slim(node: Any, *, names: bool = False) -> Any:
    """A schema without what is only said. `names`: the keys name fields."""
    if isinstance(node, list):
        return [_slim(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: _slim(value, names=not names and key in ("properties", "$defs"))
        for key, value in node.items()
        if names or key not in SAID
    }


def written(found: dict[str, dict[str, Any]]) -> str:
    """The text of a file, one entry on a line."""
    parts = []
    for part, entries in found.items():
        lines = [f"{json.dumps(name)}: {json.dumps(entry, ensure_ascii=False)}" for name, entry in entries.items()]
        parts.append(f"{json.dumps(part)}: {{\n" + ",\n".join(lines) + "\n}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    (RELEASED / f"{sys.argv[1]}.json").write_text(written(today()), encoding="utf-8")
