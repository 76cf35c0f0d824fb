"""The erasures that were asked for, beside the store: after a backup was restored, they are carried out once more.

One line of JSON per erasure and step, with keyed digests only. It belongs on a disk that is not restored together with
the rest (`COEXIST_ERASURE_LEDGER`).
"""

import errno
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from echo_sync.erasures import Mark
from schemas.marks import TOMBSTONE_KEEP_S
from services.disk import sync
from services.settings import Settings, SettingsError

FILE_NAME = "erasures.jsonl"


class Entry(msgspec.Struct):
    """An erasure as it is noted: which, at which number, until when it holds, the digests of its person, who asked.

    The first digest is the one under which the person stands in the audit.
    """

    id: str
    number: str
    at: float
    marks: list[Mark]
    by: str = ""


_decoder = msgspec.json.Decoder(Entry)


class ErasureLedger:
    """A file that only grows. Reading forgives a last line that a crash has cut."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def note(self, entry: Entry) -> None:
        """Add a line of its own, durably, whatever a crash has left before it. Raises OSError."""
        is_new = not self._path.exists()
        descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            end = os.fstat(descriptor).st_size
            was_cut = end > 0 and os.pread(descriptor, 1, end - 1) != b"\n"
            line = b"\n" * was_cut + msgspec.json.encode(entry) + b"\n"
            if os.write(descriptor, line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if is_new:
            sync(self._path.parent)

    def check(self) -> None:
        """Raises OSError where a line could not be added. Nothing is written, and no file made that others may use."""
        if self._path.exists():
            os.close(os.open(self._path, os.O_RDWR | os.O_APPEND))
        else:
            with tempfile.TemporaryFile(dir=self._path.parent):
                sync(self._path.parent)

    def take_over(self, other: "ErasureLedger") -> int:
        """Note what another ledger holds and this one does not; how many lines that were. Raises OSError."""
        known = {msgspec.json.encode(entry) for entry in self.lines()}
        missing = [entry for entry in other.lines() if msgspec.json.encode(entry) not in known]
        for entry in missing:
            self.note(entry)
        return len(missing)

    def entries(self, now: float) -> Sequence[Entry]:
        """The newest line of each erasure that tombstones are still kept for."""
        found = {entry.id: entry for entry in self.lines()}
        return [entry for entry in found.values() if entry.at > now - TOMBSTONE_KEEP_S]

    def lines(self) -> Iterator[Entry]:
        """Every line, the oldest first."""
        if not self._path.exists():
            return
        for line in self._path.read_bytes().splitlines():
            try:
                yield _decoder.decode(line)
            except (msgspec.DecodeError, msgspec.ValidationError):
                continue


def ledger_of(settings: Settings) -> ErasureLedger:
    """The ledger that the settings name."""
    return ErasureLedger(settings.erasure_ledger or settings.data_dir / FILE_NAME)


def writable(settings: Settings) -> None:
    """Raises SettingsError where an erasure could not be noted."""
    try:
        ledger_of(settings).check()
    except OSError as problem:
        why = (problem.strerror or type(problem).__name__).lower()
        raise SettingsError(
            f"COEXIST_ERASURE_LEDGER cannot be written: {why}. Name a file in a folder that this user may write."
        ) from None
