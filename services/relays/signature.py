"""Signatures of relayed events: Standard Webhooks 1.0, so that a receiver can use any library for them.

Signed is `id.timestamp.body` with HMAC-SHA256. While a secret is rotated, one signature per secret is sent.
"""

import base64
import binascii
import hmac
import secrets as dice
from collections.abc import Sequence

PREFIX = "whsec_"
SECRET_BYTES = 32
BYTES_MIN, BYTES_MAX = 24, 64


def new_secret() -> str:
    """A fresh secret in the form that receivers are given: `whsec_` and base64."""
    return PREFIX + base64.b64encode(dice.token_bytes(SECRET_BYTES)).decode()


def secret_bytes(secret: str) -> bytes:
    """The key behind a secret. Raises ValueError with what a secret looks like."""
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if not secret.startswith(PREFIX) or not BYTES_MIN <= len(key) <= BYTES_MAX:
        raise ValueError(f"a secret is {PREFIX} and the base64 of {BYTES_MIN} to {BYTES_MAX} random bytes")
    return key


def headers(event_id: str, sent_at: float, body: bytes, secrets: Sequence[str]) -> dict[str, str]:
    """The three headers of an attempt. `sent_at` in seconds since 1970; the id is the same in every attempt."""
    timestamp = str(int(sent_at))
    signed = f"{event_id}.{timestamp}.".encode() + body
    signatures = (hmac.digest(secret_bytes(secret), signed, "sha256") for secret in secrets)
    return {
        "webhook-id": event_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(f"v1,{base64.b64encode(found).decode()}" for found in signatures),
    }
