"""Long lines of states in pages that end between two places, so that nothing is lost or shown twice."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from schemas.ports import FAR, NOWHERE, State, Store
from services.shard import decode_state

Kind = TypeVar("Kind", bound=State)


@dataclass(frozen=True, slots=True)
class Page(Generic[Kind]):
    """Some states in the order of their line, and where the next page begins; None after the last one."""

    states: list[Kind]
    after: float | None


async def page(
    store: Store, processor: str, shard: int, line: str, kind: type[Kind], limit: int, after: float = NOWHERE
) -> Page[Kind]:
    """About `limit` states of a line that follow a place: fewer or more, where several stand at one place."""
    wanted = limit
    while True:
        found = await store.heads(processor, shard, line, FAR, wanted + 1, after)
        states: list[Kind] = [decode_state(kind, value) for _, value in found]
        if len(states) <= wanted:
            return Page(states, None)
        last = states[-1].place
        whole = [state for state in states if state.place != last]
        if whole:
            return Page(whole, whole[-1].place)
        wanted *= 4
