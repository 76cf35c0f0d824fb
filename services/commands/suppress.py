"""`coexist suppress`: who is not to be written to."""

from urllib.parse import quote

import click

from services.commands.arguments import META_ID
from services.commands.failure import admin_client

PAGE = 1_000

number_option = click.option("--number", type=META_ID, required=True, help="Phone number id of the business.")
contact_option = click.option("--contact", required=True, help="The person's phone or user id.")
scope_option = click.option("--all", "everything", is_flag=True, help="Every message, not only marketing.")


@click.group()
def suppress() -> None:
    """Who is not to be written to: add, remove, list; and opt-in, for who asked for marketing."""


@suppress.command("add")
@number_option
@contact_option
@scope_option
def add(number: str, contact: str, everything: bool) -> None:  # noqa: FBT001 - click's way
    """Send a person no more marketing, or with --all nothing at all."""
    _say("POST", "/v1/suppressions", number, contact, everything=everything)


@suppress.command("remove")
@number_option
@contact_option
@scope_option
def remove(number: str, contact: str, everything: bool) -> None:  # noqa: FBT001 - click's way
    """Take back the stop on marketing, or with --all the one on every message, whoever asked for it."""
    _say("DELETE", "/v1/suppressions", number, contact, everything=everything)


@suppress.command("opt-in")
@number_option
@contact_option
def opt_in(number: str, contact: str) -> None:
    """Remember that a person asked for marketing."""
    _say("POST", "/v1/opt-ins", number, contact, everything=False)


@suppress.command("list")
@number_option
def list_suppressions(number: str) -> None:
    """Who is suppressed, the newest first: since when, about what, by whose word."""
    after = ""
    while True:
        query = f"number={quote(number)}&limit={PAGE}{after}"
        page = admin_client().call("GET", f"/v1/suppressions?{query}")
        for one in page["suppressions"]:
            who = one["contact"].get("wa_id") or one["contact"].get("user_id") or one["conversation_id"]
            for stop in one["stops"]:
                until = f"  until {stop['until']}" if "until" in stop else ""
                click.echo(f"{stop['at']}  {who}  {stop['scope']}  {stop['because']}{until}")
        if page["after"] is None:
            return
        after = f"&after={page['after']}"


def _say(method: str, path: str, number: str, contact: str, *, everything: bool) -> None:
    body = {"number": number, "contact": contact, "scope": "all" if everything else "marketing"}
    click.echo(f"{number}: {admin_client().call(method, path, body)['scope']}")
    if method == "DELETE" and not everything:
        click.echo("What was suppressed with --all stays; `coexist suppress remove --all` lifts it.", err=True)
