"""One SQLite file with one writer: every change goes through it, and one fsync serves all who wait.

The writer is the only connection that writes or checkpoints. Statements run on the event loop (they are short and
touch memory); the COMMIT, with its fsync, runs in a thread, and whatever arrives meanwhile forms the next group.
WAL with `synchronous=FULL`: a commit that returned survives the loss of power.
"""

import asyncio
import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any, cast

import apsw

from schemas.ports import LogUnavailable
from services.sqlite.committer import Committer
from services.sqlite.remnants import PAGES_AT_ONCE, Remnants

GROUP_S_MAX = 0.005
"""Statements hold the writer no longer than this before the group is committed."""
WAL_PAGES_MAX = 512
"""The WAL is copied back into the file beyond this many pages (of 4 KiB), at the latest."""
CACHE_KIB = 8 * 1024

Job = Callable[[apsw.Connection], Any]


class FileInUse(Exception):
    """Another process owns the data folder."""

    def __init__(self, path: Path, owner: str) -> None:
        super().__init__(f"{path} is in use by process {owner}. One process owns an embedded data folder.")


class FolderUnusable(Exception):
    """The data folder, or the file in it, is not one to work with. The message says what to do."""


@contextlib.contextmanager
def usable(path: Path) -> Iterator[None]:
    """Where opening the file at `path` fails, say why. Raises FolderUnusable."""
    instead = "Make it a folder on a local disk that this user may write, or set COEXIST_DATA_DIR."
    try:
        yield
    except OSError as problem:
        why = (problem.strerror or type(problem).__name__).lower()
        raise FolderUnusable(f"{path.parent} cannot be the data folder: {why}. {instead}") from None
    except (apsw.NotADBError, apsw.CorruptError):
        restore = "Restore the folder from a backup, or set COEXIST_DATA_DIR to an empty one."
        raise FolderUnusable(f"{path} is damaged, or no file of ours. {restore}") from None
    except (apsw.CantOpenError, apsw.IOError, apsw.ReadOnlyError, apsw.PermissionsError, apsw.FullError) as problem:
        why = type(problem).__name__.removesuffix("Error")
        raise FolderUnusable(f"{path.parent} cannot be the data folder: SQLite says {why}. {instead}") from None


