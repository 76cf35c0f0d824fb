"""What Meta does when somebody acts: the world changes, webhooks are due, the feed hears of it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any

import msgspec

from services.sandbox import contents, wire
from services.sandbox.config import Number, SandboxConfig
from services.sandbox.delivery import NO_TROUBLE, Delivery, Trouble
from services.sandbox.feed import Feed
from services.sandbox.ledger import Ledger
from services.sandbox.limits import Pairs, Throughput
from services.sandbox.wire import Change, Update
from services.sandbox.world import Customer, Message, Side, World

_RANK = {"accepted": 0, "sent": 1, "delivered": 2, "read": 3, "played": 4}
UNDELIVERABLE = {
    "code": 131026,
    "title": "Message undeliverable",
    "message": "Message undeliverable",
    "error_data": {"details": "The recipient cannot receive this message."},
}


class Draft(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"at_s": "at"}):
    """What a person types: kind and text, perhaps as an answer, as somebody new, or back-dated to `at`, in Unix time.

    It is the body of customer/messages and app/messages. `trouble` is for the delivery of this message alone:
    `{"duplicate": true, "drop200": true, "late_ms": 5000}`.
    """

    number: str
    contact: str
    text: str = ""
    kind: str = "text"
    name: str | None = None
    reply_to: str | None = None
    at_s: float | None = None
    hidden: bool | None = None
    trouble: Trouble = NO_TROUBLE


class Meta:
    """One world with its deliveries and ledger. A method that raises Unknown or ValueError did nothing."""

    def __init__(self, config: SandboxConfig, clock: Callable[[], float] = time.time) -> None:
        self.config = config
        self.clock = clock
        self.faults = config.faults
        self.world = World(config.seed, config.numbers, config.chat_messages_max)
        self.dice = self.world.dice
        self.ledger = Ledger(config.ledger_items_max)
        self.feed = Feed()
        self.uploads: dict[str, tuple[str, bytes]] = {}
        self.delivery = Delivery(
            config.app_secret, self.faults, self.dice, self.ledger, self.feed, url=config.webhook_url
        )
        self._leaving = asyncio.Event()
        self.pairs = Pairs()
        self.throughput = {number: Throughput() for number in self.world.numbers}

    def leave(self) -> None:
        """End event streams and everything that waits: the sandbox stops."""
        self.feed.close()
        self.delivery.leave()
        self._leaving.set()

    @property
    def leaving(self) -> bool:
        """Whether the sandbox stops."""
        return self._leaving.is_set()

    async def pause(self, seconds: float) -> None:
        """Wait for this long, or until the sandbox stops."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._leaving.wait(), seconds)

    def customer_writes(self, draft: Draft) -> Message:
        """Let a customer write: the message stands in both phones and a webhook is due."""
        number, customer, message = self._written(draft, "customer")
        self.throughput[draft.number].note(time.monotonic())
        extra = {"errors": [contents.UNSUPPORTED]} if message.kind == "unsupported" else None
        self.delivery.push(wire.inbound(number, customer, message, extra), trouble=draft.trouble)
        return message

    def app_writes(self, draft: Draft) -> Message:
        """Let the owner write in the Business App: an echo is due (Meta contract 5.4)."""
        number, customer, message = self._written(draft, "app")
        self.delivery.push(wire.echo(number, customer, message), trouble=draft.trouble)
        if self.dice.hits(self.faults.echo_statuses_p, "echo_statuses", message.wamid):
            self.statuses(number, customer, message)
        else:
            message.status = "delivered"
            self.tell("chat.status", message)
        return message

    def edit(self, wamid: str, text: str, side: Side) -> Update:
        """Let the author change a message (Meta contract 3.12)."""
        number, customer, message = self._own(wamid, side)
        content = contents.edited(message.kind, message.content, text)
        change = Change(self.world.wamid(), wamid, int(self.clock()), message.kind, content)
        message.content, message.edits = content, message.edits + 1
        update = wire.edit(number, customer, change, by_app=side != "customer")
        self.delivery.push(update)
        self.tell("chat.edited", message)
        return update

    def revoke(self, wamid: str, side: Side) -> Update:
        """Let the author delete a message for everyone (Meta contract 3.11)."""
        number, customer, message = self._own(wamid, side)
        message.revoked, message.content = True, None
        change = Change(self.world.wamid(), wamid, int(self.clock()))
        update = wire.revoke(number, customer, change, by_app=side != "customer")
        self.delivery.push(update)
        self.tell("chat.revoked", message)
        return update

    def customer_reads(self, number: str, contact: str) -> int:
        """Let the customer open the chat: every API message not read yet gets its `read`; return how many."""
        business, customer = self.world.number(number), self.world.customer(contact)
        unread = [
            message
            for message in self.world.chat(number, customer.wa_id).messages
            if message.side == "api" and message.status in {"accepted", "sent", "delivered"}
        ]
        for message in unread:
            self._status(business, customer, message, "read", 0.0)
        return len(unread)

    def post_api_message(
        self, number: Number, customer: Customer, message: Message, *, early: bool = False, lost: bool = False
    ) -> None:
        """Carry an accepted send into both phones; statuses, perhaps an echo, are due: `early` ones at once.

        A `lost` one, or one with bad luck, gets the status `failed` instead.
        """
        self.world.add(message)
        self.tell("chat.message", message)
        if lost or self.dice.hits(self.faults.failed_status_p, "failed", message.wamid):
            self._status(number, customer, message, "failed", self.faults.status_delay_ms / 1000)
            return
        step_s = 0.0 if early else self.faults.status_delay_ms / 1000
        if self.dice.hits(self.faults.api_echo_p, "api_echo", message.wamid):
            self.delivery.push(wire.echo(number, customer, message), step_s)
        self.statuses(number, customer, message, early=early)

    def statuses(self, number: Number, customer: Customer, message: Message, *, early: bool = False) -> None:
        """Queue `sent`, `delivered`, perhaps `read`, each a step after the last (Meta contract 4)."""
        step_s = self.faults.status_delay_ms / 1000
        names = ["sent", "delivered"]
        if self.dice.hits(self.faults.read_p, "read", message.wamid):
            names.append("read")
        for place, name in enumerate(names, start=0 if early else 1):
            self._status(number, customer, message, name, place * step_s)

    def tell(self, kind: str, message: Message, **more: Any) -> None:
        """Tell the feed about a message."""
        if self.feed.heard:
            self.feed.tell(kind, message=self.view(message), **more)

    def view(self, message: Message) -> dict[str, Any]:
        """Return a message as both phones show it."""
        return {
            "wamid": message.wamid, "number": message.number, "contact": message.contact,
            "side": message.side, "kind": message.kind, "content": message.content, "at_s": message.at_s,
            "reply_to": message.reply_to, "status": message.status, "edits": message.edits,
            "revoked": message.revoked, "reactions": message.reactions,
        }  # fmt: skip

    def _written(self, draft: Draft, side: Side) -> tuple[Number, Customer, Message]:
        number = self.world.number(draft.number)
        if not any(ch.isdigit() for ch in draft.contact):
            raise ValueError("contact must be a phone.")
        wamid = self.world.wamid()
        content = contents.content(draft.kind, draft.text, self.dice, wamid, draft.reply_to)
        customer = self.world.customer(draft.contact, draft.name, hidden=draft.hidden)
        message = Message(
            wamid=wamid,
            number=draft.number,
            contact=customer.wa_id,
            side=side,
            kind=draft.kind,
            content=content,
            at_s=int(self.clock() if draft.at_s is None else draft.at_s),
            reply_to=None if draft.kind == "reaction" else draft.reply_to,
        )
        self.world.add(message)
        if draft.kind == "reaction" and draft.reply_to in self.world.messages:
            self.world.messages[draft.reply_to].reactions[side] = content["emoji"]
        self.tell("chat.message", message, name=customer.name)
        return number, customer, message

    def _own(self, wamid: str, side: Side) -> tuple[Number, Customer, Message]:
        message = self.world.message(wamid)
        if (message.side == "customer") != (side == "customer"):
            raise ValueError("Only the author can do that.")
        if message.revoked:
            raise ValueError("This message was deleted.")
        return self.world.number(message.number), self.world.customer(message.contact), message

    def _status(self, number: Number, customer: Customer, message: Message, name: str, delay_s: float) -> None:
        at_s = int(self.clock() + delay_s)
        errors = (UNDELIVERABLE,) if name == "failed" else ()
        update = wire.status(number, customer, message, name, at_s=at_s, errors=errors)

        def apply() -> None:
            if _RANK.get(name, 9) > _RANK.get(message.status, 0):
                message.status = name
                self.tell("chat.status", message)

        self.delivery.push(update, delay_s, apply)
