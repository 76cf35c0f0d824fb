"""The media store on S3 or a compatible one, by URL. Credentials and endpoint come from the usual AWS_… variables."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import obstore
from obstore.exceptions import BaseError
from obstore.store import from_url

from services.media.store import is_reference, make_incoming, reference
from services.settings import SettingsError


class MediaBucket:
    """Implements `MediaStore` on an object store, which shows an object only when all of it is there."""

    def __init__(self, url: str, incoming: Path) -> None:
        try:
            self._store = from_url(url)
        except (BaseError, ValueError):
            raise SettingsError(
                "COEXIST_MEDIA_URL cannot be used: write a folder, or an address such as s3://bucket/prefix."
            ) from None
        self._incoming = make_incoming(incoming)

    @property
    def incoming(self) -> Path:
        """See `MediaStore.incoming`."""
        return self._incoming

    async def keep(self, file: Path, sha256: str) -> str:
        """See `MediaStore.keep`."""
        ref = reference(sha256)
        try:
            if not await self._has(ref):
                await obstore.put_async(self._store, ref, file)
        except BaseError as problem:
            raise OSError(type(problem).__name__) from None
        await asyncio.to_thread(file.unlink)
        return ref

    async def read(self, ref: str) -> AsyncIterator[bytes]:
        """See `MediaStore.read`."""
        try:
            found = await obstore.get_async(self._store, ref)
        except FileNotFoundError:
            raise
        except BaseError as problem:
            raise OSError(type(problem).__name__) from None
        try:
            async for chunk in found.stream():
                yield bytes(chunk)
        except BaseError as problem:
            raise OSError(type(problem).__name__) from None

    async def refs(self) -> AsyncIterator[str]:
        """See `MediaStore.refs`."""
        try:
            async for page in obstore.list(self._store):
                for found in page:
                    if is_reference(found["path"]):
                        yield found["path"]
        except BaseError as problem:
            raise OSError(type(problem).__name__) from None

    async def replace(self, file: Path, ref: str) -> None:
        """See `MediaStore.replace`."""
        try:
            await obstore.put_async(self._store, ref, file)
        except BaseError as problem:
            raise OSError(type(problem).__name__) from None
        await asyncio.to_thread(file.unlink)

    async def remove(self, ref: str) -> None:
        """See `MediaStore.remove`."""
        try:
            if await self._has(ref):
                await obstore.delete_async(self._store, ref)
        except BaseError as problem:
            raise OSError(type(problem).__name__) from None

    async def _has(self, ref: str) -> bool:
        try:
            await obstore.head_async(self._store, ref)
        except FileNotFoundError:
            return False
        return True
