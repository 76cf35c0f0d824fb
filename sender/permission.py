"""Whether a command may be sent at all: its window, its template, what the person wants, what Meta allows the number.

Asked when a command has its turn. What Meta would refuse, or punish, is refused here and costs neither a request nor
the number's standing. Where we do not know, Meta decides.
"""

from typing import NamedTuple

from schemas.marks import Tombstone, stone_key
from schemas.ports import foreign
from schemas.states import (
    ALL,
    BLOCKED,
    CAPPED,
    MARKETING,
    MESSAGES,
    OPT_IN,
    RESTRICTED_INITIATED,
    RESTRICTION,
    STOP,
    WINDOW_S,
    Number,
    Reach,
    Template,
    alias_key,
    number_key,
    reach_key,
    template_key,
)
from sender import pauses
from sender.command import READ, TEMPLATE, Command, default_policy, lane_of, template_of
from sender.turn import STORY_MAX, Turn

PAUSED_S = {"FIRST_PAUSE": 3 * 3600.0, "SECOND_PAUSE": 6 * 3600.0}
PAUSED_S_MAX = 6 * 3600.0
"""How long Meta pauses a template (Meta contract 7.3). After it Meta decides, in case word of the end was lost."""
STOPPED = {
    "PAUSED": "template_paused",
    "DISABLED": "template_disabled",
    "REJECTED": "template_rejected",
    "DELETED": "template_deleted",
}
USABLE = frozenset({"APPROVED", "REINSTATED", "UNARCHIVED", "FLAGGED"})
"""Statuses of Meta contract 9.1 under which a template is sent; in the others that are not `STOPPED` Meta decides."""
WINDOW_CLOSED = "window_closed"
CLEARLY_OPEN_S = 300.0
"""A window that stays open for longer than this is not closed by a difference of clocks (Meta contract 12.4)."""


_REASONS = {130403: "blocked", 130497: "country_restricted", 131049: "marketing_limit", 131050: "opted_out"}


class Refusal(NamedTuple):
    """Why a command must not go, in snake case, and when it may be asked again; 0 where nobody knows."""

    reason: str
    until: float = 0


def refusal(turn: Turn, command: Command) -> Refusal | None:
    """Why a command must not go, or None. Outside the window its fallback first takes its place, where it has one."""
    if command.kind == READ:
        return None
    if command.kind != TEMPLATE and 0 < window_until(turn, command) <= turn.now:
        if not command.fallback:
            return Refusal("needs_template")
        fall_back(turn, command)
    template = _template(turn, command)
    marketing = _is_marketing(command, template)
    found = _of_person(turn, command, marketing=marketing) or _of_template(turn, command, template)
    return found or _of_number(turn, command, marketing=marketing)


def reason_of(code: int) -> str:
    """What a refusal of Meta is called where it says of more than this one command; empty for other codes."""
    rest = pauses.RESTS.get(code)
    return rest.reason if rest is not None else _REASONS.get(code, "")


def fall_back(turn: Turn, command: Command) -> None:
    """Let the template that was given for this case be what is sent."""
    command.message, command.fallback = command.fallback, b""
    command.kind, command.template, command.fell_back = TEMPLATE, template_of(command.message), True
    if not command.policy_is_asked:
        command.policy = default_policy(TEMPLATE)
    command.story = [*command.story, (turn.now, "fallback", WINDOW_CLOSED)][-STORY_MAX:]


def window_until(turn: Turn, command: Command) -> float:
    """Until when free-form messages may be sent; 0 where we do not know when the person last wrote.

    The conversation knows it exactly, but may be behind what its readers have seen already; the reach never is.
    """
    conversation, reach = turn.conversation(command.number, command.contact()), _reach(turn, command)
    known = conversation.window_until if conversation is not None else 0
    heard = reach.heard_at + WINDOW_S if reach is not None and reach.heard_at else 0
    return max(known, heard)


def is_clearly_open(turn: Turn, command: Command) -> bool:
    """Whether the window is open by all we know, and not about to close."""
    return window_until(turn, command) > turn.now + CLEARLY_OPEN_S


