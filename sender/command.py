"""A command's life, and the lines it stands in: what `sender.delivery` keeps.

queued ──▶ open ──accepted──▶ accepted
▲         │ ├──refused────▶ rejected
│         │ └──no answer──▶ ambiguous ──evidence──▶ accepted
└─retry───┘                     └──window over──▶ unresolved (at_most_once) │ queued again (at_least_once)
queued ──▶ withdrawn │ expired │ cancelled
"""

from hashlib import blake2b
from typing import Any

import msgspec
import orjson
from msgspec import UNSET, Raw, UnsetType

from schemas.instants import parse_rfc3339
from schemas.items import Contact
from schemas.phones import digits, match_key
from schemas.ports import State
from schemas.states import Claim

QUEUED, OPEN, AMBIGUOUS = "queued", "open", "ambiguous"
ACCEPTED, REJECTED, UNRESOLVED = "accepted", "rejected", "unresolved"
WITHDRAWN, EXPIRED, CANCELLED = "withdrawn", "expired", "cancelled"
FINAL = frozenset({ACCEPTED, REJECTED, UNRESOLVED, WITHDRAWN, EXPIRED, CANCELLED})

SLOT_PREFIX = "x/"
BULK = "b/"
"""What the name of a person's bulk lane begins with."""
TEMPLATE, READ = "template", "read"
AT_MOST_ONCE, AT_LEAST_ONCE = "at_most_once", "at_least_once"


class OnlyIf(msgspec.Struct, forbid_unknown_fields=True):
    """Conditions under which alone a command may go. One that we do not know must not be taken for none."""

    no_message_after: str = ""
    not_taken_over: bool = False


class Request(msgspec.Struct):
    """The data of `send.requested` and `send.cancel`, as the hot path reads it."""

    command_id: str = ""
    number: str = ""
    to: str = ""
    message: Raw | UnsetType = UNSET
    origin: str = "bot"
    policy: str = ""
    lane: str = ""
    not_before: str = ""
    expires_at: str = ""
    only_if: OnlyIf | None = None
    defer_until_released: bool = False
    fallback: Raw | UnsetType = UNSET
    trace: str = ""


_requests = msgspec.json.Decoder(Request)


def read_request(data: bytes) -> Request:
    """A request as it was written; a null field is a missing one. Raises msgspec.DecodeError on anything else."""
    try:
        return _requests.decode(data)
    except msgspec.ValidationError:
        plain = msgspec.json.decode(data)
        if not isinstance(plain, dict):
            raise
        told = {name: value for name, value in plain.items() if value is not None}
        if isinstance(told.get("only_if"), dict):
            told["only_if"] = {name: value for name, value in told["only_if"].items() if value is not None}
        return _requests.decode(msgspec.json.encode(told))


class Command(State):
    """One command. `attempt` counts from 1; `opened_at` is when the last one was committed.

    `guessed`: only an echo says that `message_id` is it. `further`: other messages that it became,
    too, and one that came to nothing.
    `doubts`: attempts of which nothing was ever heard. `heard_s`: how long the last one was listened for.
    `template`: language/name of the template that `message` is.
    `place_at`: when the number may begin one more conversation, with this one.
    `fallback`: what takes the message's place outside the window; `fell_back`: it has.
    `written_at`: from when on it may have been sent; the later of when it was written and its `not_before`.
    """

    number: str = ""
    command_id: str = ""
    lane: str = ""
    slot: int = -1
    state: str = QUEUED
    digest: bytes = b""
    wa_id: str = ""
    user_id: str = ""
    message: bytes = b""
    kind: str = ""
    origin: str = "bot"
    policy: str = AT_MOST_ONCE
    expires_at: float = 0
    only_if: OnlyIf | None = None
    defer: bool = False
    deferred: bool = False
    requested_at: float = 0
    attempt: int = 0
    token: str = ""
    opened_at: float = 0
    message_id: str = ""
    refusals: int = 0
    doubtful: bool = False
    story: list[tuple[float, str, str]] = []
    doubts: int = 0
    guessed: bool = False
    further: list[str] = []
    returns: int = 0
    heard_s: float = 0
    template: str = ""
    fallback: bytes = b""
    fell_back: bool = False
    policy_is_asked: bool = False
    trace: str = ""
    written_at: float = 0
    place_at: float = 0

    def contact(self) -> Contact:
        """To whom it goes."""
        return Contact(wa_id=self.wa_id, user_id=self.user_id)


class Lane(State):
    """The line of commands to one recipient; the head alone may be under way.

    A recipient has two at the most: one for what is live, which keeps the pair's bucket for both, and one for bulk.
    `bulk_waits`: the recipient's bulk lane wants to know when this one is empty. `parked`: commands may wait for a
    person to let go of the conversation. `begun_at`: when the last template outside the window went.
    """

    number: str = ""
    lane: str = ""
    head: int = 0
    tail: int = 0
    in_flight: str = ""
    pair_tat: float = 0
    pair_refusals: int = 0
    doubted: bool = False
    bulk_waits: bool = False
    parked: bool = False
    begun_at: float = 0


class Slot(State):
    """A place in a lane."""

    command_id: str = ""


