"""The management side of Graph for commands: tokens, numbers, subscriptions, syncs (Meta contract 1.6, 5.1, 5.3).

One request at a time and never repeated by itself; what goes wrong is one sentence that holds no secret.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import orjson

TIMEOUT_S = 30.0
TEMPLATES_PAGE, TEMPLATES_PAGES_MAX = 200, 50

FIELDS_WANTED = (
    *("messages", "smb_message_echoes", "history", "smb_app_state_sync", "account_update"),
    *("phone_number_quality_update", "message_template_status_update", "user_preferences", "account_alerts"),
    *("business_capability_update", "security"),
)
"""What the app must be subscribed to (Meta contract 1.8)."""
SCOPES_WANTED = ("whatsapp_business_messaging", "whatsapp_business_management")
PHONE_FIELDS = "id,display_phone_number,is_on_biz_app,platform_type,status"


class GraphRefused(Exception):
    """Graph said no: its error code, 0 where there is none, and its own title."""

    def __init__(self, status: int, code: int, title: str) -> None:
        super().__init__(f"Graph answered {status}{f', error {code}' if code else ''}{f': {title}' if title else ''}")
        self.status = status
        self.code = code


class GraphSilent(Exception):
    """Nobody answered, or not in time: whether the request was taken is not known."""


@dataclass(frozen=True, slots=True)
class Phone:
    """A number of an account. `coexists`: it lives in the Business App and in the Cloud API at once."""

    number: str
    display: str
    coexists: bool


@dataclass(frozen=True, slots=True)
class GraphAccount:
    """Graph at `url`, such as https://graph.facebook.com, in one version, with one token."""

    client: httpx.Client
    url: str
    version: str
    token: str = field(default="", repr=False)

    def with_token(self, token: str) -> "GraphAccount":
        """The same Graph with another token."""
        return replace(self, token=token)

    def call(self, method: str, path: str, query: dict[str, str] | None = None, body: Any = None) -> dict[str, Any]:
        """The answer's object. Raises GraphRefused or GraphSilent."""
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        address = f"{self.url.rstrip('/')}/{self.version}/{path}"
        try:
            answer = self.client.request(method, address, params=query, json=body, headers=headers)
        except httpx.HTTPError as problem:
            raise GraphSilent(f"Graph did not answer ({type(problem).__name__})") from None
        try:
            parsed = orjson.loads(answer.content)
        except orjson.JSONDecodeError:
            parsed = None
        error = parsed.get("error") if isinstance(parsed, dict) else None
        if isinstance(error, dict):
            raise GraphRefused(answer.status_code, _integer(error.get("code")), str(error.get("message", ""))[:200])
        if answer.status_code != 200 or not isinstance(parsed, dict):
            raise GraphRefused(answer.status_code, 0, "")
        return parsed

    def exchange(self, app_id: str, app_secret: str, code: str) -> str:
        """The business token for a code of Embedded Signup; the code works once (Meta contract 5.1)."""
        query = {"client_id": app_id, "client_secret": app_secret, "code": code}
        token = self.call("GET", "oauth/access_token", query).get("access_token")
        if not isinstance(token, str) or not token:
            raise GraphRefused(200, 0, "no access_token in the answer")
        return token

    def token_facts(self) -> dict[str, Any]:
        """What Graph says of our token: is_valid, expires_at, scopes."""
        return _object(self.call("GET", "debug_token", {"input_token": self.token}).get("data"))

    def phones(self, waba: str) -> list[Phone]:
        """The numbers of an account. A coexistence number is on the app and on the Cloud API (Meta contract 5.1)."""
        found = _objects(self.call("GET", f"{waba}/phone_numbers", {"fields": PHONE_FIELDS}).get("data"))
        return [
            Phone(
                number=str(one.get("id", "")),
                display=str(one.get("display_phone_number", "")),
                coexists=one.get("is_on_biz_app") is True and one.get("platform_type") == "CLOUD_API",
            )
            for one in found
        ]

    def templates(self, waba: str) -> Iterator[list[dict[str, Any]]]:
        """The message templates of an account in Meta's own words, page by page (Meta contract 6.9)."""
        query = {"fields": "name,language,status,category,quality_score", "limit": str(TEMPLATES_PAGE)}
        for _ in range(TEMPLATES_PAGES_MAX):
            answer = self.call("GET", f"{waba}/message_templates", query)
            yield _objects(answer.get("data"))
            paging = _object(answer.get("paging"))
            after = _object(paging.get("cursors")).get("after")
            if not paging.get("next") or not isinstance(after, str):
                return
            query["after"] = after

    def subscribe(self, waba: str) -> None:
        """Subscribe the app to an account; needed before any sync, or its webhooks are lost (Meta contract 5.1)."""
        self.call("POST", f"{waba}/subscribed_apps")

    def subscribed(self, waba: str) -> list[str]:
        """The ids of the apps that are subscribed to an account."""
        found = _objects(self.call("GET", f"{waba}/subscribed_apps").get("data"))
        return [str(_object(one.get("whatsapp_business_api_data")).get("id", "")) for one in found]

    def app_fields(self, app_id: str) -> tuple[str, list[str]]:
        """Callback and fields of the app's own subscription; needs the app's token, `id|secret`."""
        for one in _objects(self.call("GET", f"{app_id}/subscriptions").get("data")):
            if one.get("object") == "whatsapp_business_account":
                names = [str(field.get("name", "")) for field in _objects(one.get("fields"))]
                return str(one.get("callback_url", "")), names
        return "", []

    def sync(self, number: str, kind: str) -> str:
        """Ask for smb_app_state_sync or history, which may be done once; the request id (Meta contract 5.3)."""
        body = {"messaging_product": "whatsapp", "sync_type": kind}
        return str(self.call("POST", f"{number}/smb_app_data", body=body).get("request_id", ""))


def graph_client(transport: httpx.BaseTransport | None = None) -> httpx.Client:
    """A client that follows no redirect and repeats nothing."""
    return httpx.Client(transport=transport, timeout=TIMEOUT_S, follow_redirects=False, trust_env=transport is None)


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _objects(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _integer(value: object) -> int:
    return value if isinstance(value, int) else 0
