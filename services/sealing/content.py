"""Content at rest: what log, store and media store keep, sealed under COEXIST_ENCRYPTION_KEYS where that is wanted.

The first key seals, all of them open; what was never sealed is read as it is, so that it can be turned on over an
existing installation. Which keys have ever sealed something stands beside the data, as marks: whoever lacks one of them
finds out at the start, and not in the middle of a conversation.

    "c1" | key id, 4 bytes | salt, 16 bytes | count, 8 bytes | ciphertext and tag (AES-256-GCM)

A process draws a salt and counts under the key that is derived with it, so no nonce comes twice however much is
written; random ones would do for 2^32 values under a key (NIST SP 800-38D), which is some days of a busy number. What a
value is about is authenticated with it. States and batches of records begin with a MessagePack array, never with "c".
"""

import contextlib
import os
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import cast

import apsw
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from services.sealing.keys import HOW, ID_BYTES, CannotUnseal, key_id, keys_of
from services.settings import Settings, SettingsError

VERSION = b"c1"
SALT_BYTES = 16
COUNT_BYTES = 8
KEY_BYTES = 32
HEAD_BYTES = len(VERSION) + ID_BYTES + SALT_BYTES
CIPHERS_MAX = 1_024
"""Derived keys at hand; each start of a process draws one, and so does each file of media."""
MARK_PREFIX = "sealed/"
MARKS_READ = "SELECT name, value FROM installation WHERE name LIKE 'sealed/%'"
MARK_MAKE = "INSERT INTO installation VALUES (?, ?) ON CONFLICT DO NOTHING"
MARKS_DROP = "DELETE FROM installation WHERE name LIKE 'sealed/%' AND name <> ?"
TABLES = "SELECT name FROM sqlite_schema WHERE type = 'table'"
PLAIN = {
    "log": """
SELECT max(id), max(head <> ?3) FROM (SELECT id, substr(batch, 1, 2) AS head FROM log
WHERE id > ?1 ORDER BY id LIMIT ?2)
""",
    "states": """
SELECT max(id), max(head <> ?3) FROM (SELECT id, substr(value, 1, 2) AS head FROM states
WHERE id > ?1 ORDER BY id LIMIT ?2)
""",
}
"""By table, the last id of so many rows beyond another, and whether one of them is not sealed."""
LOOK_ROWS = 5_000
KEY_CHARS_MAX = 100
"""Of a state's key so much is authenticated: Postgres keeps the end of longer ones as a digest."""

BUSY_MS = 2_000

Marks = Mapping[str, bytes]
"""By name, an envelope of nothing under each key that has ever sealed something."""


class Seals:
    """Opens what is sealed under any of the keys; seals under the first of them while `wanted`."""

    def __init__(self, keys: Sequence[bytes], *, wanted: bool) -> None:
        self._keys = {key_id(key): key for key in keys}
        self._ciphers: dict[tuple[bytes, bytes], AESGCM] = {}
        self._counts = count()
        self.wanted = wanted
        self._head = b""
        self._cipher: AESGCM | None = None
        if wanted:
            self._head, self._cipher = self.drawn(b"content")

    def seal(self, plain: bytes, about: str) -> bytes:
        """The envelope of a value, or the value itself where sealing is not wanted; `about`: what nobody may change."""
        if self._cipher is None:
            return plain
        nonce = next(self._counts).to_bytes(COUNT_BYTES)
        return self._head + nonce + self._cipher.encrypt(_nonce(nonce), plain, self._head + about.encode())

    def open(self, value: bytes, about: str) -> bytes:
        """The value in an envelope, or what was never sealed as it is. Raises CannotUnseal."""
        if value[: len(VERSION)] != VERSION:
            return value
        head, rest = value[:HEAD_BYTES], value[HEAD_BYTES:]
        cipher = self.cipher(head, b"content")
        try:
            return cipher.decrypt(_nonce(rest[:COUNT_BYTES]), rest[COUNT_BYTES:], head + about.encode())
        except (InvalidTag, ValueError):
            raise CannotUnseal("the envelope was changed, or is another one's") from None

    def drawn(self, purpose: bytes) -> tuple[bytes, AESGCM]:
        """A new key of its own for a purpose, and the head by which it is found again."""
        head = VERSION + next(iter(self._keys)) + os.urandom(SALT_BYTES)
        return head, self.cipher(head, purpose)

    def cipher(self, head: bytes, purpose: bytes) -> AESGCM:
        """The key that a head names. Raises CannotUnseal where it is not among ours."""
        known = self._ciphers.get((head, purpose))
        if known is None:
            key = self._keys.get(head[len(VERSION) : -SALT_BYTES])
            if key is None or len(head) < HEAD_BYTES or head[: len(VERSION)] != VERSION:
                raise CannotUnseal("sealed under a key that is not in COEXIST_ENCRYPTION_KEYS")
            if len(self._ciphers) >= CIPHERS_MAX:
                self._ciphers.clear()
            derived = HKDF(SHA256(), KEY_BYTES, head[-SALT_BYTES:], b"coexist " + purpose).derive(key)
            known = self._ciphers[head, purpose] = AESGCM(derived)
        return known

    def is_current(self, value: bytes) -> bool:
        """Whether a value is as it would be written now: under the first key, or plain where nothing is sealed."""
        if not self.wanted:
            return value[: len(VERSION)] != VERSION
        return value[: HEAD_BYTES - SALT_BYTES] == self._head[:-SALT_BYTES]

    def mark(self) -> tuple[str, bytes]:
        """What is written beside the data before anything is sealed: by it a start finds that a key is missing."""
        name = MARK_PREFIX + self._head[len(VERSION) : -SALT_BYTES].hex()
        return name, self.seal(b"", name)


