"""The secrets of relays at rest: sealed as access tokens are, where there is a key, and plain where there is none.

A relay whose secrets no key opens sends nothing: a receiver could not tell its events from anybody's.
"""

import binascii
from base64 import b64decode, b64encode

import structlog
from msgspec.structs import replace

from services.relays.state import SEALED, Relay
from services.sealing.keys import CannotUnseal, Sealer

PREFIX = "sealed:"
"""Before the base64 of an envelope. What a receiver is given begins with `whsec_`."""

log = structlog.get_logger()


class RelaySecrets:
    """Seals and opens them, whichever relay they are of."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer
        self._missed: set[str] = set()

    def sealed(self, relay: Relay) -> Relay:
        """The relay as it is stored."""
        if not self._sealer:
            return relay
        return replace(relay, secrets=[self._seal(relay, secret) for secret in relay.secrets])

    def opened(self, relay: Relay) -> Relay:
        """The relay as it is changed: what no key opens stays as it is stored."""
        return replace(relay, secrets=[self._open(relay, secret) for secret in relay.secrets])

    def check(self, stored: Relay) -> None:
        """Raises CannotUnseal where one of its secrets is opened by no key."""
        for secret in stored.secrets:
            if secret.startswith(PREFIX):
                self._sealer.unseal(_envelope(secret), _about(stored))

    def usable(self, relay: Relay) -> Relay:
        """An opened relay as it is served: with the secrets that can be used, and resting where there is none."""
        secrets = opens(relay.secrets)
        if secrets:
            return replace(relay, secrets=secrets)
        if relay.relay_id not in self._missed:
            self._missed.add(relay.relay_id)
            log.warning("relay_sealed", fix="put its key back into COEXIST_ENCRYPTION_KEYS, or rotate its secret")
        return replace(relay, secrets=[], paused_because=relay.paused_because or SEALED)

    def is_current(self, stored: Relay) -> bool:
        """Whether a relay is stored as it would be written now."""
        if not self._sealer:
            return True
        return all(self._sealer.is_current(_envelope(secret)) for secret in stored.secrets)

    def _seal(self, relay: Relay, secret: str) -> str:
        if secret.startswith(PREFIX):
            return secret
        return PREFIX + b64encode(self._sealer.seal(secret.encode(), _about(relay))).decode()

    def _open(self, relay: Relay, secret: str) -> str:
        if not secret.startswith(PREFIX):
            return secret
        try:
            return self._sealer.unseal(_envelope(secret), _about(relay)).decode()
        except CannotUnseal:
            return secret


def opens(secrets: list[str]) -> list[str]:
    """Those of an opened relay's secrets that a key opened."""
    return [secret for secret in secrets if not secret.startswith(PREFIX)]


def _envelope(secret: str) -> bytes:
    try:
        return b64decode(secret.removeprefix(PREFIX)) if secret.startswith(PREFIX) else b""
    except binascii.Error:
        return b""


def _about(relay: Relay) -> str:
    return f"secret of relay {relay.relay_id}"