def begins(turn: Turn, command: Command) -> bool:
    """Whether it begins a conversation: a template outside the window, as far as we know."""
    return command.kind == TEMPLATE and window_until(turn, command) <= turn.now


def _reach(turn: Turn, command: Command) -> Reach | None:
    alias = turn.get(foreign(MESSAGES, alias_key(command.number, lane_of(command.contact()))))
    if alias is None:
        return None
    found: Reach | None = turn.get(foreign(MESSAGES, reach_key(alias.conversation)))
    return found


def _template(turn: Turn, command: Command) -> Template | None:
    if not command.template:
        return None
    language, _, name = command.template.partition("/")
    found: Template | None = turn.get(foreign(MESSAGES, template_key(command.number, language, name)))
    return found


def _is_marketing(command: Command, template: Template | None) -> bool:
    """Meta's word on the template where there is one; else whether it is part of a campaign."""
    if template is not None and template.category:
        return template.category == "MARKETING"
    return command.origin == "campaign"


def _of_person(turn: Turn, command: Command, *, marketing: bool) -> Refusal | None:
    reach = _reach(turn, command)
    if reach is None and (stopped := _before_erased(turn, command, marketing=marketing)):
        return stopped
    wishes = reach.wishes if reach is not None else {}

    def is_stopped(scope: str) -> bool:
        wish = wishes.get(scope)
        return wish is not None and wish.value == STOP and not 0 < wish.until <= turn.now

    if is_stopped(ALL):
        return Refusal("suppressed")
    if is_stopped(BLOCKED):
        return Refusal("blocked")
    if not marketing:
        return None
    if is_stopped(MARKETING):
        return Refusal("opted_out")
    if is_stopped(CAPPED):
        return Refusal("marketing_limit", wishes[CAPPED].until)
    asked = wishes.get(MARKETING)
    if turn.opt_in_required and (asked is None or asked.value != OPT_IN):
        return Refusal("no_opt_in")
    return None


def _before_erased(turn: Turn, command: Command, *, marketing: bool) -> Refusal | None:
    """Somebody of whom nothing is held but that they wanted no more, before they were erased."""
    identity = lane_of(command.contact())
    if turn.get(foreign(MESSAGES, alias_key(command.number, identity))) is not None:
        return None  # whoever is known has their wishes with them
    stone: Tombstone | None = turn.get(stone_key(turn.key, command.number, identity))
    if stone is None or not stone.stop:
        return None
    if stone.stop == ALL:
        return Refusal("suppressed")
    return Refusal("opted_out") if marketing else None


def _of_template(turn: Turn, command: Command, template: Template | None) -> Refusal | None:
    if not command.template:
        return None
    told = template if template is not None else Template()
    rest = pauses.resting(turn, command.number, pauses.template_scope(command.template))
    if rest is not None and not (told.status in USABLE and told.status_at > rest.at):
        return Refusal(rest.value, rest.until)
    reason = STOPPED.get(told.status)
    if reason is None:
        return None
    until = told.status_at + PAUSED_S.get(told.why, PAUSED_S_MAX) if told.status == "PAUSED" else 0
    return None if 0 < until <= turn.now else Refusal(reason, until)


def _of_number(turn: Turn, command: Command, *, marketing: bool) -> Refusal | None:
    """What the number may not do, though it may do other things: marketing, or beginning conversations."""
    rest = pauses.resting(turn, command.number, pauses.MARKETING) if marketing else None
    if rest is not None:
        return Refusal(rest.value, rest.until)
    if not begins(turn, command):
        return None
    rest = pauses.resting(turn, command.number, pauses.INITIATED)
    if rest is not None:
        return Refusal(rest.value, rest.until)
    number: Number | None = turn.get(foreign(MESSAGES, number_key(command.number)))
    standing = number.standings.get(RESTRICTION) if number is not None else None
    if standing is None or standing.value != RESTRICTED_INITIATED or 0 < standing.until <= turn.now:
        return None
    return Refusal(RESTRICTED_INITIATED, standing.until)
