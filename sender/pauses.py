"""What rests after a refusal: a template, a number's marketing, or all that begins a conversation.

Meta says so by an error code, at once or in a status, and names no end; so each rests for the time that its code is
known to last, and is then tried again. Newer word on the template itself ends its rest sooner (Meta contract 7.3, 8.3).
"""

import copy
from typing import NamedTuple

from schemas.ports import State
from schemas.states import Standing
from sender.command import Command
from sender.turn import Turn

HOUR_S = 3600.0
DAY_S = 24 * HOUR_S

TEMPLATE, MARKETING, INITIATED = "template", "marketing", "initiated"


class Rest(NamedTuple):
    """What an error code lets rest, for how long (0: until newer word), and what commands are told."""

    scope: str
    for_s: float
    reason: str


RESTS: dict[int, Rest] = {
    131048: Rest(INITIATED, 6 * HOUR_S, "spam_limited"),
    131063: Rest(MARKETING, DAY_S, "marketing_disabled"),
    131064: Rest(TEMPLATE, DAY_S, "template_misclassified"),
    132001: Rest(TEMPLATE, HOUR_S / 4, "template_missing"),
    132007: Rest(TEMPLATE, 0, "template_rejected"),
    132015: Rest(TEMPLATE, 3 * HOUR_S, "template_paused"),
    132016: Rest(TEMPLATE, 0, "template_disabled"),
    132068: Rest(TEMPLATE, DAY_S, "flow_blocked"),
    134102: Rest(TEMPLATE, HOUR_S, "template_unavailable"),
}
"""131048 is about what begins conversations; a reply that meets it holds the number instead."""


class Pauses(State):
    """What rests at a number, by scope: since when, until when (0: until newer word), and why."""

    number: str = ""
    resting: dict[str, Standing] = {}


def pauses_key(number: str) -> str:
    """Where it is kept what rests at a number."""
    return f"p/{number}"


def template_scope(template: str) -> str:
    """The scope of one template, `language/name`."""
    return f"{TEMPLATE}/{template}"


def resting(turn: Turn, number: str, scope: str) -> Standing | None:
    """What lets this rest now, or None."""
    known: Pauses | None = turn.get(pauses_key(number))
    found = known.resting.get(scope) if known is not None else None
    return found if found is not None and not 0 < found.until <= turn.now else None


def rest(turn: Turn, command: Command, code: int) -> None:
    """Let rest what a refusal of this command is about. What is over is forgotten on the way."""
    rule = RESTS.get(code)
    if rule is None or (rule.scope == TEMPLATE and not command.template):
        return
    scope = template_scope(command.template) if rule.scope == TEMPLATE else rule.scope
    until = turn.now + rule.for_s if rule.for_s else 0
    known: Pauses | None = turn.get(pauses_key(command.number))
    found = copy.copy(known) if known is not None else Pauses(number=command.number)
    kept = {name: standing for name, standing in found.resting.items() if not 0 < standing.until <= turn.now}
    found.resting = {**kept, scope: Standing(at=turn.now, value=rule.reason, until=until, why=str(code))}
    turn.put(pauses_key(command.number), found)
