"""The one place that speaks to Graph: build a request, post it, say what the answer means."""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpx
import orjson

from schemas.fragments import object_of
from schemas.items import Contact
from sender.errors import Action, action_for

CONNECT_S = 5.0
ANSWER_S = 10.0
"""How long an answer may take. After it, nobody knows (Meta contract 6.7)."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one request. `outcome`: accepted, rejected, ambiguous or not_sent.

    `usage`: percent of a quota of the app or the account that is spent; `regain_s`: when a spent one is given back.
    """

    outcome: str
    message_id: str = ""
    contact: Contact | None = None
    code: int = 0
    action: str = ""
    error: bytes = b""
    reason: str = ""
    usage: float = 0
    regain_s: float = 0


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


PER_CLIENT = 4
"""Requests in flight per client: httpx looks at every connection of a pool for each request, so one pool of 80 takes
three times the work of twenty pools of 4."""
CLIENTS_MAX = 128
"""512 requests in flight: a number of 1,000 messages a second may have 500 attempts open."""


class _StaysError(Exception):
    """A request must not leave; the message is the reason."""


class Graph:
    """The Graph API over as many clients as are needed. `make` gives one; `base_url` without a trailing slash."""

    def __init__(self, make: Callable[[], httpx.AsyncClient], base_url: str, version: str) -> None:
        self._make = make
        self._clients: list[httpx.AsyncClient] = []
        self._busy: list[int] = []
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
        url, place = f"{self._root}/{number}/messages", self._place()
        self._busy[place] += 1
        try:
            async with asyncio.timeout(CONNECT_S + ANSWER_S):
                response = await self._clients[place].post(
                    url, content=content, headers=headers, extensions={"trace": last_look}
                )
        except _StaysError as stays:
            return Answer("not_sent", reason=str(stays))
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol):
            return Answer("not_sent", reason="unreachable")
        except (httpx.HTTPError, TimeoutError):
            return Answer("ambiguous", reason="no_answer")
        finally:
            self._busy[place] -= 1
        usage, regain_s = quota(response.headers)
        answer = classify(response.status_code, response.content, read=read)
        return replace(answer, usage=usage, regain_s=regain_s) if usage or regain_s else answer

    def _place(self) -> int:
        """The first client with room, so that few connections are kept warm; a new one; or the least busy."""
        for place, busy in enumerate(self._busy):
            if busy < PER_CLIENT:
                return place
        if len(self._clients) == CLIENTS_MAX:
            return self._busy.index(min(self._busy))
        self._clients.append(self._make())
        self._busy.append(0)
        return len(self._clients) - 1

    async def aclose(self) -> None:
        """Close every connection."""
        for made in self._clients:
            await made.aclose()


def client(transport: httpx.AsyncBaseTransport | None = None, connections: int = 80) -> httpx.AsyncClient:
    """A client for Graph, which waits for a connection no longer than it takes to make one."""
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=30)
    timeout = httpx.Timeout(ANSWER_S, connect=CONNECT_S, pool=CONNECT_S)
    return strict_client(limits, timeout, transport)


def strict_client(
    limits: httpx.Limits, timeout: httpx.Timeout, transport: httpx.AsyncBaseTransport | None = None
) -> httpx.AsyncClient:
    """A client that never repeats a request by itself, follows no redirect and keeps no cookies.

    A cookie is kept by address, and behind one address there may be two receivers.
    """
    return httpx.AsyncClient(
        transport=transport,
        verify=tls(),
        limits=limits,
        timeout=timeout,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        follow_redirects=False,
        trust_env=transport is None,
    )


@lru_cache(maxsize=1)
def tls() -> ssl.SSLContext:
    """Whom to trust, for every client of the process; read once, as that is as much work as a thousand requests."""
    return httpx.create_ssl_context()


def classify(status: int, content: bytes, *, read: bool = False) -> Answer:
    """What an answer means (Meta contract 6.7, 8): only a wamid is an acceptance, only an error object a refusal.

    `read`: it answers a read receipt, which is accepted without a wamid.
    """
    parsed = object_of(content)
    error = parsed.get("error")
    if isinstance(error, dict) and "code" in error:
        return _refusal(status, error)
    if status == 200:
        message_id = _message_id(parsed)
        if message_id:
            return Answer("accepted", message_id, _contact(parsed))
        if read and parsed.get("success") is True:
            return Answer("accepted")
    if status == 429:
        return Answer("rejected", code=429, action=Action.SLOW)
    return Answer("ambiguous", reason=f"http_{status}")


def quota(headers: Mapping[str, str]) -> tuple[float, float]:
    """Percent spent of the fullest quota, and seconds until a spent one is given back (Meta contract 7.4).

    `Retry-After` is not documented, and honoured where it comes. Headers that cannot be read say nothing.
    """
    told = [object_of(headers.get("x-app-usage"))]
    by_account = object_of(headers.get("x-business-use-case-usage"))
    for entries in by_account.values():
        told += [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    spent = [_percent(entry.get(name)) for entry in told for name in QUOTAS]
    minutes = [_percent(entry.get("estimated_time_to_regain_access")) for entry in told]
    after = headers.get("retry-after", "")
    seconds = float(after) if after.isascii() and after.isdecimal() and len(after) < 7 else 0.0
    return max(spent, default=0.0), max(60 * max(minutes, default=0.0), seconds)


QUOTAS = ("call_count", "total_cputime", "total_time")


def _percent(value: object) -> float:
    return max(0.0, float(value)) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0


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
