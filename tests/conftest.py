"""What the tests measured, told at the end of a run: `tell` takes a line."""

import pytest

FIGURES = pytest.StashKey[list[str]]()


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
