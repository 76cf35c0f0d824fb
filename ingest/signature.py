"""Who sent this body: HMAC-SHA256 over the raw bytes, keyed with the app's secret (Meta contract 1.2)."""

import hmac
import re
from collections.abc import Sequence

_FORM = re.compile(rb"sha256=[0-9a-f]{64}")


def sign(body: bytes, secret: bytes) -> str:
    """The value of `X-Hub-Signature-256` for a body: `sha256=` and 64 lower-case hex digits."""
    return "sha256=" + hmac.digest(secret, body, "sha256").hex()


def is_signed(header_values: Sequence[bytes]) -> bool:
    """Whether a request claims to be signed, in the one form that there is; by whom only its body can tell."""
    return len(header_values) == 1 and _FORM.fullmatch(header_values[0]) is not None


def verify(header_values: Sequence[bytes], body: bytes, secrets: Sequence[bytes]) -> int | None:
    """The index of the secret that signed `body`, or None.

    `header_values` are all the values of `X-Hub-Signature-256`: exactly one is allowed, in exactly one form. Every
    secret is compared, in constant time and on bytes, whichever matches: so neither the time taken nor an exception
    tells which secret is current. A header that a client can choose never raises.
    """
    if not is_signed(header_values):
        return None
    given = header_values[0]
    matched = None
    for index, secret in enumerate(secrets):
        if hmac.compare_digest(sign(body, secret).encode(), given) and matched is None:
            matched = index
    return matched
