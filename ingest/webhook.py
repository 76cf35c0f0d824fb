"""`/webhooks/meta`: the handshake, and webhooks that are answered 200 only once they are durable.

A plain ASGI callable, because on this path a framework costs more than the cryptography. Nothing is parsed or
counted as an item before the signature is right, and nothing unsigned reaches the log.
"""

import asyncio
import hmac
import math
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, Protocol
from urllib.parse import parse_qs

from ingest.bodies import BODY_BYTES_MAX, Bodies, Gone, Message, Receive, TooLarge
from ingest.deadlines import Deadlines
from ingest.normalize import normalize
from ingest.probes import is_probe
from ingest.problem import PROBLEM_JSON, PROBLEMS
from ingest.refusals import Clients, Refusals
from ingest.signature import is_signed, verify
from schemas.ports import Event, LogUnavailable

PATH = "/webhooks/meta"

LONG_BYTES = 128 * 1024
"""From here on a body takes some milliseconds to read: a chunk of history, and nothing that people send."""
LONG_RESTS, LONG_REST_S_MAX = 3.0, 0.02
"""After one of these the next waits so many times as long as it took, at the most so long: others come in between."""

BODY_DEADLINE_S = 5.0
"""From the end of the head to the end of the body. Meta's own bodies come in one piece."""

APPEND_DEADLINE_S = 3.0
"""Meta retries what is not answered, but an answer that comes too late is a repeat all the same (Meta contract 1.3)."""

Scope = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Append = Callable[[Sequence[tuple[str, Event]]], Awaitable[None]]

PROBED = ("signature", "handshake")
"""What `coexist doctor` looks whether it is refused."""

SIGNED = "coexist.signed"
"""Set in the scope of a request whose signature was right: its connection is not a stranger's."""

_CHALLENGE = re.compile(rb"[0-9A-Za-z_-]{1,200}")
_CLOSE = (b"connection", b"close")
_JSON = b"application/json"


class Observer(Protocol):
    """Who counts what happens here. Nothing it is given names a person; it must never raise or wait."""

    def answered(self, status: int, seconds: float, items: int) -> None:
        """A request got its answer: status, time from head to answer, and the items appended (0 when refused)."""

    def refused(self, reason: str) -> None:
        """A request was turned away.

        `reason`: too_large, too_slow, media_type, signature, handshake, method, disconnected, too_many.
        """

    def secret(self, index: int) -> None:
        """This one of the app secrets signed a webhook: after a rotation the old one falls silent."""

    def unconfirmed(self) -> None:
        """An append was not confirmed in time; Meta was told to send again."""


class _Refused(Exception):
    def __init__(self, status: int, reason: str, wait_s: float = 0) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.wait_s = wait_s


