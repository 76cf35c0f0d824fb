"""What left of each number of late, beside what was planned: what is late must not meet what is on time.

Slots are planned so that no second holds too much (`sender.pacing`). A process that stood still for a moment lets
requests leave after their slots, beside those that are on time, and Meta counts when they leave. So whoever was planned
a window later leaves a window later, too. In memory alone: what left before a restart left long before.
"""

import heapq

from sender.pacing import SLACK_S, WINDOW_S

APART_S = WINDOW_S + 0.015
"""Less than planned, so that lateness goes away: the rest of the slack, once a second."""
ROUNDING_S = 0.001


class Departures:
    """Pure but for what it remembers; times are arguments."""

    def __init__(self) -> None:
        self._left: dict[str, list[tuple[float, float]]] = {}
        self._free_at: dict[str, float] = {}

    def free_at(self, number: str, slot: float) -> float:
        """When a request of the number that was planned for `slot` may leave: 0 where nothing speaks against it."""
        left = self._left.get(number)
        before = slot - WINDOW_S - SLACK_S + ROUNDING_S
        while left and left[0][0] <= before:
            self._free_at[number] = max(self._free_at.get(number, 0.0), heapq.heappop(left)[1] + APART_S)
        return self._free_at.get(number, 0.0)

    def note(self, number: str, slot: float, at: float) -> None:
        """A request that was planned for `slot` leaves at `at`."""
        heapq.heappush(self._left.setdefault(number, []), (slot, at))
