"""`coexist migrate-to-cluster`: the embedded edition's data folder becomes a cluster."""

import asyncio
import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click

from services.commands.failure import FAILED, UNREACHABLE, USAGE, Failure, settings_or_exit
from services.extras import CLUSTER, install

if TYPE_CHECKING:
    from services.settings import Settings

TELL_EVERY_S = 2.0


@click.command("migrate-to-cluster")
@click.option("--abandon", is_flag=True, help="Give up a move that is not finished: the folder can be run again.")
def migrate_to_cluster(abandon: bool) -> None:  # noqa: FBT001 - click's way
    """Move the data folder's installation to Kafka and Postgres: stop, move, start.

    \b
    1. Stop `coexist run`. Keep a copy of COEXIST_DATA_DIR.
    2. Set COEXIST_KAFKA_BOOTSTRAP_SERVERS and COEXIST_DATABASE_URL. The database must be empty and the topics new;
       COEXIST_PARTITIONS stays as it is. Then run this.
    3. Start `coexist run` with the same settings, on as many machines as you like.

    All records keep their ids, `seq`, offsets and order. States, timers, positions, dead letters and relays go on
    where they were, and so do commands that wait or are under way. Media in the data folder are copied to
    COEXIST_MEDIA_URL where that is set; else every process must reach the folder that they lie in. Its ledger of
    erasures is copied to COEXIST_ERASURE_LEDGER where that is set, which should be a file that every process reaches.

    Everything is checked before anything is written. A move that was cut off goes on where it stopped when it is run
    again; meanwhile neither edition starts. In the end the folder is marked, and is run no more.
    """  # noqa: D301 - the backspace tells click not to fill these paragraphs
    from services.move.folder import Refused  # noqa: PLC0415 - beside its use, as in all commands

    settings = settings_or_exit()
    with plainly("Run it again once it answers: it goes on where it stopped."):
        try:
            _abandon(settings) if abandon else _move(settings)
        except Refused as problem:
            raise Failure(str(problem), FAILED) from None


@contextlib.contextmanager
def plainly(away: str) -> Iterator[None]:
    """What keeps a command from the data folder or the cluster, as one sentence. `away`: the fix when one is away."""
    from schemas.ports import LogUnavailable, Unreadable  # noqa: PLC0415
    from services.settings import SettingsError  # noqa: PLC0415
    from services.sqlite.file import FileInUse, FolderUnusable  # noqa: PLC0415
    from services.sqlite.log import PartitionsChanged  # noqa: PLC0415

    try:
        yield
    except (SettingsError, PartitionsChanged, FolderUnusable) as problem:
        raise Failure(str(problem), USAGE) from None
    except Unreadable as problem:
        fix = "Put its key back into COEXIST_ENCRYPTION_KEYS, or run the version that wrote it."
        raise Failure(f"Something stored cannot be read: {problem}. {fix}", USAGE) from None
    except ModuleNotFoundError as problem:
        raise Failure(f"{problem.name} is not installed. {install(CLUSTER)}", USAGE) from None
    except FileInUse as problem:
        raise Failure(f"{problem} Stop it first.", UNREACHABLE) from None
    except LogUnavailable as problem:
        raise Failure(f"{problem}. {away}", UNREACHABLE) from None


def _move(settings: "Settings") -> None:
    from services.move.migration import move  # noqa: PLC0415
    from services.serve import loop_factory  # noqa: PLC0415

    started = time.monotonic()
    with _progress() as tell, asyncio.Runner(loop_factory=loop_factory) as runner:
        moved = runner.run(move(settings, tell))
    if moved is None:
        click.echo("It was moved already.")
        return
    before = f" ({moved.found:,} of them by a run before)" if moved.found else ""
    click.echo(f"Moved {moved.records:,} records{before} and {moved.states:,} states in {_spent(started)}.")
    if moved.media:
        click.echo(f"Copied {moved.media:,} files of media to COEXIST_MEDIA_URL.")
    elif not settings.media_url:
        click.echo("Media stay in the data folder. Every process must reach them: see COEXIST_MEDIA_URL.")
    click.echo("Start `coexist run` with these settings. The data folder is marked as moved; keep it as a backup.")


def _spent(started: float) -> str:
    return f"{time.monotonic() - started:.1f} s"


def _abandon(settings: "Settings") -> None:
    from services.move.migration import abandon  # noqa: PLC0415

    click.echo(asyncio.run(abandon(settings)))


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """Tells on standard error how far it is: a bar on a terminal, else a line now and then."""
    if sys.stderr.isatty():
        with click.progressbar(length=1, label="Moving", file=sys.stderr) as bar:

            def draw(done: int, of: int) -> None:
                bar.length = max(1, of)
                bar.update(done - bar.pos)

            yield draw
        return
    told_at = time.monotonic()

    def tell(done: int, of: int) -> None:
        nonlocal told_at
        if time.monotonic() - told_at >= TELL_EVERY_S:
            told_at = time.monotonic()
            click.echo(f"{done:,} of {of:,} records and states", err=True)

    yield tell
