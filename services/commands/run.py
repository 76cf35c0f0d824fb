"""The commands that run something until they are stopped: `coexist run`, `coexist demo`, `coexist sandbox`."""

import asyncio
import secrets
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from services.commands.arguments import DURATION, RATE, SEED, TALK, URL
from services.commands.failure import FAILED, UNREACHABLE, USAGE, Failure, place_of, settings_or_exit
from services.commands.numbers import show
from services.dead_letters import VERSION
from services.scenarios import SCENARIOS

if TYPE_CHECKING:
    from services.settings import Settings

RESTORE = "Restore the folder from a backup, or set COEXIST_DATA_DIR to an empty one."
KEPT = "Start it again: what was answered 200 is kept."
NOT_STARTED = "It had not started; `coexist run --check` and `coexist doctor` look at what it needs."
NOTHING_KEPT = "Start it again; nothing of a demo is kept."


def run_service(work: Callable[[], Any], after: Callable[[], str]) -> None:
    """Run a service's coroutine on its loop; what keeps it from starting becomes a sentence and an exit code.

    `after`: what to do when something ended it that nobody foresaw.
    """
    import apsw  # noqa: PLC0415

    from services.edge import CannotListen  # noqa: PLC0415
    from services.serve import loop_factory  # noqa: PLC0415
    from services.settings import SettingsError  # noqa: PLC0415
    from services.sqlite.file import FileInUse, FolderUnusable  # noqa: PLC0415
    from services.sqlite.log import PartitionsChanged  # noqa: PLC0415

    try:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(work())
    except (SettingsError, CannotListen, PartitionsChanged, FolderUnusable) as problem:
        raise Failure(str(problem), USAGE) from None
    except FileInUse as problem:
        raise Failure(str(problem), UNREACHABLE) from None
    except KeyboardInterrupt:
        sys.exit(0)
    except apsw.CorruptError as problem:
        raise Failure(f"Ended by {place_of(problem)}: the file in the data folder is damaged. {RESTORE}") from None
    except Exception as problem:  # noqa: BLE001 - crash-only: the process ends, and says where without saying what
        raise Failure(f"Ended by {place_of(problem)}. {after()}", FAILED) from None


@click.command()
@click.option(
    "--roles", default="ingest,echo-sync,sender,media,relay", show_default=True, help="Comma-separated roles."
)
@click.option("--check", is_flag=True, help="Look at everything that it needs, then stop.")
def run(roles: str, check: bool) -> None:  # noqa: FBT001 - click's way
    """Run the service: take webhooks, keep the timeline, send."""
    from services.app import ROLES  # noqa: PLC0415
    from services.serve import serve  # noqa: PLC0415
    from services.telemetry import logs  # noqa: PLC0415

    chosen = [role.strip() for role in roles.split(",") if role.strip()]
    wrong = [role for role in chosen if role not in ROLES]
    if wrong or not chosen:
        raise Failure(f"{', '.join(wrong) or 'nothing'} is not a role. There are: {', '.join(ROLES)}.", USAGE)
    settings = settings_or_exit()
    if check:
        _check(settings, chosen)
        return
    logs.configure(settings.log_format, settings.log_level)
    started: list[bool] = []

    def announce(app: Any) -> None:
        started.append(True)
        _announce(app)

    run_service(lambda: serve(settings, chosen, announce), lambda: KEPT if started else NOT_STARTED)


def _check(settings: "Settings", roles: list[str]) -> None:
    """Print what was found; exit 2 where the settings must change, 3 where only another process is in the way."""
    from services.preflight import OWNER, examine  # noqa: PLC0415

    async def work() -> list[str]:
        return [finding.what async for finding in examine(settings, roles) if show(finding)]

    wrong = asyncio.run(work())
    if wrong:
        click.echo(f"\n{len(wrong)} to mend.")
        sys.exit(UNREACHABLE if OWNER in wrong else USAGE)
    click.echo("\nThe settings can be used.")


def _announce(app: Any) -> None:
    where = f"data in {app.settings.data_dir.resolve()}" if app.file else "on Kafka and Postgres"
    lines = [f"Coexist {VERSION}  {app.edition.name} edition, {where}", ""]
    if app.public is not None:
        lines.append(f"  Webhook   http://{app.settings.host}:{app.public.port}/webhooks/meta")
    admin = f"http://{app.settings.admin_host}:{app.admin.port}"
    lines += [f"  Admin     {admin}/", f"  Metrics   {admin}/metrics", "", "  Ctrl-C stops."]
    click.echo("\n".join(lines), err=True)


