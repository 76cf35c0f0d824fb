"""The embedded edition, upgraded and put back on one data folder again and again under load."""

import os
import signal
import time

import pytest

from tests.crash.audit import audit
from tests.crash.lives import Lives
from tests.crash.world import TROUBLE, World
from tests.former import FORMER, former
from tests.processes import probe

pytestmark = [pytest.mark.crash, pytest.mark.faults]

FLIPS = 50 if os.environ.get("COEXIST_TEST_LONG") else 6
SEED = 20_28
NUMBERS = 12
PLAN = {"messages_per_s": 150, "seconds": 1, "echoes_ratio": 0.35, "customers": 5}
SENDS_PER_S = 8
LIFE_S = 1.0


def flip(lives, world, tree):
    """Start the versions in turn on the same folder, and stop each. The longest stop in seconds."""
    stops = []
    for n in range(FLIPS + 1):
        with lives.service(tree if n % 2 == 0 else None) as process:
            process.in_service(probe())
            world.happen(n)
            time.sleep(LIFE_S)
            code, took = process.stop(signal.SIGTERM)
            assert code == 0, process.err.read_text()[-2000:]
            stops.append(took)
    return max(stops)


def test_versions_after_each_other_on_one_folder_lose_and_repeat_nothing(tmp_path, tell):
    tree = former(tmp_path)
    with Lives(tmp_path, seed=SEED, numbers=NUMBERS, trouble=TROUBLE) as lives:
        lives.begin(PLAN, source=tree)
        world = World(lives.sandbox, PLAN)
        with lives.sends(SENDS_PER_S) as sends:
            stop_s = flip(lives, world, tree)
        with lives.at_rest() as books:
            assert books.sound()
            report = audit(books, lives.sandbox, [sends], world.marks)
    tell(f"embedded, {FLIPS} flips between {FORMER} and this version, stops {stop_s:.1f} s: {report}")
    assert sends.refused == []
