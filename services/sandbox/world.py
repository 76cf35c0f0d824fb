"""The state of the world: businesses, customers and what stands in each chat. Pure: time is an argument."""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Literal

from services.sandbox import people
from services.sandbox.config import Number
from services.sandbox.dice import Dice

Side = Literal["customer", "app", "api"]
WINDOW_S = 24 * 3600  # the customer service window, Meta contract 0
_WHO = Dice(0)
_COUNTRIES = {"34": "ES", "33": "FR", "44": "GB", "49": "DE", "52": "MX", "55": "BR", "1": "US"}


class Unknown(LookupError):
    """A number, customer or message that this world does not have; the text says which kind."""


@dataclass(slots=True)
class Customer:
    """A person. `hidden` people show a user id and a user name instead of a phone (Meta contract 2.2)."""

    wa_id: str
    name: str
    user_id: str
    language: str
    hidden: bool = False


@dataclass(slots=True)
class Message:
    """One message as both phones show it. `content` is Meta's object for this kind; `at_s` is Unix time."""

    wamid: str
    number: str
    contact: str
    side: Side
    kind: str
    content: Any
    at_s: int
    reply_to: str | None = None
    status: str = "sent"
    edits: int = 0
    revoked: bool = False
    callback: str | None = None
    reactions: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Chat:
    """The messages between one number and one customer, oldest first, and when the window closes."""

    number: str
    contact: str
    messages: deque[Message] = field(default_factory=deque)
    window_expires_s: float = 0.0


class World:
    """Everything that exists.

    Ids of messages depend on the seed and on how many were issued before, on nothing else; who a customer is depends on
    the phone alone, so that one world knows the people of another.
    """

    def __init__(self, seed: int, numbers: Iterable[Number], chat_messages_max: int = 0) -> None:
        self.dice = Dice(seed)
        self.numbers = {number.phone_number_id: number for number in numbers}
        self.customers: dict[str, Customer] = {}
        self.chats: dict[tuple[str, str], Chat] = {}
        self.messages: dict[str, Message] = {}
        self._by_user_id: dict[str, Customer] = {}
        self._seed = seed
        self._issued = 0
        self._chat_messages_max = chat_messages_max

    def wamid(self) -> str:
        """Return the next message id, opaque as Meta's (contract 0)."""
        self._issued += 1
        digest = blake2b(f"{self._seed}:{self._issued}".encode(), digest_size=27).digest()
        return "wamid.HBg" + base64.b64encode(digest).decode() + "AA=="

    def number(self, phone_number_id: str) -> Number:
        """Return a business number or raise Unknown."""
        try:
            return self.numbers[phone_number_id]
        except KeyError:
            raise Unknown("no such number in this sandbox") from None

    def number_of_waba(self, waba: str) -> list[Number]:
        """Return the numbers of a WABA, perhaps none."""
        return [number for number in self.numbers.values() if number.waba == waba]

    def message(self, wamid: str) -> Message:
        """Return a message or raise Unknown."""
        try:
            return self.messages[wamid]
        except KeyError:
            raise Unknown("no such message in this sandbox") from None

    def customer(self, phone: str, name: str | None = None, *, hidden: bool | None = None) -> Customer:
        """Return the person with this phone, made up if new; `name` and `hidden` replace what was known."""
        wa_id = digits(phone)
        found = self.customers.get(wa_id) or self.customers.get(variant(wa_id))
        if found is None:
            found = self.customers[wa_id] = self._invent(wa_id)
            self._by_user_id[found.user_id] = found
        if name:
            found.name = name
        if hidden is not None:
            found.hidden = hidden
        return found

    def customer_by_user_id(self, user_id: str) -> Customer:
        """Return the person with this user id or raise Unknown."""
        try:
            return self._by_user_id[user_id]
        except KeyError:
            raise Unknown("no such user id in this sandbox") from None

    def chat(self, number: str, contact: str) -> Chat:
        """Return the chat between number and customer, empty if new."""
        key = (number, contact)
        found = self.chats.get(key)
        if found is None:
            found = self.chats[key] = Chat(number, contact)
        return found

    def add(self, message: Message) -> Message:
        """Put a message into its chat; a customer's message opens the window for 24 hours (contract 0)."""
        chat = self.chat(message.number, message.contact)
        chat.messages.append(message)
        self.messages[message.wamid] = message
        if message.side == "customer":
            chat.window_expires_s = max(chat.window_expires_s, message.at_s + WINDOW_S)
        if self._chat_messages_max and len(chat.messages) > self._chat_messages_max:
            self.messages.pop(chat.messages.popleft().wamid, None)
        return message

    def window_open(self, number: str, contact: str, now_s: float) -> bool:
        """Return whether free-form messages may go to this customer now."""
        return self.chat(number, contact).window_expires_s > now_s

    def _invent(self, wa_id: str) -> Customer:
        dice = _WHO
        country = next((code for prefix, code in _COUNTRIES.items() if wa_id.startswith(prefix)), "ES")
        first = dice.pick(people.FIRST_NAMES, "first", wa_id)
        return Customer(
            wa_id=wa_id,
            name=f"{first} {dice.pick(people.FAMILY_NAMES, 'family', wa_id)}",
            user_id=f"{country}.{dice.digits(20, 'user', wa_id)}",
            language=dice.pick(people.LANGUAGES, "language", wa_id),
        )


def digits(phone: str) -> str:
    """Return only the digits of a phone."""
    return "".join(ch for ch in phone if ch.isascii() and ch.isdigit())


def variant(wa_id: str) -> str:
    """Return the other spelling of a Mexican or Brazilian mobile, or the same digits (Meta contract 12.3)."""
    if wa_id.startswith("521") and len(wa_id) == 13:
        return "52" + wa_id[3:]
    if wa_id.startswith("52") and len(wa_id) == 12:
        return "521" + wa_id[2:]
    if wa_id.startswith("55") and len(wa_id) == 13 and wa_id[4] == "9":
        return wa_id[:4] + wa_id[5:]
    if wa_id.startswith("55") and len(wa_id) == 12 and wa_id[4] in "6789":
        return wa_id[:4] + "9" + wa_id[4:]
    return wa_id
