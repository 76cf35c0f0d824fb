"""The media store with its files sealed: a thin layer over the folder or the bucket.

A file has a key of its own, derived with its own salt, and is sealed in pieces, so that one of any size is read and
written without holding it; the last piece says so, and what was cut off does not pass for whole. A reference stays the
digest of the content: who has a file can find out whether we have it, too.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.media.store import CHUNK_BYTES, MediaStore, Part, reference
from services.sealing.content import HEAD_BYTES, Seals
from services.sealing.keys import CannotUnseal

MAGIC = b"coexist sealed\x00\x01"
TAG_BYTES = 16
PURPOSE = b"media"


class SealedMedia:
    """See `MediaStore`. Files that were never sealed are read as they are."""

    def __init__(self, media: MediaStore, seals: Seals) -> None:
        self._media = media
        self._seals = seals

    @property
    def incoming(self) -> Path:
        """See `MediaStore.incoming`. What lies here is not sealed yet; it is gone as soon as it is kept."""
        return self._media.incoming

    async def keep(self, file: Path, sha256: str) -> str:
        """See `MediaStore.keep`."""
        if not self._seals.wanted:
            return await self._media.keep(file, sha256)
        with Part(self.incoming) as sealed:
            await asyncio.to_thread(self._seal, file, sealed)
            ref = await self._media.keep(sealed.path, sha256)
        await asyncio.to_thread(file.unlink)
        return ref

    def refs(self) -> AsyncIterator[str]:
        """See `MediaStore.refs`."""
        return self._media.refs()

    async def replace(self, file: Path, ref: str) -> None:
        """See `MediaStore.replace`."""
        if not self._seals.wanted:
            await self._media.replace(file, ref)
            return
        with Part(self.incoming) as sealed:
            await asyncio.to_thread(self._seal, file, sealed)
            await self._media.replace(sealed.path, ref)
        await asyncio.to_thread(file.unlink)

    async def seal_anew(self, ref: str) -> bool:
        """Let a file lie as it would be kept now; whether it did not. Raises OSError where no key opens it."""
        if await self._is_current(ref):
            return False
        with Part(self.incoming) as part:
            async for chunk in self.read(ref):
                await asyncio.to_thread(part.write, chunk)
            part.flush()
            await self.replace(part.path, ref)
        return True

    async def _is_current(self, ref: str) -> bool:
        held = b""
        async for chunk in self._media.read(ref):
            held += chunk
            if len(held) >= len(MAGIC) + HEAD_BYTES:
                break
        if held[: len(MAGIC)] != MAGIC:
            return not self._seals.wanted
        return self._seals.wanted and self._seals.is_current(held[len(MAGIC) :])

    async def remove(self, ref: str) -> None:
        """See `MediaStore.remove`."""
        await self._media.remove(ref)

    async def read(self, ref: str) -> AsyncIterator[bytes]:
        """See `MediaStore.read`. Raises OSError where no key opens it, or it was cut off or changed."""
        held = bytearray()
        pieces: _Pieces | None = None
        async for chunk in self._media.read(ref):
            held += chunk
            if pieces is None:
                if len(held) < len(MAGIC) + HEAD_BYTES:
                    continue
                pieces = await self._pieces(held, ref)
            for plain in pieces.taken(held):
                yield plain
        for plain in (pieces or await self._pieces(held, ref)).rest(held):
            yield plain

    async def _pieces(self, held: bytearray, ref: str) -> "_Pieces":
        """How to read what begins so, without its head. What a customer sent may begin as if it were sealed."""
        if held[: len(MAGIC)] != MAGIC:
            return _Pieces(None)
        head = bytes(held[len(MAGIC) : len(MAGIC) + HEAD_BYTES])
        try:
            cipher = self._seals.cipher(head, PURPOSE)
        except CannotUnseal as problem:
            if await self._is_plain(ref):
                return _Pieces(None)
            raise OSError(str(problem)) from None
        del held[: len(MAGIC) + HEAD_BYTES]
        return _Pieces(cipher)

    async def _is_plain(self, ref: str) -> bool:
        """Whether what lies there is the content itself, by its digest."""
        digest = hashlib.sha256()
        async for chunk in self._media.read(ref):
            digest.update(chunk)
        return reference(digest.hexdigest()) == ref

    def _seal(self, file: Path, copy: Part) -> None:
        """Write the sealed copy of a file, in a thread."""
        head, cipher = self._seals.drawn(PURPOSE)
        with file.open("rb") as source:
            copy.write(MAGIC + head)
            number, piece = 0, source.read(CHUNK_BYTES)
            while True:
                following = source.read(CHUNK_BYTES)
                copy.write(cipher.encrypt(_nonce(number, last=not following), piece, None))
                if not following:
                    break
                number, piece = number + 1, following
        copy.flush()


class _Pieces:
    """A sealed file as it comes in; without a cipher it is none, and passes."""

    def __init__(self, cipher: AESGCM | None) -> None:
        self._cipher = cipher
        self._number = 0

    def taken(self, held: bytearray) -> list[bytes]:
        """What can be told already; it is taken out of `held`. The last piece stays until the end is known."""
        if self._cipher is None:
            return [self._all(held)]
        found = []
        while len(held) > CHUNK_BYTES + TAG_BYTES:
            found.append(self._opened(bytes(held[: CHUNK_BYTES + TAG_BYTES]), last=False))
            del held[: CHUNK_BYTES + TAG_BYTES]
        return found

    def rest(self, held: bytearray) -> list[bytes]:
        """What is left at the end."""
        return [self._all(held)] if self._cipher is None else [self._opened(bytes(held), last=True)]

    def _all(self, held: bytearray) -> bytes:
        plain = bytes(held)
        held.clear()
        return plain

    def _opened(self, piece: bytes, *, last: bool) -> bytes:
        assert self._cipher is not None  # noqa: S101 - asked by those two alone
        nonce = _nonce(self._number, last=last)
        self._number += 1
        try:
            return self._cipher.decrypt(nonce, piece, None)
        except InvalidTag:
            raise OSError("the file was cut off or changed") from None


def _nonce(number: int, *, last: bool) -> bytes:
    return (b"\1" if last else b"\0") + number.to_bytes(11)
