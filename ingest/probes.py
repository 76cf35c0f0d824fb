"""What `coexist doctor` asks to see it refused: told apart by a proof that only a holder of an app secret can write.

Such a request is refused like any other, and nobody is told of it: it is no sign of trouble.
"""

import hmac
from collections.abc import Sequence

HEADER = "x-coexist-probe"
AGE_S_MAX = 300.0
"""A proof that somebody has seen hides nothing later on."""


def proof(secret: bytes, now: float) -> str:
    """The header's value at this time, in seconds since 1970."""
    at = str(int(now))
    return f"{at} {_digest(secret, at)}"


def is_probe(headers: Sequence[tuple[bytes, bytes]], secrets: Sequence[bytes], now: float) -> bool:
    """Whether one of the secrets proves, lately, that we asked this ourselves."""
    given = next((value for name, value in headers if name == HEADER.encode()), b"").decode("latin-1")
    at, _, digest = given.partition(" ")
    if not at.isascii() or not at.isdecimal() or len(at) > len("9999999999") or abs(now - int(at)) > AGE_S_MAX:
        return False
    return any(hmac.compare_digest(_digest(secret, at).encode(), digest.encode("latin-1")) for secret in secrets)


def _digest(secret: bytes, at: str) -> str:
    """Under a key of its own: under the secret itself it would be the signature of a webhook that says the same."""
    return hmac.digest(hmac.digest(secret, b"coexist probe", "sha256"), at.encode(), "sha256").hex()
