"""`coexist relay`: any topic to any HTTPS address, as signed webhooks."""

from typing import Any

import click

from services.commands.arguments import META_ID, URL
from services.commands.failure import Failure, admin_client


@click.group()
def relay() -> None:
    """Events as signed webhooks (Standard Webhooks), for those who speak no Kafka.

    A relay posts each event of its topics to one address, those of one conversation in order, until it is taken
    with a 2xx. While it is not, it is tried again ever more slowly, and nothing is lost or passed over.
    """


@relay.command()
@click.argument("url", type=URL)
@click.option("--topic", "topics", multiple=True, default=("timeline",), show_default=True, help="May be repeated.")
@click.option("--type", "types", multiple=True, help="Only events of this type; may be repeated.")
@click.option("--number", "numbers", type=META_ID, multiple=True, help="Only this phone number id; may be repeated.")
@click.option("--from-start", is_flag=True, help="Begin with the oldest event that is kept, not with the next one.")
def add(url: str, topics: tuple[str, ...], types: tuple[str, ...], numbers: tuple[str, ...], from_start: bool) -> None:  # noqa: FBT001 - click's way
    """Send events to URL from now on. Prints the relay's id and its secret, which is shown only here."""
    body = {"url": url, "topics": topics, "types": types, "numbers": numbers, "from_start": from_start}
    made = admin_client().call("POST", "/v1/relays", body)
    click.echo(f"{made['relay_id']}  {made['secret']}")
    click.echo(
        "Keep the secret: the receiver checks signatures with it. Try it: coexist relay test " + made["relay_id"]
    )


@relay.command("list")
def list_relays() -> None:
    """The relays, one a line; below each, what it does not get delivered."""
    for found in admin_client().call("GET", "/v1/relays")["relays"]:
        click.echo(f"{found['relay_id']}  {found['state']:8}  {','.join(found['topics'])}  {found['url']}")
        for trouble in found["troubles"]:
            click.echo(f"  {_sentence(trouble)}")


@relay.command()
@click.argument("relay_id")
def test(relay_id: str) -> None:
    """Post one signed test event and print what the receiver answered."""
    from services.relays.target import WHY  # noqa: PLC0415 - httpx is slow to import

    found = admin_client().call("POST", f"/v1/relays/{relay_id}/test")
    if not found["taken"]:
        why = WHY.get(found["answer"], "")
        answer = f"{why} ({found['answer']})" if why else found["answer"]
        raise Failure(f"The receiver did not take it: {answer}. It must answer 2xx within 15 s.")
    click.echo(f"taken: {found['answer']} after {found['seconds']} s")


@relay.command()
@click.argument("relay_id")
def remove(relay_id: str) -> None:
    """Forget a relay. What it has not delivered stays on its topics."""
    click.echo(f"{relay_id}: {admin_client().call('DELETE', f'/v1/relays/{relay_id}')['state']}")


@relay.command()
@click.argument("relay_id")
def pause(relay_id: str) -> None:
    """Send nothing more until it is resumed; its place is kept."""
    _act(relay_id, "pause")


@relay.command()
@click.argument("relay_id")
def resume(relay_id: str) -> None:
    """Go on where it stood, also after a receiver answered 410."""
    _act(relay_id, "resume")


@relay.command()
@click.argument("relay_id")
def rotate(relay_id: str) -> None:
    """Print a new secret; events are signed with it and the one before until the next rotation."""
    click.echo(admin_client().call("POST", f"/v1/relays/{relay_id}/rotate")["secret"])


@relay.command()
@click.argument("relay_id")
@click.option("--number", type=META_ID, required=True, help="Phone number id.")
@click.option("--topic", default="timeline", show_default=True, help="One of the relay's topics.")
@click.option("--from-seq", type=click.IntRange(min=1), required=True, help="The first seq to send again.")
def replay(relay_id: str, number: str, topic: str, from_seq: int) -> None:
    """Send a number's events again, from a seq on up to now."""
    _act(relay_id, "replay", {"number": number, "topic": topic, "from_seq": from_seq})


@relay.command()
@click.argument("relay_id")
@click.argument("event_id")
def skip(relay_id: str, event_id: str) -> None:
    """Leave out an event that its receiver will never take."""
    _act(relay_id, "skip", {"event_id": event_id})


def _act(relay_id: str, action: str, body: dict[str, Any] | None = None) -> None:
    click.echo(f"{relay_id}: {admin_client().call('POST', f'/v1/relays/{relay_id}/{action}', body)['state']}")


def _sentence(trouble: dict[str, Any]) -> str:
    place = f"{trouble['topic']} of {trouble['number']}, seq {trouble['seq']}"
    return (
        f"{trouble['type']} {trouble['event_id']} ({place}): {trouble['last']}, "
        f"{trouble['attempts']} attempts since {trouble.get('since', '?')}"
    )
