"""A rolling upgrade and its way back, again and again under load: each process becomes the other version in turn."""

import os
import signal
import subprocess
import time
from functools import partial

import pytest

from tests.cluster.load import under_load
from tests.former import FORMER, former
from tests.processes import busy, of_source

pytestmark = [pytest.mark.kafka, pytest.mark.crash, pytest.mark.faults]

FLIPS = 50 if os.environ.get("COEXIST_TEST_LONG") else 6
SEED = 20_27
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


def flips(tree, fleet, sandbox, world):
    """From the former version, with which all began, to this one and back. The stops, and the seconds of a flip."""
    began = time.monotonic()
    stops = [took for n in range(FLIPS) for took in flip(fleet, sandbox, world, None if n % 2 == 0 else tree, n)]
    return stops, (time.monotonic() - began) / FLIPS


def test_the_former_version_is_what_runs(tmp_path):
    tree = former(tmp_path)
    command, env = of_source(tree)
    said = [*command[:3], "import services; print(services.__path__[0])"]
    assert subprocess.run(said, env=env, capture_output=True, text=True, check=True).stdout == f"{tree}/services\n"


async def test_versions_beside_each_other_lose_and_repeat_nothing(tmp_path, tell):
    tree = former(tmp_path)
    (stops, flip_s), report = await under_load(tmp_path, partial(flips, tree), seed=SEED, source=tree)
    tell(
        f"cluster, {FLIPS} flips between {FORMER} and this version: {report}; "
        f"a flip of {len(stops) // FLIPS} processes took {flip_s:.0f} s, a stop at most {max(stops):.1f} s"
    )
    assert max(stops) < STOP_S_MAX or busy()
