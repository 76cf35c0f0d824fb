"""A sample of the same scripts on the real runner and a real file: seeded log, crashes, and shards that move."""

import os
import random

import pytest

from tests.harness import audit
from tests.simulation.embedded import embedded
from tests.simulation.scripts import order, plain, write
from tests.simulation.test_confluence import END, INSTANTS, run
from tests.simulation.truth import assert_folds, canonical

LONG = os.environ.get("COEXIST_TEST_LONG") == "1"
SEEDS = range(100_000, 100_200 if LONG else 100_024)


async def play(running, steps, *, moves):
    pick = random.Random(running.moves)
    for wait, batch in steps:
        await running.run_until(running.clock.now + wait)
        await running.log.append(batch)
        if moves and pick.random() < 0.3:
            running.move(pick.choice(running.processors))
    await running.run_until(END)


@pytest.mark.parametrize("seed", SEEDS)
async def test_the_real_runner_comes_to_the_same_truth(tmp_path, seed):
    script = write(seed)
    expected = canonical(run(plain(script)), INSTANTS)
    async with embedded(tmp_path, seed, crashes=0.05 if seed % 2 else 0.0) as running:
        await play(running, order(script, seed), moves=seed % 3 == 0)
        found = await running.snapshot()
        await audit(running.log)
    assert canonical(found, INSTANTS) == expected
    assert_folds(found)
    assert running.observer.dead == []


async def test_an_owner_that_was_overtaken_is_fenced_and_leaves_nothing(tmp_path):
    script = [step for seed in range(12) for step in order(write(seed), seed)]
    async with embedded(tmp_path, 7) as running:
        for wait, batch in script:
            await running.log.append(batch)
            running.clock.now += wait
            for processor in running.processors:
                running.move(processor)
            await running.quiet()
        await running.run_until(running.clock.now + 600)
        found = await running.snapshot()
        await audit(running.log)
    assert running.fenced > len(script)
    assert running.log.redelivered > 0
    assert_folds(found)


async def test_crashes_before_and_after_the_commit_lose_and_repeat_nothing(tmp_path):
    script = [step for seed in range(20) for step in order(write(seed), seed)]
    async with embedded(tmp_path, 11, crashes=0.1) as running:
        await play(running, script, moves=False)
        found = await running.snapshot()
        await audit(running.log)
    assert running.store.crashes > 20
    assert running.log.delayed > 0
    assert_folds(found)
