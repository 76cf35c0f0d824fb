"""The command line. Commands import their work when they run, so that `--help` answers at once.

Exit codes: 0 done, 1 failed, 2 wrong usage or settings, 3 the service or the data folder could not be had.
"""

import asyncio
import contextlib
import json
import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from services.cli_letters import dead_letters
from services.cli_numbers import doctor, onboard
from services.cli_operate import migrate, ready
from services.cli_relays import relay
from services.dead_letters import VERSION
from services.failure import FAILED, UNREACHABLE, USAGE, Failure, place_of

if TYPE_CHECKING:
    from services.settings import Settings


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """One WhatsApp business number, in the Business App and in the Cloud API, on one clean timeline.

    \b
    Try it:   coexist demo
    Run it:   coexist run          (COEXIST_META_APP_SECRETS must be set)
    Watch it: coexist tail timeline
    """  # noqa: D301 - the backspace tells click not to fill this paragraph


main.add_command(dead_letters)
main.add_command(onboard)
main.add_command(doctor)
main.add_command(migrate)
main.add_command(ready)
main.add_command(relay)


def settings_or_exit() -> "Settings":
    """The settings, or one sentence and exit 2."""
    from services.settings import SettingsError, load  # noqa: PLC0415

    try:
        return load()
    except SettingsError as problem:
        raise Failure(str(problem), USAGE) from None


def run_service(work: Callable[[], Any]) -> None:
    """Run a service's coroutine on its loop; what keeps it from starting becomes a sentence and an exit code."""
    from services.edge import PortInUse  # noqa: PLC0415
    from services.log_sqlite import PartitionsChanged  # noqa: PLC0415
    from services.serve import loop_factory  # noqa: PLC0415
    from services.settings import SettingsError  # noqa: PLC0415
    from services.sqlite_file import FileInUse  # noqa: PLC0415

    try:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(work())
    except (SettingsError, PortInUse, PartitionsChanged) as problem:
        raise Failure(str(problem), USAGE) from None
    except FileInUse as problem:
        raise Failure(str(problem), UNREACHABLE) from None
    except KeyboardInterrupt:
        sys.exit(0)
    except Exception as problem:  # noqa: BLE001 - crash-only: the process ends, and says where without saying what
        sentence = f"Ended by {place_of(problem)}. Start it again: what was answered 200 is kept."
        raise Failure(sentence, FAILED) from None


@main.command()
def version() -> None:
    """Print the version."""
    click.echo(VERSION)


@main.command()
def config() -> None:
    """Print the effective settings, secrets masked."""
    from services.settings import masked  # noqa: PLC0415

    for name, value in masked(settings_or_exit()).items():
        click.echo(f"{name}={value}")


@main.command()
@click.option("--roles", default="ingest,echo-sync,sender,media", show_default=True, help="Comma-separated roles.")
@click.option("--check", is_flag=True, help="Check the settings and the data folder, then stop.")
def run(roles: str, check: bool) -> None:  # noqa: FBT001 - click's way
    """Run the service: take webhooks, keep the timeline, send."""
    from services import logs  # noqa: PLC0415
    from services.app import ROLES  # noqa: PLC0415
    from services.serve import serve  # noqa: PLC0415
    from services.settings import SettingsError  # noqa: PLC0415
    from services.settings import secrets as app_secrets  # noqa: PLC0415

    chosen = [role.strip() for role in roles.split(",") if role.strip()]
    wrong = [role for role in chosen if role not in ROLES]
    if wrong or not chosen:
        raise Failure(f"{', '.join(wrong) or 'nothing'} is not a role. There are: {', '.join(ROLES)}.", USAGE)
    settings = settings_or_exit()
    try:
        app_secrets(settings) if "ingest" in chosen else None
    except SettingsError as problem:
        raise Failure(str(problem), USAGE) from None
    if check:
        click.echo("The settings can be used.")
        return
    logs.configure(settings.log_format, settings.log_level)
    run_service(lambda: serve(settings, chosen, _announce))


def _announce(app: Any) -> None:
    where = f"data in {app.settings.data_dir.resolve()}" if app.file else "on Kafka and Postgres"
    lines = [f"Coexist {VERSION}  {app.edition.name} edition, {where}", ""]
    if app.public is not None:
        lines.append(f"  Webhook   http://{app.settings.host}:{app.public.port}/webhooks/meta")
    admin = f"http://{app.settings.admin_host}:{app.admin.port}"
    lines += [f"  Admin     {admin}/", f"  Metrics   {admin}/metrics", "", "  Ctrl-C stops."]
    click.echo("\n".join(lines), err=True)


