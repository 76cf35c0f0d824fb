"""Did a schema only grow? What readers and writers of an older version rely on must still hold.

Two directions. What we write, and what we store, is read by older readers, and older records by newer ones: there only
additions are allowed (an optional field, a further known value of an open enum, a further place at the end of an
array). What others write must be taken as before: there rules may also become wider.
"""

from collections.abc import Iterator
from typing import Any

Schema = dict[str, Any]

SAID = frozenset({"description", "title", "examples", "default", "$schema", "$id", "$defs", "$ref"})
"""What nobody's program relies on, and what is looked at elsewhere."""
AT_LEAST = frozenset({"minimum", "exclusiveMinimum", "minLength", "minItems"})
AT_MOST = frozenset({"maximum", "exclusiveMaximum", "maxLength", "maxItems"})
RULES = frozenset({"pattern", "not", "const", "contentEncoding", "format"})
NESTED = frozenset(
    {"properties", "required", "items", "additionalProperties", "prefixItems", "anyOf", "oneOf", "type", "enum"}
    | {"x-known-values"}
)


def breaks(old: Schema, new: Schema, *, taken: bool = False) -> list[str]:
    """What of an old schema a new one no longer holds, in one sentence each. `taken`: others write it, we take it."""
    return list(_Comparison(old, new, taken=taken).at("", old, new))


class _Comparison:
    def __init__(self, old: Schema, new: Schema, *, taken: bool) -> None:
        self._old, self._new, self._taken = old.get("$defs", {}), new.get("$defs", {}), taken
        self._seen: set[tuple[str, str]] = set()

    def at(self, path: str, old: Any, new: Any) -> Iterator[str]:
        """The breaks at a place and below it."""
        if not isinstance(old, dict) or not isinstance(new, dict):
            if old != new:
                yield f"{path or 'it'} is another schema"
            return
        names = (str(old.get("$ref", "")), str(new.get("$ref", "")))
        if names[0] and names in self._seen:
            return
        self._seen.add(names)
        old, new = _resolved(old, self._old), _resolved(new, self._new)
        where = path or "it"
        yield from self._values(where, old, new)
        yield from self._fields(path, old, new)
        yield from self._places(path, old, new)
        for word in ("anyOf", "oneOf"):
            yield from self._forms(where, old.get(word), new.get(word))
        for word in (old.keys() | new.keys()) - SAID - NESTED - AT_LEAST - AT_MOST - RULES:
            yield f"{where} has {word}, of which the gate knows nothing"

    def _values(self, where: str, old: Schema, new: Schema) -> Iterator[str]:
        types, now = _types(old), _types(new)
        if types != now and not (self._taken and (not now or types < now)):
            yield f"{where} was {_or(types)} and is {_or(now)}"
        enum, values = old.get("enum"), new.get("enum")
        if enum != values and not (self._taken and (values is None or (enum is not None and set(enum) <= set(values)))):
            yield f"{where} takes other values"
        if lost := set(old.get("x-known-values", ())) - set(new.get("x-known-values", ())):
            yield f"{where} is never {_or(lost)} any more"
        for word in AT_LEAST | AT_MOST | RULES:
            if old.get(word) != new.get(word) and not (self._taken and _is_wider(word, old.get(word), new.get(word))):
                yield f"{where} has another {word}"

    def _fields(self, path: str, old: Schema, new: Schema) -> Iterator[str]:
        fields, now = old.get("properties", {}), new.get("properties", {})
        for name, schema in fields.items():
            inner = f"{path}.{name}".removeprefix(".")
            if name in now:
                yield from self.at(inner, schema, now[name])
            else:
                yield f"{inner} is gone"
        needed, needs = set(old.get("required", ())), set(new.get("required", ()))
        for name in sorted(needs - needed):
            yield f"{path}.{name} must be there now".removeprefix(".")
        for name in sorted(needed - needs if not self._taken else ()):
            yield f"{path}.{name} need not be there any more".removeprefix(".")

    def _places(self, path: str, old: Schema, new: Schema) -> Iterator[str]:
        for word, mark in (("items", "[]"), ("additionalProperties", "{}")):
            if (word in old) != (word in new):
                yield f"{path or 'it'} holds something else"
            elif word in old:
                yield from self.at(path + mark, old[word], new[word])
        before, now = old.get("prefixItems", []), new.get("prefixItems", [])
        if len(now) < len(before):
            yield f"{path or 'it'} has fewer places"
        for place, (schema, other) in enumerate(zip(before, now, strict=False)):
            if "default" in schema and other.get("default", self) != schema["default"]:
                yield f"{path}[{place}] is something else in a record that is too short to have it"
            yield from self.at(f"{path}[{place}]", schema, other)

    def _forms(self, where: str, old: list[Schema] | None, new: list[Schema] | None) -> Iterator[str]:
        if old is None and new is None:
            return
        forms, now = old or [], new or []
        lost = [form for form in forms if not any(self._is_kept(form, other) for other in now)]
        if lost or (len(now) != len(forms) and not (self._taken and len(now) > len(forms) > 0)):
            yield f"{where} has other forms"

    def _is_kept(self, old: Schema, new: Schema) -> bool:
        seen = set(self._seen)
        kept = not list(self.at("", old, new))
        if not kept:  # what was looked at in vain says nothing of its next place
            self._seen = seen
        return kept


def _resolved(schema: Schema, shared: Schema) -> Schema:
    if "$ref" not in schema:
        return schema
    return {**shared[schema["$ref"].removeprefix("#/$defs/")], **schema}


def _types(schema: Schema) -> set[str]:
    found = schema.get("type", [])
    return {found} if isinstance(found, str) else set(found)


def _is_wider(word: str, old: Any, new: Any) -> bool:
    """Does everything that a rule let pass still pass?"""
    if new is None:
        return True
    if old is None:
        return False
    return bool(new <= old if word in AT_LEAST else new >= old) if word in AT_LEAST | AT_MOST else False


def _or(found: set[str]) -> str:
    return " or ".join(sorted(found)) or "anything"
