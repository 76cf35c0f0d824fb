"""The commands that are not over yet, and why each of them waits.

Whatever is not over stands in an index already: an attempt that is under way or in doubt has a timer, a lane that
waits for an instant has one, and a lane that waits for its number stands in the number's line. So this asks the store
three bounded questions instead of looking at every command there ever was.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from schemas.instants import rfc3339
from schemas.items import Contact
from schemas.ports import FAR, State
from schemas.states import (
    CONVERSATIONS,
    DELIVERY,
    MESSAGES,
    Alias,
    Conversation,
    Number,
    alias_key,
    claim_now,
    conversation_key,
    number_key,
)
from schemas.topics import partition_of
from sender.command import (
    AMBIGUOUS,
    BULK,
    FINAL,
    OPEN,
    Command,
    Lane,
    Queue,
    Slot,
    command_key,
    lane_key,
    lane_of,
    queue_key,
    slot_key,
)
from sender.conditions import taken_over
from sender.pace import number_wait_s
from sender.pacing import PAIR_BURST, PAIR_INTERVAL_S, wait_s
from services.api.numbers import numbers
from services.running import App
from services.shard import decode_state

COMMANDS_MAX = 500
"""Commands that one answer holds."""
SLOTS_MAX = 50
"""Commands of one lane that are looked at: whoever waits behind fifty waits for the first."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Why a command has not gone: a word in snake case, until when (0 where no instant is known), its place in line."""

    reason: str
    until: float = 0
    place: int = 0


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a command's turn depends on."""

    lane: Lane
    queue: Queue
    number: Number
    conversation: Conversation | None


class Shelf:
    """The states of `sender.delivery` on one shard, decoded as they are asked for."""

    def __init__(self, app: App, shard: int) -> None:
        self._app = app
        self._shard = shard

    async def one(self, kind: type[State], key: str, processor: str = DELIVERY) -> Any:
        """A state, or None."""
        found = await self._app.store.load(processor, self._shard, [key])
        return decode_state(kind, found[key]) if key in found else None

    async def many(self, kind: type[State], keys: Iterable[str]) -> list[Any]:
        """Those of the states that exist, in order."""
        wanted = list(keys)
        found = await self._app.store.load(DELIVERY, self._shard, wanted)
        return [decode_state(kind, found[key]) for key in wanted if key in found]

    async def lane(self, number: str, lane: str) -> list[Command]:
        """The commands of a lane that are not over, in their order."""
        state: Lane | None = await self.one(Lane, lane_key(number, lane))
        if state is None:
            return []
        places = range(state.head, min(state.tail, state.head + SLOTS_MAX))
        slots = await self.many(Slot, (slot_key(number, lane, place) for place in places))
        commands: list[Command] = await self.many(Command, (command_key(slot.command_id) for slot in slots))
        return [command for command in commands if command.state not in FINAL]


async def unfinished(app: App, number: str = "", limit: int = COMMANDS_MAX) -> list[dict[str, Any]]:
    """The commands of all numbers or of one that are not over, oldest first, each with why it waits."""
    found: dict[str, tuple[Shelf, Command]] = {}
    known = [state for state in await numbers(app) if number in ("", state.number)]
    for shard in sorted({partition_of(state.number, app.log.partitions) for state in known}):
        shelf = Shelf(app, shard)
        here = {state.number for state in known if partition_of(state.number, app.log.partitions) == shard}
        for command in await _on_shard(app, shelf, shard, here, limit):
            found.setdefault(command.command_id, (shelf, command))
    ordered = sorted(found.values(), key=lambda pair: pair[1].requested_at)[:limit]
    return [await _shown(app, shelf, command) for shelf, command in ordered]


async def waiting_for(app: App, conversation: Conversation) -> list[dict[str, Any]]:
    """The commands to one conversation that are not over, in their order, each with why it waits."""
    shelf = Shelf(app, partition_of(conversation.number, app.log.partitions))
    contacts = (Contact(user_id=conversation.user_id), Contact(wa_id=conversation.wa_id))
    lanes = [lane_of(contact) for contact in contacts if contact.user_id or contact.wa_id]
    commands = [command for lane in lanes for command in await shelf.lane(conversation.number, lane)]
    return [await _shown(app, shelf, command) for command in commands]


