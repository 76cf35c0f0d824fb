"""What a story can do: act as a customer, as the owner at the phone, as a bot or an agent, and look at the outcome.

People act at Meta (the sandbox), software over the service's own API: the same way as everybody's. Each act is
printed as it happens; `check` prints what the story promises, and ends it where that does not hold.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx

DEADLINE_S = 15.0
LOOK_S = 0.02
FINAL = frozenset({"accepted", "rejected", "withdrawn", "expired", "cancelled", "unresolved"})
T = TypeVar("T")


class StoryBroke(Exception):
    """Something that the story promises did not happen; the message says what."""


@dataclass(frozen=True, slots=True)
class Person:
    """A customer of the story."""

    name: str
    phone: str


class Stage:
    """One business number on both sides. `say` gets each line of the story as it happens."""

    def __init__(
        self,
        meta: httpx.AsyncClient,
        service: httpx.AsyncClient,
        say: Callable[[str], object],
        number: str,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        self._meta = meta
        self._service = service
        self._say = say
        self._number = number
        self._deadline_s = deadline_s

    # --- acting

    async def open(self) -> None:
        """Register the business number, so that it may send before anybody has written."""
        await self._api("POST", "/v1/numbers", {"number": self._number})

        async def is_known() -> bool:
            numbers = (await self._api("GET", "/v1/numbers"))["numbers"]
            return any(one["number"] == self._number for one in numbers)

        await self.until(is_known, "the number is registered")

    def scene(self, text: str) -> None:
        """What happens next, for people."""
        self._say(f"\n{text}")

    async def customer(
        self, who: Person, text: str, *, kind: str = "text", minutes_ago: float = 0, seconds_ago: float = 0
    ) -> str:
        """The customer writes; returns the message's id once it is on the timeline."""
        return await self._write("/customer/messages", who, f"{who.name}: {text}", text, kind, minutes_ago, seconds_ago)

    async def owner(self, who: Person, text: str, *, seconds_ago: float = 0) -> str:
        """Somebody answers in the Business App; returns the message's id once it is on the timeline."""
        line = f"  in the app, to {who.name}: {text}"
        return await self._write("/app/messages", who, line, text, "text", 0, seconds_ago)

    async def app_itself(self, who: Person, text: str, *, seconds_ago: float) -> str:
        """The Business App sends its greeting or away text by itself."""
        line = f"  the app by itself, to {who.name}: {text}"
        return await self._write("/app/messages", who, line, text, "text", 0, seconds_ago)

    async def owner_edits(self, wamid: str, text: str) -> None:
        """Whoever wrote it in the app changes it."""
        self._say(f"  in the app, edited: {text}")
        await self._control("/edit", {"wamid": wamid, "side": "app", "text": text})

    async def owner_deletes(self, wamid: str) -> None:
        """Whoever wrote it in the app deletes it for everyone."""
        self._say("  in the app: deleted for everyone")
        await self._control("/revoke", {"wamid": wamid, "side": "app"})

    async def send(self, who: Person, message: str | dict[str, Any], *, origin: str = "bot", **more: Any) -> str:
        """Software sends, a text or Meta's own message object; returns the id of its command."""
        body = {"type": "text", "text": {"body": message}} if isinstance(message, str) else message
        self._say(f"  {origin}, to {who.name}: {message if isinstance(message, str) else body['type']}")
        command = {"number": self._number, "to": who.phone, "origin": origin, **more, **body}
        return str((await self._api("POST", "/v1/messages", command))["command_id"])

    async def desk(self, who: Person, action: str, **body: Any) -> None:
        """Somebody at the agents' desk takes over, releases or assigns the conversation."""
        self._say(f"  at the desk: {action} {who.name} {body or ''}".rstrip())
        found = await self.conversation(who)
        await self._api("POST", f"/v1/conversations/{found['conversation_id']}/{action}", body)

    # --- looking

    async def outcome(self, command_id: str) -> str:
        """What became of a command in the end, with the reason where there is one: `withdrawn: taken_over`."""

        async def final() -> str:
            answer = await self._service.get(f"/v1/sends/{command_id}")
            if answer.status_code != httpx.codes.OK or (found := answer.json())["state"] not in FINAL:
                return ""
            if found["state"] == "withdrawn":
                return f"withdrawn: {found['story'][-1]['detail']}"
            return str(found["state"])

        return await self.until(final, f"an outcome of {command_id}")

    async def conversation(self, who: Person) -> dict[str, Any]:
        """The conversation as subscribers know it; empty where there is none yet."""
        found = await self._api("GET", f"/v1/conversations?number={self._number}&q={who.phone}")
        conversations: list[dict[str, Any]] = found["conversations"]
        return conversations[0] if conversations else {}

    async def timeline(self, who: Person) -> list[dict[str, Any]]:
        """The conversation's messages as subscribers know them, in order."""
        known = await self.conversation(who)
        if not known:
            return []
        found = await self._api("GET", f"/v1/conversations/{known['conversation_id']}/timeline")
        messages: list[dict[str, Any]] = found["messages"]
        return messages

    async def message(self, who: Person, wamid: str) -> dict[str, Any]:
        """One message of the timeline; empty where it is not there."""
        return next((one for one in await self.timeline(who) if one["message_id"] == wamid), {})

    async def phone(self, who: Person) -> list[dict[str, Any]]:
        """What the customer's phone shows of the chat."""
        chat = await self._control(f"/chats/{self._number}/{who.phone}")
        messages: list[dict[str, Any]] = chat["messages"]
        return messages

    async def check(self, promise: str, holds: Callable[[], Awaitable[Any]]) -> None:
        """Print what the story promises once it holds. Raises StoryBroke when it does not in time."""
        await self.until(holds, promise)
        self._say(f"    ✓ {promise}")

    async def check_outcome(self, promise: str, command_id: str, wanted: str = "accepted") -> None:
        """The same for what became of a command."""

        async def came_about() -> bool:
            return await self.outcome(command_id) == wanted

        await self.check(promise, came_about)

    async def until(self, look: Callable[[], Awaitable[T]], what: str) -> T:
        """What `look` returns as soon as that is true. Raises StoryBroke."""
        give_up = time.monotonic() + self._deadline_s
        while not (found := await look()):
            if time.monotonic() > give_up:
                raise StoryBroke(what)
            await asyncio.sleep(LOOK_S)
        return found

    # --- how

    async def _write(
        self, path: str, who: Person, line: str, text: str, kind: str, minutes_ago: float, seconds_ago: float
    ) -> str:
        self._say(line)
        at = time.time() - minutes_ago * 60 - seconds_ago
        body = {"number": self._number, "contact": who.phone, "name": who.name, "text": text, "kind": kind, "at": at}
        wamid = str((await self._control(path, body))["wamid"])
        await self.until(lambda: self.message(who, wamid), "every message on the timeline")
        return wamid

    async def _control(self, path: str, body: dict[str, Any] | None = None) -> Any:
        method = "GET" if body is None else "POST"
        answer = await self._meta.request(method, f"/sandbox/api{path}", json=body)
        answer.raise_for_status()
        return answer.json()

    async def _api(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        answer = await self._service.request(method, path, json=body)
        answer.raise_for_status()
        return answer.json()
