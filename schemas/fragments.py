"""Fragments of JSON as others have written them: whatever stands in them, reading one raises nothing."""

from typing import Any

import orjson


def object_of(fragment: bytes | str | None) -> dict[str, Any]:
    """The object that a fragment is; an empty one where it is something else, or no JSON at all."""
    try:
        found = orjson.loads(fragment or b"{}")
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}
