"""The Graph endpoints beside the messages one: registration, subscriptions, sync, media, templates, tokens.

Minimal truths (Meta contract 1.6, 5.1, 5.3, 6.6, 6.9): shapes and errors as Meta's, state as far as a
backend can see it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.sandbox import answers, wire
from services.sandbox.config import Number
from services.sandbox.graph import Graph, answer
from services.sandbox.history import HistoryPlan, import_history
from services.sandbox.media import MediaDesk

APP_ID = "990000000000001"
FIELDS = (
    "messages", "smb_message_echoes", "history", "smb_app_state_sync", "account_update",
    "phone_number_quality_update", "message_template_status_update", "user_preferences", "account_alerts",
    "business_capability_update", "security",
)  # fmt: skip

Handler = Callable[[Request], Awaitable[Response]]


class Platform:
    """Routes of the whole Graph side."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._meta = graph.meta
        self._media = MediaDesk(graph)
        self._synced: set[tuple[str, str]] = set()
        self._codes: set[str] = set()
        self._subscribed: dict[str, str | None] = {}

    def routes(self) -> list[Route]:
        """Return the route table; every path begins with a Graph version, any."""
        table: list[tuple[str, str, Handler]] = [
            ("POST", "/v{version}/{node}/messages", self._graph.messages),
            ("POST", "/v{version}/{node}/media", self._guarded(self._media.upload)),
            ("POST", "/v{version}/{node}/smb_app_data", self._guarded(self.sync)),
            ("POST", "/v{version}/{node}/subscribed_apps", self._guarded(self.subscribe)),
            ("GET", "/v{version}/{node}/subscribed_apps", self._guarded(self.subscriptions)),
            ("DELETE", "/v{version}/{node}/subscribed_apps", self._guarded(self.unsubscribe)),
            ("GET", "/v{version}/{node}/phone_numbers", self._guarded(self.phone_numbers)),
            ("GET", "/v{version}/{node}/message_templates", self._guarded(self.templates)),
            ("GET", "/v{version}/{node}/subscriptions", self.app_subscription),
            ("GET", "/oauth/access_token", self.access_token),
            ("GET", "/v{version}/oauth/access_token", self.access_token),
            ("GET", "/debug_token", self.debug_token),
            ("GET", "/v{version}/debug_token", self.debug_token),
            ("GET", "/sandbox/media/{media}", self._guarded(self._media.download)),
            ("GET", "/v{version}/{node}", self._guarded(self.node)),
            ("POST", "/v{version}/{node}", self._guarded(self.configure)),
            ("DELETE", "/v{version}/{node}", self._guarded(self._media.remove)),
        ]
        return [Route(path, handler, methods=[method]) for method, path, handler in table]

    async def node(self, request: Request) -> Response:
        """Answer for a phone number, a WABA or a media id."""
        node = request.path_params["node"]
        if (number := self._meta.world.numbers.get(node)) is not None:
            return answer(self._phone(number))
        if self._meta.world.number_of_waba(node):
            return answer({"id": node, "name": "Sandbox", "currency": "EUR"})
        return self._media.about(request, node) or self._graph.refuse(answers.UNKNOWN_OBJECT)

    async def configure(self, request: Request) -> Response:
        """Accept settings of a number, such as an override of its webhook."""
        if request.path_params["node"] not in self._meta.world.numbers:
            return self._graph.refuse(answers.UNKNOWN_OBJECT)
        return answer({"success": True})

    async def sync(self, request: Request) -> Response:
        """Begin the contact or the history sync, once each (Meta contract 5.3)."""
        number = self._meta.world.numbers.get(request.path_params["node"])
        if number is None:
            return self._graph.refuse(answers.UNKNOWN_OBJECT)
        body = _json(await request.body())
        kind = body.get("sync_type")
        if kind not in {"smb_app_state_sync", "history"}:
            return self._graph.refuse(answers.missing("sync_type"))
        if (number.phone_number_id, kind) in self._synced:
            return self._graph.refuse(answers.SYNC_TWICE)
        if self._meta.faults.sync_late:
            return self._graph.refuse(answers.SYNC_LATE)
        self._synced.add((number.phone_number_id, kind))
        if kind == "history":
            faults = self._meta.faults
            plan = HistoryPlan(number.phone_number_id, faults.history_messages, declined=faults.history_declined)
            import_history(self._meta, plan)
        else:
            self._sync_contacts(number)
        request_id = self._meta.dice.digits(16, "sync", f"{number.phone_number_id}:{kind}")
        return answer({"messaging_product": "whatsapp", "request_id": request_id})

    async def subscribe(self, request: Request) -> Response:
        """Subscribe the app to a WABA; an override URL is remembered."""
        if not self._meta.world.number_of_waba(request.path_params["node"]):
            return self._graph.refuse(answers.UNKNOWN_OBJECT)
        body = _json(await request.body())
        self._subscribed[request.path_params["node"]] = body.get("override_callback_uri")
        return answer({"success": True})

    async def subscriptions(self, request: Request) -> Response:
        """List the subscribed app, if any."""
        waba = request.path_params["node"]
        if waba not in self._subscribed:
            return answer({"data": []})
        app = {"whatsapp_business_api_data": {"id": APP_ID, "name": "Coexist", "link": "https://example.org/"}}
        override = self._subscribed[waba]
        return answer({"data": [app | ({"override_callback_uri": override} if override else {})]})

    async def unsubscribe(self, request: Request) -> Response:
        """Remove the subscription."""
        self._subscribed.pop(request.path_params["node"], None)
        return answer({"success": True})

    async def phone_numbers(self, request: Request) -> Response:
        """List the numbers of a WABA."""
        numbers = self._meta.world.number_of_waba(request.path_params["node"])
        if not numbers:
            return self._graph.refuse(answers.UNKNOWN_OBJECT)
        return answer({"data": [self._phone(number) for number in numbers]})

    async def templates(self, request: Request) -> Response:
        """List three approved templates."""
        if not self._meta.world.number_of_waba(request.path_params["node"]):
            return self._graph.refuse(answers.UNKNOWN_OBJECT)
        body = {"type": "BODY", "text": "{{1}}"}
        common = {"status": "APPROVED", "category": "UTILITY", "language": "es", "components": [body]}
        listed = [{"id": str(970000000000001 + n), "name": t} | common for n, t in enumerate(answers.TEMPLATES)]
        return answer({"data": listed})

    async def app_subscription(self, request: Request) -> Response:
        """Tell what the app is subscribed to (Meta contract 1.6)."""
        if request.path_params["node"] != APP_ID:
            return self._graph.refuse(answers.UNKNOWN_OBJECT)
        fields = [{"name": name, "version": "v26.0"} for name in FIELDS]
        about = {"object": "whatsapp_business_account", "callback_url": self._meta.delivery.url, "active": True}
        return answer({"data": [about | {"fields": fields}]})

    async def access_token(self, request: Request) -> Response:
        """Exchange an onboarding code for the sandbox's token; any code, once (Meta contract 5.1)."""
        code = request.query_params.get("code", "")
        if code in self._codes or not code:
            return self._graph.refuse(answers.BAD_CODE)
        self._codes.add(code)
        return answer({"access_token": self._meta.config.access_token, "token_type": "bearer"})

    async def debug_token(self, request: Request) -> Response:
        """Describe a token."""
        token = request.query_params.get("input_token", "")
        valid = token == self._meta.config.access_token and not self._meta.faults.token_expired
        scopes = ["whatsapp_business_messaging", "whatsapp_business_management"]
        return answer({"data": {"app_id": APP_ID, "is_valid": valid, "expires_at": 0, "scopes": scopes}})

    def _guarded(self, handler: Handler) -> Handler:
        async def guarded(request: Request) -> Response:
            refusal = self._graph.bad_token(request)
            return self._graph.refuse(refusal) if refusal else await handler(request)

        return guarded

    def _phone(self, number: Number) -> dict[str, object]:
        return {
            "id": number.phone_number_id,
            "display_phone_number": "+" + number.display,
            "verified_name": number.name,
            "quality_rating": "GREEN",
            "status": "CONNECTED",
            "throughput": {"level": "STANDARD"},
            "health_status": {"can_send_message": "AVAILABLE"},
            "is_on_biz_app": self._meta.faults.on_biz_app,
            "platform_type": "CLOUD_API",
        }

    def _sync_contacts(self, number: Number) -> None:
        at_s = int(self._meta.clock())
        for customer in list(self._meta.world.customers.values()):
            self._meta.delivery.push(wire.app_contact(number, customer, "add", at_s))


def _json(raw: bytes) -> dict[str, str]:
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return {}
    return body if isinstance(body, dict) else {}
