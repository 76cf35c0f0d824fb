"""The correlation token that travels in `biz_opaque_callback_data` and comes back in statuses.

It names the command and the attempt and carries a keyed digest, so that values of other apps are ignored. It holds
no personal data: every app that is subscribed to the WABA can read it (Meta contract 6.2).
"""

import hmac
from hashlib import blake2b

VERSION = "c1"
DIGEST_BYTES = 8


def make_token(key: bytes, command_id: str, attempt: int) -> str:
    """The token of one attempt of a command."""
    return f"{VERSION}.{command_id}.{attempt}.{_digest(key, command_id, attempt)}"


def read_token(key: bytes, token: str) -> tuple[str, int] | None:
    """The command and attempt that a token names, or None when we did not make it."""
    version, _, rest = token.partition(".")
    head, _, digest = rest.rpartition(".")
    command_id, _, attempt = head.rpartition(".")
    if version != VERSION or not command_id or not attempt.isdecimal() or len(attempt) > 9:
        return None
    genuine = hmac.compare_digest(digest.encode(), _digest(key, command_id, int(attempt)).encode())
    return (command_id, int(attempt)) if genuine else None


def _digest(key: bytes, command_id: str, attempt: int) -> str:
    return blake2b(f"{command_id}.{attempt}".encode(), digest_size=DIGEST_BYTES, key=key).hexdigest()
