"""Whose echo is this: a person's in the app, or our own send come back?

The sender makes `send.attempted` durable before it opens the socket, so every echo that a send can cause lies behind
it. An echo with an unknown wamid is therefore decided at once, unless a send to that conversation is open; then it
waits for that send, and not for long. Text alone never decides: only one open, unanswered attempt with the same
recipient and the same content may claim an echo, and later proof takes that back (Meta contract 5.4, appendix B).
"""

import orjson

from schemas.ports import State, States

ECHO_WAIT_S = 15.0
"""How long an echo waits for an open send: longer than a request to Graph may take."""
ATTEMPT_OPEN_S = 120.0
"""After this an attempt without an answer holds up no echo any more."""
ATTEMPT_KEEP_S = 8 * 86_400.0
"""Meta repeats webhooks for seven days; evidence for an attempt is worth that long."""

OPEN, ACCEPTED, AMBIGUOUS, CLOSED = "open", "accepted", "ambiguous", "closed"


class Attempt(State):
    """One attempt of ours to send, from just before the socket opens until nothing can be heard of it any more."""

    number: str = ""
    token: str = ""
    command_id: str = ""
    conversation: str = ""
    kind: str = ""
    content: bytes = b""
    author: str = ""
    at: float = 0
    outcome: str = OPEN
    message_id: str = ""
    matched: str = ""


def attempt_key(number: str, token: str) -> str:
    """Where an attempt is kept."""
    return f"a/{number}/{token}"


def open_attempts(states: States, number: str, tokens: list[str]) -> list[Attempt]:
    """The attempts of a conversation that may still turn out to be an echo we hear."""
    found = (states.get(attempt_key(number, token)) for token in tokens)
    return [attempt for attempt in found if attempt is not None and attempt.outcome in (OPEN, AMBIGUOUS)]


def claimant(attempts: list[Attempt], kind: str, content: bytes) -> Attempt | None:
    """The one open attempt that the echo must be, by recipient and content; None where that is not certain."""
    unclaimed = [attempt for attempt in attempts if not attempt.matched]
    if len(unclaimed) != 1:
        return None
    attempt = unclaimed[0]
    return attempt if attempt.kind == kind and _said(attempt.kind, attempt.content) == _said(kind, content) else None


def _said(kind: str, content: bytes) -> object:
    """What a person would read in it: an echo leaves out how a send wanted to be shown."""
    try:
        said = orjson.loads(content)
    except orjson.JSONDecodeError:
        return content
    return said.get("body") if kind == "text" and isinstance(said, dict) else said


def must_wait(attempts: list[Attempt]) -> bool:
    """A request is under way: its answer will tell whether the echo is its own."""
    return any(attempt.outcome == OPEN for attempt in attempts)
