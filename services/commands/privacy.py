"""`coexist privacy`: what a person may ask for, by the number that they wrote to and by their phone or user id."""

import json
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import click

from services.commands.failure import USAGE, Failure

if TYPE_CHECKING:
    from services.commands.admin_client import AdminClient

WAIT_S = 60.0
LOOK_S = 0.2


def _client() -> "AdminClient":
    from services.commands.admin_client import AdminClient  # noqa: PLC0415
    from services.settings import SettingsError, load  # noqa: PLC0415

    try:
        return AdminClient(load())
    except SettingsError as problem:
        raise Failure(str(problem), USAGE) from None


@click.group()
def privacy() -> None:
    """What a person may ask for: export, erase; and the requests that stand in chats."""


@privacy.command()
@click.option("--number", required=True, help="Phone number id of the business.")
@click.option("--contact", required=True, help="The person's phone with country code, or user id.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--by", default="cli", show_default=True, help="Who erases, for the record.")
def erase(number: str, contact: str, yes: bool, by: str) -> None:  # noqa: FBT001 - click's way
    """Erase all that is kept of one person at one number, and keep it out when it comes again."""
    client = _client()
    if not yes:
        click.confirm("This cannot be undone. Erase everything that is kept of this person?", abort=True)
    begun = client.call("POST", "/v1/privacy/erase", {"number": number, "contact": contact, "by": by})
    for name, value in _lines(_wait(client, begun)):
        click.echo(f"{name}: {value}")


@privacy.command()
@click.option("--number", required=True, help="Phone number id of the business.")
@click.option("--contact", required=True, help="The person's phone with country code, or user id.")
@click.option("--to", type=click.Path(path_type=Path), default="export.zip", show_default=True, help="The archive.")
@click.option("--by", default="cli", show_default=True, help="Who exports, for the record.")
def export(number: str, contact: str, to: Path, by: str) -> None:
    """Write everything that is kept of one person at one number into a zip archive."""
    _client().download("/v1/privacy/export", {"number": number, "contact": contact, "by": by}, to)
    with zipfile.ZipFile(to) as archive:
        told = json.loads(archive.read("manifest.json"))
    for kind, count in told["held"].items():
        click.echo(f"{kind}: {count}")
    click.echo(f"written to {to}")


@privacy.command()
@click.option("--number", default="", help="Only what concerns this number.")
@click.option("--contact", default="", help="Only what concerns this person; needs --number.")
def audit(number: str, contact: str) -> None:
    """Who did what to whose data and when, as JSON Lines; fails when a record was changed or is missing."""
    query = urlencode({"number": number, "contact": contact})
    told = _client().call("GET", f"/v1/audit?{query}")
    for one in told["audit"]:
        click.echo(json.dumps(one, ensure_ascii=False))
    if told["broken"]:
        raise Failure(f"The audit does not hold together at {', '.join(told['broken'])}.")


def _wait(client: "AdminClient", begun: dict[str, Any]) -> dict[str, Any]:
    """The report, once it is done. Raises Failure when it takes too long; it goes on by itself then."""
    path = f"/v1/privacy/erasures/{begun['erasure_id']}?number={begun['number']}"
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        report: dict[str, Any] = client.call("GET", path)
        if report["state"] == "done":
            return report
        time.sleep(LOOK_S)
    raise Failure(f"Not done within {WAIT_S:.0f} s; it goes on by itself. Ask again at {path}.")


def _lines(report: dict[str, Any]) -> list[tuple[str, Any]]:
    aging = report.get("ages_out")
    left = [("ages out of Kafka by", aging["until"])] if aging else []
    return [("erased", report["erasure_id"]), *report["removed"].items(), *left]


@privacy.command()
@click.option("--all", "every", is_flag=True, help="Those that were answered, too.")
def requests(every: bool) -> None:  # noqa: FBT001 - click's way
    """Messages that may be rights requests, with the day by which they are to be answered."""
    for one in _client().call("GET", f"/v1/privacy/requests?state={'' if every else 'open'}")["requests"]:
        late = "  OVERDUE" if one["overdue"] else ""
        click.echo(
            f"{one['due_at'][:10]}  {one['right']:8} {one['state']:6} {one['number']}  {one['message_id']}{late}"
        )
