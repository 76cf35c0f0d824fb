"""Tools that are not Python: tests that need one are skipped, and say so, where it is missing."""

import shutil

import pytest


def _tool(name, package):
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is missing; on Debian: apt-get install {package}")
    return found


@pytest.fixture(scope="session")
def promtool():
    """The path of promtool."""
    return _tool("promtool", "prometheus")


@pytest.fixture(scope="session")
def prometheus():
    """The path of a Prometheus server."""
    return _tool("prometheus", "prometheus")