async def _on_shard(app: App, shelf: Shelf, shard: int, here: set[str], limit: int) -> list[Command]:
    timed = await app.store.due(DELIVERY, shard, FAR, limit)
    commands = await shelf.many(Command, (key for key in timed if key.startswith("k/")))
    lanes = [(state.number, state.lane) for state in await shelf.many(Lane, (k for k in timed if k.startswith("l/")))]
    for number in here:
        heads = await app.store.heads(DELIVERY, shard, f"ready/{number}", FAR, limit)
        lanes.extend((number, decode_state(Lane, value).lane) for _, value in heads)
    lanes.extend((command.number, command.lane) for command in commands)
    queued = [command for number, lane in dict.fromkeys(lanes) for command in await shelf.lane(number, lane)]
    return [one for one in (*commands, *queued) if one.number in here and one.state not in FINAL]


async def _shown(app: App, shelf: Shelf, command: Command) -> dict[str, Any]:
    alias: Alias | None = await shelf.one(Alias, alias_key(command.number, command.lane), MESSAGES)
    conversation = await _conversation(shelf, alias.conversation) if alias is not None else None
    around = Surroundings(
        await shelf.one(Lane, lane_key(command.number, command.lane)) or Lane(),
        await shelf.one(Queue, queue_key(command.number)) or Queue(),
        await shelf.one(Number, number_key(command.number), MESSAGES) or Number(),
        conversation,
    )
    waiting = why(command, around, app.clock())
    shown = about(command) | {"waits_for": waiting.reason, "place": waiting.place}
    if waiting.until:
        shown["until"] = rfc3339(waiting.until)
    if conversation is not None:
        shown["conversation_id"] = conversation.conversation_id
        shown["name"] = conversation.name or conversation.username
    return shown


async def _conversation(shelf: Shelf, conversation_id: str) -> Conversation | None:
    found: Conversation | None = await shelf.one(Conversation, conversation_key(conversation_id), CONVERSATIONS)
    return await _conversation(shelf, found.merged_into) if found is not None and found.merged_into else found


def about(command: Command) -> dict[str, Any]:
    """What a command is, for a list."""
    return {
        "command_id": command.command_id,
        "number": command.number,
        "to": command.wa_id or command.user_id,
        "kind": command.kind,
        "origin": command.origin,
        "state": command.state,
        "attempt": command.attempt,
        "requested_at": rfc3339(command.requested_at),
    }


def why(command: Command, around: Surroundings, now: float) -> Waiting:
    """Why a command has not gone yet, in the order in which the sender asks. Pure."""
    if command.state == OPEN:
        return Waiting("answer", command.wake_at or 0)
    if command.state == AMBIGUOUS:
        return Waiting("evidence", command.wake_at or 0)
    if command.slot < 0:
        return Waiting("not_before", command.wake_at or 0)
    place = command.slot - around.lane.head
    if place > 0:
        return Waiting("its_turn", 0, place)
    return next((found for ask in _REASONS if (found := ask(command, around, now)) is not None), Waiting("its_turn"))


def _of_person(command: Command, around: Surroundings, now: float) -> Waiting | None:
    if around.conversation is None or not taken_over(around.conversation, command.origin, command.only_if, now):
        return None
    claim = claim_now(around.conversation, now)
    return Waiting("taken_over", claim.until if claim is not None else 0)


def _of_number(command: Command, around: Surroundings, now: float) -> Waiting | None:
    if around.number.paused_because:
        return Waiting(f"paused_{around.number.paused_because}")
    if around.queue.held_until > now:
        return Waiting(f"held_{around.queue.held_because}", around.queue.held_until)
    return None


def _of_lane(command: Command, around: Surroundings, now: float) -> Waiting | None:
    pair = wait_s(around.lane.pair_tat, now, PAIR_INTERVAL_S, PAIR_BURST)
    if pair > 0:
        return Waiting("pair_limit", now + pair)
    if around.lane.place is not None and around.lane.place > now:
        told = [detail for _, event, detail in command.story if event == "send.deferred"]
        return Waiting(told[-1] if told else "retry", around.lane.place)
    return None


def _of_bucket(command: Command, around: Surroundings, now: float) -> Waiting | None:
    bucket = number_wait_s(around.queue, around.number.rate_per_s, now, bulk=command.lane.startswith(BULK))
    return Waiting("rate_limit", now + bucket) if bucket > 0 or around.queue.open else None


_REASONS: tuple[Callable[[Command, Surroundings, float], Waiting | None], ...] = (
    _of_person,
    _of_number,
    _of_lane,
    _of_bucket,
)