@click.command()
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8082, show_default=True, help="Port; 0 means any free one."
)
@click.option(
    "--webhook-url", type=URL, default="http://127.0.0.1:8080/webhooks/meta", show_default=True, help="Whom it calls."
)
@click.option("--seed", type=SEED, help="The same seed and calls give the same ids; default: a random one.")
@click.option("--talk", type=TALK, default=0.0, help="Let people talk by themselves, at so many messages a second.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address; it holds nothing but play.")
@click.option("--until-stdin-ends", is_flag=True, hidden=True, help="End with the process that holds its input.")
def sandbox(  # click hands over one argument per option
    *, port: int, host: str, webhook_url: str, seed: int | None, talk: float, until_stdin_ends: bool
) -> None:
    """Run Meta in a box: Graph, signed webhooks with Meta's habits, a page, a ledger."""
    from services.sandbox.app import serve  # noqa: PLC0415
    from services.sandbox.config import SandboxConfig  # noqa: PLC0415

    seeded = secrets.randbits(32) if seed is None else seed
    wanted = SandboxConfig(host=host, port=port, webhook_url=webhook_url or None, seed=seeded, autoplay_per_s=talk)

    def ready(real: int) -> None:
        url = f"http://{host}:{real}"
        click.echo(f"Sandbox {url}/  app secret: {wanted.app_secret}  token: {wanted.access_token}")
        click.echo("For `coexist run` beside it:")
        for name, value in (
            ("GRAPH_URL", url),
            ("APP_SECRETS", wanted.app_secret),
            ("VERIFY_TOKEN", wanted.verify_token),
            ("ACCESS_TOKEN", wanted.access_token),
        ):
            click.echo(f"  export COEXIST_META_{name}={value}")

    try:
        lifeline = sys.stdin.fileno() if until_stdin_ends else None
        asyncio.run(serve(wanted, on_ready=ready, lifeline=lifeline))
    except OSError:
        raise Failure(f"Port {port} on {host} cannot be had. Use --port, or 0 for any free one.", USAGE) from None


@click.command()
@click.option("--seconds", type=DURATION, help="End by itself after so many seconds, with a summary.")
@click.option("--no-browser", is_flag=True, help="Do not open the page.")
@click.option("--seed", type=SEED, default=7, show_default=True, help="Who says what, and what Meta does to it.")
@click.option("--rate", type=RATE, default=8.0, show_default=True, help="Messages a second.")
@click.option("--scenario", type=click.Choice(sorted(SCENARIOS)), help="Play this story instead, and end.")
def demo(  # click hands over one argument per option
    *, seconds: float | None, no_browser: bool, seed: int, rate: float, scenario: str | None
) -> None:
    """See it work: everything in one process, Meta included, with people talking on both sides.

    \b
    Or play a story, which checks what it promises (services/scenarios has them to read):
      campaign  a boutique: personal templates, a person goes on with whoever answers
      booking   a hotel: booking confirmations, changed by hand at the last minute
      leads     an estate agency: the bot qualifies, an agent takes over
      orders    a restaurant: automatic orders beside reservations by hand
    """  # noqa: D301 - the backspace tells click not to fill this paragraph
    from services.telemetry import logs  # noqa: PLC0415

    if scenario is not None:
        given = click.get_current_context().get_parameter_source
        if seconds is not None or given("rate") is not ParameterSource.DEFAULT:
            raise click.UsageError("A story has its own pace and end: give --scenario without --rate and --seconds.")
    logs.configure("console", "error")
    if scenario is not None:
        _play(scenario, seed)
    from services.demo.run import Demo  # noqa: PLC0415

    showing = Demo(seconds=seconds, browser=not no_browser, seed=seed, rate=rate)
    run_service(showing.run, lambda: NOTHING_KEPT)
    sys.exit(0 if showing.balanced else FAILED)


def _play(scenario: str, seed: int) -> None:
    from services.scenarios.play import run  # noqa: PLC0415

    held: list[bool] = []

    async def play() -> None:
        held.append(await run(scenario, seed, click.echo))

    run_service(play, lambda: NOTHING_KEPT)
    sys.exit(0 if held == [True] else FAILED)
