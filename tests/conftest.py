"""What the tests measured, told at the end of a run; and an end by SIGTERM that leaves no process behind."""

import signal

import pytest

FIGURES = pytest.StashKey[list[str]]()


def pytest_configure():
    """Let SIGTERM end a run like Ctrl-C: what the tests have started is stopped.

    A shell starts what it runs in the background with Ctrl-C ignored, and children would inherit that.
    """
    signal.signal(signal.SIGTERM, lambda *_: pytest.exit("terminated", 143))
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def tell(request):
    """A function that keeps a line for the end of the run."""
    return request.config.stash.setdefault(FIGURES, []).append


def pytest_terminal_summary(terminalreporter, config):
    """Print what was kept."""
    figures = config.stash.get(FIGURES, [])
    if figures:
        terminalreporter.section("figures")
    for line in figures:
        terminalreporter.write_line(line)
