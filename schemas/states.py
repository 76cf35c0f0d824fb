"""States that more than one processor looks at. Their owner alone writes them; the others read them as `foreign`."""

from schemas.ports import State

PERSON_APP = "person_app"
AGENT = "agent"
BOT = "bot"
UNKNOWN = "unknown"
CLAIMS_MAX = 8
"""Claims remembered per conversation, those that hold longest: one of them may turn out to be our own send."""
OURS_MAX = 3
"""Sends through the API remembered per conversation, the first: one of them may turn out to be a person's message."""
ANSWERS_MAX = 8
"""Answers remembered per conversation, the newest: one of them may turn out to be a greeting."""
PAUSE_S_DEFAULT = 30 * 60.0
"""How long automation rests after a person answered, unless the settings say otherwise."""
WINDOW_S = 24 * 3600
"""The customer service window: 24 h after the last live inbound message (Meta contract, quick facts)."""

HEARD_STEP_S = 3600.0
"""How far `Reach.heard_at` may lie behind: a chat of an hour is written down once."""

ALL, MARKETING, BLOCKED, CAPPED = "all", "marketing", "blocked", "capped"
"""Scopes of wishes: everything, marketing only, the business's own block list, Meta's limit on marketing."""
STOP, OPT_IN = "stop", "opt_in"

RESTRICTION = "restriction"
"""The respect in which Meta restricts a number."""
RESTRICTED_INITIATED = "restricted_business_initiated"
"""Such a number may answer, and may not begin a conversation."""

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
    `phone_at`: when somebody last used the phone or a companion, to the day.
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
    phone_at: float = 0


class Reach(State):
    """How far a person may be written to. Owner: echo_sync.messages.

    `heard_at`: about when they last wrote, never later than that and behind by less than HEARD_STEP_S; it is kept in
    the commit that tells of the message, so whoever has read of it finds it here. `wishes` by scope (ALL, …).
    """

    number: str = ""
    conversation: str = ""
    heard_at: float = 0
    wishes: dict[str, Standing] = {}


class Template(State):
    """A message template as Meta last spoke of it, for a number or an account. Owner: echo_sync.messages.

    `status` and `category` in Meta's capitals, empty where nothing was ever told; `why` is Meta's reason or title.
    """

    owner: str = ""
    name: str = ""
    language: str = ""
    status: str = ""
    status_at: float = 0
    why: str = ""
    category: str = ""
    category_at: float = 0
    quality: str = ""
    quality_at: float = 0


class Claim(State):
    """Somebody took the conversation, or gave it back, at an instant, until another one."""

    at: float = 0
    id: str = ""
    who: str = ""
    until: float = 0


class Conversation(State):
    """The state of one conversation. Owner: echo_sync.conversations.

    Every field is a maximum, a set or a last-writer-wins over event time, so that any order of the same facts leads
    to the same state; who owns it now follows from the claims and the clock. `newest_…`: the last that a customer or a
    person of the business wrote. `answers`: when, which message, and whether a bot sent it. `inbound`: see
    `schemas.received`.
    """

    number: str = ""
    conversation_id: str = ""
    wa_id: str = ""
    user_id: str = ""
    username: str = ""
    name: str = ""
    claims: list[Claim] = []
    ours: list[tuple[float, str]] = []
    inbound: bytes = b""
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
    last_inbound_id: str = ""
    answers: list[tuple[float, str, bool]] = []


def alias_key(number: str, identity: str) -> str:
    """Where the alias of an identity (`u:…` a user id, `p:…` a phone's match key) is kept."""
    return f"i/{number}/{identity}"


def number_key(number: str) -> str:
    """Where a number is kept."""
    return f"n/{number}"


def message_key(number: str, message_id: str) -> str:
    """Where a message is kept. Others read its `place`: minus the second it was sent in, and a part for its order."""
    return f"m/{number}/{message_id}"


def conversation_key(conversation_id: str) -> str:
    """Where the state of a conversation is kept."""
    return f"v/{conversation_id}"


def reach_key(conversation_id: str) -> str:
    """Where it is kept how far a person may be written to."""
    return f"r/{conversation_id}"


def template_key(owner: str, language: str, name: str) -> str:
    """Where a template is kept; `owner` is a number or an account. Meta writes en-US and en_US for one language."""
    return f"t/{owner}/{language.replace('-', '_')}/{name}"


def claimed(claims: list[Claim], claim: Claim) -> list[Claim]:
    """The claims with one more, which may be known already: the newest release, and what may hold after it."""
    others = [known for known in claims if known.id != claim.id]
    known = [*others, claim]
    released = max((c for c in known if c.who == BOT), key=_order, default=None)
    holding = [c for c in known if c.who != BOT and (released is None or _order(c) > _order(released))]
    longest = sorted(holding, key=lambda c: (c.until, c.id))[-CLAIMS_MAX:]
    return longest if released is None else [released, *longest]


def claim_now(conversation: Conversation, now: float) -> Claim | None:
    """Of the claims that still hold, the one that holds longest; None after a release or once their time is over."""
    if not conversation.claims:
        return None
    holding = [claim for claim in conversation.claims if claim.who != BOT and claim.until > now]
    return max(holding, key=lambda c: (c.until, c.id), default=None)


def owner_now(conversation: Conversation, now: float) -> str:
    """Who is the customer-facing party: person_app, agent, bot or unknown."""
    return owner_by(conversation, claim_now(conversation, now))


def owner_by(conversation: Conversation, claim: Claim | None) -> str:
    """Who it is, given the claim that holds."""
    if claim is not None:
        return claim.who
    return BOT if conversation.claims or conversation.ours else UNKNOWN


def _order(claim: Claim) -> tuple[float, int, str]:
    return claim.at, claim.who == BOT, claim.id
