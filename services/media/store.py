"""Where media is kept, one copy per content, under names of ours: the port, and which adapter a URL means.

A file is fetched into `incoming` first, checked there, and only then kept: nobody ever sees half of one.
"""

import contextlib
import hashlib
import os
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol, Self

from services.extras import S3, install
from services.media.type import HEAD_BYTES
from services.settings import SettingsError

FOLDER_NAME = "media"
INCOMING_NAME = "incoming"
LEFT_BEHIND_S = 3600.0
"""An unfinished file that old is nobody's any more: a process was killed over it."""
CHUNK_BYTES = 256 * 1024


class MediaStore(Protocol):
    """A keeper of files by their content."""

    @property
    def incoming(self) -> Path:
        """The folder for files that are not yet complete and checked."""

    async def keep(self, file: Path, sha256: str) -> str:
        """Take over a complete file whose SHA-256 (hex) this is, and return its reference once it is durable.

        The same content again is the same reference and no second copy. `file` is gone when this returns.
        Raises OSError when it cannot be kept; then nothing is, and `file` may remain.
        """

    def read(self, ref: str) -> AsyncIterator[bytes]:
        """What stands under a reference, in chunks. Raises FileNotFoundError where there is nothing."""

    def refs(self) -> AsyncIterator[str]:
        """Every reference under which something stands, in no certain order."""

    async def replace(self, file: Path, ref: str) -> None:
        """Put a file in the place of what stands under a reference; `file` is gone when this returns.

        For the same content in another form. At every instant one of the two stands there. Raises OSError.
        """

    async def remove(self, ref: str) -> None:
        """Remove what stands under a reference, for whoever shares it. Silent where there is nothing."""


DIGEST_CHARS = 64


def is_reference(ref: str) -> bool:
    """Is it a name that `reference` gives?"""
    return len(ref) == DIGEST_CHARS + 3 and ref == reference(ref[3:])


def reference(sha256: str) -> str:
    """The name of a content: nothing of the sender's is in it."""
    return f"{sha256[:2]}/{sha256}"


def open_store(url: str, data_dir: Path) -> MediaStore:
    """The store that COEXIST_MEDIA_URL means; the default is a folder in the data folder.

    A path or `file:///path` is a folder; anything else is an object store, by the extra `s3`. Raises SettingsError.
    """
    from services.media.folder import MediaFolder  # noqa: PLC0415 - they import this module

    scheme, separator, rest = url.partition("://")
    if not separator or scheme == "file":
        folder = Path(rest if separator else url) if url else data_dir / FOLDER_NAME
        try:
            return MediaFolder(folder)
        except OSError as problem:
            fix = "Set COEXIST_MEDIA_URL to a folder that this user may write, or unset it."
            raise SettingsError(f"{folder} cannot keep media: {(problem.strerror or '').lower()}. {fix}") from None
    try:
        from services.media.bucket import MediaBucket  # noqa: PLC0415 - the extra is imported only when it is used
    except ImportError:
        raise SettingsError(f"COEXIST_MEDIA_URL is a {scheme} address, which needs an extra: {install(S3)}") from None
    return MediaBucket(url, data_dir / FOLDER_NAME / INCOMING_NAME)


def make_incoming(folder: Path) -> Path:
    """The folder for unfinished files, made when it is missing, without what was left behind in it."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > LEFT_BEHIND_S:
                path.unlink()
    return folder


class Part:
    """A file under way: its bytes so far, their number and digest. Whatever happens, the block leaves no file."""

    def __init__(self, folder: Path) -> None:
        descriptor, name = tempfile.mkstemp(dir=folder)
        self._file = os.fdopen(descriptor, "wb")
        self._digest = hashlib.sha256()
        self.path = Path(name)
        self.head = b""
        self.bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self.path.unlink(missing_ok=True)

    @property
    def sha256(self) -> str:
        """The digest of what was written, in hex."""
        return self._digest.hexdigest()

    def write(self, chunk: bytes) -> None:
        """Add a chunk."""
        self.head += chunk[: HEAD_BYTES - len(self.head)]
        self.bytes += len(chunk)
        self._digest.update(chunk)
        self._file.write(chunk)

    def flush(self) -> None:
        """Let whoever opens the file see all of it."""
        self._file.flush()