class Queue(State):
    """A number's own pace: its bucket, how many attempts are open, until when it is held, and what was learnt.

    `refused_share`: the part of its limit at which it was too fast at `refused_at`; 1 when it never was.
    `counts`: what came in, per second, up to `counted_s`; `sudden`: the most that came suddenly, last at `sudden_at`.
    `usage`: percent of the app's or account's quota, as told at `usage_at`. `holds`: since the last acceptance.
    `credit`: messages that may leave at once, after a lull. `holds_until`: of a slow number, when each place of its
    window is free again; `heard`: when the last inbound messages were heard of (`sender.window`).
    `live`, `bulk`: lanes of that sort may be standing.
    """

    number: str = ""
    tat: float = 0
    open: int = 0
    held_until: float = 0
    held_because: str = ""
    slowed_until: float = 0
    stood_at: float = 0
    live: bool = False
    bulk: bool = False
    refused_at: float = 0
    refused_share: float = 1
    counts: list[int] = []
    counted_s: int = 0
    sudden: int = 0
    sudden_at: float = 0
    usage: float = 0
    usage_at: float = 0
    holds: int = 0
    credit: int = 0
    holds_until: list[float] = []
    heard: list[float] = []


class Handovers(State):
    """Who took a conversation or let it go, as far as the sender has read it and its owner may not have yet."""

    number: str = ""
    conversation_id: str = ""
    claims: list[Claim] = []


def command_key(command_id: str) -> str:
    """Where a command is kept."""
    return f"k/{command_id}"


def lane_key(number: str, lane: str) -> str:
    """Where a lane is kept."""
    return f"l/{number}/{lane}"


def slot_key(number: str, lane: str, slot: int) -> str:
    """Where a place of a lane is kept."""
    return f"{SLOT_PREFIX}{number}/{slot:012d}/{lane}"


def queue_key(number: str) -> str:
    """Where a number's pace is kept."""
    return f"q/{number}"


def handovers_key(conversation_id: str) -> str:
    """Where it is kept what the sender has read of a conversation's handovers."""
    return f"h/{conversation_id}"


def recipient(to: str) -> Contact | None:
    """A phone or a user id (two letters, a dot, then the id); None for what is neither."""
    if len(to) > 3 and to[2] == "." and to[:2].isalpha():
        return Contact(user_id=to)
    phone = digits(to)
    return Contact(wa_id=phone) if phone else None


def live_lane(lane: str) -> str:
    """The name of the live lane beside a lane, or its own."""
    return lane.removeprefix(BULK)


def command_of(request: Request, number: str, to: Contact, now: float) -> Command:
    """The command that a fitting request becomes. Raises ValueError where a time in it is none."""
    message = bytes(request.message) if request.message is not UNSET else b"{}"
    parsed = orjson.loads(message)
    kind = kind_of(parsed)
    return Command(
        number=number,
        command_id=request.command_id,
        lane=request.lane + (f"r:{parsed.get('message_id')}" if kind == READ else lane_of(to)),
        digest=digest(request),
        wa_id=to.wa_id,
        user_id=to.user_id,
        message=message,
        kind=kind,
        origin=request.origin,
        policy=request.policy or default_policy(kind),
        policy_is_asked=bool(request.policy),
        expires_at=parse_rfc3339(request.expires_at) if request.expires_at else 0,
        only_if=request.only_if,
        defer=request.defer_until_released,
        requested_at=now,
        story=[(now, "send.requested", "")],
        template=template_of(message) if kind == TEMPLATE else "",
        fallback=_bytes(request.fallback),
        trace=request.trace,
    )


def lane_of(contact: Contact) -> str:
    """The line of a recipient, whichever variant of the phone was written."""
    return f"u:{contact.user_id}" if contact.user_id else f"p:{match_key(contact.wa_id)}"


def digest(request: Request) -> bytes:
    """What makes two requests under one command id the same."""
    plain = (
        request.number,
        request.to,
        bytes(request.message) if request.message is not UNSET else b"",
        *(request.origin, request.policy, request.not_before, request.expires_at, request.lane),
        *(request.defer_until_released, request.only_if),
        _bytes(request.fallback),
    )
    return blake2b(repr(plain).encode(), digest_size=16).digest()


def keyed_digest(key: bytes, request: Request) -> bytes:
    """The same, kept where nothing else names the person: without the key no phone can be tried against it."""
    return blake2b(digest(request), digest_size=16, key=key).digest()


def _bytes(fragment: Raw | UnsetType) -> bytes:
    return b"" if fragment is UNSET or bytes(fragment) == b"null" else bytes(fragment)


def kind_of(message: dict[str, Any]) -> str:
    """Meta's type of a message; or READ, which is none and only marks one of the customer's (Meta contract 6.4)."""
    return READ if "status" in message else str(message.get("type", "text"))


def template_of(message: bytes) -> str:
    """Language and name of the template that a message is, language/name; empty where it is none."""
    parsed = orjson.loads(message)
    template = parsed.get(TEMPLATE) if parsed.get("type") == TEMPLATE else None
    if not isinstance(template, dict) or not isinstance(language := template.get("language"), dict):
        return ""
    return f"{str(language.get('code', '')).replace('-', '_')}/{template.get('name', '')}"


def default_policy(kind: str) -> str:
    """Free-form replies are worth repeating; what is billed or means something once is not (design, sends)."""
    return AT_MOST_ONCE if kind in (TEMPLATE, "interactive") else AT_LEAST_ONCE


def story_of(command: Command) -> list[dict[str, Any]]:
    """What happened to a command, in order."""
    return [{"at": at, "event": event, "detail": detail} for at, event, detail in command.story]
