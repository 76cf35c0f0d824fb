"""A running installation for the tests of the command line: service and sandbox as processes, for a whole module."""

from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from services.cli import main
from tests.processes import Sandbox, Service, environment, settings_for


@pytest.fixture(scope="module")
def installation(tmp_path_factory):
    """`settings` of a service that runs beside a sandbox, both, and `run`: a command in this process."""
    folder = tmp_path_factory.mktemp("installation")
    settings = settings_for(folder / "data")
    webhook = f"http://127.0.0.1:{settings['port']}/webhooks/meta"
    with Sandbox(folder, webhook) as sandbox:
        settings["meta_graph_url"] = sandbox.url
        quiet = {"duplicate_p": 0, "reorder_p": 0, "drop200_p": 0, "api_echo_p": 1, "status_delay_ms": 5}
        sandbox.call("POST", "/faults", quiet)
        with Service(settings, folder) as service:
            service.ready()

            def run(*arguments, **more):
                env = environment(**{**settings, **more})
                return CliRunner().invoke(main, [str(argument) for argument in arguments], env=env)

            yield SimpleNamespace(settings=settings, sandbox=sandbox, service=service, run=run, folder=folder)
