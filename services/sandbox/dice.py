"""Seeded chance: the same seed and the same thing always meet the same fate, whatever happens around it."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import TypeVar

T = TypeVar("T")
_SCALE = 2.0**64


class Dice:
    """Chance by name. Rolls depend on seed, purpose and key only, never on the order of rolls."""

    def __init__(self, seed: int) -> None:
        self._key = seed.to_bytes(16, "big", signed=True)

    def roll(self, purpose: str, key: str) -> float:
        """Return a number in [0, 1)."""
        digest = blake2b(f"{purpose}|{key}".encode(), digest_size=8, key=self._key).digest()
        return int.from_bytes(digest, "big") / _SCALE

    def hits(self, probability: float, purpose: str, key: str) -> bool:
        """Return whether an event of this probability happens to this key."""
        return probability > 0 and self.roll(purpose, key) < probability

    def pick(self, options: Sequence[T], purpose: str, key: str) -> T:
        """Return one of the options, each as likely as the others."""
        return options[int(self.roll(purpose, key) * len(options))]

    def digits(self, count: int, purpose: str, key: str) -> str:
        """Return `count` decimal digits, for ids that look like Meta's."""
        digest = blake2b(f"{purpose}|{key}".encode(), digest_size=32, key=self._key).digest()
        return str(int.from_bytes(digest, "big")).zfill(count)[-count:]