@main.command()
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8082, show_default=True, help="Port; 0 means any free one."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address; it holds nothing but play.")
@click.option("--webhook-url", default="http://127.0.0.1:8080/webhooks/meta", show_default=True, help="Whom it calls.")
@click.option("--seed", type=int, help="The same seed and calls give the same ids; default: a random one.")
@click.option("--talk", default=0.0, help="Let people talk by themselves, at so many messages a second.")
def sandbox(port: int, host: str, webhook_url: str, seed: int | None, talk: float) -> None:
    """Run Meta in a box: Graph, signed webhooks with Meta's habits, a page, a ledger."""
    from services.sandbox.app import serve  # noqa: PLC0415
    from services.sandbox.config import SandboxConfig  # noqa: PLC0415

    seeded = secrets.randbits(32) if seed is None else seed
    wanted = SandboxConfig(host=host, port=port, webhook_url=webhook_url or None, seed=seeded, autoplay_per_s=talk)

    def ready(real: int) -> None:
        click.echo(f"Sandbox http://{host}:{real}/  app secret: {wanted.app_secret}  token: {wanted.access_token}")

    try:
        asyncio.run(serve(wanted, on_ready=ready))
    except OSError:
        raise Failure(f"Port {port} is in use. Use --port, or 0 for any free one.", USAGE) from None


@main.command()
@click.option("--seconds", type=float, help="End by itself after so many seconds, with a summary.")
@click.option("--no-browser", is_flag=True, help="Do not open the page.")
@click.option("--seed", default=7, show_default=True, help="Who says what, and what Meta does to it.")
@click.option("--rate", default=8.0, show_default=True, help="Messages a second.")
def demo(seconds: float | None, no_browser: bool, seed: int, rate: float) -> None:  # noqa: FBT001 - click's way
    """See it work: everything in one process, Meta included, with people talking on both sides."""
    from services import logs  # noqa: PLC0415
    from services.demo import Demo  # noqa: PLC0415

    logs.configure("console", "warning")
    show = Demo(seconds=seconds, browser=not no_browser, seed=seed, rate=rate)
    run_service(show.run)
    sys.exit(0 if show.balanced else FAILED)


@main.command()
@click.argument("name")
@click.option("--number", default="106540352242922", show_default=True, help="Phone number id.")
@click.option("--contact", default="34600111222", show_default=True, help="The customer's phone.")
@click.option("--text", default="Hola!", show_default=True, help="What is said.")
@click.option("--duplicate", default=0, help="Send it N more times.")
@click.option("--to-url", default="", help="Receiver; default: the webhook of this installation.")
@click.option("--secret", default="", help="App secret; default: COEXIST_META_APP_SECRETS, then the sandbox's.")
def trigger(name: str, number: str, contact: str, text: str, duplicate: int, to_url: str, secret: str) -> None:
    """Send one signed webhook: message, echo, status, edit, revoke, history, contact, offboard, …"""
    from services.trigger import trigger as fire  # noqa: PLC0415

    settings = settings_or_exit()
    url = to_url or f"http://127.0.0.1:{settings.port}/webhooks/meta"
    own = settings.meta_app_secrets[0].get_secret_value() if settings.meta_app_secrets else ""
    for status in fire(name, url, secret or own, number=number, contact=contact, text=text, times=duplicate + 1):
        click.echo(f"{name}: {status}")
        if status != "200":
            raise Failure(f"The receiver answered {status} instead of 200.", FAILED)


@main.command()
@click.argument("topic")
@click.option("--from-start", is_flag=True, help="Begin with the oldest event that is kept.")
@click.option("--no-follow", is_flag=True, help="End with the newest event.")
@click.option("--json", "as_json", is_flag=True, help="Print CloudEvents JSON, one object per line.")
@click.option("--number", default="", help="Only this business number.")
@click.option("--type", "kind", default="", help="Only this type.")
def tail(topic: str, from_start: bool, no_follow: bool, as_json: bool, number: str, kind: str) -> None:  # noqa: FBT001
    """Print the events of a topic, one per line. TOPIC with or without its prefix."""
    from services.tail import tail as follow  # noqa: PLC0415

    settings = settings_or_exit()
    told = follow(
        settings, topic, from_start=from_start, follow=not no_follow, as_json=as_json, number=number, kind=kind
    )
    with contextlib.suppress(KeyboardInterrupt):
        for line in told:
            click.echo(line)


@main.command()
@click.option("--number", default="", help="Phone number id of the business.")
@click.option("--to", default="", help="The customer's phone or user id.")
@click.option("--text", default="", help="What to say.")
@click.option("--json", "json_file", type=click.File("rb"), help="A file with the data of send.requested; - for stdin.")
@click.option("--bulk", is_flag=True, help="Let it wait behind everything else.")
@click.option("--cancel", default="", help="Cancel this command instead.")
@click.option("--wait", "wait_s", type=float, default=0, help="Wait so many seconds for its outcome.")
def send(number: str, to: str, text: str, json_file: Any, bulk: bool, cancel: str, wait_s: float) -> None:  # noqa: FBT001
    """Write a send command and print its command_id."""
    from services.admin_client import AdminClient  # noqa: PLC0415

    client = AdminClient(settings_or_exit())
    if cancel:
        client.call("DELETE", f"/v1/sends/{cancel}")
        click.echo(cancel)
        return
    if json_file is not None:
        command_id = client.send_json(json_file.read())
    elif number and to and text:
        body = {"number": number, "to": to, "type": "text", "text": {"body": text}} | ({"lane": "bulk"} if bulk else {})
        command_id = client.call("POST", "/v1/messages", body)["command_id"]
    else:
        raise click.UsageError("Give --number, --to and --text; or --json FILE; or --cancel ID.")
    click.echo(command_id)
    if wait_s:
        for line in client.outcomes(command_id, wait_s):
            click.echo(line)


