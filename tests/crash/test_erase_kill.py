"""SIGKILL inside an erasure, at every step of it: the next start carries it to its end, and nobody else is hurt."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from echo_sync.erasures import Erasure
from schemas.marks import PRIVACY
from services.shard import decode_state
from tests.app.rig import service, together, until
from tests.app.test_privacy_erase import SLOW_S, Person, found_in, talk
from tests.processes import environment

ROOT = Path(__file__).parents[2]
PEOPLE = 4
WRITES = 40 if os.environ.get("COEXIST_TEST_LONG") else 8
"""So many of the writes of an erasure are its last, spread evenly over all of them."""
STEPS = [f"{when} {step}" for step in ("privacy.erase", "privacy.erased") for when in ("before", "after")]
CHILD_S = 120
KILLED = -9

pytestmark = [pytest.mark.faults, pytest.mark.crash]


async def tell_of_people(folder):
    """People who have talked, with a file of each."""
    people = [Person(n) for n in range(PEOPLE)]
    async with together(folder, about={"pause_minutes": 0}) as rig:
        for person in people:
            await talk(rig, person)
            person.wamids.append(await rig.customer(person.text, person.phone, kind="image"))
            last = person.wamids[-1]
            await until(lambda last=last: rig.events("timeline", "message.completed", last), SLOW_S)
    return people


def erase(folder, person, point):
    """Erase in a process of its own, until it dies at the point."""
    command = [sys.executable, "-m", "tests.crash.erase_child", str(folder), person.phone, point]
    return subprocess.run(
        command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=CHILD_S, check=False
    )


async def erasures(rig):
    """Every erasure there is, once all of them are done."""
    shards = range(rig.app.log.partitions)
    rows = [row for shard in shards for row in await rig.app.store.scan(PRIVACY, shard, "e/", "", 9)]
    found = [decode_state(Erasure, value) for _, value in rows]
    return found if found and all(one.done_at for one in found) else None


def files(folder):
    return {path.name for path in (folder / "media").rglob("*") if path.is_file()}


async def assert_carried_out(folder, people, media):
    """After a start on what the killed process has left."""
    gone, *kept = people
    async with service(folder) as rig:
        (one,) = await until(lambda: erasures(rig), SLOW_S)
        assert found_in(folder, [gone]) == []
        assert one.counts["messages"] >= 3
        timeline = await rig.records("timeline")
        seqs = sorted(record.event.seq for record in timeline)
        assert seqs == list(range(1, len(seqs) + 1))
        assert not [record for record in await rig.records("dead-letters") if record.event.type == "dead.letter"]
    assert found_in(folder, [gone]) == []
    for person in kept:
        held = {trace for trace, _ in found_in(folder, [person])}
        assert held == set(person.traces())
    assert len(files(folder)) == len(media) - 1


async def test_an_erasure_that_is_killed_at_any_step_is_carried_out_by_the_next_start(tmp_path, tell):
    told = tmp_path / "told"
    people = await tell_of_people(told)
    assert found_in(told, people[:1])
    media = files(told)
    shutil.copytree(told, tmp_path / "whole")
    whole = erase(tmp_path / "whole", people[0], "write 0")
    assert whole.returncode == 0, whole.stderr[-2000:]
    writes = int(whole.stdout)
    points = [*STEPS, *(f"write {1 + n * (writes - 1) // (WRITES - 1)}" for n in range(WRITES))]
    killed = 0
    for point in points:
        folder = tmp_path / point.replace(" ", "-")
        shutil.copytree(told, folder)
        ended = erase(folder, people[0], point)
        assert ended.returncode in (KILLED, 0), ended.stderr[-2000:]
        killed += ended.returncode == KILLED
        await assert_carried_out(folder, people, media)
    tell(f"an erasure of {writes} writes was killed at {killed} points and carried out each time: 0 traces")
    assert killed >= len(points) // 2  # what is written in one group depends on the pace: there may be fewer writes
