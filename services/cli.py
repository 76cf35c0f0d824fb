"""The command line. Commands import their work when they run, so that `--help` answers at once.

Exit codes: 0 done, 1 failed, 2 wrong usage or settings, 3 the service or the data folder could not be had.
"""

import asyncio
import contextlib
import json
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from services.commands.arguments import META_ID, PHONE, SECONDS, TIMES, URL
from services.commands.backup import backup, restored
from services.commands.failure import FAILED, UNREACHABLE, USAGE, Failure, place_of, settings_or_exit
from services.commands.letters import dead_letters
from services.commands.move import migrate_to_cluster
from services.commands.numbers import doctor, onboard, token_in
from services.commands.operate import migrate, ready, reseal
from services.commands.privacy import privacy
from services.commands.relays import relay
from services.commands.run import demo, run, sandbox
from services.commands.suppress import suppress
from services.commands.verify import verify
from services.dead_letters import VERSION


class Plainly(click.Group):
    """Commands whose unforeseen failures are told in one sentence: a traceback may quote a message."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except Exception as problem:  # noqa: BLE001 - said without what it was about
            raise Failure(f"Ended by {place_of(problem)}. It is a defect of Coexist.", FAILED) from None


@click.group(cls=Plainly, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """One WhatsApp business number, in the Business App and in the Cloud API, on one clean timeline.

    \b
    Try it:   coexist demo
    Run it:   coexist run          (COEXIST_META_APP_SECRETS must be set)
    Watch it: coexist tail timeline
    """  # noqa: D301 - the backspace tells click not to fill this paragraph


main.add_command(run)
main.add_command(sandbox)
main.add_command(demo)
main.add_command(dead_letters)
main.add_command(onboard)
main.add_command(doctor)
main.add_command(migrate)
main.add_command(reseal)
main.add_command(migrate_to_cluster)
main.add_command(verify)
main.add_command(backup)
main.add_command(restored)
main.add_command(ready)
main.add_command(relay)
main.add_command(suppress)
main.add_command(privacy)


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
@click.argument("name")
@click.option("--number", type=META_ID, default="106540352242922", show_default=True, help="Phone number id.")
@click.option("--contact", type=PHONE, default="34600111222", show_default=True, help="The customer's phone.")
@click.option("--text", default="Hola!", show_default=True, help="What is said.")
@click.option("--duplicate", type=TIMES, default=0, help="Send it N more times.")
@click.option("--to-url", type=URL, default="", help="Receiver; default: the webhook of this installation.")
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
@click.option("--number", type=META_ID, default="", help="Only this business number.")
@click.option("--type", "kind", default="", help="Only this type.")
def tail(topic: str, from_start: bool, no_follow: bool, as_json: bool, number: str, kind: str) -> None:  # noqa: FBT001
    """Print the events of a topic, one per line. TOPIC with or without its prefix."""
    from services.tail import doubt, is_at_rest  # noqa: PLC0415
    from services.tail import tail as follow  # noqa: PLC0415

    settings = settings_or_exit()
    if not no_follow and is_at_rest(settings):
        click.echo("The service is not running here; waiting for it. (--no-follow ends at once.)", err=True)
    if kind and (doubtful := doubt(settings, topic, kind)):
        click.echo(doubtful, err=True)
    told = follow(
        settings, topic, from_start=from_start, follow=not no_follow, as_json=as_json, number=number, kind=kind
    )
    with contextlib.suppress(KeyboardInterrupt):
        for line in told:
            click.echo(line)


@main.command()
@click.option("--number", type=META_ID, default="", help="Phone number id of the business.")
@click.option("--to", default="", help="The customer's phone or user id.")
@click.option("--text", default="", help="What to say.")
@click.option("--json", "json_file", type=click.File("rb"), help="A file with the data of send.requested; - for stdin.")
@click.option("--bulk", is_flag=True, help="Let it wait behind everything else.")
@click.option(
    "--origin",
    type=click.Choice(["agent", "bot", "campaign"]),
    help="Who writes: agent, a person, after whom bots rest (without --json the default); bot, which is silent while a "
    "person has the conversation; campaign, which nobody gets who wants no marketing.",
)
@click.option("--cancel", default="", help="Cancel this command instead.")
@click.option("--wait", "wait_s", type=SECONDS, default=0, help="Wait so many seconds for its outcome.")
def send(  # click hands over one argument per option
    *, number: str, to: str, text: str, json_file: Any, bulk: bool, origin: str | None, cancel: str, wait_s: float
) -> None:
    """Write a send command and print its command_id."""
    from services.commands.admin_client import AdminClient  # noqa: PLC0415

    client = AdminClient(settings_or_exit())
    if cancel:
        client.call("DELETE", f"/v1/sends/{quote(cancel, safe='')}")
        click.echo(cancel)
        return
    if json_file is not None:
        command_id = client.send_json(json_file.read(), {"origin": origin} if origin else {})
    elif number and to and text:
        body = {"number": number, "to": to, "type": "text", "text": {"body": text}, "origin": origin or "agent"}
        command_id = client.call("POST", "/v1/messages", body | ({"lane": "bulk"} if bulk else {}))["command_id"]
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
    """The numbers that are known: messages a second, whether they send, how many new people a day they may write to."""
    from services.commands.admin_client import AdminClient  # noqa: PLC0415

    for number in AdminClient(settings_or_exit()).call("GET", "/v1/numbers")["numbers"]:
        because = f" ({number['because']})" if number["because"] else ""
        tier = f"  {number['people_per_day']} new people a day" if number["people_per_day"] else ""
        click.echo(f"{number['number']}  {number['rate_per_s']}/s  sending {number['sending']}{because}{tier}")


@numbers.command("show")
@click.argument("number", type=META_ID)
def show_number(number: str) -> None:
    """How a number stands, its limits and how far its history import is, as JSON."""
    from services.commands.admin_client import AdminClient  # noqa: PLC0415

    click.echo(json.dumps(AdminClient(settings_or_exit()).call("GET", f"/v1/numbers/{number}"), indent=2))


@numbers.command("add")
@click.argument("number", type=META_ID)
@click.option("--waba", type=META_ID, default="", help="WhatsApp Business Account id.")
@click.option("--rate", type=click.IntRange(1, 1000), help="Messages a second: 20 in the app, else 80 or 1000.")
@click.option("--token-file", type=click.File("r"), help="A file with the number's own access token; - for stdin.")
def add_number(number: str, waba: str, rate: int | None, token_file: Any) -> None:
    """Register a number, say its rate, or give it an access token of its own, which needs COEXIST_ENCRYPTION_KEYS."""
    from services.commands.admin_client import AdminClient  # noqa: PLC0415

    body = {"number": number, "waba": waba} | ({"rate_per_s": rate} if rate else {}) | token_in(token_file)
    click.echo(AdminClient(settings_or_exit()).call("POST", "/v1/numbers", body)["number"])


def _switch(number: str, action: str) -> None:
    from services.commands.admin_client import AdminClient  # noqa: PLC0415

    AdminClient(settings_or_exit()).call("POST", f"/v1/numbers/{number}/{action}")
    click.echo(f"{number}: {action}d" if action.endswith("e") else number)


@numbers.command()
@click.argument("number", type=META_ID)
def pause(number: str) -> None:
    """Hold all sends of a number."""
    _switch(number, "pause")


@numbers.command()
@click.argument("number", type=META_ID)
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
    from services.kafka import topics as kafka_topics  # noqa: PLC0415
    from services.kafka.client import kafka_of  # noqa: PLC0415
    from services.retention import topics_kept_s  # noqa: PLC0415
    from services.settings import SettingsError  # noqa: PLC0415

    kept_s = topics_kept_s(settings)

    async def work() -> tuple[list[str], list[str]]:
        kafka = kafka_of(settings)
        made = await kafka_topics.create(kafka, settings.partitions, kept_s)
        return made, await kafka_topics.problems(kafka, settings.partitions, kept_s)

    try:
        made, wrong = asyncio.run(work())
    except SettingsError as problem:
        raise Failure(str(problem), USAGE) from None
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
    from services.retention import topics_kept_s  # noqa: PLC0415

    settings = settings_or_exit()
    kept_s = topics_kept_s(settings)
    for topic in TOPICS.values():
        kept = f"{kept_s[topic.name] / DAY_S:g} days" if topic.name in kept_s else "compacted"
        click.echo(f"{settings.topic_prefix}.{topic.name:15} {kept:10} {topic.writer:24} {topic.holds}")


@main.group()
def schemas() -> None:
    """The published contract: JSON Schemas and AsyncAPI."""


@schemas.command("export")
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--check", is_flag=True, help="Write nothing; fail when the files there are stale.")
def export(directory: Path, check: bool) -> None:  # noqa: FBT001 - click's way
    """Write the JSON Schemas and the AsyncAPI document into DIRECTORY."""
    from schemas.contract import stale, write  # noqa: PLC0415

    try:
        if not check:
            write(directory)
        elif old := stale(directory):
            raise Failure(f"Stale: {', '.join(old)}. Run `coexist schemas export {directory}`.")
    except OSError as problem:
        why = (problem.strerror or type(problem).__name__).lower()
        raise Failure(f"{directory} cannot be used: {why}. Name a folder that this user may write.", USAGE) from None


@main.command()
@click.option("--only", default="", help="Comma-separated goals, such as P1,P5.")
@click.option(
    "--events",
    type=click.IntRange(1),
    default=200_000,
    show_default=True,
    help="Events for the growth of memory (P10).",
)
@click.option(
    "--imported",
    type=click.IntRange(1),
    default=200_000,
    show_default=True,
    help="Messages of the history import (P12).",
)
def bench(only: str, events: int, imported: int) -> None:
    """Measure the goals of performance against their floors, in one run on this machine."""
    from services.bench.goals import main as measure  # noqa: PLC0415

    sys.exit(0 if measure([goal for goal in only.upper().split(",") if goal], events, imported) else FAILED)
