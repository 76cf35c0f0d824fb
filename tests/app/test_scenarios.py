"""The four businesses on a working day: each story runs against the real service and keeps what it promises."""

import pytest

from services.scenarios import SCENARIOS
from services.scenarios.play import PATIENT, told
from tests.app.rig import together
from tests.processes import coexist

PROMISES = {"campaign": 6, "booking": 5, "leads": 6, "orders": 7}


@pytest.mark.parametrize("name", SCENARIOS)
async def test_the_story_keeps_what_it_promises(name, tmp_path):
    lines = []
    async with together(tmp_path, about=PATIENT) as rig:
        held = await told(name, rig.app, str(rig.meta.base_url).rstrip("/"), lines.append)
        assert await rig.events("dead-letters") == []
    assert held, "\n".join(lines)
    assert sum("✓" in line for line in lines) == PROMISES[name]


async def test_a_promise_that_does_not_hold_ends_the_story_and_says_which(tmp_path):
    lines = []
    async with together(tmp_path, about=PATIENT | {"pause_minutes": 0}) as rig:  # a person's answer stops no bot
        held = await told("booking", rig.app, str(rig.meta.base_url).rstrip("/"), lines.append, deadline_s=3)
    assert not held
    assert lines[-1] == "    ✗ the bot's reminder does not contradict the receptionist"


def test_the_command_plays_a_story_and_ends_by_itself():
    played = coexist("demo", "--scenario", "leads", timeout_s=120)
    assert played.returncode == 0, played.stdout + played.stderr
    assert "Everything the story promises held." in played.stdout


def test_the_help_lists_the_stories():
    shown = coexist("demo", "--help").stdout
    assert all(name in shown for name in SCENARIOS)
