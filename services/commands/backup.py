"""`coexist backup` and `coexist restored`: a copy to go back to, and the word that one was put back."""

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from services.commands.failure import FAILED, USAGE, Failure, settings_or_exit
from services.commands.move import plainly

if TYPE_CHECKING:
    from services.settings import Settings

FENCED = (
    "Commands written before {at} are not sent: those that were not told yet come out as send.unresolved, reason "
    "restored. What is written from now on is sent as ever. Start `coexist run`."
)


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def backup(file: Path) -> None:
    """Copy the embedded edition to FILE, while it runs.

    \b
    To go back to it: stop the service, put FILE in the place of COEXIST_DATA_DIR/coexist.db, remove coexist.db-wal and
    coexist.db-shm, start the service.

    The copy knows that it is one: commands written before the service starts on it are not sent again, but told as
    send.unresolved. Media are files beside it; copy their folder too. What was erased before is not in the copy.
    """  # noqa: D301 - the backspace tells click not to fill these paragraphs
    from services.backup import NotCopied, copy  # noqa: PLC0415 - beside its use, as in all commands
    from services.edition import FILE_NAME  # noqa: PLC0415

    settings = settings_or_exit()
    if settings.kafka_bootstrap_servers:
        raise Failure("This is a cluster: back up Postgres with its own tools, and see UPGRADING.md.", USAGE)
    try:
        size = copy(settings.data_dir / FILE_NAME, file, time.time())
    except NotCopied as problem:
        raise Failure(str(problem), FAILED) from None
    click.echo(f"{file}: {size:,} bytes.")


@click.command()
def restored() -> None:
    """Say, with the service stopped, that its state was put back from a backup that `coexist backup` did not make.

    That is a copy of the data folder made by other means, or the cluster's database. Of the commands written before,
    nobody knows any more whether they were sent: none is sent, and each is told as send.unresolved.

    On the cluster every fact is numbered behind what Kafka holds already; for that its topics are read once.
    """
    from schemas.instants import rfc3339  # noqa: PLC0415 - beside its use, as in all commands

    settings = settings_or_exit()
    with plainly("Run it again once it answers."):
        at = asyncio.run(_restored(settings))
    click.echo(FENCED.format(at=rfc3339(at)))


async def _restored(settings: "Settings") -> float:
    from contextlib import AsyncExitStack  # noqa: PLC0415

    from services.backup import put_back  # noqa: PLC0415
    from services.edition import open_edition  # noqa: PLC0415

    now = time.time()
    if settings.kafka_bootstrap_servers:
        from services import backup_cluster  # noqa: PLC0415 - needs the extras kafka and postgres

        await backup_cluster.put_back(settings, now)
        return now
    async with AsyncExitStack() as stack:
        edition = await open_edition(settings, time.time, stack)
        if edition.file is not None:
            put_back(edition.file, now)
    return now
