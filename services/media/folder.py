"""The media store on a local folder: a file appears whole, by a rename, and is durable before it is told of."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from services.disk import sync
from services.media.store import CHUNK_BYTES, INCOMING_NAME, is_reference, make_incoming, reference


class MediaFolder:
    """Implements `MediaStore` on a folder. The unfinished files lie in it, so that a rename stays on one disk."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._incoming = make_incoming(root / INCOMING_NAME)

    @property
    def incoming(self) -> Path:
        """See `MediaStore.incoming`."""
        return self._incoming

    async def keep(self, file: Path, sha256: str) -> str:
        """See `MediaStore.keep`."""
        ref = reference(sha256)
        await asyncio.to_thread(_move, file, self._root / ref)
        return ref

    async def read(self, ref: str) -> AsyncIterator[bytes]:
        """See `MediaStore.read`."""
        file = await asyncio.to_thread((self._root / ref).open, "rb")
        try:
            while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
                yield chunk
        finally:
            file.close()

    async def refs(self) -> AsyncIterator[str]:
        """See `MediaStore.refs`."""
        for path in await asyncio.to_thread(kept, self._root):
            yield path.relative_to(self._root).as_posix()

    async def replace(self, file: Path, ref: str) -> None:
        """See `MediaStore.replace`."""
        await asyncio.to_thread(_replace, file, self._root / ref)

    async def remove(self, ref: str) -> None:
        """See `MediaStore.remove`."""
        await asyncio.to_thread((self._root / ref).unlink, missing_ok=True)


def kept(root: Path) -> list[Path]:
    """The files of a media folder, without those that are not complete."""
    return [path for path in sorted(root.glob("*/*")) if is_reference(path.relative_to(root).as_posix())]


def _move(file: Path, to: Path) -> None:
    to.parent.mkdir(exist_ok=True)
    if to.exists():
        file.unlink()
    else:
        sync(file)
        file.replace(to)
    sync(to.parent)
    sync(to.parent.parent)


def _replace(file: Path, at: Path) -> None:
    sync(file)
    file.replace(at)
    sync(at.parent)
