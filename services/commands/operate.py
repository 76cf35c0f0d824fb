"""What those who operate Coexist call from containers and jobs: `coexist ready` and `coexist migrate`."""

import asyncio
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from services.commands.arguments import SECONDS
from services.commands.failure import FAILED, UNREACHABLE, USAGE, Failure, settings_or_exit

if TYPE_CHECKING:
    from services.settings import Settings

READY = 200
ASK_S = 2.0
ASK_AGAIN_S = 0.2


@click.command()
@click.option("--wait", "wait_s", type=SECONDS, default=0.0, help="Wait so many seconds for it.")
def ready(wait_s: float) -> None:
    """Ask whether the service here is ready: exit 0; 1 when it runs but is not ready yet; 3 when it does not answer.

    Ready is that it listens and holds its shards, not that it can write: with a full disk it stays ready while every
    webhook is answered 503.
    """
    from services.commands.admin_client import AdminClient  # noqa: PLC0415 - beside its use, as in all commands

    end = time.monotonic() + wait_s
    while True:
        try:
            status = _status(AdminClient(settings_or_exit()).url)
        except Failure as problem:
            if time.monotonic() >= end:
                raise problem from None
        else:
            if status == READY:
                click.echo("ready")
                return
            if time.monotonic() >= end:
                raise Failure("It runs, but is not ready. Its log says what it waits for.", FAILED)
        time.sleep(ASK_AGAIN_S)


def _status(url: str) -> int:
    """The status of /readyz. Raises Failure when nobody answers."""
    import http.client  # noqa: PLC0415

    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=ASK_S)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        raise Failure(f"Coexist did not answer at {url}. Start it with `coexist run`.", UNREACHABLE) from None
    finally:
        connection.close()


@click.command()
def migrate() -> None:
    """Bring the schema of the store up to date, with the service stopped. Starting the service does the same."""
    from schemas.ports import LogUnavailable  # noqa: PLC0415
    from services.settings import SettingsError  # noqa: PLC0415
    from services.sqlite.file import FileInUse, FolderUnusable  # noqa: PLC0415

    settings = settings_or_exit()
    try:
        where = asyncio.run(_migrate(settings))
    except (SettingsError, FolderUnusable) as problem:
        raise Failure(str(problem), USAGE) from None
    except (LogUnavailable, FileInUse) as problem:
        raise Failure(f"{str(problem).rstrip('.')}.", UNREACHABLE) from None
    click.echo(f"The schema of {where} is up to date.")


@click.command()
def reseal() -> None:
    """Store everything as it would be written now, with every process of the service stopped.

    \b
    After this,
    - keys behind the first of COEXIST_ENCRYPTION_KEYS are needed no more;
    - what was written before COEXIST_ENCRYPT_CONTENT was set is sealed as well;
    - where COEXIST_ENCRYPT_CONTENT is not set, nothing is sealed any more but tokens and secrets.

    Records on Kafka are never sealed. What is cut off is done when this is run again. Backups stay as they were.
    """  # noqa: D301 - the backspace tells click not to fill these lines
    from services.commands.move import plainly  # noqa: PLC0415
    from services.sealing.reseal import reseal as work  # noqa: PLC0415

    settings = settings_or_exit()
    with plainly("Run it again once it answers: it does what is left."):
        done = asyncio.run(work(settings))
    click.echo(
        f"Written anew: {done.states:,} states, {done.batches:,} batches of records and {done.media:,} files, "
        f"of {done.seen:,} in all."
    )


async def _migrate(settings: "Settings") -> str:
    """Do it; what was brought up to date."""
    from contextlib import AsyncExitStack  # noqa: PLC0415

    from services.edition import open_edition  # noqa: PLC0415

    if settings.database_url is not None:
        from services.postgres.pool import Postgres  # noqa: PLC0415

        database = Postgres(settings.database_url.get_secret_value())
        try:
            await database.start()
        finally:
            await database.close()
        return "the database"
    async with AsyncExitStack() as stack:
        edition = await open_edition(settings, time.time, stack)
        return str(edition.file.path) if edition.file is not None else edition.name
