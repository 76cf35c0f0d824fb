"""Meta's limits per coexistence number and per pair (Meta contract 7.1). Pure: `now` is in seconds."""

from __future__ import annotations

from collections import deque


class Throughput:
    """Messages in and out of one number in any second. People's messages count and are never refused."""

    def __init__(self) -> None:
        self._times: deque[float] = deque()

    def note(self, now: float) -> None:
        """Count a message that nobody can refuse."""
        self._forget(now)
        self._times.append(now)

    def admit(self, now: float, per_s: int) -> bool:
        """Count one send, or return False if the second is full; `per_s` 0 is no limit."""
        self._forget(now)
        if per_s and len(self._times) >= per_s:
            return False
        self._times.append(now)
        return True

    def _forget(self, now: float) -> None:
        while self._times and self._times[0] <= now - 1.0:
            self._times.popleft()


class Pairs:
    """One message per interval to the same person, with a burst that is borrowed from the time after it."""

    def __init__(self) -> None:
        self._owed_until: dict[str, float] = {}

    def admit(self, pair: str, now: float, interval_s: float, burst: int) -> bool:
        """Count one send to this pair, or return False; `interval_s` 0 is no limit."""
        if interval_s <= 0:
            return True
        until = max(self._owed_until.get(pair, now), now)
        if until - now > interval_s * (max(burst, 1) - 1) + 1e-9:
            return False
        self._owed_until[pair] = until + interval_s
        return True
