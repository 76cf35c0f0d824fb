"""Message templates: their status, category and quality as Meta last told of them (Meta contract 9.1, 9.2).

Templates belong to an account, sends to a number. So the account's shard keeps them and hands each change to its
numbers, and a number that is learnt of later gets all of them, in pieces. In each respect the newest word counts, by
Meta's own time.
"""

import copy
from collections.abc import Iterable, Iterator
from typing import Any

import orjson
from msgspec import Raw

from echo_sync.lifecycle import OURS, raw_object
from echo_sync.message import raw_bytes
from echo_sync.turn import Turn
from schemas.items import Item
from schemas.states import Template, template_key

TEMPLATES = "TEMPLATES"
"""Our own event: templates as we keep them, an array in the item's raw."""
PIECE = 200
"""Templates that one such event carries."""

STATUS, QUALITY = "message_template_status_update", "message_template_quality_update"
CATEGORY = "template_category_update"
TEXT_CHARS_MAX = 512
FIELDS = ("name", "language", "status", "status_at", "why", "category", "category_at", "quality", "quality_at")


def is_of_template(item: Item) -> bool:
    """Whether an item tells of templates."""
    return item.field.startswith(("message_template", "template_")) or (item.field, item.event) == (OURS, TEMPLATES)


def on_number(turn: Turn, item: Item) -> bool:
    """Keep what the account's shard has handed on; False where it is about something else. Nothing is told again."""
    if not is_of_template(item):
        return False
    for said in told(item):
        keep(turn, item.number, said)
    return True


def told(item: Item) -> Iterator[Template]:
    """What an item says of templates, each with nothing but what it says."""
    if item.field == OURS:
        for one in orjson.loads(raw_bytes(item.raw) or b"[]"):
            yield Template(**{field: one[field] for field in FIELDS if field in one})
    elif said := _of_meta(item, raw_object(item)):
        yield said


def _of_meta(item: Item, value: dict[str, Any]) -> Template | None:
    name, language = (_text(value.get(f"message_template_{field}")) for field in ("name", "language"))
    if not name or not language:
        return None
    found, at = Template(name=name, language=language.replace("-", "_")), item.at
    if category := _text(value.get("message_template_category")):
        found.category, found.category_at = category.upper(), at
    if item.field == STATUS and item.event:
        found.status, found.status_at, found.why = item.event.upper(), at, _why(value)
    elif item.field == QUALITY:
        found.quality, found.quality_at = _text(value.get("new_quality_score")).upper(), at
    elif item.field == CATEGORY and (category := _text(value.get("new_category"))):
        found.category, found.category_at = category.upper(), at
    return found


def _why(value: dict[str, Any]) -> str:
    """FIRST_PAUSE and the like where Meta gives a title, else its reason."""
    info = value.get("other_info")
    title = _text(info.get("title")) if isinstance(info, dict) else ""
    reason = _text(value.get("reason"))
    return title or ("" if reason == "NONE" else reason)


def _text(value: Any) -> str:
    return value if isinstance(value, str) and len(value) <= TEXT_CHARS_MAX else ""


def keep(turn: Turn, owner: str, said: Template) -> None:
    """Join what was said of a template to what is known of it."""
    key = template_key(owner, said.language, said.name)
    known: Template | None = turn.get(key)
    before = known if known is not None else Template(owner=owner, name=said.name, language=said.language)
    after = joined(before, said)
    if after != before:
        after.line, after.place = templates_line(owner), 0.0
        turn.put(key, after)


def joined(known: Template, said: Template) -> Template:
    """A template with one more word on it: in each respect the newest counts, of two of one instant the greater."""
    found = copy.copy(known)
    if (said.status_at, said.status, said.why) > (known.status_at, known.status, known.why):
        found.status_at, found.status, found.why = said.status_at, said.status, said.why
    if (said.category_at, said.category) > (known.category_at, known.category):
        found.category_at, found.category = said.category_at, said.category
    if (said.quality_at, said.quality) > (known.quality_at, known.quality):
        found.quality_at, found.quality = said.quality_at, said.quality
    return found


def templates_line(owner: str) -> str:
    """The line in which the templates of a number or an account stand, for whoever wants all of them."""
    return f"templates/{owner}"


def pieces(templates: Iterable[Template]) -> Iterator[Raw]:
    """Templates as the raw of some TEMPLATES events."""
    plain = [{field: getattr(one, field) for field in FIELDS} for one in templates]
    for start in range(0, len(plain), PIECE):
        yield Raw(orjson.dumps(plain[start : start + PIECE]))
