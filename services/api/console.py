"""`GET /` and what the operator page asks for: the overview, waiting and failed sends, dead letters, topics, health."""

import asyncio
import sys
from contextlib import suppress
from typing import Annotated, Any

import apsw
from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from schemas.cloudevents import cloudevent
from schemas.instants import rfc3339
from schemas.ports import Record
from schemas.topics import TOPICS
from services.api.conversations import conversation
from services.console import letters
from services.console.assets import HEADERS, asset
from services.console.commands import unfinished, waiting_for
from services.console.hour import Hour, counted, latencies
from services.console.live import follow, owners
from services.console.outcomes import Outcomes
from services.console.overview import Looked, limits, overview
from services.dead_letters import VERSION
from services.running import App
from services.settings import masked
from services.sqlite.file import SqliteFile, one

NEWEST_MAX = 200
STATES = ("open", "unresolved", "rejected")

Limit = Annotated[int, Query(ge=1, le=NEWEST_MAX)]


def is_page(path: str) -> bool:
    """Whether a path is a file of the page: those hold nothing of the installation and are served without a token."""
    return path == "/" or path.startswith("/console/static/")


def add(api: FastAPI, app: App) -> None:
    """Add the routes, and sample the metrics for as long as the app runs."""
    looked = Looked(app, Hour(app.metrics, app.clock), Outcomes(app))
    sampling = asyncio.create_task(looked.hour.run(), name="hour")
    app.tasks.append(sampling)

    async def stop() -> None:
        sampling.cancel()
        with suppress(asyncio.CancelledError):
            await sampling

    app.closing.append(stop)
    _add_page(api)
    _add_overview(api, looked)
    _add_sends(api, looked)
    _add_letters(api, app)
    _add_topics(api, app)
    _add_health(api, app)


def _add_page(api: FastAPI) -> None:
    @api.get("/", include_in_schema=False)
    @api.get("/console/static/{path:path}", include_in_schema=False)
    async def page(request: Request, path: str = "index.html") -> Response:
        found = asset(path)
        if found is None:
            raise HTTPException(404, "no such file")
        headers = {**HEADERS, "ETag": found.etag}
        if found.etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(found.body, media_type=found.media_type, headers=headers)


def _add_overview(api: FastAPI, looked: Looked) -> None:
    @api.get("/v1/overview")
    async def get_overview() -> JSONResponse:
        """Rates, echo latency now and per minute of the last hour, lag, headroom and open problems."""
        return JSONResponse(await overview(looked))

    @api.get("/v1/totals")
    async def get_totals() -> JSONResponse:
        """What was counted since this process began, and the echo latency of the last minute: cheap to ask often."""
        before, now = looked.hour.last_minute()
        totals = {name: counted(now, name) for name in ("items", "messages", "duplicates", "sends", "requests")}
        return JSONResponse({"totals": totals, "echo": latencies(before, now)})

    @api.get("/v1/limits")
    async def get_limits() -> JSONResponse:
        """Of each number: its rate, what is unspent of the next second, what is under way, and what holds it."""
        return JSONResponse({"limits": await limits(looked.app)})


def _add_sends(api: FastAPI, looked: Looked) -> None:
    @api.get("/v1/sends")
    async def get_sends(state: str = "open", number: str = "") -> JSONResponse:
        """The commands that are `open` (each with why it waits), `unresolved` or `rejected` (also by Meta's code)."""
        if state == "open":
            return JSONResponse({"sends": await unfinished(looked.app, number)})
        if state not in STATES:
            raise HTTPException(422, {"title": "no such state", "fix": f"There are: {', '.join(STATES)}."})
        if state == "rejected":
            return JSONResponse(await looked.outcomes.rejected())
        return JSONResponse({"sends": await looked.outcomes.unresolved()})

    @api.get("/v1/conversations/{conversation_id}/sends")
    async def get_waiting(conversation_id: str) -> JSONResponse:
        """The commands to one conversation that are not over, in their order, and why each of them waits."""
        state = await conversation(looked.app, conversation_id)
        return JSONResponse({"sends": await waiting_for(looked.app, state)})

    @api.get("/v1/conversations/{conversation_id}/owners")
    async def get_owners(conversation_id: str) -> JSONResponse:
        """Who owned a conversation from when on, oldest first."""
        return JSONResponse({"owners": await owners(looked.app, await conversation(looked.app, conversation_id))})

    @api.get("/v1/conversations/{conversation_id}/events")
    async def get_live(conversation_id: str) -> StreamingResponse:
        """Server-sent events of one conversation from now on; read the timeline after the stream has begun."""
        return await follow(looked.app, await conversation(looked.app, conversation_id))


