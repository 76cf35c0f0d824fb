"""What people want of us, and what Meta allows: who may be written to, and about what (Meta contract 8.3, 9.4, 11).

A wish is kept per person, not per phone, so it follows them through changes of their identities. In each scope the
newest word counts, whoever said it: the customer in WhatsApp or in the chat, an operator, or Meta by a refusal. So
late and repeated words change nothing, and of two words of one instant the one that stops us counts.
"""

import copy
from typing import NamedTuple

from schemas.marks import Tombstone
from schemas.ports import State, States
from schemas.states import ALL, HEARD_STEP_S, MARKETING, OPT_IN, STOP, Reach, Standing, reach_key


class Wish(NamedTuple):
    """A word in one scope. `value`: STOP, OPT_IN, or nothing where a wish is taken back. `until`: 0 for good."""

    scope: str
    value: str
    until: float = 0
    why: str = ""


def suppressed_line(number: str) -> str:
    """The line in which those stand who do not want everything, the newest stop first."""
    return f"suppressed/{number}"


def wished(reach: Reach, wishes: tuple[Wish, ...], at: float) -> Reach:
    """The reach after these words of `at`; itself when all of them are stale or known."""
    said = {wish.scope: Standing(at=at, value=wish.value, until=wish.until, why=wish.why) for wish in wishes}
    newest = _newest(reach.wishes, said)
    return reach if newest == reach.wishes else _with(reach, newest)


def stop_of(reach: Reach, now: float) -> str:
    """The widest scope in which a person wants nothing: ALL, MARKETING, or nothing."""
    for scope in (ALL, MARKETING):
        standing = reach.wishes.get(scope)
        if standing is not None and standing.value == STOP and not 0 < standing.until <= now:
            return scope
    return ""


def remembered(number: str, conversation: str, stone: Tombstone) -> Reach:
    """The reach of somebody who was erased and begins anew: what they wanted no more of, they still do not want."""
    return wished(Reach(number=number, conversation=conversation), (Wish(stone.stop, STOP, why="erased"),), stone.at)


def heard(reach: Reach, at: float) -> Reach:
    """The reach after a live message of `at`; itself while what is kept is near enough."""
    if at < reach.heard_at + HEARD_STEP_S:
        return reach
    found = copy.copy(reach)
    found.heard_at = at
    return found


def merged(states: States, number: str, kept: str, retired: str) -> dict[str, State | None]:
    """What becomes of two reaches when their people turn out to be one: in each scope the newest word stays."""
    old: Reach | None = states.get(reach_key(retired))
    if old is None:
        return {}
    own: Reach = states.get(reach_key(kept)) or Reach(number=number, conversation=kept)
    joined = _with(own, _newest(own.wishes, old.wishes))
    joined.heard_at = max(own.heard_at, old.heard_at)
    return {reach_key(retired): None, reach_key(kept): joined}


def _newest(known: dict[str, Standing], said: dict[str, Standing]) -> dict[str, Standing]:
    found = dict(known)
    for scope, standing in said.items():
        if scope not in found or _order(found[scope]) < _order(standing):
            found[scope] = standing
    return found


def _order(standing: Standing) -> tuple[float, int, float, str]:
    rank = {STOP: 2, OPT_IN: 1}.get(standing.value, 0)
    return standing.at, rank, standing.until or float("inf"), standing.why


def _with(reach: Reach, wishes: dict[str, Standing]) -> Reach:
    found = copy.copy(reach)
    found.wishes = wishes
    stops = [standing.at for standing in wishes.values() if standing.value == STOP]
    found.line = suppressed_line(found.number) if stops else None
    found.place = -max(stops) if stops else None
    return found
