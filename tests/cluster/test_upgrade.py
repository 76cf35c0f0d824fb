"""A rolling upgrade and its way back, again and again under load: each process becomes the other version in turn."""

import asyncio
import os
import signal
import subprocess
import time

import httpx
import pytest

from tests.cluster.audit import audit
from tests.cluster.books import ClusterBooks
from tests.cluster.bots import Bot
from tests.cluster.fleet import Fleet
from tests.cluster.rig import Cluster
from tests.crash.sends import Sends
from tests.crash.world import TROUBLE, World, people_of
from tests.former import former, named
from tests.processes import Sandbox, of_source

pytestmark = [pytest.mark.kafka, pytest.mark.crash, pytest.mark.faults]

FLIPS = 50 if os.environ.get("COEXIST_TEST_LONG") else 6
SEED = 20_27
NUMBERS = 24
PLAN = {"messages_per_s": 80, "seconds": 1, "echoes_ratio": 0.35, "customers": 5}
COMMANDS_PER_S = 4
STOP_S_MAX = 10.0


def flip(fleet, sandbox, world, source, cycle):
    """Every process in its turn becomes the other version. The seconds that each needed to stop."""
    stops = []
    for n, name in enumerate(list(fleet.processes)):
        others = [process for process in fleet.listeners() if process is not fleet[name]]
        sandbox.call("POST", "/webhook", {"url": others[0].webhook})
        world.happen(cycle * len(fleet.processes) + n)
        code, took = fleet[name].stop(signal.SIGTERM)
        assert code == 0, fleet[name].err.read_text()[-2000:]
        stops.append(took)
        fleet.start(name, source).ready()
    return stops


def flips(fleet, sandbox, world, tree):
    """From the former version, with which all began, to this one and back."""
    return [took for n in range(FLIPS) for took in flip(fleet, sandbox, world, None if n % 2 == 0 else tree, n)]


def test_the_former_version_is_what_runs(tmp_path):
    tree = former(tmp_path)
    if tree is None:
        pytest.skip("the history is not here")
    command, env = of_source(tree)
    said = [*command[:3], "import services; print(services.__path__[0])"]
    assert subprocess.run(said, env=env, capture_output=True, text=True, check=True).stdout == f"{tree}/services\n"


async def test_versions_beside_each_other_lose_and_repeat_nothing(tmp_path, tell):
    tree = former(tmp_path)
    async with Cluster() as cluster, cluster.log() as log, ClusterBooks(cluster, log) as books:
        with (
            Sandbox(tmp_path, "http://127.0.0.1:9/webhooks/meta", seed=SEED, numbers=NUMBERS) as sandbox,
            httpx.Client(timeout=5, trust_env=False) as client,
        ):
            sandbox.call("POST", "/faults", TROUBLE)
            sandbox.call("POST", "/traffic", PLAN)
            with Fleet(cluster, tmp_path, sandbox.url, client, source=tree) as fleet:
                sandbox.call("POST", "/webhook", {"url": fleet["all"].webhook})
                await asyncio.sleep(1.5)
                people, world = people_of(sandbox), World(sandbox, PLAN)
                began = time.monotonic()
                with (
                    Sends(fleet["all"].admin, people, COMMANDS_PER_S, SEED) as sends,
                    Bot(cluster, people, COMMANDS_PER_S, SEED) as bot,
                ):
                    stops = await asyncio.to_thread(flips, fleet, sandbox, world, tree)
                took = time.monotonic() - began
                await books.rest(sandbox)
            await fleet.decide_what_is_doubtful(sandbox, books)
            report = await audit(books, sandbox, [sends, bot], world.marks)
        assert sends.refused == []
    tell(
        f"cluster, {FLIPS} flips between {named(tree)}: {report}; "
        f"a flip of {len(fleet.processes)} processes took {took / FLIPS:.0f} s, a stop at most {max(stops):.1f} s"
    )
    assert max(stops) < STOP_S_MAX
