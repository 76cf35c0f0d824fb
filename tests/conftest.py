"""What the tests measured, told at the end of a run; and an end by SIGTERM that leaves no process behind."""

import signal

import pytest
from hypothesis import HealthCheck, settings

FIGURE = "figure"

# How long an example takes says how busy the machine is: after a pause of a fifth of a second it would be a failure.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


def pytest_configure():
    """Let SIGTERM end a run like Ctrl-C: what the tests have started is stopped.

    A shell starts what it runs in the background with Ctrl-C ignored, and children would inherit that.
    """
    signal.signal(signal.SIGTERM, lambda *_: pytest.exit("terminated", 143))
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def tell(request):
    """A function that keeps a line for the end of the run; it travels with the test's report, for there are workers."""
    return lambda line: request.node.user_properties.append((FIGURE, line))


def pytest_terminal_summary(terminalreporter):
    """Print what was kept."""
    reports = [report for found in terminalreporter.stats.values() for report in found if hasattr(report, "when")]
    called = (report for report in reports if report.when == "call")
    lines = [line for report in called for kind, line in report.user_properties if kind == FIGURE]
    if lines:
        terminalreporter.section("figures")
    for line in lines:
        terminalreporter.write_line(line)
