"""Asking Graph whether a number that was said to be back really is, before it sends again (Meta contract 5.10)."""

from collections.abc import Awaitable, Callable

import httpx
import orjson
import structlog

from echo_sync.lifecycle import OURS, Confirm
from schemas import items
from schemas.items import Item
from schemas.ports import Event, EventLog, Lease, LogUnavailable
from schemas.topics import INBOUND

FIELDS_ASKED = "is_on_biz_app,platform_type,status"
TIMEOUT_S = 20.0

log = structlog.get_logger()


class Confirming:
    """Performs `Confirm`. Whatever is not a clear yes says nothing: the number's timer asks again."""

    def __init__(
        self,
        log_: EventLog,
        client: httpx.AsyncClient,
        graph_root: str,
        token_of: Callable[[str], Awaitable[str | None]],
        clock: Callable[[], float],
    ) -> None:
        self._log = log_
        self._client = client
        self._root = graph_root
        self._token_of = token_of
        self._clock = clock

    async def __call__(self, call: Confirm, lease: Lease) -> None:
        """Ask once. What is said twice is said once, by the event's id."""
        problem = await self._problem(call.number)
        if problem:
            log.warning("not_confirmed", reason=problem)
            return
        item = Item(number=call.number, field=OURS, event="CONFIRMED", at=call.at, received_at=self._clock())
        event_id = f"confirmed:{call.number}:{call.at}"
        event = Event(
            event_id, "webhook.account", call.number, items.encode(item), call.at, item.received_at, call.number
        )
        try:
            await self._log.append([(INBOUND, event)])
        except LogUnavailable:
            log.warning("not_confirmed", reason="not durable")

    async def _problem(self, number: str) -> str:
        """Why the number may not send yet; nothing when Graph says that it is in the app and on the Cloud API."""
        token = await self._token_of(number)
        if token is None:
            return "no token"
        try:
            answer = await self._client.get(
                f"{self._root}/{number}",
                params={"fields": FIELDS_ASKED},
                headers={"Authorization": f"Bearer {token}"},
                timeout=TIMEOUT_S,
            )
            told = orjson.loads(answer.content)
        except (httpx.HTTPError, orjson.JSONDecodeError) as problem:
            return type(problem).__name__
        if answer.status_code != httpx.codes.OK or not isinstance(told, dict):
            return f"Graph answered {answer.status_code}"
        coexists = told.get("is_on_biz_app") is True and told.get("platform_type") == "CLOUD_API"
        return "" if coexists else "not in the app and on the Cloud API"
