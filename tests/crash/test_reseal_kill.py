"""SIGKILL inside `coexist reseal`, at steps drawn by a seed: nothing is lost, and running it again ends it."""

import contextlib
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from services.app import open_app
from services.edition import FILE_NAME
from services.sealing.content import marks_in
from services.settings import SettingsError
from tests.app.rig import service, settings, together, until
from tests.app.test_access_tokens import WRONG
from tests.app.test_at_rest import CANARY, KEY, NAME, NEW_KEY, PHONE, holding, run, sealed
from tests.app.test_privacy_erase import Person, at_rest
from tests.app.test_reseal import QUIET, begun, whole
from tests.processes import environment

ROOT = Path(__file__).parents[2]
BOTH = f"{NEW_KEY},{KEY}"
SEED = 20_29
KILLS = 60 if os.environ.get("COEXIST_TEST_LONG") else 8
PLAIN, SEALED = 50, 50
"""Messages before content was sealed, and since."""
CHILD_S = 120
KILLED = -9

pytestmark = [pytest.mark.faults, pytest.mark.crash]


def reseal(folder, step):
    """Reseal in a process of its own, until it dies at the step."""
    command = [sys.executable, "-m", "tests.crash.reseal_child", str(folder), BOTH, str(step)]
    return subprocess.run(
        command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=CHILD_S, check=False
    )


async def write(rig, count):
    """Customers write, each their own words and every fifth a file."""
    for n in range(count):
        await rig.customer(f"{CANARY} {n}", PHONE, name=NAME, kind="text" if n % 5 else "image")
    stored = count // 5
    await until(lambda: enough(rig, "media.stored", stored), CHILD_S)


async def enough(rig, kind, count):
    return len(await rig.events("inbound", kind)) >= count


async def lived(folder):
    """A folder that was plain for half of its life, and sealed under one key since. What it holds, and its secrets."""
    async with together(folder, about=QUIET | sealed(KEY, wanted=False)) as rig:
        secret = await begun(rig)
        await write(rig, PLAIN)
    async with together(folder, about=QUIET | sealed(KEY), seed=2) as rig:
        await write(rig, SEALED)
        await until(lambda: at_rest(rig))
        told = await whole(rig, person())
    assert len(told[0]) > PLAIN + SEALED
    return told, secret


def person():
    found = Person(0)
    found.phone, found.text = PHONE, CANARY
    return found


async def assert_in_between(folder, told):
    """It starts with both keys and has everything; while the old one is needed, it says so where that is missing."""
    async with service(folder, about=QUIET | sealed(BOTH)) as rig:
        assert await whole(rig, person()) == told
    with contextlib.closing(apsw.Connection(str(folder / FILE_NAME))) as file:
        needed = len(marks_in(file))
    if needed == 1:
        return
    with pytest.raises(SettingsError, match="Put that key back, behind the first"):
        async with open_app(settings(folder, **QUIET, **sealed(NEW_KEY))):
            pass


async def assert_done(folder, told, secrets):
    """One key is enough, nothing is lost, and nothing stands in the plain."""
    verified = await run(folder, "verify", encryption_keys=NEW_KEY)
    assert verified.exit_code == 0, verified.output
    assert holding(folder, *secrets) == []
    async with service(folder, about=QUIET | sealed(NEW_KEY)) as rig:
        assert await whole(rig, person()) == told
    assert holding(folder, *secrets) == []


async def test_a_reseal_that_is_killed_at_any_step_is_ended_by_the_next_one(tmp_path, tell):
    base = tmp_path / "base"
    told, secret = await lived(base)
    secrets = [CANARY.encode(), NAME.encode(), WRONG.encode(), secret, *told[1].values()]
    assert holding(base, *secrets)
    shutil.copytree(base, tmp_path / "whole")
    ended = reseal(tmp_path / "whole", 0)
    assert ended.returncode == 0, ended.stderr[-2000:]
    steps, *anew = map(int, ended.stdout.split())
    assert all(anew)
    await assert_done(tmp_path / "whole", told, secrets)
    points = sorted(random.Random(SEED).sample(range(1, steps + 1), KILLS))
    killed = 0
    for n, point in enumerate(points):
        folder = tmp_path / f"step-{point}"
        shutil.copytree(base, folder)
        ended = reseal(folder, point)
        assert ended.returncode in (KILLED, 0), ended.stderr[-2000:]
        killed += ended.returncode == KILLED
        if n % 2:
            await assert_in_between(folder, told)
        ended = reseal(folder, 0)
        assert ended.returncode == 0, ended.stderr[-2000:]
        await assert_done(folder, told, secrets)
        shutil.rmtree(folder)
    tell(f"a reseal of {anew} values in {steps} steps was killed at {killed} of them and ended: nothing lost or plain")
    assert killed >= KILLS // 2  # what is written in one group depends on the pace: there may be fewer steps
