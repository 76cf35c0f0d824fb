"""A line of the bench's table."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Say = Callable[[str], None]
"""Tells the one who waits what is being measured."""


@dataclass(frozen=True, slots=True)
class Line:
    """What was wanted, the floor, our figure, their ratio; `met` None means that it is told, not judged."""

    goal: str
    what: str
    wanted: str
    floor: str
    figure: str
    ratio: str
    met: bool | None = None


def median(values: Sequence[float]) -> float:
    """The middle value: on a machine with neighbours the mean says more about them."""
    return statistics.median(values)
