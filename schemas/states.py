"""States that more than one processor looks at. Their owner alone writes them; the others read them as `foreign`."""

from schemas.ports import State

PERSON_APP = "person_app"
AGENT = "agent"
BOT = "bot"
UNKNOWN = "unknown"
CLAIMS_MAX = 8
"""Claims remembered per conversation: enough to fall back when one of them turns out to be our own send."""
UNREAD_MAX = 100
WINDOW_S = 24 * 3600
"""The customer service window: 24 h after the last live inbound message (Meta contract, quick facts)."""

MESSAGES = "echo_sync.messages"
CONVERSATIONS = "echo_sync.conversations"
DELIVERY = "sender.delivery"


class Alias(State):
    """One identity of a person at a number, and the conversation it leads to. Owner: echo_sync.messages."""

    conversation: str = ""
    claimed_at: float = 0


class Standing(State):
    """How a number stands in one respect: the newest word on it, since when, until when (0: for good), and why."""

    at: float = 0
    value: str = ""
    until: float = 0
    why: str = ""


class Number(State):
    """A business number as we know it. Owner: echo_sync.messages.

    `standings` by respect, see `echo_sync.lifecycle`; `paused_because` follows from them and is what the sender reads.
    `people_per_day`: to so many it may write first in 24 hours; -1 to any, 0 where Meta has not told.
    """

    number: str = ""
    waba: str = ""
    business_phone: str = ""
    rate_per_s: int = 20
    paused_because: str = ""
    changed_at: float = 0
    standings: dict[str, Standing] = {}
    people_per_day: int = 0
    limits_at: float = 0


class Claim(State):
    """Somebody took the conversation, or gave it back, at an instant, until another one."""

    at: float = 0
    id: str = ""
    who: str = ""
    until: float = 0


class Conversation(State):
    """The state of one conversation. Owner: echo_sync.conversations.

    Every field is a maximum, a set or a last-writer-wins over event time, so that any order of the same facts leads
    to the same state; who owns it now follows from the claims and the clock.
    """

    number: str = ""
    conversation_id: str = ""
    wa_id: str = ""
    user_id: str = ""
    username: str = ""
    name: str = ""
    claims: list[Claim] = []
    bot_seen: bool = False
    inbound: list[tuple[float, str]] = []
    last_inbound_at: float = 0
    last_outbound_at: float = 0
    newest_at: float = 0
    newest_id: str = ""
    window_until: float = 0
    assignee: str = ""
    assigned_at: float = 0
    version: int = 0
    merged_into: str = ""
    told: bytes = b""


def alias_key(number: str, identity: str) -> str:
    """Where the alias of an identity (`u:…` a user id, `p:…` a phone's match key) is kept."""
    return f"i/{number}/{identity}"


def number_key(number: str) -> str:
    """Where a number is kept."""
    return f"n/{number}"


def conversation_key(conversation_id: str) -> str:
    """Where the state of a conversation is kept."""
    return f"v/{conversation_id}"


def claim_now(conversation: Conversation, now: float) -> Claim | None:
    """The newest claim, when it still holds; None after a release or once its time is over."""
    if not conversation.claims:
        return None
    released = max((_order(c) for c in conversation.claims if c.who == BOT), default=(float("-inf"), 0, ""))
    holding = [c for c in conversation.claims if c.who != BOT and c.until > now and _order(c) > released]
    return max(holding, key=lambda c: (c.until, c.id), default=None)


def owner_now(conversation: Conversation, now: float) -> str:
    """Who is the customer-facing party: person_app, agent, bot or unknown."""
    claim = claim_now(conversation, now)
    if claim is not None:
        return claim.who
    return BOT if conversation.claims or conversation.bot_seen else UNKNOWN


def _order(claim: Claim) -> tuple[float, int, str]:
    return claim.at, claim.who == BOT, claim.id
