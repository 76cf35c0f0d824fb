"""How a command fails: one plain sentence with the fix on standard error, and an exit code that says whose fault."""

import click

FAILED, USAGE, UNREACHABLE = 1, 2, 3


class Failure(click.ClickException):
    """One plain sentence, and an exit code: 1 failed, 2 wrong usage or settings, 3 the service could not be reached."""

    def __init__(self, sentence: str, code: int = FAILED) -> None:
        super().__init__(sentence)
        self.code = code

    @property
    def exit_code(self) -> int:  # type: ignore[override]
        """What the process ends with."""
        return self.code
