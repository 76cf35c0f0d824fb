"""A decision in the making: whoever makes one in several steps sees in each what the former have decided."""

from typing import Any

from schemas.ports import Decision, State, States


class Deciding:
    """What is decided over `states` at `now`, in seconds since 1970; `decision` grows until it is returned."""

    def __init__(self, states: States, now: float) -> None:
        self.states = states
        self.now = now
        self.decision = Decision()

    def get(self, key: str) -> Any:
        """A state, as it was decided already. Raises Missing when it was not loaded. Never change it: copy."""
        changed = self.decision.states
        return changed[key] if key in changed else self.states.get(key)

    def put(self, key: str, state: State | None) -> None:
        """Keep a new or changed state, or remove one."""
        self.decision.states[key] = state
