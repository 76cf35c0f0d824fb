"""The admin listener: health, metrics, commands in, states and topics out. FastAPI, for people and programs."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
import structlog
from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from prometheus_client import exposition
from prometheus_client.openmetrics import exposition as openmetrics
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp

from schemas.fields import name_of, says
from services.api import audit as api_audit
from services.api import console as api_console
from services.api import conversations as api_conversations
from services.api import costs as api_costs
from services.api import media as api_media
from services.api import numbers as api_numbers
from services.api import privacy as api_privacy
from services.api import relays as api_relays
from services.api import sandbox as api_sandbox
from services.api import sends as api_sends
from services.api import suppressions as api_suppressions
from services.api import templates as api_templates
from services.api import topics as api_topics
from services.api.door import CLOSE, TOO_LARGE, Bounded
from services.api.scopes import Tokens, needed, permits
from services.dead_letters import VERSION
from services.running import App
from services.settings import LOOPBACK_NAMES
from services.telemetry.standing import Standing

OPEN_PATHS = frozenset({"/livez", "/readyz"})
"""Probes come from the node, not from loopback, and carry no token."""
NO_JSON = ("the body is not JSON", "Send one JSON object, with Content-Type: application/json.")

log = structlog.get_logger()


def problem(status: int, title: str, fix: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """An RFC 9457 problem with what to do about it."""
    body = {"type": "about:blank", "title": title, "status": status, "fix": fix}
    return JSONResponse(body, status, headers, media_type="application/problem+json")


def create_admin_app(app: App) -> ASGIApp:
    """The admin application over a running Coexist."""
    api = FastAPI(title="Coexist", version=VERSION, docs_url=None, redoc_url=None)
    api_audit.watch(api, app)
    api.middleware("http")(_guard(app))
    api.exception_handler(StarletteHTTPException)(_plainly)
    api.exception_handler(RequestValidationError)(_wrong)
    api.exception_handler(ClientDisconnect)(_gone)
    api.exception_handler(Exception)(_unforeseen)
    _add_health(api, app)
    api_sends.add(api, app)
    api_numbers.add(api, app)
    api_suppressions.add(api, app)
    api_costs.add(api, app)
    api_templates.add(api, app)
    api_media.add(api, app)
    api_conversations.add(api, app)
    api_topics.add(api, app)
    api_relays.add(api, app)
    api_privacy.add(api, app)
    api_privacy.add_requests(api, app)
    api_audit.add(api, app)
    api_sandbox.add(api, app)
    api_console.add(api, app)
    return Bounded(api, problem(413, TOO_LARGE["title"], TOO_LARGE["fix"], CLOSE))


def _guard(app: App) -> Callable[[Request, Callable[[Request], Awaitable[Response]]], Awaitable[Response]]:
    tokens = Tokens(app.settings)

    async def guard(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        path = request.scope["path"]
        if not tokens and path not in OPEN_PATHS and request.url.hostname not in LOOPBACK_NAMES:
            return problem(421, "not a name of this machine", "Use 127.0.0.1 or localhost, or set COEXIST_ADMIN_TOKEN.")
        if tokens and path not in OPEN_PATHS and not api_console.is_page(path):
            scope = tokens.scope_of(request.headers.get("authorization", ""))
            if scope is None:
                return problem(401, "no valid token", "Send `Authorization: Bearer …` with COEXIST_ADMIN_TOKEN.")
            if not permits(scope, request.method, path):
                wanted = needed(request.method, path)
                return problem(403, f"this token may not do that, only {scope}", f"It takes a token of scope {wanted}.")
        origin = request.headers.get("origin")
        if request.method not in ("GET", "HEAD") and origin is not None and origin != _own_origin(request):
            return problem(403, "a page of another origin", "Call this from the console itself, or without Origin.")
        return await call_next(request)

    return guard


def _own_origin(request: Request) -> str:
    return f"{request.url.scheme}://{request.headers.get('host', '')}"


async def _plainly(_: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException | StarletteHTTPException):
        raise error
    detail = error.detail
    if isinstance(error.__cause__, ClientDisconnect):
        return await _gone(_, error)
    if isinstance(error.__cause__, UnicodeDecodeError):
        return problem(422, *NO_JSON)
    if isinstance(detail, dict):
        return problem(error.status_code, str(detail.get("title")), str(detail.get("fix")), error.headers)
    return problem(error.status_code, str(detail), "See /openapi.json for what there is.", error.headers)


async def _gone(_: Request, error: Exception) -> Response:
    return problem(400, "the body did not come whole", "Send it again.")


async def _wrong(_: Request, error: Exception) -> Response:
    """A parameter or a body of the wrong form: which one, and never what stood in it."""
    if not isinstance(error, RequestValidationError):
        raise error
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return problem(422, *NO_JSON)
    places = [name_of(part) for part in first["loc"][1:] if isinstance(part, str)]
    if not places:
        fix = "Send a JSON object, with Content-Type: application/json."
        return problem(422, f"the body {says(first)}", fix)
    return problem(422, f"{'.'.join(places)} {says(first)}", "See /openapi.json for its form, and send it again.")


async def _unforeseen(_: Request, error: Exception) -> Response:
    log.error("request_failed", error=type(error).__name__)
    return problem(500, "this did not work", "It is a defect; the log of the service names the kind of error.")


def _add_health(api: FastAPI, app: App) -> None:
    @api.get("/livez", include_in_schema=False)
    async def livez() -> Response:
        return Response("ok\n", media_type="text/plain")

    @api.get("/readyz", include_in_schema=False)
    async def readyz() -> Response:
        ready = app.ready()
        return Response("ok\n" if ready else "starting\n", 200 if ready else 503, media_type="text/plain")

    standing = Standing(app)

    @api.get("/metrics", include_in_schema=False)
    async def metrics(request: Request) -> Response:
        await standing.look()
        open_format = "application/openmetrics-text" in request.headers.get("accept", "")
        module: Any = openmetrics if open_format else exposition
        return Response(module.generate_latest(app.metrics.registry), media_type=module.CONTENT_TYPE_LATEST)

    @api.get("/asyncapi.json", include_in_schema=False)
    async def asyncapi() -> Response:
        from schemas.contract import documents  # noqa: PLC0415 - a second of work, for those who ask

        return Response(documents()["asyncapi.json"], media_type="application/json")

    @api.get("/v1/config")
    async def config() -> Response:
        """The effective settings, secrets masked."""
        from services.settings import masked  # noqa: PLC0415 - beside its use

        return Response(orjson.dumps(masked(app.settings)), media_type="application/json")
