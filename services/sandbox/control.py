"""The control API, for the page and for tests: act as people, read ledger and chats, make trouble."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Annotated, Any, Literal, TypeVar

import httpx
import msgspec
import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from services.sandbox import faults, triggers
from services.sandbox.faults import FaultError
from services.sandbox.graph import answer
from services.sandbox.history import HistoryPlan, import_history
from services.sandbox.ledger import Item
from services.sandbox.meta import Draft, Meta
from services.sandbox.traffic import Plan, Traffic
from services.sandbox.world import Chat, Unknown

PREFIX = "/sandbox/api"
BODY_BYTES_MAX = 1 << 20  # the largest control body is a few hundred bytes
ITEMS_PER_CHUNK = 1000
S = TypeVar("S", bound=msgspec.Struct)


class Change(msgspec.Struct, forbid_unknown_fields=True):
    """Body of edit and revoke."""

    wamid: str
    side: Literal["customer", "app"]
    text: str = ""


class InChat(msgspec.Struct, forbid_unknown_fields=True):
    """Body of customer/read and window: a chat; `expires_in_s` moves the window's end, 0 closes it."""

    number: str
    contact: str
    expires_in_s: float = 0.0


class Target(msgspec.Struct, forbid_unknown_fields=True):
    """Body of webhook: where updates go from now on."""

    url: str
    app_secret: str | None = None


class Offline(msgspec.Struct, forbid_unknown_fields=True):
    """Body of offline: for how long; 0 ends it."""

    seconds: Annotated[float, msgspec.Meta(ge=0, le=3600)] = 30.0


class Patience(msgspec.Struct, forbid_unknown_fields=True):
    """Body of flush."""

    timeout_s: float = 10.0


class Trigger(msgspec.Struct, forbid_unknown_fields=True):
    """Body of trigger; `times` queues it as often."""

    name: str
    number: str | None = None
    contact: str | None = None
    text: str | None = None
    target: str | None = None
    times: int = 1


def problem(status: int, detail: str) -> Response:
    """Return an RFC 9457 answer."""
    content = {"type": "about:blank", "title": "This cannot be done.", "status": status, "detail": detail}
    return Response(orjson.dumps(content), status, media_type="application/problem+json")


async def _read(request: Request, kind: type[S]) -> S:
    return msgspec.json.decode(await request.body() or b"{}", type=kind)


