"""`/v1/templates`: what is known of the message templates, and what Meta's own list says of them.

Webhooks tell only what changes. So `coexist onboard` reads the account's list and hands it in here
as Meta gave it.
"""

from typing import Annotated, Any

from fastapi import Body, FastAPI, HTTPException, Query
from fastapi.responses import JSONResponse

from echo_sync.templates import TEMPLATES, TEXT_CHARS_MAX, pieces, templates_line
from schemas.instants import rfc3339
from schemas.items import Item
from schemas.ports import FAR, NOWHERE
from schemas.states import MESSAGES, Template
from schemas.topics import partition_of
from services.api.numbers import known, say
from services.running import App
from services.shard import decode_state

PAGE_MAX = 10_000
"""Meta allows an account 6,000."""

Id = Annotated[str, Query(pattern="^[0-9A-Za-z]{1,64}$")]
Asked = Annotated[dict[str, Any], Body()]


def add(api: FastAPI, app: App) -> None:
    """Add the routes."""

    @api.get("/v1/templates")
    async def get_templates(number: Id) -> JSONResponse:
        """The templates of a number as Meta last told of them; one of which nothing was told may exist all the same."""
        await known(app, number)
        shard = partition_of(number, app.log.partitions)
        found = await app.store.heads(MESSAGES, shard, templates_line(number), FAR, PAGE_MAX, NOWHERE)
        return JSONResponse({"templates": [_shown(decode_state(Template, value)) for _, value in found]})

    @api.post("/v1/templates", status_code=202)
    async def post_templates(waba: Id, body: Asked) -> JSONResponse:
        """Take what `GET /{waba}/message_templates` of Graph answered: `{"data": [{name, language, status, …}]}`."""
        data, now = body.get("data"), app.clock()
        found = [one for one in data if _is_template(one)] if isinstance(data, list) else []
        if not isinstance(data, list) or len(found) < len(data):
            fix = "Give Meta's answer as it is: `data`, an array of objects with name, language and status."
            raise HTTPException(422, {"title": "no list of templates", "fix": fix})
        for raw in pieces(_read(one, now) for one in found):
            await say(app, Item(number=waba, waba=waba, event=TEMPLATES, raw=raw))
        return JSONResponse({"waba": waba, "templates": len(found)}, 202)


def _is_template(one: Any) -> bool:
    def is_text(value: Any) -> bool:
        return isinstance(value, str) and 0 < len(value) <= TEXT_CHARS_MAX

    return isinstance(one, dict) and all(is_text(one.get(field)) for field in ("name", "language", "status"))


def _read(one: dict[str, Any], now: float) -> Template:
    """Meta's object as we keep it (Meta contract 6.9, 9.1): the newest word on it is of now."""
    score = one.get("quality_score")
    quality = score.get("score") if isinstance(score, dict) else None
    found = Template(name=one["name"], language=one["language"].replace("-", "_"))
    found.status, found.status_at = one["status"].upper(), now
    if isinstance(category := one.get("category"), str):
        found.category, found.category_at = category.upper(), now
    if isinstance(quality, str):
        found.quality, found.quality_at = quality.upper(), now
    return found


def _shown(state: Template) -> dict[str, Any]:
    newest = max(state.status_at, state.category_at, state.quality_at)
    told = {name: getattr(state, name) for name in ("name", "language", "status", "why", "category", "quality")}
    return {name: value for name, value in told.items() if value} | {"at": rfc3339(newest)}
