"""How many people a number may write to first in 24 hours (Meta contract 7.2), and what becomes of one more.

Counted are people to whom a template was let go outside their window, whatever became of it, each from the last one on,
in steps of a quarter of an hour. What is too many is held until enough people are a day old, each command with a place
of its own to wait for, which is free again once the command has ended or gone without it; what has none within a day is
refused, for a day later nobody knows whether it is still wanted. All pure.

Meta counts a whole portfolio and tells neither its numbers nor its count, so of several numbers that share one Meta
decides (131048): what is kept here is that no number alone asks for more than Meta has allowed. Where Meta has told no
limit, or none applies, nothing is counted.
"""

from schemas.ports import State, foreign
from schemas.states import MESSAGES, Number, number_key
from sender import permission
from sender.command import Command, Lane
from sender.turn import Turn

STEP_S = 900
DAY_S = 24 * 3600
PEOPLE_LIMIT = "people_limit"
"""Why a command is held or refused here."""


class People(State):
    """People begun, and places promised to commands that wait, by the step in which the people were begun."""

    number: str = ""
    begun: dict[int, int] = {}
    promised: dict[int, int] = {}


def people_key(number: str) -> str:
    """Where it is kept whom a number began, in figures."""
    return f"u/{number}"


def step_of(at: float) -> int:
    """The step in which an instant lies."""
    return int(at // STEP_S)


def ends_at(step: int) -> float:
    """When the people of a step count no more."""
    return float((step + 1) * STEP_S + DAY_S)


def counting(by_step: dict[int, int], now: float) -> dict[int, int]:
    """The steps that still count."""
    return {step: count for step, count in by_step.items() if count > 0 and ends_at(step) > now}


def after(begun: dict[int, int], before: float, now: float) -> dict[int, int]:
    """The counts once somebody was begun at `now` who was last begun at `before`, or never (0)."""
    kept = counting(begun, now)
    if before and (known := kept.get(step_of(before))):
        kept[step_of(before)] = known - 1
    kept[step_of(now)] = kept.get(step_of(now), 0) + 1
    return counting(kept, now)


def next_place(begun: dict[int, int], promised: dict[int, int], limit: int, now: float) -> int | None:
    """The step whose people leave the next place that is promised to nobody; None where none does within a day."""
    kept = counting(begun, now)
    too_many = sum(kept.values()) - limit
    for step in sorted(kept):
        left = kept[step] - promised.get(step, 0)
        if left > too_many:
            return step
        too_many -= max(left, 0)
    return None


def owed(promised: dict[int, int], now: float) -> int:
    """Places that have come and were not taken yet: for a step those who were promised them go first."""
    return sum(count for step, count in promised.items() if ends_at(step) <= now < ends_at(step) + STEP_S)


def begin(turn: Turn, live: Lane, command: Command) -> None:
    """Count the person of a lane where the command that goes now begins a conversation."""
    give_back(turn, command)
    if not _limit(turn, command.number) or not permission.begins(turn, command):
        return
    people = _changed(turn, command.number)
    people.begun = after(people.begun, live.begun_at, turn.now)
    live.begun_at = turn.now


def held_until(turn: Turn, live: Lane, command: Command) -> float | None:
    """Until when the command waits for a place, which is promised to it; 0 if it may go, None if there is none."""
    limit = _limit(turn, command.number)
    if not limit or not permission.begins(turn, command):
        return 0
    if live.begun_at and ends_at(step_of(live.begun_at)) > turn.now:
        return 0
    known: People = turn.get(people_key(command.number)) or People()
    has_place = command.place_at <= turn.now < command.place_at + STEP_S
    limit -= owed(known.promised, turn.now) - has_place
    if sum(counting(known.begun, turn.now).values()) < limit:
        return 0
    if command.place_at > turn.now:
        return command.place_at
    step = next_place(known.begun, known.promised, limit, turn.now)
    if step is None:
        return None
    give_back(turn, command)
    people = _changed(turn, command.number)
    people.promised = {**people.promised, step: people.promised.get(step, 0) + 1}
    return ends_at(step)


def give_back(turn: Turn, command: Command) -> None:
    """The command needs its place no more: it has ended, or it goes."""
    if not command.place_at:
        return
    step, command.place_at = step_of(command.place_at - DAY_S) - 1, 0
    people = _changed(turn, command.number)
    kept = {known: count for known, count in people.promised.items() if ends_at(known) + STEP_S > turn.now}
    people.promised = {known: count for known in kept if (count := kept[known] - (known == step)) > 0}


def _limit(turn: Turn, number: str) -> int:
    known: Number | None = turn.get(foreign(MESSAGES, number_key(number)))
    return max(0, known.people_per_day) if known is not None else 0


def _changed(turn: Turn, number: str) -> People:
    found: People | None = turn.change(people_key(number))
    if found is None:
        found = People(number=number)
        turn.put(people_key(number), found)
    return found
