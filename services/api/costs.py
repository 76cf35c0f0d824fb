"""`/v1/costs`: what Meta's statuses say was charged for, by number and month."""

from typing import Annotated, Any

from fastapi import FastAPI, Query
from fastapi.responses import JSONResponse

from echo_sync.costs import Costs, costs_key
from schemas.instants import rfc3339
from schemas.states import MESSAGES
from schemas.topics import partition_of
from services.api.numbers import known
from services.running import App
from services.shard import decode_state

Month = Annotated[str, Query(pattern="^([0-9]{4}-(0[1-9]|1[0-2]))?$")]


def add(api: FastAPI, app: App) -> None:
    """Add the route."""

    @api.get("/v1/costs")
    async def get_costs(number: str, month: Month = "") -> JSONResponse:
        """How many messages of each category, type and country Meta priced in a month (UTC), this one by default."""
        await known(app, number)
        month = month or rfc3339(app.clock())[:7]
        key = costs_key(number, month)
        found = await app.store.load(MESSAGES, partition_of(number, app.log.partitions), [key])
        state: Costs = decode_state(Costs, found[key]) if key in found else Costs()
        shown = [_shown(kind, count) for kind, count in sorted(state.counts.items())]
        return JSONResponse({"number": number, "month": month, "messages": shown})


def _shown(kind: str, count: int) -> dict[str, Any]:
    category, type_, billable, country = kind.split("|")
    return {"category": category, "type": type_, "billable": billable == "billable", "country": country, "count": count}
