"""People talking by themselves: customers write, the Business App answers some, a few change their mind.

What happens is a pure function of the seed and of how many acts came before; only the pace is the clock's.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Annotated

import msgspec

from services.sandbox import people
from services.sandbox.config import Number
from services.sandbox.meta import Draft, Meta
from services.sandbox.world import Message

TICK_S = 0.01
RECENT = 64  # messages that may still be edited, deleted or answered by the script
BEHIND_S_MAX = 1.0  # after a stall the script catches up by this much and forgets the rest
EDIT_P, REVOKE_P, QUOTE_P, OTHER_KIND_P = 0.03, 0.01, 0.15, 0.12
OTHER_KINDS = ("image", "audio", "location", "sticker", "document", "contacts")
FIRST_PHONE = 34600100000  # invented people have consecutive phones from here

Rate = Annotated[float, msgspec.Meta(ge=0, le=100_000)]


class Plan(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """How lively it is. `echoes_ratio` is the owner's share of the messages; 0 `numbers` is all of them."""

    messages_per_s: Rate = 2.0
    echoes_ratio: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.4
    customers: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 5
    numbers: Annotated[int, msgspec.Meta(ge=0)] = 0
    seconds: Annotated[float, msgspec.Meta(ge=0)] | None = None


class Script:
    """The acts of a plan, one by one."""

    def __init__(self, meta: Meta, plan: Plan) -> None:
        self._meta = meta
        self._plan = plan
        self._numbers: list[Number] = list(meta.world.numbers.values())[: plan.numbers or None]
        self._acts = 0
        self._waiting: deque[Message] = deque(maxlen=RECENT)
        self._recent: deque[Message] = deque(maxlen=RECENT)

    def act(self) -> None:
        """Let the next thing happen."""
        self._acts += 1
        key = str(self._acts)
        roll = self._meta.dice.roll("act", key)
        if self._recent and roll < EDIT_P + REVOKE_P:
            self._change_mind(key, edit=roll < EDIT_P)
        elif self._meta.dice.roll("who", key) < self._plan.echoes_ratio:
            self._answer(key)
        else:
            self._ask(key)

    def _ask(self, key: str) -> None:
        dice, plan = self._meta.dice, self._plan
        place = int(dice.roll("number", key) * len(self._numbers))
        person = place * plan.customers + int(dice.roll("person", key) * plan.customers)
        customer = self._meta.world.customer(str(FIRST_PHONE + person))
        kind = "text"
        if dice.hits(OTHER_KIND_P, "kind", key):
            kind = dice.pick(OTHER_KINDS, "which_kind", key)
        text = dice.pick(people.CUSTOMER_LINES[customer.language], "line", key)
        number = self._numbers[place].phone_number_id
        message = self._meta.customer_writes(Draft(number, customer.wa_id, text, kind))
        self._waiting.append(message)
        self._recent.append(message)

    def _answer(self, key: str) -> None:
        if not self._waiting:
            self._ask(key)
            return
        dice = self._meta.dice
        question = self._waiting.popleft()
        customer = self._meta.world.customer(question.contact)
        text = dice.pick(people.APP_LINES[customer.language], "line", key)
        quoted = question.wamid if dice.hits(QUOTE_P, "quote", key) else None
        draft = Draft(question.number, customer.wa_id, text, reply_to=quoted)
        self._recent.append(self._meta.app_writes(draft))

    def _change_mind(self, key: str, *, edit: bool) -> None:
        message = self._meta.dice.pick(self._recent, "which", key)
        if message.revoked:
            return
        if not edit:
            self._meta.revoke(message.wamid, message.side)
        elif message.kind == "text":
            self._meta.edit(message.wamid, f"{message.content['body']} *", message.side)


class Traffic:
    """Runs one plan at a time at its pace."""

    def __init__(self, meta: Meta) -> None:
        self._meta = meta
        self._task: asyncio.Task[None] | None = None
        self.plan: Plan | None = None

    def start(self, plan: Plan) -> None:
        """Start a plan in place of the running one."""
        self.stop()
        self.plan = plan
        self._task = asyncio.create_task(self._run(plan))

    def stop(self) -> None:
        """Let people fall silent."""
        if self._task is not None:
            self._task.cancel()
        self._task, self.plan = None, None

    async def _run(self, plan: Plan) -> None:
        script = Script(self._meta, plan)
        started = last = time.monotonic()
        owed = 0.0
        while plan.seconds is None or last - started < plan.seconds:
            now = time.monotonic()
            owed = min(owed + (now - last) * plan.messages_per_s, plan.messages_per_s * BEHIND_S_MAX + 1)
            last = now
            while owed >= 1:
                script.act()
                owed -= 1
            await asyncio.sleep(TICK_S)
        self.plan = None
