"""The one place that speaks to Graph: build a request, post it, say what the answer means."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import orjson

from schemas.items import Contact
from sender.errors import Action, action_for

CONNECT_S = 5.0
ANSWER_S = 10.0
"""How long an answer may take. After it, nobody knows (Meta contract 6.7)."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one request. `outcome`: accepted, rejected, ambiguous or not_sent."""

    outcome: str
    message_id: str = ""
    contact: Contact | None = None
    code: int = 0
    action: str = ""
    error: bytes = b""
    reason: str = ""


def body(to: Contact, message: dict[str, Any], token: str) -> bytes:
    """The Send API's body: the caller's message in Meta's envelope, with our token (Meta contract 6.2).

    A user id belongs into `recipient`: in `to` it would be taken for a phone number, and silently lost. A read receipt
    is no message: it names nobody and brings no token back (Meta contract 6.4).
    """
    if "status" in message:
        return orjson.dumps({"messaging_product": "whatsapp"} | message)
    envelope: dict[str, Any] = {"messaging_product": "whatsapp", "recipient_type": "individual"}
    if to.wa_id:
        envelope["to"] = to.wa_id
    else:
        envelope["recipient"] = to.user_id
    return orjson.dumps(envelope | {"type": "text"} | message | {"biz_opaque_callback_data": token})


class _StaysError(Exception):
    """A request must not leave; the message is the reason."""


class Graph:
    """The Graph API over one httpx client. `base_url` without a trailing slash, `version` such as v26.0."""

    def __init__(self, client: httpx.AsyncClient, base_url: str, version: str) -> None:
        self._client = client
        self._root = f"{base_url}/{version}"

    async def send(
        self,
        number: str,
        access_token: str,
        content: bytes,
        may_leave: Callable[[], str] = lambda: "",
        *,
        read: bool = False,
    ) -> Answer:
        """Post one message or read receipt once. Never raises for what the network does: that is an `Answer`, too.

        `may_leave` is asked once the connection is there and before the first byte is written; the reason that it
        gives, if any, is why the request does not leave.
        """

        async def last_look(step: str, _: object) -> None:
            if step.endswith("send_request_headers.started") and (reason := may_leave()):
                raise _StaysError(reason)

        headers = {"Authorization": f"Bearer {access_token}", "Content-Type": "application/json"}
        url = f"{self._root}/{number}/messages"
        try:
            async with asyncio.timeout(CONNECT_S + ANSWER_S):
                response = await self._client.post(
                    url, content=content, headers=headers, extensions={"trace": last_look}
                )
        except _StaysError as stays:
            return Answer("not_sent", reason=str(stays))
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol):
            return Answer("not_sent", reason="unreachable")
        except (httpx.HTTPError, TimeoutError):
            return Answer("ambiguous", reason="no_answer")
        return classify(response.status_code, response.content, read=read)


def client(transport: httpx.AsyncBaseTransport | None = None, connections: int = 80) -> httpx.AsyncClient:
    """A client that never repeats a request by itself and follows no redirect."""
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=30)
    timeout = httpx.Timeout(ANSWER_S, connect=CONNECT_S, pool=CONNECT_S)
    return httpx.AsyncClient(
        transport=transport,
        limits=limits,
        timeout=timeout,
        follow_redirects=False,
        trust_env=transport is None,
    )


def classify(status: int, content: bytes, *, read: bool = False) -> Answer:
    """What an answer means (Meta contract 6.7, 8): only a wamid is an acceptance, only an error object a refusal.

    `read`: it answers a read receipt, which is accepted without a wamid.
    """
    try:
        parsed = orjson.loads(content)
    except orjson.JSONDecodeError:
        parsed = None
    error = parsed.get("error") if isinstance(parsed, dict) else None
    if isinstance(error, dict) and "code" in error:
        return _refusal(status, error)
    if status == 200 and isinstance(parsed, dict):
        message_id = _message_id(parsed)
        if message_id:
            return Answer("accepted", message_id, _contact(parsed))
        if read and parsed.get("success") is True:
            return Answer("accepted")
    if status == 429:
        return Answer("rejected", code=429, action=Action.SLOW)
    return Answer("ambiguous", reason=f"http_{status}")


def _refusal(status: int, error: dict[str, Any]) -> Answer:
    code, subcode = _integer(error.get("code")), _integer(error.get("error_subcode"))
    action = action_for(code, status, subcode)
    outcome = "ambiguous" if action is Action.AMBIGUOUS else "rejected"
    return Answer(outcome, code=code, action=action, error=orjson.dumps(error), reason="graph_error")


def _message_id(parsed: dict[str, Any]) -> str:
    messages = parsed.get("messages")
    first = messages[0] if isinstance(messages, list) and messages else None
    found = first.get("id") if isinstance(first, dict) else None
    return found if isinstance(found, str) else ""


def _contact(parsed: dict[str, Any]) -> Contact:
    contacts = parsed.get("contacts")
    first = contacts[0] if isinstance(contacts, list) and contacts else None
    if not isinstance(first, dict):
        return Contact()
    return Contact(wa_id=str(first.get("wa_id") or ""), user_id=str(first.get("user_id") or ""))


def _integer(value: object) -> int:
    return value if isinstance(value, int) else int(value) if isinstance(value, str) and value.isdecimal() else -1