def _guarded(handler: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    async def guarded(request: Request) -> Response:
        if int(request.headers.get("content-length", "0")) > BODY_BYTES_MAX:
            return problem(413, "The body is too large.")
        try:
            return await handler(request)
        except Unknown as error:
            return problem(404, str(error))
        except (msgspec.DecodeError, FaultError, ValueError) as error:
            return problem(400, str(error))

    return guarded


class Control:
    """The endpoints under `/sandbox/api`."""

    def __init__(self, meta: Meta, traffic: Traffic) -> None:
        self._meta = meta
        self._traffic = traffic

    def routes(self) -> list[Route]:
        """Return the route table."""
        table: list[tuple[str, str, Callable[[Request], Awaitable[Response]]]] = [
            ("GET", "/ledger", self.ledger),
            ("GET", "/ledger/items", self.items),
            ("GET", "/ledger/sends", self.sends),
            ("GET", "/numbers", self.numbers),
            ("GET", "/chats", self.chats),
            ("GET", "/chats/{number}/{contact}", self.chat),
            ("POST", "/customer/messages", self.customer_messages),
            ("POST", "/customer/read", self.customer_read),
            ("POST", "/app/messages", self.app_messages),
            ("POST", "/edit", self.edit),
            ("POST", "/revoke", self.revoke),
            ("POST", "/window", self.window),
            ("GET", "/faults", self.read_faults),
            ("POST", "/faults", self.patch_faults),
            ("POST", "/offline", self.offline),
            ("GET", "/traffic", self.read_traffic),
            ("POST", "/traffic", self.start_traffic),
            ("DELETE", "/traffic", self.stop_traffic),
            ("POST", "/flush", self.flush),
            ("POST", "/trigger", self.trigger),
            ("POST", "/history", self.history),
            ("GET", "/webhook", self.read_webhook),
            ("POST", "/webhook", self.set_webhook),
            ("GET", "/webhooks", self.webhooks),
            ("POST", "/verify", self.verify),
            ("GET", "/events", self.events),
        ]
        return [Route(PREFIX + path, _guarded(handler), methods=[method]) for method, path, handler in table]

    async def ledger(self, _request: Request) -> Response:
        """Return the counters."""
        delivery = self._meta.delivery
        now = {"outstanding": delivery.outstanding, "offline_s": round(delivery.offline_s, 3)}
        return answer(self._meta.ledger.summary() | now | {"seed": self._meta.config.seed})

    async def items(self, request: Request) -> Response:
        """Stream every item as NDJSON; `?kind=` and `?unacknowledged=1` filter."""
        kind, unacknowledged = request.query_params.get("kind"), "unacknowledged" in request.query_params
        wanted = (
            item
            for item in self._meta.ledger.items()
            if (kind is None or item.ref.kind == kind) and not (unacknowledged and item.acknowledged)
        )
        return StreamingResponse(_ndjson(wanted), media_type="application/x-ndjson")

    async def sends(self, _request: Request) -> Response:
        """Return every request to the messages endpoint."""
        return answer(self._meta.ledger.sends())

    async def numbers(self, _request: Request) -> Response:
        """Return the business numbers."""
        return answer(
            [
                {"number": n.phone_number_id, "waba": n.waba, "display": n.display, "name": n.name}
                for n in self._meta.world.numbers.values()
            ]
        )

    async def chats(self, request: Request) -> Response:
        """Return the chats, of one number with `?number=`, the latest first."""
        number = request.query_params.get("number")
        chats = [c for c in self._meta.world.chats.values() if c.messages and number in {None, c.number}]
        chats.sort(key=lambda chat: chat.messages[-1].at_s, reverse=True)
        return answer([self._chat_line(chat) for chat in chats])

    async def chat(self, request: Request) -> Response:
        """Return one chat as both phones show it, empty if they never wrote."""
        number = self._meta.world.number(request.path_params["number"])
        contact = request.path_params["contact"]
        chat = self._meta.world.chats.get((number.phone_number_id, contact))
        if chat is None:
            return answer({"number": number.phone_number_id, "contact": contact, "messages": []})
        return answer(self._chat_line(chat) | {"messages": [self._meta.view(m) for m in chat.messages]})

    async def customer_messages(self, request: Request) -> Response:
        """Let a customer write."""
        message = self._meta.customer_writes(await _read(request, Draft))
        return answer({"wamid": message.wamid, "contact": message.contact}, 201)

    async def app_messages(self, request: Request) -> Response:
        """Let the owner write in the Business App."""
        message = self._meta.app_writes(await _read(request, Draft))
        return answer({"wamid": message.wamid, "contact": message.contact}, 201)

    async def customer_read(self, request: Request) -> Response:
        """Let the customer read what the API sent."""
        chat = await _read(request, InChat)
        return answer({"read": self._meta.customer_reads(chat.number, chat.contact)})

    async def edit(self, request: Request) -> Response:
        """Let the author change a message; returns the id of the edit event."""
        change = await _read(request, Change)
        return answer({"wamid": self._meta.edit(change.wamid, change.text, change.side).refs[0].wamid})

    async def revoke(self, request: Request) -> Response:
        """Let the author delete a message; returns the id of the revoke event."""
        change = await _read(request, Change)
        return answer({"wamid": self._meta.revoke(change.wamid, change.side).refs[0].wamid})

    async def window(self, request: Request) -> Response:
        """Move the end of the customer service window of a chat."""
        chat = await _read(request, InChat)
        number = self._meta.world.number(chat.number).phone_number_id
        found = self._meta.world.chat(number, self._meta.world.customer(chat.contact).wa_id)
        found.window_expires_s = self._meta.clock() + chat.expires_in_s
        return answer(self._chat_line(found))

    async def read_faults(self, _request: Request) -> Response:
        """Return the settings."""
        return answer(faults.as_dict(self._meta.faults))

    async def patch_faults(self, request: Request) -> Response:
        """Change some settings, all or none."""
        changes = msgspec.json.decode(await request.body(), type=dict[str, Any])
        faults.patch(self._meta.faults, changes)
        self._meta.delivery.wake()
        self._meta.feed.tell("faults.changed", **changes)
        return await self.read_faults(request)

    async def offline(self, request: Request) -> Response:
        """Deliver nothing for a while; it ends by itself, whoever still looks."""
        self._meta.delivery.go_offline((await _read(request, Offline)).seconds)
        return answer({"offline_s": round(self._meta.delivery.offline_s, 3)})

    async def read_traffic(self, _request: Request) -> Response:
        """Return the running plan, null if people are silent."""
        return answer(self._traffic.plan and msgspec.structs.asdict(self._traffic.plan))

    async def start_traffic(self, request: Request) -> Response:
        """Start people talking by themselves."""
        self._traffic.start(await _read(request, Plan))
        return await self.read_traffic(request)

    async def stop_traffic(self, _request: Request) -> Response:
        """Let them fall silent."""
        self._traffic.stop()
        return Response(status_code=204)

    async def flush(self, request: Request) -> Response:
        """Return when nothing is queued or on its way, or after `timeout_s`."""
        patience = await _read(request, Patience)
        outstanding = await self._meta.delivery.settled(patience.timeout_s)
        return answer({"outstanding": outstanding, "unacknowledged": self._meta.ledger.unacknowledged})

    async def trigger(self, request: Request) -> Response:
        """Queue one of the named updates."""
        wanted = await _read(request, Trigger)
        updates = triggers.updates_of(self._meta, wanted.name, triggers.Ask(
            number=wanted.number, contact=wanted.contact, text=wanted.text, target=wanted.target
        ))  # fmt: skip
        for update in updates * max(wanted.times, 1):
            self._meta.delivery.push(update)
        return answer({"items": [ref.key for update in updates for ref in update.refs]}, 202)

    async def history(self, request: Request) -> Response:
        """Queue the chunks of a history sync."""
        keys = import_history(self._meta, await _read(request, HistoryPlan))
        return answer({"chunks": len(keys), "items": keys}, 202)

    async def read_webhook(self, _request: Request) -> Response:
        """Return where updates go."""
        return answer({"url": self._meta.delivery.url})

    async def set_webhook(self, request: Request) -> Response:
        """Send updates somewhere else from now on."""
        target = await _read(request, Target)
        self._meta.delivery.aim(target.url, target.app_secret)
        return await self.read_webhook(request)

    async def webhooks(self, request: Request) -> Response:
        """Return recent POSTs as signed, `?item=` those with this item; kept while a page listens."""
        item = request.query_params.get("item")
        return answer([post for post in self._meta.delivery.recent if item is None or item in post["items"]])

    async def verify(self, _request: Request) -> Response:
        """Do the verification handshake with the webhook (Meta contract 1.1)."""
        if self._meta.delivery.url is None:
            raise ValueError("No webhook URL is set.")
        challenge = self._meta.dice.digits(10, "challenge", str(self._meta.clock()))
        token = self._meta.config.verify_token
        query = {"hub.mode": "subscribe", "hub.challenge": challenge, "hub.verify_token": token}
        try:
            async with httpx.AsyncClient(timeout=5) as client:
                got = await client.get(self._meta.delivery.url, params=query)
        except httpx.HTTPError as error:
            return answer({"verified": False, "status": None, "because": type(error).__name__})
        verified = got.status_code == 200 and got.text == challenge
        return answer({"verified": verified, "status": got.status_code})

    async def events(self, _request: Request) -> Response:
        """Stream everything that happens."""
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(self._meta.feed.listen(), media_type="text/event-stream", headers=headers)

    def _chat_line(self, chat: Chat) -> dict[str, Any]:
        customer = self._meta.world.customer(chat.contact)
        return {
            "number": chat.number,
            "contact": chat.contact,
            "name": customer.name,
            "user_id": customer.user_id,
            "language": customer.language,
            "window_expires_s": chat.window_expires_s,
            "count": len(chat.messages),
        }


async def _ndjson(items: Iterator[Item]) -> AsyncIterator[bytes]:
    chunk: list[bytes] = []
    for item in items:
        chunk.append(orjson.dumps(item.as_dict()))
        if len(chunk) == ITEMS_PER_CHUNK:
            yield b"\n".join(chunk) + b"\n"
            chunk.clear()
    if chunk:
        yield b"\n".join(chunk) + b"\n"
