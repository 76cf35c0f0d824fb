"""Who may do what on the admin listener: one token for everything, and narrower ones for those who need less.

`metrics` is for Prometheus, which must never be able to read a conversation; `read` for dashboards and auditors; `send`
for bots, desks and CRMs; `admin` for operators. Each holds what the one before it holds.
"""

import hmac
import re
from hashlib import sha256

from services.settings import Settings, SettingsError

METRICS, READ, SEND, ADMIN = "metrics", "read", "send", "admin"
ORDER = (METRICS, READ, SEND, ADMIN)

_SENDING = re.compile(r"/v1/(messages|sends/[^/]+|conversations/[^/]+/(takeover|release|assign))")
_PRIVATE = "/v1/privacy"
"""What one person's whole data can be had from; reading it is an operator's act as well."""


class Tokens:
    """The tokens of an installation. Raises SettingsError where a narrow one would narrow nothing."""

    def __init__(self, settings: Settings) -> None:
        given = (settings.metrics_token, settings.read_token, settings.send_token, settings.admin_token)
        self._digests = [
            (_digest(f"Bearer {token.get_secret_value()}".encode()), scope)
            for token, scope in zip(given, ORDER, strict=True)
            if token is not None
        ]
        if self._digests and settings.admin_token is None:
            narrow = self._digests[0][1].upper()
            raise SettingsError(
                f"COEXIST_{narrow}_TOKEN is set, but COEXIST_ADMIN_TOKEN is not, so everybody could do everything. "
                "Set COEXIST_ADMIN_TOKEN as well."
            )
        if len({digest for digest, _ in self._digests}) < len(self._digests):
            raise SettingsError("Two of the admin listener's tokens are the same. Give each scope one of its own.")

    def __bool__(self) -> bool:
        """Whether a token is asked for."""
        return bool(self._digests)

    def scope_of(self, authorization: str) -> str | None:
        """The scope of an Authorization header, or None. Every token is compared, in constant time."""
        given, found = _digest(authorization.encode()), None
        for digest, scope in self._digests:
            if hmac.compare_digest(given, digest):
                found = scope
        return found


def needed(method: str, path: str) -> str:
    """The narrowest scope that may make a request."""
    if method in ("GET", "HEAD"):
        if path == "/metrics":
            return METRICS
        return ADMIN if path.startswith(_PRIVATE) else READ
    return SEND if _SENDING.fullmatch(path) else ADMIN


def permits(scope: str, method: str, path: str) -> bool:
    """Whether a scope reaches as far as a request."""
    return ORDER.index(scope) >= ORDER.index(needed(method, path))


def _digest(text: bytes) -> bytes:
    """So that tokens of any length take the same time."""
    return sha256(text).digest()
