"""SIGKILL at random instants, of any process of a cluster under load: nothing acknowledged is lost or told twice."""

import os
import random
import statistics
import time

import pytest

from tests.cluster.load import under_load

pytestmark = [pytest.mark.kafka, pytest.mark.crash, pytest.mark.faults]

CYCLES = 500 if os.environ.get("COEXIST_TEST_LONG") else 40
SEED = 20_26
LIFE_S_MAX = 1.5
STILLBORN_P = 0.15


def kill_again_and_again(fleet, sandbox, world):
    """Kill somebody, start it again, and let it live for a moment. The times from start to readiness."""
    dice, restarts = random.Random(SEED), []
    for cycle in range(CYCLES):
        sandbox.call("POST", "/webhook", {"url": dice.choice(fleet.listeners()).webhook})
        world.happen(cycle)
        time.sleep(dice.uniform(0, LIFE_S_MAX))
        victim = fleet.restart(dice.choice(list(fleet.processes)))
        if dice.random() < STILLBORN_P:
            time.sleep(dice.uniform(0.1, 1.5))
        else:
            victim.ready()
            restarts.append(time.monotonic() - victim.started)
    return restarts


async def test_nothing_acknowledged_is_lost_or_told_twice_whichever_process_is_killed(tmp_path, tell):
    restarts, report = await under_load(tmp_path, kill_again_and_again, seed=SEED)
    middle, worst = statistics.median(restarts), max(restarts)
    tell(f"cluster, {CYCLES} kills: {report}; ready again p50 {middle:.1f} s, max {worst:.1f} s")
