"""Whether our own ingest takes what Meta sends: only then does it mean something that no evidence came.

A process that listens itself knows it: it heard something, or nothing failed. One that only sends sees what others
appended; where nothing at all comes it cannot know, so after a quarter of an hour silence counts as an answer.
"""

from collections.abc import Callable

FAILED_S = 30.0
"""After a webhook could not be made durable Meta may still hold what it told: it sends again in growing steps."""
HEARD_S = 60.0
"""A webhook that came within this time shows that webhooks come."""
SILENCE_S_MAX = 900.0


class Hearing:
    """What is known of the way from Meta to the log. `listens`: this process takes webhooks itself."""

    def __init__(self, clock: Callable[[], float], *, listens: bool) -> None:
        self._clock = clock
        self._listens = listens
        self._began = clock()
        self._failed_at = float("-inf")
        self._read_at = float("-inf")

    def failed(self) -> None:
        """A webhook could not be made durable: Meta was told to send it again."""
        self._failed_at = self._clock()

    def read(self, appended_at: float) -> None:
        """A webhook was appended, by whomever."""
        self._read_at = max(self._read_at, appended_at)

    def __call__(self) -> bool:
        """Would evidence have come by now?"""
        now = self._clock()
        if self._listens:
            return now - self._failed_at > FAILED_S
        return now - self._read_at < HEARD_S or now - max(self._read_at, self._began) > SILENCE_S_MAX