def seals_of(settings: Settings, marks: Marks, *, shared: bool = False) -> Seals | None:
    """What opens and seals with the keys of the settings; None where nothing is sealed nor shall be.

    `shared`: there may be more than the marks tell, for another process may begin to seal, or a token is sealed for
    itself; so the keys alone are enough. Raises SettingsError when a key is missing.
    """
    keys = keys_of(settings.encryption_keys)
    if settings.encrypt_content and not keys:
        raise SettingsError(f"COEXIST_ENCRYPT_CONTENT is set, and COEXIST_ENCRYPTION_KEYS is not. {HOW}")
    if not marks and not settings.encrypt_content and not (shared and keys):
        return None
    seals = Seals(keys, wanted=settings.encrypt_content)
    try:
        for name, mark in marks.items():
            seals.open(mark, name)
    except CannotUnseal:
        raise SettingsError(
            "Content is sealed under a key that is not in COEXIST_ENCRYPTION_KEYS. Put that key back, behind the first."
        ) from None
    return seals


def marks_in(connection: apsw.Connection) -> Marks:
    """The marks of a data folder's file; none where it is new."""
    if not connection.execute("SELECT name FROM sqlite_schema WHERE name = 'installation'").fetchone():
        return {}
    return dict(cast("list[tuple[str, bytes]]", connection.execute(MARKS_READ).fetchall()))


def seals_for(settings: Settings, path: Path, *, shared: bool = False) -> Seals | None:
    """The same for a file that is there, before it is opened. Raises SettingsError, or apsw.Error."""
    with contextlib.closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
        connection.set_busy_timeout(BUSY_MS)
        return seals_of(settings, marks_in(connection), shared=shared)


def holds_plain(path: Path) -> bool:
    """Whether a file that is there holds a batch of records or a state that was never sealed. Raises apsw.Error.

    Everything is looked at, in short statements, so that a service at work can copy its write-ahead log back meanwhile.
    """
    with contextlib.closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
        connection.set_busy_timeout(BUSY_MS)
        there = {name for (name,) in connection.execute(TABLES).fetchall()}
        return any(_plain_in(connection, asked) for table, asked in PLAIN.items() if table in there)


def _plain_in(connection: apsw.Connection, asked: str) -> bool:
    after: object = -1
    while after is not None:
        after, plain = connection.execute(asked, (after, LOOK_ROWS, VERSION)).fetchall()[0]
        if plain:
            return True
    return False


def about_state(processor: str, shard: int, key: str) -> str:
    """What a state is about: the same in both editions, so that a move to the cluster moves it as it is."""
    return f"{processor}/{shard}/{key[:KEY_CHARS_MAX]}"


def about_outbox(topic: str, partition: int) -> str:
    """What a batch that waits to be published is about."""
    return f"outbox/{topic}/{partition}"


def _nonce(counted: bytes) -> bytes:
    return b"\0\0\0\0" + counted
