"""SIGKILL at random instants, of any process of a cluster under load: nothing acknowledged is lost or told twice."""

import asyncio
import os
import random
import statistics
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
from tests.processes import Sandbox

pytestmark = [pytest.mark.kafka, pytest.mark.crash, pytest.mark.faults]

CYCLES = 500 if os.environ.get("COEXIST_TEST_LONG") else 40
SEED = 20_26
NUMBERS = 24
PLAN = {"messages_per_s": 80, "seconds": 1, "echoes_ratio": 0.35, "customers": 5}
COMMANDS_PER_S = 4
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
    async with Cluster() as cluster, cluster.log() as log, ClusterBooks(cluster, log) as books:
        with (
            Sandbox(tmp_path, "http://127.0.0.1:9/webhooks/meta", seed=SEED, numbers=NUMBERS) as sandbox,
            httpx.Client(timeout=5, trust_env=False) as client,
        ):
            sandbox.call("POST", "/faults", TROUBLE)
            sandbox.call("POST", "/traffic", PLAN)
            with Fleet(cluster, tmp_path, sandbox.url, client) as fleet:
                sandbox.call("POST", "/webhook", {"url": fleet["all"].webhook})
                await asyncio.sleep(1.5)
                people, world = people_of(sandbox), World(sandbox, PLAN)
                with (
                    Sends(fleet["all"].admin, people, COMMANDS_PER_S, SEED) as sends,
                    Bot(cluster, people, COMMANDS_PER_S, SEED) as bot,
                ):
                    restarts = await asyncio.to_thread(kill_again_and_again, fleet, sandbox, world)
                await books.rest(sandbox)
            await fleet.decide_what_is_doubtful(sandbox, books)
            report = await audit(books, sandbox, [sends, bot], world.marks)
        assert sends.refused == []
    middle, worst = statistics.median(restarts), max(restarts)
    tell(f"cluster, {CYCLES} kills: {report}; ready again p50 {middle:.1f} s, max {worst:.1f} s")