def _add_letters(api: FastAPI, app: App) -> None:
    @api.get("/v1/dead-letters")
    async def get_letters(state: str = "", limit: Limit = 100) -> JSONResponse:
        """The newest dead letters, all or those that are `open`, `replayed` or `discarded`; without their data."""
        found = [letter for letter in await letters.letters(app) if state in ("", letter.state)]
        shown = [letters.view(letter) for letter in found[:limit]]
        return JSONResponse({"dead_letters": shown, "count": len(found)})

    @api.get("/v1/dead-letters/{letter_id}")
    async def get_letter(letter_id: str) -> JSONResponse:
        """One dead letter with the record's data as text."""
        return JSONResponse(letters.view(await letters.letter(app, letter_id), raw=True))

    @api.post("/v1/dead-letters/{letter_id}/replay", status_code=202)
    async def replay(letter_id: str) -> JSONResponse:
        """Append the original record to its topic once more; what cannot be handled again is a new letter."""
        await letters.replay(app, letter_id)
        return JSONResponse({"id": letter_id, "state": letters.REPLAYED}, 202)

    @api.post("/v1/dead-letters/{letter_id}/discard", status_code=202)
    async def discard(letter_id: str) -> JSONResponse:
        """Mark a dead letter as done with."""
        await letters.discard(app, letter_id)
        return JSONResponse({"id": letter_id, "state": letters.DISCARDED}, 202)


def _add_topics(api: FastAPI, app: App) -> None:
    @api.get("/v1/topics")
    async def get_topics() -> JSONResponse:
        """The topics: who writes them, what they hold, and how many records each has had."""
        return JSONResponse({"topics": [await _topic(app, name) for name in TOPICS]})

    @api.get("/v1/topics/{topic}/newest")
    async def get_newest(topic: str, number: str = "", limit: Limit = 50) -> JSONResponse:
        """The newest events of a topic, newest first, and the `Last-Event-ID` with which its stream goes on."""
        name = topic.removeprefix(f"{app.settings.topic_prefix}.")
        if name not in TOPICS:
            raise HTTPException(404, {"title": "no such topic", "fix": f"There are: {', '.join(TOPICS)}."})
        records: list[Record] = []
        place = []
        for partition in range(app.log.partitions):
            end = await app.log.end(name, partition)
            place.append(f"{name}/{partition}:{end}")
            found = await app.log.read(name, partition, max(0, end - limit), limit)
            records.extend(record for record in found if record.offset < end)  # the stream tells the others
        newest = sorted(records, key=lambda record: (record.appended_at, record.offset), reverse=True)
        shown = [_shown(record) for record in newest if number in ("", record.event.number)]
        return JSONResponse({"events": shown[:limit], "last_event_id": ",".join(place)})


async def _topic(app: App, name: str) -> dict[str, Any]:
    topic = TOPICS[name]
    ends = [await app.log.end(name, partition) for partition in range(app.log.partitions)]
    return {
        "topic": name,
        "name": f"{app.settings.topic_prefix}.{name}",
        "writer": topic.writer,
        "holds": topic.holds,
        "sequenced": topic.sequenced,
        "retention_s": topic.retention_s,
        "records": sum(ends),
    }


def _shown(record: Record) -> dict[str, Any]:
    return cloudevent(record) | {"appended_at": rfc3339(record.appended_at)}


def _add_health(api: FastAPI, app: App) -> None:
    started_at = app.clock()

    @api.get("/v1/health")
    async def get_health() -> JSONResponse:
        """What this process is: version, edition, roles, shards held, settings with secrets masked, its file."""
        shown = {
            "version": VERSION,
            "edition": app.edition.name,
            "roles": list(app.roles),
            "ready": app.ready(),
            "started_at": rfc3339(started_at),
            "python": sys.version.partition(" ")[0],
            "partitions": app.log.partitions,
            "shards_held": {name: len(keeper.held) for name, keeper in app.keepers.items()},
            "sandbox": bool(app.sandbox_url),
            "public_port": app.public.port if app.public is not None else None,
            "settings": masked(app.settings),
            "sqlite": _sqlite(app.file) if app.file is not None else None,
        }
        return JSONResponse(shown)


def _sqlite(file: SqliteFile) -> dict[str, Any]:
    reading = file.reading
    page_bytes = one(reading, "PRAGMA page_size")
    return {
        "sqlite_version": apsw.sqlite_lib_version(),
        "journal_mode": one(reading, "PRAGMA journal_mode"),
        "file_bytes": page_bytes * one(reading, "PRAGMA page_count"),
        "free_bytes": page_bytes * one(reading, "PRAGMA freelist_count"),
        "wal_bytes": file.wal_bytes(),
    }
