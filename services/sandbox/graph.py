"""The messages endpoint of Graph (Meta contract 6 to 8), with Meta's limits and accidents."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from services.sandbox import answers, contents, ledger
from services.sandbox.answers import Refusal
from services.sandbox.config import Number
from services.sandbox.meta import Meta
from services.sandbox.world import Customer, Message, Unknown, digits

CUT = "sandbox.cut"  # the key in the ASGI scope under which the server leaves the way to drop a connection


class CutConnection(Response):
    """No answer at all: the connection is dropped, as when a proxy or a cable fails."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Drop the connection; raises ConnectionResetError where there is none to drop."""
        cut: Callable[[], None] | None = scope.get(CUT)
        if cut is None:
            raise ConnectionResetError("the sandbox cut this connection")
        cut()
        while (await receive())["type"] != "http.disconnect":
            pass


def answer(content: object, status: int = 200) -> Response:
    """Return a JSON answer."""
    return Response(orjson.dumps(content), status, media_type="application/json")


@dataclass(frozen=True, slots=True)
class Addressed:
    """A send that was read: who, to whom, what (Meta contract 6.2). `lost` is a user id put into `to`."""

    number: Number
    customer: Customer
    body: dict[str, Any]
    kind: str
    to: str
    by_user_id: bool
    lost: bool


