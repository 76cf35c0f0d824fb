"""One answer in twenty says nothing: what was sent twice, what was lost, and what settled by itself. Virtual time."""

import os
import random
from collections import Counter

import pytest

from schemas.topics import SENDS
from sender.delivery import EVIDENCE_WAIT_S
from tests import harness as h
from tests.simulation.line import FINAL
from tests.simulation.road import Road

SENDS_COUNT = 20_000 if os.environ.get("COEXIST_TEST_LONG") == "1" else 2_000
PEOPLE = 1_000
DOUBTFUL_P = 0.05
SOON, LATE, NEVER = "soon", "late", "never"
FATES = (SOON, SOON, SOON, LATE, NEVER)
"""Of the answers that say nothing: the message went and its status comes in time, comes too late, it never went."""


class Doubtful(Road):
    """`made`: the messages that Meta made of each command. `fates`: of each doubtful attempt."""

    def __init__(self, seed):
        self.made = {}
        self.fates = []
        super().__init__(seed=seed)

    def _fare(self, call, fate):
        fate = self.pick.choice(FATES) if self.pick.random() < DOUBTFUL_P else ""
        wamid = f"wamid.{call.command_id}.{call.attempt}"
        if fate != NEVER:
            self.made.setdefault(call.command_id, []).append(wamid)
            delay = self.pick.uniform(200, 400) if fate == LATE else self.pick.uniform(0.1, EVIDENCE_WAIT_S - 10)
            for name in ("sent", "delivered"):
                self.at(self.now + delay, self._status, wamid, name, call)
        if fate:
            self.fates.append((call.command_id, fate))
        self.at(self.now + 0.05, self._answer, call, "ambiguous" if fate else "accepted", "" if fate else wamid)

    def _status(self, wamid, name, call):
        self.append("inbound", h.status(wamid, name, call.to, self.now, call.token))


def run(policy, seed):
    road, pick = Doubtful(seed), random.Random(seed)
    for n in range(SENDS_COUNT):
        at = road.now + n / 15
        to = f"34600{pick.randrange(PEOPLE):06d}"
        road.at(at, lambda n=n, to=to: road.ask(f"c{n}", to, policy=policy))
    road.run_until(road.now + SENDS_COUNT / 15 + 1_000)
    return road


@pytest.mark.parametrize("policy", ["at_most_once", "at_least_once"])
def test_with_one_doubtful_answer_in_twenty_each_policy_keeps_its_word(policy, tell):
    road = run(policy, seed=11)
    ids = [f"c{n}" for n in range(SENDS_COUNT)]
    told = {command_id: [] for command_id in ids}
    for data in road.told(SENDS):
        told[data["command_id"]].append(data)
    ends = Counter(sum(data["type"] in FINAL for data in told[command_id]) for command_id in ids)
    twice = {command_id for command_id, wamids in road.made.items() if len(wamids) > 1}
    lost = {command_id for command_id in ids if command_id not in road.made}
    own_up = {c for c in lost if told[c][-1]["type"] == "send.unresolved"}
    flagged = {c for c in twice if any(data["type"] == "send.duplicate_detected" for data in told[c])}
    once = Counter(command_id for command_id, _ in road.fates)
    soon = [command_id for command_id, fate in road.fates if fate == SOON and once[command_id] == 1]
    settled = [c for c in soon if [data["type"] for data in told[c]] == ["send.accepted"]]
    tell(
        f"{policy}, {SENDS_COUNT} sends, {len(road.fates)} doubtful: {len(twice)} sent twice ({len(flagged)} flagged), "
        f"{len(lost)} never sent ({len(own_up)} told so), {len(settled)} of {len(soon)} settled by a status in time"
    )
    assert ends == {1: SENDS_COUNT}
    assert len(settled) >= 0.999 * len(soon)
    assert flagged == twice
    if policy == "at_most_once":
        assert twice == set()
        assert lost == own_up
    else:
        assert lost == set()
        assert all(any(data.get("possible_duplicate") for data in told[c]) for c in twice)
    assert len(road.fates) > 0.04 * SENDS_COUNT
