"""What the commands say to a running service, over its admin listener."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

import click
import httpx
import orjson

from services.commands.failure import FAILED, UNREACHABLE, USAGE, Failure
from services.commands.reasons import fix, meaning
from services.settings import Settings

FINAL = frozenset({"accepted", "rejected", "unresolved", "withdrawn", "expired", "cancelled"})
ASK_EVERY_S = 0.1
UNPROCESSABLE = 422


class AdminClient:
    """Finds the admin listener by COEXIST_ADMIN_URL or DATA_DIR/admin.json and calls it."""

    def __init__(self, settings: Settings) -> None:
        self.url = settings.admin_url or _address(settings)
        token = settings.admin_token
        self.headers = {"Authorization": f"Bearer {token.get_secret_value()}"} if token is not None else {}

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """The answer's JSON.

        Raises click.ClickException with the problem and its fix: exit 2 for a wrong question, 3 when nobody answers.
        """
        status, answer = self._ask(method, path, body)
        if status >= 400:
            raise _refused(status, answer)
        return answer

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        """Status and JSON of an answer. Raises Failure with exit 3 when nobody answers, or somebody else."""
        try:
            response = httpx.request(method, self.url + path, json=body, headers=self.headers, timeout=30)
        except httpx.HTTPError:
            raise unreachable(f"Coexist did not answer at {self.url}. Start it with `coexist run`.") from None
        try:
            answer = orjson.loads(response.content) if response.content else {}
        except orjson.JSONDecodeError:
            answer = None
        if not isinstance(answer, dict):
            raise unreachable(
                f"What answered at {self.url} is not Coexist. Set COEXIST_ADMIN_URL to its admin listener."
            )
        return response.status_code, answer

    def download(self, path: str, body: dict[str, Any], to: Path) -> None:
        """Write what is answered to a new file, readable by its owner; on any failure there is none.

        The file is made first, so nothing is asked for that could not be kept. Raises Failure like `call`, with exit 2
        for a file that cannot be made.
        """
        try:
            made = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            raise Failure(f"{to} exists. Choose another name with --to.", USAGE) from None
        except OSError as problem:
            raise _unwritable(to, problem, USAGE) from None
        try:
            with os.fdopen(made, "wb") as file:
                self._fetch(path, body, file)
        except BaseException as problem:
            to.unlink(missing_ok=True)
            if isinstance(problem, OSError):
                raise _unwritable(to, problem, FAILED) from None
            raise

    def _fetch(self, path: str, body: dict[str, Any], file: BinaryIO) -> None:
        try:
            with httpx.stream("POST", self.url + path, json=body, headers=self.headers, timeout=600) as response:
                if response.status_code >= 400:
                    raise _refused(response.status_code, orjson.loads(response.read()))
                file.writelines(response.iter_bytes())
        except httpx.HTTPError:
            raise unreachable(f"Coexist did not answer at {self.url}. Start it with `coexist run`.") from None

    def send_json(self, content: bytes, more: dict[str, str]) -> str:
        """Write a command given as the data of `send.requested`, with what is said in `more` instead; its id."""
        try:
            data = orjson.loads(content)
        except orjson.JSONDecodeError as problem:
            raise click.UsageError(f"The file is not JSON: {problem}.") from None
        if not isinstance(data, dict):
            raise click.UsageError("The file must hold the data of send.requested: an object with a `message`.")
        return str(self.call("POST", "/v1/messages", data | more)["command_id"])

    def outcomes(self, command_id: str, wait_s: float) -> Iterator[str]:
        """The steps of a command as they come. Raises click.ClickException unless it is accepted within `wait_s`."""
        shown, end = 0, time.monotonic() + wait_s
        while time.monotonic() < end:
            status, answer = self._ask("GET", f"/v1/sends/{quote(command_id, safe='')}")
            story: dict[str, Any] = answer if status == 200 else {"story": [], "state": ""}
            steps: list[dict[str, str]] = story["story"]
            for step in steps[shown:]:
                yield f"{step['at']}  {step['event']}  {meaning(step['detail'])}".rstrip()
            shown = len(steps)
            if story["state"] in FINAL - {"accepted"}:
                raise click.ClickException(_ended(story["state"], steps[-1]["detail"]))
            if story["state"] in FINAL:
                return
            time.sleep(ASK_EVERY_S)
        raise click.ClickException(f"No outcome within {wait_s:g} s. Look again with `coexist tail sends`.")


def _ended(state: str, reason: str) -> str:
    because = f": {meaning(reason)}" if reason else ""
    return f"The command was {state}{because}. {fix(reason)}".rstrip()


def _refused(status: int, answer: dict[str, Any]) -> Failure:
    title = str(answer.get("title", status)).rstrip(".")
    return Failure(f"{title}. {answer.get('fix', '')}".strip(), USAGE if status == UNPROCESSABLE else FAILED)


def _unwritable(to: Path, problem: OSError, code: int) -> Failure:
    why = (problem.strerror or type(problem).__name__).lower()
    return Failure(f"{to} cannot be written: {why}. Name a new file in a folder that this user may write.", code)


def unreachable(sentence: str) -> click.ClickException:
    """An error that ends the command with exit 3."""
    return Failure(sentence, UNREACHABLE)


def _address(settings: Settings) -> str:
    try:
        return str(orjson.loads((settings.data_dir / "admin.json").read_bytes())["url"])
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError):
        raise unreachable(
            f"No running Coexist is known in {settings.data_dir}. Start `coexist run`, or set COEXIST_ADMIN_URL."
        ) from None
