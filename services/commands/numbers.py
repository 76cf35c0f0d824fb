"""The commands that speak with Meta on a person's behalf: `coexist onboard`, `coexist doctor [echo]`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from services.commands.arguments import META_ID, SECONDS, URL
from services.commands.failure import FAILED, USAGE, Failure, settings_or_exit

if TYPE_CHECKING:
    import httpx

    from services.graph_account import GraphAccount
    from services.preflight import Finding
    from services.settings import Settings


def _graph(settings: "Settings", token: str = "") -> "GraphAccount":
    from services.graph_account import GraphAccount, graph_client  # noqa: PLC0415

    own = settings.meta_access_token
    chosen = token or (own.get_secret_value() if own is not None else "")
    return GraphAccount(graph_client(), settings.meta_graph_url, settings.meta_graph_version, chosen)


@click.command()
@click.option("--waba", type=META_ID, required=True, help="WhatsApp Business Account id, from Embedded Signup.")
@click.option("--code", default="", help="Code of Embedded Signup, exchanged for a token; works once, for seconds.")
@click.option("--save-token", type=click.Path(path_type=Path), help="With --code: the file that keeps the token.")
@click.option("--token-file", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="A file with a token.")
@click.option("--number", "only", type=META_ID, multiple=True, help="Only this phone number id; may be repeated.")
@click.option("--history/--no-history", default=True, show_default=True, help="Ask for the last 180 days of chats.")
@click.option(
    "--wait", "wait_s", type=SECONDS, default=60, show_default=True, help="Show the import for so many seconds."
)
def onboard(
    waba: str,
    code: str,
    save_token: Path | None,
    token_file: Path | None,
    only: tuple[str, ...],
    history: bool,  # noqa: FBT001 - click's way
    wait_s: float,
) -> None:
    """Take an account in: subscribe, register its numbers, ask for contacts and history, each once."""
    from services.commands.admin_client import AdminClient  # noqa: PLC0415
    from services.onboarding import Onboarding, follow  # noqa: PLC0415

    if bool(code) != (save_token is not None) or (code and token_file):
        raise Failure("Give --code with --save-token FILE, or --token-file FILE, or set COEXIST_META_ACCESS_TOKEN.", 2)
    settings = settings_or_exit()
    admin = AdminClient(settings)
    admin.call("GET", "/v1/numbers")
    graph = _graph(settings, token_file.read_text().strip() if token_file else "")
    with graph.client:
        if save_token is not None:
            graph = _exchanged(settings, graph, code, save_token)
        if not graph.token:
            raise Failure("There is no token: give --code or --token-file, or set COEXIST_META_ACCESS_TOKEN.", USAGE)
        theirs = token_file is not None or save_token is not None
        done = Onboarding(admin, graph, waba, click.echo, only, history, theirs).run()
    for number in done if history else ():
        for line in follow(admin, number, wait_s):
            click.echo(line)


def token_in(file: TextIO | None) -> dict[str, str]:
    """What a file says of a number's token, empty where there is no file."""
    if file is None:
        return {}
    if not (token := file.read().strip()):
        raise Failure("The token file is empty.", USAGE)
    return {"token": token}


def _exchanged(settings: "Settings", graph: "GraphAccount", code: str, path: Path) -> "GraphAccount":
    """Graph with the token that the code is worth, kept in a file that only its owner reads."""
    from services.graph_account import GraphRefused, GraphSilent  # noqa: PLC0415

    if not settings.meta_app_id or not settings.meta_app_secrets:
        raise Failure("--code needs COEXIST_META_APP_ID and COEXIST_META_APP_SECRETS, to be exchanged.", USAGE)
    try:
        path.touch(mode=0o600, exist_ok=False)
    except OSError as problem:
        raise Failure(f"{path} cannot be made: {problem.strerror}. Name a new file for the token.", USAGE) from None
    try:
        token = graph.exchange(settings.meta_app_id, settings.meta_app_secrets[0].get_secret_value(), code)
    except (GraphRefused, GraphSilent) as problem:
        path.unlink()
        raise Failure(
            f"The code was not exchanged: {problem}. A code works once, within seconds: get a new one."
        ) from None
    path.write_text(token)
    click.echo(f"token kept in {path}; use it from now on: COEXIST_META_ACCESS_TOKEN_FILE={path}")
    return graph.with_token(token)


@click.group(invoke_without_command=True)
@click.option("--waba", type=META_ID, multiple=True, help="Look at this account, too; may be repeated.")
@click.option("--webhook-url", type=URL, default="", help="The address that Meta calls, to be tried from here.")
@click.pass_context
def doctor(context: click.Context, waba: tuple[str, ...], webhook_url: str) -> None:
    """Look at every prerequisite, and say what to do about what fails."""
    if context.invoked_subcommand is not None:
        return
    from services.doctor import Doctor  # noqa: PLC0415
    from services.preflight import Finding  # noqa: PLC0415
    from services.settings import SettingsError, load  # noqa: PLC0415

    try:
        settings = load()
    except SettingsError as problem:
        show(Finding("settings", ok=False, says="cannot be used", fix=str(problem)))
        sys.exit(FAILED)
    show(Finding("settings", ok=True, says="can be read"))
    graph = _graph(settings)
    with graph.client as client:
        failed = sum([show(finding) for finding in Doctor(settings, graph, client, waba, webhook_url).examine()])
    click.echo(f"\n{failed} to mend." if failed else "\nAll is well.")
    sys.exit(FAILED if failed else 0)


def show(finding: "Finding") -> bool:
    """Print a finding; True when it failed."""
    mark, colour = {True: ("✓", "green"), False: ("✗", "red"), None: ("·", "yellow")}[finding.ok]
    click.echo(f"{click.style(mark, fg=colour)} {finding.what:28} {finding.says}".rstrip())
    if finding.ok is False:
        click.echo(f"    {finding.fix}")
    return finding.ok is False


@doctor.command("echo")
@click.option("--number", type=META_ID, default="", help="Phone number id; default: the only one that is known.")
@click.option(
    "--wait", "wait_s", type=SECONDS, default=120, show_default=True, help="How long to wait for each message."
)
def doctor_echo(number: str, wait_s: float) -> None:
    """Send one message each way, and print where the time went."""
    import httpx  # noqa: PLC0415

    from services.commands.admin_client import AdminClient  # noqa: PLC0415
    from services.doctor_echo import EchoTest, sandbox_at  # noqa: PLC0415

    settings = settings_or_exit()
    admin = AdminClient(settings)
    known = [one["number"] for one in admin.call("GET", "/v1/numbers")["numbers"]]
    with httpx.Client(headers=admin.headers, trust_env=False) as client:
        sandbox = sandbox_at(client, settings.meta_graph_url)
        if not number and (len(known) > 1 or not (known or sandbox)):
            raise Failure(f"Give --number: {len(known)} numbers are known.", USAGE)
        chosen = number or (known[0] if known else _first_of(client, sandbox))
        came = EchoTest(client, admin.url, sandbox, chosen, wait_s, click.echo).run()
    sys.exit(0 if came else FAILED)


def _first_of(client: "httpx.Client", sandbox: str) -> str:
    return str(client.get(f"{sandbox}/sandbox/api/numbers").json()[0]["number"])
