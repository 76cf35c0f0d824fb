"""Backups, and the fence behind a restore: what was written before it is not sent on the word of an older state.

A state that was put back does not know what was sent after it was copied; sending it "again" would send yesterday's
messages once more. So a backup carries a mark, and from the first start on it `sender.delivery` opens no attempt for
a command that was written before: it comes out as `send.unresolved`, reason `restored`; later statuses may resolve it.
"""

import contextlib
import os
from pathlib import Path

import apsw
import msgspec
import structlog

from schemas.topics import DAY_S
from services.disk import sync
from services.sqlite.file import SqliteFile, one

MARK = "restored"
"""The name of the mark in the table `installation`."""
MARK_READ = f"SELECT value FROM installation WHERE name = '{MARK}'"  # noqa: S608 - a constant
MARK_PUT = "INSERT INTO installation VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"


class Mark(msgspec.Struct, frozen=True):
    """A backup, or what became of one. `since`: when work began on it, 0 where it has not; seconds since 1970.

    `told_until`: on the cluster, where each partition of `timeline` ended then; what lies before may be told anew.
    """

    copied_at: float = 0
    since: float = 0
    told_until: tuple[int, ...] = ()


log = structlog.get_logger()

_decoder = msgspec.json.Decoder(Mark)


class NotCopied(Exception):
    """There is no backup. The message says why, and what to do."""


def read(value: bytes | None) -> Mark | None:
    """The mark that is stored, or None."""
    return None if value is None else _decoder.decode(value)


def stored(mark: Mark) -> bytes:
    """The mark as it is stored."""
    return msgspec.json.encode(mark)


def restored_at(file: SqliteFile, now: float) -> float:
    """Since when work is done on a backup, 0 where it is none. Where that begins now, it is durable on return."""
    mark = read(one(file.reading, MARK_READ))
    if mark is None:
        return 0.0
    if not mark.since:
        put_back(file, now)
    return mark.since or now


def tell(since: float, now: float) -> None:
    """Say in the log of a service that starts that it works on a backup: as a warning for a day, afterwards as news."""
    if since:
        age_s = max(0, round(now - since))
        say = log.warning if age_s < DAY_S else log.info
        say("restored", seconds=age_s, fix="Commands written before then are not sent; send.unresolved names each.")


def put_back(file: SqliteFile, now: float) -> None:
    """Say that the folder was put back from a copy, and that work on it begins now."""
    file.script(MARK_PUT, (MARK, stored(Mark(since=now))))


def copy(source: Path, target: Path, now: float) -> int:
    """Copy the data folder's file, while it is written to, as it is at one instant; its size in bytes.

    What was deleted is not in the copy. It is whole or not there: it takes its name last. Raises NotCopied.
    """
    if not source.exists():
        raise NotCopied(f"There is no {source}. Is COEXIST_DATA_DIR the folder of the service?")
    if target.exists():
        raise NotCopied(f"{target} is there already. Choose another name: a backup overwrites nothing.")
    part = target.with_name(f"{target.name}.part")
    try:
        part.unlink(missing_ok=True)
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        _copied(source, part, now)
        sync(part)
        part.rename(target)
        sync(target.parent)
    except (OSError, apsw.Error) as problem:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise NotCopied(
            f"{target} could not be written: {type(problem).__name__}. Is there room, and a folder?"
        ) from None
    return target.stat().st_size


def _copied(source: Path, part: Path, now: float) -> None:
    reading = apsw.Connection(str(source), flags=apsw.SQLITE_OPEN_READWRITE)  # WAL wants its shared memory
    try:
        reading.set_busy_timeout(10_000)
        reading.execute("VACUUM INTO ?", (str(part),))
    finally:
        reading.close()
    copied = apsw.Connection(str(part))
    try:
        if copied.pragma("quick_check") != "ok":
            raise apsw.CorruptError("the copy is not sound")
        copied.execute(MARK_PUT, (MARK, stored(Mark(copied_at=now))))
    finally:
        copied.close()
