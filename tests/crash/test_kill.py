"""SIGKILL at random instants under load: what was acknowledged stays, what was told is told once."""

import os
import random
import statistics
import time

import pytest

from tests.crash.audit import audit
from tests.crash.lives import Lives
from tests.crash.world import TROUBLE, World
from tests.processes import busy, probe

CYCLES = 600 if os.environ.get("COEXIST_TEST_LONG") else 40
SEED = 20_26
NUMBERS = 24
PLAN = {"messages_per_s": 350, "seconds": 1, "echoes_ratio": 0.35, "customers": 5}
"""What people say in each cycle: so much and no more, however slow the machine is."""
SENDS_PER_S = 12
LIFE_S_MAX = 0.9
STILLBORN_P = 0.15
RESTART_S = 2.0


def kill_again_and_again(lives, world):
    """Start, let it live for a moment, kill it. The times from start to service of those that lived."""
    dice, restarts = random.Random(SEED), []
    for cycle in range(CYCLES):
        world.happen(cycle)
        with lives.service() as process:
            if dice.random() < STILLBORN_P:
                time.sleep(dice.uniform(0.1, 0.8))
            else:
                restarts.append(process.in_service(probe()))
                time.sleep(dice.uniform(0, LIFE_S_MAX))
    return restarts


@pytest.mark.crash
def test_nothing_acknowledged_is_lost_or_told_twice_whenever_it_is_killed(tmp_path, tell):
    with Lives(tmp_path, seed=SEED, numbers=NUMBERS, trouble=TROUBLE) as lives:
        lives.begin(PLAN)
        world = World(lives.sandbox, PLAN)
        with lives.sends(SENDS_PER_S) as sends:
            restarts = kill_again_and_again(lives, world)
        with lives.at_rest() as books:
            assert books.sound()
            report = audit(books, lives.sandbox, [sends], world.marks)
        accepted = [send for send in lives.sandbox.call("GET", "/ledger/sends") if send["wamid"]]
    middle, worst = statistics.median(restarts), max(restarts)
    tell(f"{CYCLES} kills: {report}; in service again p50 {middle:.2f} s, max {worst:.2f} s")
    assert sends.refused == []
    assert accepted  # how many there are depends on the disk
    assert middle <= RESTART_S or busy()
