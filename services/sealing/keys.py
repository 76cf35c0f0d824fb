"""Secrets at rest: AES-256-GCM under the keys of COEXIST_ENCRYPTION_KEYS, which stand outside the data folder.

The first key seals, all of them unseal: so a new key is put first, and the old one is taken away once nothing is sealed
under it. An envelope says which key it needs, and what it is about is authenticated with it, so that nobody can put
one number's secret in another's place.

    "s1" | key id, 4 bytes | nonce, 12 bytes | ciphertext and tag
"""

import os
from base64 import b64decode
from collections.abc import Sequence
from hashlib import blake2b

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import SecretStr

from schemas.ports import Unreadable
from services.settings import SettingsError

VERSION = b"s1"
KEY_BYTES = 32
ID_BYTES = 4
NONCE_BYTES = 12
"""Random nonces are safe for 2^32 envelopes under one key (NIST SP 800-38D)."""
HEAD_BYTES = len(VERSION) + ID_BYTES
HOW = "Make one with `openssl rand -base64 32`, and keep it outside the data folder."


class CannotUnseal(Unreadable):
    """No key fits: it was taken away too early, or the envelope was changed or put in another one's place."""


class CannotSeal(Exception):
    """There is no key. The message says what to do."""


class Sealer:
    """Seals under the first of the keys and unseals under any of them."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._ciphers = {key_id(key): AESGCM(key) for key in keys}
        self._current = next(iter(self._ciphers), b"")

    def __bool__(self) -> bool:
        """Whether there is a key."""
        return bool(self._ciphers)

    def seal(self, plain: bytes, about: str) -> bytes:
        """The envelope of a secret; `about` names whose it is and what. Raises CannotSeal without a key."""
        if not self._ciphers:
            raise CannotSeal(f"COEXIST_ENCRYPTION_KEYS is not set. {HOW}")
        head, nonce = VERSION + self._current, os.urandom(NONCE_BYTES)
        return head + nonce + self._ciphers[self._current].encrypt(nonce, plain, head + about.encode())

    def unseal(self, envelope: bytes, about: str) -> bytes:
        """The secret in an envelope. Raises CannotUnseal."""
        head, nonce = envelope[:HEAD_BYTES], envelope[HEAD_BYTES : HEAD_BYTES + NONCE_BYTES]
        cipher = self._ciphers.get(head[len(VERSION) :])
        if head[: len(VERSION)] != VERSION or cipher is None or len(nonce) < NONCE_BYTES:
            raise CannotUnseal("sealed under a key that is not in COEXIST_ENCRYPTION_KEYS")
        try:
            return cipher.decrypt(nonce, envelope[HEAD_BYTES + NONCE_BYTES :], head + about.encode())
        except InvalidTag:
            raise CannotUnseal("the envelope was changed, or is another one's") from None

    def is_current(self, envelope: bytes) -> bool:
        """Whether it is sealed under the first key; what is not is to be sealed anew."""
        return envelope[:HEAD_BYTES] == VERSION + self._current


def sealer_of(keys: Sequence[SecretStr]) -> Sealer:
    """A sealer with the keys of the settings. Raises SettingsError for one that is no key."""
    return Sealer(keys_of(keys))


def keys_of(keys: Sequence[SecretStr]) -> list[bytes]:
    """The keys of the settings. Raises SettingsError for one that is no key."""
    found = []
    for nth, secret in enumerate(keys, 1):
        try:
            key = b64decode(secret.get_secret_value(), validate=True)
        except ValueError:
            key = b""
        if len(key) != KEY_BYTES:
            raise SettingsError(f"Key {nth} of COEXIST_ENCRYPTION_KEYS is not {KEY_BYTES} bytes in base64. {HOW}")
        found.append(key)
    return found


def key_id(key: bytes) -> bytes:
    """By which an envelope names its key; it tells nothing of it."""
    return blake2b(key, digest_size=ID_BYTES, person=b"coexist key id").digest()
