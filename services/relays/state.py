"""A relay as it is kept: to which address which events go, and how it stands."""

import msgspec

from schemas.ports import State

WORKING, PAUSED, GONE, SEALED = "", "operator", "gone", "sealed"
"""Why a relay rests. SEALED: no key opens its secrets, so nothing could be signed."""


class Replay(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Send the events of one number on one topic again, from a `seq` on, up to an offset (exclusive)."""

    id: str
    number: str
    topic: str
    from_seq: int
    until_offset: int


class Relay(State):
    """One relay. `begins`: offsets per topic and partition from which it reads. Empty filters let everything pass.

    `secrets`: the newest first; two while they are rotated. `paused_because`: WORKING, PAUSED by an
    operator, GONE (HTTP 410); SEALED is never stored.
    """

    relay_id: str = ""
    url: str = ""
    topics: list[str] = []
    types: list[str] = []
    numbers: list[str] = []
    secrets: list[str] = []
    created_at: float = 0
    begins: dict[str, list[int]] = {}
    paused_because: str = ""
    replays: list[Replay] = []
    skips: list[str] = []

    def wants(self, type_: str, number: str) -> bool:
        """Does an event of this type and number go out?"""
        return (not self.types or type_ in self.types) and (not self.numbers or number in self.numbers)
