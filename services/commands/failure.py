"""How a command fails: one plain sentence with the fix on standard error, and an exit code that says whose fault."""

import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from services.commands.admin_client import AdminClient
    from services.settings import Settings

FAILED, USAGE, UNREACHABLE = 1, 2, 3
FRAMES = 3
"""Places shown of a failure that nobody foresaw, the innermost first."""


class Failure(click.ClickException):
    """One plain sentence, and an exit code: 1 failed, 2 wrong usage or settings, 3 the service could not be reached."""

    def __init__(self, sentence: str, code: int = FAILED) -> None:
        super().__init__(sentence)
        self.code = code

    @property
    def exit_code(self) -> int:  # type: ignore[override]
        """What the process ends with."""
        return self.code


def at_work(why: str) -> Failure:
    """What a command that wants the cluster at rest fails with. `why`: by what it finds that it is not."""
    return Failure(f"The cluster is at work: {why}. Stop every process first.", UNREACHABLE)


def place_of(problem: BaseException) -> str:
    """The kind of a failure and where it arose. Its text is left out, for it may quote a message."""
    while isinstance(problem, BaseExceptionGroup):
        problem = problem.exceptions[0]
    frames = traceback.extract_tb(problem.__traceback__)[-FRAMES:]
    where = " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames))
    return f"{type(problem).__name__} at {where}" if where else type(problem).__name__


def settings_or_exit() -> "Settings":
    """The settings, or one sentence and exit 2."""
    from services.settings import SettingsError, load  # noqa: PLC0415

    try:
        return load()
    except SettingsError as problem:
        raise Failure(str(problem), USAGE) from None


def admin_client() -> "AdminClient":
    """The running service, as the settings name it; or one sentence and exit 2."""
    from services.commands.admin_client import AdminClient  # noqa: PLC0415 - httpx is slow to import

    return AdminClient(settings_or_exit())
