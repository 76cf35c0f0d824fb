"""Sends that came to a bad end: the newest of each kind, folded from the topic `sends` when somebody asks."""

import asyncio
from collections import Counter, deque
from typing import Any

import orjson

from schemas.instants import rfc3339
from schemas.ports import Record
from schemas.states import DELIVERY
from schemas.topics import SENDS
from sender.command import UNRESOLVED, Command, command_key
from sender.errors import action_for
from services.running import App
from services.shard import decode_state

BACK_MAX = 20_000
"""Outcomes per partition that are read back at most."""
PIECE = 500
"""Outcomes that are looked at before others get their turn."""
KEPT_MAX = 500
"""Outcomes of each kind that are kept."""


class Outcomes:
    """What was rejected and what stayed unresolved, newest last. Each question reads on from where the last ended."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._next: dict[int, int] = {}
        self._asking = asyncio.Lock()
        self._rejected: deque[Record] = deque(maxlen=KEPT_MAX)
        self._unresolved: dict[str, Record] = {}

    async def rejected(self) -> dict[str, Any]:
        """The rejected sends, newest first, and how many by Meta's code (or our reason), most frequent first."""
        await self._read_on()
        sends = [_shown(record) for record in reversed(self._rejected)]
        counts = Counter((one["code"], one["reason"]) for one in sends)
        newest: dict[tuple[int, str], dict[str, Any]] = {}
        for one in reversed(sends):
            newest[one["code"], one["reason"]] = one
        groups = [
            {"code": code, "reason": reason, "count": count, "newest": newest[code, reason]}
            for (code, reason), count in counts.most_common()
        ]
        return {"sends": sends, "by_code": groups}

    async def unresolved(self) -> list[dict[str, Any]]:
        """The sends of which nobody knows whether they arrived, oldest first, as they stand now."""
        await self._read_on()
        found = []
        for command_id, record in list(self._unresolved.items()):
            key = command_key(command_id)
            stored = (await self._app.store.load(DELIVERY, record.partition, [key])).get(key)
            if stored is not None and decode_state(Command, stored).state != UNRESOLVED:
                del self._unresolved[command_id]
            else:
                found.append(_shown(record))
        return found

    async def _read_on(self) -> None:
        async with self._asking:
            for partition in range(self._app.log.partitions):
                await self._read_partition(partition)

    async def _read_partition(self, partition: int) -> None:
        end = await self._app.log.end(SENDS, partition)
        offset = max(self._next.get(partition, 0), end - BACK_MAX)
        while offset < end and (records := await self._app.log.read(SENDS, partition, offset, PIECE)):
            for record in records:
                self._take(record)
            offset = records[-1].offset + 1
            await asyncio.sleep(0)
        self._next[partition] = offset

    def _take(self, record: Record) -> None:
        kind = record.event.type
        if kind == "send.rejected":
            self._rejected.append(record)
        elif kind == "send.unresolved":
            self._unresolved[record.event.subject] = record
            if len(self._unresolved) > KEPT_MAX:
                del self._unresolved[next(iter(self._unresolved))]
        elif kind in ("send.resolved", "send.accepted"):
            self._unresolved.pop(record.event.subject, None)


def _shown(record: Record) -> dict[str, Any]:
    told: dict[str, Any] = orjson.loads(record.event.data or b"{}")
    error = told.get("error") or {}
    code = int(error.get("code") or 0)
    return {
        "command_id": told.get("command_id", ""),
        "number": record.event.number,
        "at": rfc3339(record.event.at),
        "attempt": told.get("attempt", 0),
        "reason": told.get("reason", ""),
        "code": code,
        "action": str(action_for(code, 0)) if code else "",
        "message": str(error.get("message") or ""),
    }