class Graph:
    """Answers Graph requests over one `Meta`."""

    def __init__(self, meta: Meta) -> None:
        self.meta = meta
        self._requests = 0

    def refuse(self, refusal: Refusal) -> Response:
        """Return Meta's error object with its status."""
        trace = "A" + self.meta.dice.digits(20, "trace", str(self._requests))
        return answer(refusal.as_dict(trace), refusal.http_status)

    def bad_token(self, request: Request) -> Refusal | None:
        """Return 190 unless the request carries the right bearer token."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        token = token or request.query_params.get("access_token", "")
        right = token == self.meta.config.access_token and scheme.lower() in {"bearer", ""}
        return None if right and not self.meta.faults.token_expired else answers.BAD_TOKEN

    async def messages(self, request: Request) -> Response:
        """`POST /{version}/{phone number id}/messages`."""
        self._requests += 1
        serial, faults = str(self._requests), self.meta.faults
        raw = await request.body()
        if faults.graph_delay_ms:
            await self.meta.pause(faults.graph_delay_ms / 1000)
        if self.meta.dice.hits(faults.cut_before_accept_p, "cut_before", serial):
            self._record(request, raw, None, None, "cut_before")
            return CutConnection()
        read = self._read(request, raw)
        if isinstance(read, Response):
            return read
        if isinstance(read, Refusal):
            self._record(request, raw, None, read.code, "answered")
            return self.refuse(read)
        if (refusal := self._refusal(read, serial)) is not None:
            self._record(request, raw, None, refusal.code, "answered")
            return self.refuse(refusal)
        return await self._accept(request, raw, read, serial)

    def _read(self, request: Request, raw: bytes) -> Addressed | Refusal | Response:
        if (refusal := self.bad_token(request)) is not None:
            return refusal
        number = self.meta.world.numbers.get(request.path_params["node"])
        if number is None:
            return answers.UNKNOWN_OBJECT
        try:
            body = orjson.loads(raw)
        except orjson.JSONDecodeError:
            return answers.invalid("The body is not JSON.")
        if not isinstance(body, dict):
            return answers.invalid("The body is not an object.")
        if body.get("status") == "read":
            known = isinstance(body.get("message_id"), str)
            return answer({"success": True}) if known else answers.missing("message_id")
        refused = answers.check_send(body, templates_strict=self.meta.faults.templates_strict)
        return refused or self._address(number, body)

    def _address(self, number: Number, body: dict[str, Any]) -> Addressed | Refusal:
        to, world = body.get("to"), self.meta.world
        kind = body.get("type", "text")
        if not to:
            try:
                customer = world.customer_by_user_id(body["recipient"])
            except Unknown:
                return Refusal(131026, "Message undeliverable", "Recipient is unknown.")
            return Addressed(number, customer, body, kind, body["recipient"], by_user_id=True, lost=False)
        if not 5 <= len(digits(to)) <= 128:
            return answers.value("Parameter to is not a phone number.")
        if digits(to) == number.display:
            return Refusal(131021, "Recipient cannot be sender", "Recipient and sender are the same.")
        lost = any(ch.isalpha() for ch in to)
        return Addressed(number, world.customer(to), body, kind, to, by_user_id=False, lost=lost)

    def _refusal(self, send: Addressed, serial: str) -> Refusal | None:
        meta, faults, now = self.meta, self.meta.faults, time.monotonic()
        number = send.number.phone_number_id
        if meta.dice.hits(faults.error131000_p, "error131000", serial):
            return answers.UNKNOWN_ERROR
        open_now = meta.world.window_open(number, send.customer.wa_id, meta.clock())
        if send.kind != "template" and not open_now:
            return answers.WINDOW_CLOSED
        if not meta.throughput[number].admit(now, faults.number_mps):
            return answers.TOO_FAST
        pair = f"{number}:{send.customer.wa_id}"
        if not meta.pairs.admit(pair, now, faults.pair_interval_ms / 1000, faults.pair_burst):
            return answers.PAIR_TOO_FAST
        return None

    async def _accept(self, request: Request, raw: bytes, send: Addressed, serial: str) -> Response:
        meta, faults = self.meta, self.meta.faults
        message = self._message(send)
        hits = meta.dice.hits
        how = "answered"
        if hits(faults.cut_after_accept_p, "cut_after", serial):
            how = "cut"
        elif hits(faults.error500_after_accept_p, "empty_500", serial):
            how = "empty_500"
        elif hits(faults.unparsable_200_p, "unparsable", serial):
            how = "unparsable"
        early = hits(faults.status_before_response_p, "early", serial)
        meta.post_api_message(send.number, send.customer, message, early=early, lost=send.lost)
        self._record(request, raw, message, None, how)
        if early:
            await self.meta.pause(faults.status_delay_ms / 1000)
        return self._answer(send, message, how)

    def _message(self, send: Addressed) -> Message:
        world, wamid, content = self.meta.world, self.meta.world.wamid(), send.body[send.kind]
        if send.kind in {"image", "video", "audio", "document", "sticker"}:
            media_id = content.get("id") or contents.media_id(send.kind, self.meta.dice, "link", wamid)
            content = contents.media_object(
                send.kind, media_id, content.get("caption"), self.meta.uploads.get(media_id)
            )
        elif send.kind == "reaction" and (target := world.messages.get(content["message_id"])):
            target.reactions["api"] = content.get("emoji", "")
        return Message(
            wamid=wamid,
            number=send.number.phone_number_id,
            contact=send.customer.wa_id,
            side="api",
            kind=send.kind,
            content=content,
            at_s=int(self.meta.clock()),
            reply_to=(send.body.get("context") or {}).get("message_id"),
            status="accepted",
            callback=send.body.get("biz_opaque_callback_data"),
        )

    def _answer(self, send: Addressed, message: Message, how: str) -> Response:
        if how == "cut":
            return CutConnection()
        if how == "empty_500":
            return Response(status_code=500)
        if how == "unparsable":
            return Response("<html><body>OK</body></html>", media_type="text/html")
        wa_id = None if send.by_user_id else send.customer.wa_id
        user_id = send.customer.user_id if send.by_user_id else None
        template = send.kind == "template"
        return answer(answers.accepted(send.to, wa_id, user_id, message.wamid, template=template))

    def _record(self, request: Request, raw: bytes, message: Message | None, code: int | None, how: str) -> None:
        to, callback = _addressee(raw) if message is None else (message.contact, message.callback)
        send = ledger.Send(
            number=request.path_params["node"],
            to=to,
            wamid=message.wamid if message else None,
            code=code,
            callback=callback,
            body_sha256=sha256(raw).hexdigest(),
            at_s=self.meta.clock(),
            answer=how,
        )
        self.meta.ledger.sent(send)
        if self.meta.feed.heard:
            self.meta.feed.tell("graph.send", wamid=send.wamid, code=code, callback=callback, answer=how)


def _addressee(raw: bytes) -> tuple[str, str | None]:
    """Return to whom a refused body was addressed and its token, as far as it can be read."""
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return "", None
    if not isinstance(body, dict):
        return "", None
    callback = body.get("biz_opaque_callback_data")
    to = body.get("to") or body.get("recipient") or ""
    return digits(str(to)), callback if isinstance(callback, str) else None