class SqliteFile:
    """The file, its writer and a read-only connection that sees what is committed.

    `vfs` names the SQLite VFS that it stands on: empty for the system's own, another one where a disk is simulated.
    """

    def __init__(self, path: Path, vfs: str = "") -> None:
        self.path = path
        self._lock = _claim(path)
        self._writing = _connect(path, vfs)
        self._reading = _connect(path, vfs)
        self._reading.pragma("query_only", True)
        self._urgent: list[tuple[Job, asyncio.Future[Any]]] = []
        self._patient: list[tuple[Job, asyncio.Future[Any]]] = []
        self._wake = asyncio.Event()
        self._committer = Committer()
        self._vfs = vfs
        self._scrubs: list[tuple[int, asyncio.Future[int]]] = []
        self._scrub_page = 0
        self._after_failure: list[Callable[[], None]] = []
        self._closing = False
        self._wal_pages = 0
        self._writing.set_wal_hook(self._note_wal)
        self._task: asyncio.Task[None] | None = None

    @property
    def reading(self) -> apsw.Connection:
        """The connection to read with: short statements only, so that the WAL can be copied back."""
        return self._reading

    def start(self) -> asyncio.Task[None]:
        """Start the writer. The task ends with an exception when the disk fails: then the process must end."""
        self._task = asyncio.create_task(self._run(), name="sqlite-writer")
        return self._task

    def script(self, sql: str, parameters: tuple[Any, ...] = ()) -> None:
        """Run statements at once, before the writer starts; durable when this returns."""
        self._writing.execute(sql, parameters)

    def on_failure(self, forget: Callable[[], None]) -> None:
        """Call `forget` when a group was rolled back, so that what it kept in memory is read anew."""
        self._after_failure.append(forget)

    async def write(self, job: Job, *, urgent: bool = False) -> Any:
        """Run `job` in the next group and return its result once the group is durable.

        A job checks before it writes: if it raises, it must not have changed anything. Urgent jobs (ingest) go first.
        Raises LogUnavailable when the disk did not confirm the group.
        """
        if self._closing:
            raise LogUnavailable("the writer has stopped")
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        (self._urgent if urgent else self._patient).append((job, future))
        self._wake.set()
        return await future

    async def scrub(self) -> None:
        """Let nothing that was deleted remain in the file or the write-ahead log, a few pages between two groups.

        Raises LogUnavailable while a reader beside the service holds the write-ahead log.
        """
        page = await self._between_groups(0)
        while page:
            page = await self._between_groups(page)

    async def _between_groups(self, page: int) -> int:
        if self._closing:
            raise LogUnavailable("the writer has stopped")
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._scrubs.append((page, done))
        self._wake.set()
        return await done

    async def close(self) -> None:
        """Finish what is queued, copy the WAL back, and let go of the file."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
        self._committer.stop()
        self._reading.close()
        with contextlib.suppress(apsw.Error):  # on a disk that failed the WAL stays, and is read at the next start
            self._writing.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._writing.close()
        os.close(self._lock)

    async def _run(self) -> None:
        try:
            while not self._closing:
                await self._wake.wait()
                self._wake.clear()
                while self._urgent or self._patient or self._scrubs:
                    if self._urgent or self._patient:
                        await self._group()
                    if self._wal_pages > WAL_PAGES_MAX:
                        await self._committer.do(self._checkpoint)
                    if self._scrubs:
                        await self._scrub()
        finally:
            self._closing = True
            for _, future in (*self._urgent, *self._patient, *self._scrubs):
                if not future.done():
                    future.set_exception(LogUnavailable("the writer has stopped"))

    async def _scrub(self) -> None:
        page, done = self._scrubs.pop(0)
        self._scrub_page = page
        try:
            await self._committer.do(self._scrub_pages)
        except (LogUnavailable, apsw.Error, OSError) as problem:
            if not done.done():
                done.set_exception(LogUnavailable(f"the file could not be scrubbed: {type(problem).__name__}"))
        else:
            if not done.done():
                done.set_result(self._scrub_page)

    def _scrub_pages(self) -> None:
        """In a thread, while no group is open: empty the log, zero the gaps, forget what the cache has of them."""
        with contextlib.suppress(apsw.BusyError):
            self._writing.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        if self.wal_bytes():
            raise LogUnavailable("somebody reads the write-ahead log")
        remnants = Remnants(self.path, self._vfs, one(self._writing, "PRAGMA page_size"))
        try:
            self._scrub_page = remnants.zero(self._scrub_page, PAGES_AT_ONCE)
        finally:
            remnants.close()
        self._writing.execute("PRAGMA shrink_memory").fetchall()

    async def _group(self) -> None:
        done: list[tuple[asyncio.Future[Any], Any]] = []
        failed: list[tuple[asyncio.Future[Any], Exception]] = []
        try:
            self._writing.execute("BEGIN IMMEDIATE")
            self._apply(done, failed)
            await self._committer.do(self._commit)
        except apsw.Error as error:
            self._roll_back(done, error)
            if not isinstance(error, apsw.FullError | apsw.BusyError):
                raise
        for future, result in done:
            if not future.done():
                future.set_result(result)
        for future, problem in failed:
            if not future.done():
                future.set_exception(problem)

    def _apply(
        self,
        done: list[tuple[asyncio.Future[Any], Any]],
        failed: list[tuple[asyncio.Future[Any], Exception]],
    ) -> None:
        deadline = monotonic() + GROUP_S_MAX
        while self._urgent or self._patient:
            job, future = (self._urgent or self._patient).pop(0)
            try:
                done.append((future, job(self._writing)))
            except apsw.Error:
                done.append((future, None))
                raise
            except Exception as problem:  # noqa: BLE001 - handed to the one who waits for this job
                failed.append((future, problem))
            if monotonic() > deadline:
                return

    def _roll_back(self, done: list[tuple[asyncio.Future[Any], Any]], error: apsw.Error) -> None:
        if self._writing.in_transaction:
            self._writing.execute("ROLLBACK")
        for forget in self._after_failure:
            forget()
        for future, _ in done:
            if not future.done():
                future.set_exception(LogUnavailable(f"the disk did not confirm: {type(error).__name__}"))
        done.clear()

    def _commit(self) -> None:
        self._writing.execute("COMMIT")

    def _checkpoint(self) -> None:
        """In the thread, after those who wait for the group were told: what was committed is durable in the WAL."""
        self._wal_pages = 0
        with contextlib.suppress(apsw.FullError):  # tried again after the next group
            self._writing.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def _note_wal(self, _connection: apsw.Connection, _name: str, pages: int) -> int:
        """Told by SQLite after a commit: what stands in the WAL. The file's size does not tell, it never shrinks."""
        self._wal_pages = pages
        return apsw.SQLITE_OK

    def wal_bytes(self) -> int:
        """The size of the write-ahead log."""
        try:
            return self.path.with_name(self.path.name + "-wal").stat().st_size
        except FileNotFoundError:
            return 0


def _connect(path: Path, vfs: str) -> apsw.Connection:
    connection = apsw.Connection(str(path), vfs=vfs or None)
    connection.set_busy_timeout(2_000)
    connection.pragma("journal_mode", "WAL")
    connection.pragma("synchronous", "FULL")
    connection.pragma("wal_autocheckpoint", 0)
    connection.pragma("cache_size", -CACHE_KIB)
    connection.pragma("secure_delete", True)
    return connection


def _claim(path: Path) -> int:
    """Lock the folder for this process, for as long as it lives. Raises FileInUse."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(path.parent / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        owner = _owner(lock)
        os.close(lock)
        raise FileInUse(path.parent, owner) from None
    os.ftruncate(lock, 0)
    os.write(lock, str(os.getpid()).encode())
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # what people write is for its owner; the WAL follows suit
    return lock


def owner_of(folder: Path) -> str:
    """The process that has the data folder, or nothing. Leaves the folder as it is."""
    try:
        lock = os.open(folder / "lock", os.O_RDONLY)
    except OSError:
        return ""
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return _owner(lock)
    finally:
        os.close(lock)
    return ""


def _owner(lock: int) -> str:
    return os.read(lock, 32).decode(errors="replace").strip() or "unknown"


def one(connection: apsw.Connection, sql: str, parameters: tuple[Any, ...] = ()) -> Any:
    """The first column of the first row, or None."""
    row = cast("tuple[Any, ...] | None", connection.execute(sql, parameters).fetchone())
    return row[0] if row else None
