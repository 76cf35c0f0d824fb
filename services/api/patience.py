"""A moment's patience: what was written or told of already, and stands in the states once their owner has read it."""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import TypeVar

SOON_S = 2.0
"""How long an answer waits for a state that is about to be committed: longer than an owner that works takes."""
LOOK_S, LOOK_S_MAX = 0.005, 0.2
"""The first pause between two looks, and the longest; each is twice as long as the one before."""

T = TypeVar("T")


async def soon(look: Callable[[], Awaitable[T]], within_s: float = SOON_S) -> T:
    """What `look` finds, as soon as that is true; what it found last once the time is over."""
    end, pause_s = monotonic() + within_s, LOOK_S
    while not (found := await look()) and monotonic() < end:
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, LOOK_S_MAX)
    return found