class Webhook:
    """The ASGI callable for `/webhooks/meta`.

    `append` makes events durable before it returns, or raises LogUnavailable. `secrets` are all app secrets that are
    valid now; the sequence is read anew for each request, so its owner may rotate them. `clock` gives seconds since
    1970. `clients` is what is remembered of those that were refused. Raises ValueError without a secret: an unsigned
    webhook is never taken.
    """

    def __init__(
        self,
        append: Append,
        secrets: Sequence[bytes],
        verify_token: bytes,
        clock: Callable[[], float],
        observer: Observer,
        clients: Clients | None = None,
    ) -> None:
        if not secrets or not all(secrets):
            raise ValueError("an app secret is needed to check signatures; set COEXIST_META_APP_SECRETS")
        self._append = append
        self._secrets = secrets
        self._verify_token = verify_token
        self._clock = clock
        self._observer = observer
        self._clients = clients or Clients()
        self._deadlines = Deadlines()
        self._long = asyncio.Lock()
        self._long_from = 0.0
        self._bodies = Bodies()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        started = time.monotonic()
        items = 0
        try:
            if scope["method"] == "POST":
                items = await self._take(scope, receive, started)
                status = 200
                await send(_OK_START)
                await send(_OK_BODY)
            elif scope["method"] == "GET":
                status = 200
                await _answer(send, 200, self._handshake(scope, started), b"text/plain")
            else:
                self._hold_up(self._clients.unsigned, scope, started)
                raise _Refused(405, "method")  # noqa: TRY301 - refusals of every kind are answered in one place
        except _Refused as refusal:
            status = refusal.status
            if not await self._turn_away(refusal, scope, send, started):
                return
        self._observer.answered(status, time.monotonic() - started, items)

    async def elsewhere(self, scope: Scope, send: Send) -> bool:
        """Count a request to another path, where nothing is; whether it was too many and has been answered."""
        now = time.monotonic()
        try:
            self._hold_up(self._clients.unsigned, scope, now)
        except _Refused as refusal:
            return await self._turn_away(refusal, scope, send, now)
        self._clients.unsigned.add(self._clients.address(scope), now)
        return False

    def _hold_up(self, refusals: Refusals, scope: Scope, now: float) -> None:
        """Raise _Refused, before anything is read or compared, where this client was refused too often."""
        wait_s = refusals.wait_s(self._clients.address(scope), now)
        if wait_s:
            raise _Refused(429, "too_many", wait_s)

    async def _turn_away(self, refusal: _Refused, scope: Scope, send: Send, now: float) -> bool:
        """Count a refusal and answer it; False where there is nothing to tell of an answer: nobody is there any more.

        What is not durable is our own fault. Of what we asked ourselves nobody is told, and it counts for the address.
        """
        probed = refusal.reason in PROBED and is_probe(scope["headers"], self._secrets, self._clock())
        if not probed:
            self._observer.refused(refusal.reason)
        if refusal.reason == "disconnected":
            return False
        if refusal.reason not in ("too_many", "unconfirmed"):
            refusals = self._clients.handshakes if refusal.reason == "handshake" else self._clients.unsigned
            refusals.add(self._clients.address(scope), now)
        await _refuse(send, refusal)
        return not probed

    async def _take(self, scope: Scope, receive: Receive, now: float) -> int:
        """Read, check, normalise and append one webhook; the number of its items. Raises _Refused."""
        signatures, is_json = _judge(scope["headers"])
        if not is_json or not is_signed(signatures):
            self._hold_up(self._clients.unsigned, scope, now)
        waited_for = (408, "too_slow")
        try:
            with self._deadlines.within(BODY_DEADLINE_S) as deadline:
                body = await self._bodies.read(receive, deadline)
                if not is_json:
                    raise _Refused(415, "media_type")
                index = verify(signatures, body, self._secrets)
                if index is None:
                    raise _Refused(401, "signature")
                scope[SIGNED] = True
                self._observer.secret(index)
                waited_for = (503, "unconfirmed")
                deadline.extend(APPEND_DEADLINE_S)
                events = await self._read(body)
                deadline.extend(APPEND_DEADLINE_S)
                if events:
                    await self._append(events)
        except TooLarge:
            raise _Refused(413, "too_large") from None
        except Gone:
            raise _Refused(499, "disconnected") from None
        except (LogUnavailable, TimeoutError):
            if waited_for[0] == 503:
                self._observer.unconfirmed()
            raise _Refused(*waited_for) from None
        return len(events)

    async def _read(self, body: bytes) -> list[tuple[str, Event]]:
        """What is in a signed body. A long one is read beside the event loop: others must not wait for it."""
        if len(body) < LONG_BYTES:
            return normalize(body, self._clock())
        async with self._long:
            await asyncio.sleep(self._long_from - time.monotonic())
            began = time.monotonic()
            try:
                return await asyncio.to_thread(normalize, body, self._clock())
            finally:
                ended = time.monotonic()
                self._long_from = ended + min(LONG_RESTS * (ended - began), LONG_REST_S_MAX)

    def _handshake(self, scope: Scope, now: float) -> bytes:
        """The challenge of Meta's verification request (Meta contract 1.1). Raises _Refused.

        Over the allowance no token is looked at, not even the right one: else a guesser would still learn it.
        """
        self._hold_up(self._clients.handshakes, scope, now)
        try:
            query: bytes = scope["query_string"]
            asked = parse_qs(query, keep_blank_values=True, max_num_fields=20)
        except ValueError:
            raise _Refused(403, "handshake") from None
        mode, token, challenge = (asked.get(b"hub." + key, []) for key in (b"mode", b"verify_token", b"challenge"))
        known = len(token) == 1 and bool(self._verify_token) and hmac.compare_digest(token[0], self._verify_token)
        if not known or mode != [b"subscribe"] or len(challenge) != 1 or not _CHALLENGE.fullmatch(challenge[0]):
            raise _Refused(403, "handshake")
        return challenge[0]


def _judge(headers: list[tuple[bytes, bytes]]) -> tuple[list[bytes], bool]:
    """The values of the signature header, and whether this is plain JSON: no decompression, no forms.

    A body that announces itself as too large is refused unread.
    """
    signatures, types, encoded = [], [], False
    for name, value in headers:
        if name == b"x-hub-signature-256":
            signatures.append(value)
        elif name == b"content-type":
            types.append(value)
        elif name == b"content-encoding":
            encoded = True
        elif name == b"content-length" and (len(value) > 18 or not value.isdigit() or int(value) > BODY_BYTES_MAX):
            raise _Refused(413, "too_large")
    return signatures, not encoded and len(types) == 1 and _is_json(types[0])


def _is_json(media_type: bytes) -> bool:
    return media_type == _JSON or media_type.partition(b";")[0].strip().lower() == _JSON


_OK_START: Message = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]}
_OK_BODY: Message = {"type": "http.response.body"}


async def _answer(
    send: Send, status: int, body: bytes, media_type: bytes, more: Sequence[tuple[bytes, bytes]] = ()
) -> None:
    headers = [(b"content-type", media_type), (b"content-length", str(len(body)).encode()), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


_MORE_HEADERS = {
    405: ((b"allow", b"GET, POST"),),
    408: (_CLOSE,),
    413: (_CLOSE,),
    429: (_CLOSE,),
    503: ((b"retry-after", b"1"),),
}


async def _refuse(send: Send, refusal: _Refused) -> None:
    """Answer without what was refused. After 408, 413 and 429 a body may be on its way, so the connection ends."""
    status = refusal.status
    more = _MORE_HEADERS.get(status, ())
    if refusal.wait_s:
        more = (*more, (b"retry-after", str(math.ceil(refusal.wait_s)).encode()))
    await _answer(send, status, PROBLEMS[status], PROBLEM_JSON, more)
