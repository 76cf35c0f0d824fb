"""Deciding again: what is retained goes through a decider again, into states in memory, at the times it was appended.

Timers fire as time passes from record to record, and those that are due by now at the end. So nothing waits any more
that could have been settled; what the service itself still waits for is not compared.
"""

from collections.abc import Iterable, Mapping
from heapq import heappop, heappush
from typing import Any

from schemas.cloudevents import UNREADABLE
from schemas.ports import FOREIGN, Event, Processor, Record, State, Timer


class Replay:
    """One shard of a processor that keeps its states to itself. Implements `States` for the decider."""

    def __init__(self, processor: Processor, states: Mapping[str, State]) -> None:
        self.states = dict(states)
        self._processor = processor
        self._wakes: list[tuple[float, str]] = []
        self._lines: dict[str, set[str]] = {}
        for key, state in self.states.items():
            self._index(key, state)

    # --- States

    def get(self, key: str) -> Any:
        """See `States.get`. Of another processor nothing is known here: what was erased is not read again anyway."""
        return None if key.startswith(FOREIGN) else self.states.get(key)

    def heads(self, line: str, until: float, limit: int) -> list[tuple[str, Any]]:
        """See `States.heads`."""
        standing = [(key, self.states[key]) for key in self._lines.get(line, ()) if key in self.states]
        found = [(key, state) for key, state in standing if state.line == line and (state.place or 0) <= until]
        return sorted(found, key=lambda one: one[1].place or 0)[:limit]

    # --- deciding

    def read(self, records: Iterable[Record]) -> None:
        """Decide records, in order, each at the time at which it was appended."""
        for record in records:
            self.fire(record.appended_at)
            if record.event.type == UNREADABLE:
                continue
            try:
                item = self._processor.parse(record.event)
                if item is not None:
                    self._decide(record.event, item, record.appended_at)
            except Exception:  # noqa: BLE001, S112 - the service has made a dead letter of it
                continue

    def fire(self, until: float) -> None:
        """Fire what is due."""
        while self._wakes and self._wakes[0][0] <= until:
            wake_at, key = heappop(self._wakes)
            state = self.states.get(key)
            if state is not None and state.wake_at == wake_at:
                self._decide(Timer(key), None, max(wake_at, 0.0))

    def _decide(self, event: Event | Timer, item: Any, now: float) -> None:
        for key, state in self._processor.decide(self, event, item, now).states.items():
            if state is None:
                self.states.pop(key, None)
            else:
                self.states[key] = state
                self._index(key, state)

    def _index(self, key: str, state: State) -> None:
        if state.wake_at is not None:
            heappush(self._wakes, (state.wake_at, key))
        if state.line is not None:
            self._lines.setdefault(state.line, set()).add(key)
