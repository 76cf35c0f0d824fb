"""What is remembered of clients that were refused: how often, by address, in memory that does not grow.

An address has a place in a fixed table, found by a keyed hash, so nobody can choose whose place it shares. Only what
was refused is counted, and only what is unsigned is held up for it: all of Meta's traffic may come through one proxy,
beside whoever else calls there, so a signed webhook is never asked where it came from.
"""

import os
from array import array
from collections.abc import MutableMapping
from dataclasses import dataclass
from hashlib import blake2b
from ipaddress import IPv6Address, ip_address
from typing import Any

PLACES = 16_384
"""Times in a table of 128 KiB. Two addresses on one place share an allowance, which only refused clients notice."""
ADDRESS_CHARS_MAX = 64
"""What is no address after all, in a header that a proxy wrote, counts by its first characters."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """How many refusals an address has at once, and in how many seconds each is forgotten."""

    burst: int
    every_s: float


HANDSHAKES = Allowance(20, 5.0)
"""Enough for whoever mistypes the verify token for a quarter of an hour; a guesser gets 17,280 tries a day."""
UNSIGNED = Allowance(200, 0.1)
"""A sender with a wrong secret is told so in the usual way; a flood is turned away before its bodies are read."""


class Refusals:
    """Refusals by address. Times are seconds of one clock that does not go back. `key`: of the hash, 16 bytes."""

    def __init__(self, allowance: Allowance, key: bytes | None = None) -> None:
        self._most_s = allowance.burst * allowance.every_s
        self._every_s = allowance.every_s
        self._key = os.urandom(16) if key is None else key
        self._forgotten_at = array("d", bytes(8 * PLACES))

    def add(self, address: str, now: float) -> None:
        """Count one more refusal. What comes on top of the allowance is not held against it for longer."""
        place = self._place(address)
        forgotten_at = max(self._forgotten_at[place], now) + self._every_s
        self._forgotten_at[place] = min(forgotten_at, now + self._most_s)

    def wait_s(self, address: str, now: float) -> float:
        """Seconds until this address may be refused in the usual way again; 0 while it may."""
        return max(0.0, self._forgotten_at[self._place(address)] - now - self._most_s + self._every_s)

    def often(self, address: str, now: float) -> bool:
        """Whether this address was refused so often lately that more than half of its allowance is used up."""
        return self._forgotten_at[self._place(address)] - now > self._most_s / 2

    def _place(self, address: str) -> int:
        digest = blake2b(_client(address).encode(), digest_size=8, key=self._key).digest()
        return int.from_bytes(digest, "big") % PLACES


class Clients:
    """The two counts of the public listener, and whose address a request has.

    `proxies`: how many trusted proxies stand in front. Each adds the address that it saw to X-Forwarded-For, so the
    client's is the one that the outermost of them wrote; what stands before it, anybody may have written.
    """

    def __init__(self, proxies: int = 0) -> None:
        self.proxies = proxies
        self.handshakes = Refusals(HANDSHAKES)
        self.unsigned = Refusals(UNSIGNED)

    def address(self, scope: MutableMapping[str, Any]) -> str:
        """The address of the client of an ASGI scope; empty where it has none."""
        if self.proxies:
            seen = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
            written = b",".join(seen).decode("latin-1").split(",")
            if len(written) >= self.proxies and written[-self.proxies].strip():
                return written[-self.proxies].strip()
        client = scope.get("client")
        return str(client[0]) if client else ""


def _client(address: str) -> str:
    """Whom an address belongs to: in IPv6 a subscriber has 64 bits of them."""
    try:
        known = ip_address(address)
    except ValueError:
        return address[:ADDRESS_CHARS_MAX]
    if isinstance(known, IPv6Address) and known.ipv4_mapped is None:
        return f"{int(known) >> 64:x}/64"
    return str(getattr(known, "ipv4_mapped", None) or known)