@main.group()
def numbers() -> None:
    """Business numbers: list, add, pause, resume."""


@numbers.command("list")
def list_numbers() -> None:
    """The numbers that are known."""
    from services.admin_client import AdminClient  # noqa: PLC0415

    for number in AdminClient(settings_or_exit()).call("GET", "/v1/numbers")["numbers"]:
        because = f" ({number['because']})" if number["because"] else ""
        click.echo(f"{number['number']}  {number['rate_per_s']}/s  sending {number['sending']}{because}")


@numbers.command("show")
@click.argument("number")
def show_number(number: str) -> None:
    """How a number stands, and how far its history import is, as JSON."""
    from services.admin_client import AdminClient  # noqa: PLC0415

    click.echo(json.dumps(AdminClient(settings_or_exit()).call("GET", f"/v1/numbers/{number}"), indent=2))


@numbers.command("add")
@click.argument("number")
@click.option("--waba", default="", help="WhatsApp Business Account id.")
@click.option("--rate", type=click.IntRange(1, 1000), help="Messages a second: 20 in the app, else 80 or 1000.")
def add_number(number: str, waba: str, rate: int | None) -> None:
    """Register a number before its first webhook; for one that is known, say its rate."""
    from services.admin_client import AdminClient  # noqa: PLC0415

    body = {"number": number, "waba": waba} | ({"rate_per_s": rate} if rate else {})
    AdminClient(settings_or_exit()).call("POST", "/v1/numbers", body)
    click.echo(number)


def _switch(number: str, action: str) -> None:
    from services.admin_client import AdminClient  # noqa: PLC0415

    AdminClient(settings_or_exit()).call("POST", f"/v1/numbers/{number}/{action}")
    click.echo(f"{number}: {action}d" if action.endswith("e") else number)


@numbers.command()
@click.argument("number")
def pause(number: str) -> None:
    """Hold all sends of a number."""
    _switch(number, "pause")


@numbers.command()
@click.argument("number")
def resume(number: str) -> None:
    """Let a number send again."""
    _switch(number, "resume")


@main.group()
def topics() -> None:
    """Topics of this installation."""


@topics.command("create")
def create_topics() -> None:
    """Make the topics that are missing on Kafka, and say what is wrong with those that are there."""
    from schemas.ports import LogUnavailable  # noqa: PLC0415

    settings = settings_or_exit()
    if not settings.kafka_bootstrap_servers:
        raise Failure("COEXIST_KAFKA_BOOTSTRAP_SERVERS is not set; the embedded log needs no topics.", USAGE)
    from services import kafka_topics  # noqa: PLC0415
    from services.kafka_client import kafka_of  # noqa: PLC0415

    async def work() -> tuple[list[str], list[str]]:
        kafka = kafka_of(settings)
        made = await kafka_topics.create(kafka, settings.partitions)
        return made, await kafka_topics.problems(kafka, settings.partitions)

    try:
        made, wrong = asyncio.run(work())
    except LogUnavailable as problem:
        raise Failure(f"{problem}.", UNREACHABLE) from None
    for name in made:
        click.echo(f"created {name}")
    if wrong:
        raise Failure("\n".join(wrong))


@topics.command("list")
def list_topics() -> None:
    """The topics, who writes them and how long they keep what they hold."""
    from schemas.topics import DAY_S, TOPICS  # noqa: PLC0415

    prefix = settings_or_exit().topic_prefix
    for topic in TOPICS.values():
        kept = f"{topic.retention_s // DAY_S} days" if topic.retention_s else "compacted"
        click.echo(f"{prefix}.{topic.name:15} {kept:10} {topic.writer:24} {topic.holds}")


@main.group()
def schemas() -> None:
    """The published contract: JSON Schemas and AsyncAPI."""


@schemas.command("export")
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--check", is_flag=True, help="Write nothing; fail when the files there are stale.")
def export(directory: Path, check: bool) -> None:  # noqa: FBT001 - click's way
    """Write the JSON Schemas and the AsyncAPI document into DIRECTORY."""
    from schemas.contract import stale, write  # noqa: PLC0415

    if not check:
        write(directory)
    elif old := stale(directory):
        raise Failure(f"Stale: {', '.join(old)}. Run `coexist schemas export {directory}`.")


@main.command()
@click.option("--only", default="", help="Comma-separated goals, such as P1,P5.")
@click.option("--events", default=200_000, show_default=True, help="Events for the growth of memory (P10).")
def bench(only: str, events: int) -> None:
    """Measure the goals of performance against their floors, in one run on this machine."""
    from services.bench import main as measure  # noqa: PLC0415

    sys.exit(0 if measure([goal for goal in only.upper().split(",") if goal], events) else FAILED)
