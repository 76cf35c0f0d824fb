"""`coexist dead-letters`: look at what could not be handled, let it be tried again, or be done with it."""

import click
import orjson

from services.commands.arguments import LETTER
from services.commands.failure import admin_client


@click.group("dead-letters")
def dead_letters() -> None:
    """What could not be handled: list, show, replay, discard."""


@dead_letters.command("list")
@click.option("--state", type=click.Choice(["", "open", "replayed", "discarded"]), default="", help="Only these.")
def list_letters(state: str) -> None:
    """The newest dead letters, one a line."""
    query = f"?state={state}" if state else ""
    for letter in admin_client().call("GET", f"/v1/dead-letters{query}")["dead_letters"]:
        click.echo("  ".join(str(letter.get(field) or "-") for field in ("id", "state", "at", "type", "reason")))


@dead_letters.command()
@click.argument("letter", type=LETTER)
def show(letter: str) -> None:
    """One dead letter, whole, as JSON."""
    found = admin_client().call("GET", f"/v1/dead-letters/{letter}")
    click.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())


@dead_letters.command()
@click.argument("letter", type=LETTER)
def replay(letter: str) -> None:
    """Let it be tried again: its record is appended to its topic once more."""
    click.echo(f"{letter}: {admin_client().call('POST', f'/v1/dead-letters/{letter}/replay')['state']}")


@dead_letters.command()
@click.argument("letter", type=LETTER)
def discard(letter: str) -> None:
    """Be done with it."""
    click.echo(f"{letter}: {admin_client().call('POST', f'/v1/dead-letters/{letter}/discard')['state']}")
