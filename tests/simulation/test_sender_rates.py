"""Rates against a Meta that counts, in virtual time: nothing is refused, and little of what is allowed is left."""

import itertools
import os
import random

import pytest

from sender.pacing import NEW_S
from tests.simulation.road import Road

LONG = os.environ.get("COEXIST_TEST_LONG") == "1"
MINUTES_S = 300
"""Measured after the first minute of a number, in which it is careful."""
PEOPLE = 400
"""So many that no pair is the limit."""


def keep_asking(road, until, per_s=25):
    """More commands than the number may send, to many people."""
    count = 0

    def ask():
        nonlocal count
        for _ in range(per_s):
            road.ask(f"c{count}", f"34600{count % PEOPLE:06d}")
            count += 1
        if road.now + 1 < until:
            road.at(road.now + 1, ask)

    road.at(road.now, ask)


def write_evenly(road, until, per_s, jitter_s=0):
    """Customers write at even intervals, each message up to `jitter_s` late."""
    due = itertools.count(1)

    def write():
        road.write()
        soon()

    def soon():
        at = start + next(due) / per_s
        if at < until:
            road.at(at + road.pick.uniform(0, jitter_s), write)

    start = road.now
    if per_s:
        soon()


def write_in_jumps(road, until, seed):
    """Customers write at a rate that jumps between 0 and 15 a second, every one to seven seconds."""
    pick = random.Random(seed)

    def jump():
        per_s, lasts = pick.choice([0, 0, pick.uniform(0, 15), 15]), pick.uniform(1, 7)
        write_evenly(road, min(until, road.now + lasts), per_s)
        if road.now + lasts < until:
            road.at(road.now + lasts, jump)

    jump()


def used(road, start, seconds):
    """The part of what Meta would have taken in that time that we used."""
    sent = sum(1 for at in road.accepted if start <= at < start + seconds)
    came = sum(1 for at in road.inbound if start <= at < start + seconds)
    return sent / (road.mps * seconds - came)


@pytest.mark.parametrize("inbound_per_s", [0, 1, 5, 10] if LONG else [5])
def test_beside_an_even_flow_of_inbound_messages_nothing_is_refused_and_all_but_a_twentieth_is_used(
    inbound_per_s, tell
):
    road = Road()
    start = road.now
    keep_asking(road, start + NEW_S + MINUTES_S)
    write_evenly(road, start + NEW_S + MINUTES_S, inbound_per_s)
    road.run_until(start + NEW_S + MINUTES_S)
    ratio = used(road, start + NEW_S, MINUTES_S)
    tell(f"20 mps, {inbound_per_s}/s inbound, 5 minutes: {len(road.refused)} refused, {ratio:.1%} of the rest used")
    assert road.refused == []
    assert ratio >= 0.95


@pytest.mark.parametrize("inbound_per_s", [0.4, 1, 3.3, 4.5, 7.3, 10] if LONG else [4.5])
def test_the_same_of_a_flow_that_is_even_as_flows_are(inbound_per_s, tell):
    """Not to the millisecond, and no whole number a second; requests and webhooks travel as they do in one place."""
    road = Road(travel_s=(0.001, 0.012), webhook_s=0.012)
    start, minute = road.now, 60
    keep_asking(road, start + NEW_S + minute)
    write_evenly(road, start + NEW_S + minute, inbound_per_s, jitter_s=0.010)
    road.run_until(start + NEW_S + minute)
    ratio = used(road, start + NEW_S, minute)
    tell(
        f"20 mps, about {inbound_per_s}/s inbound, a minute: {len(road.refused)} refused, {ratio:.1%} of the rest used"
    )
    assert road.refused == []
    assert ratio >= 0.95


@pytest.mark.parametrize("seed", range(8 if LONG else 1))
def test_beside_inbound_messages_that_jump_nothing_is_refused_and_four_fifths_are_used(seed, tell):
    road = Road(seed=seed)
    start = road.now
    keep_asking(road, start + NEW_S + MINUTES_S)
    write_in_jumps(road, start + NEW_S + MINUTES_S, seed)
    road.run_until(start + NEW_S + MINUTES_S)
    ratio = used(road, start + NEW_S, MINUTES_S)
    tell(f"20 mps, inbound jumps 0..15/s, 5 minutes: {len(road.refused)} refused, {ratio:.1%} of the rest used")
    assert road.refused == []
    assert ratio >= 0.80


HOUR_S = 3600


def test_one_person_gets_all_but_a_twentieth_of_what_the_pair_allows_and_nothing_is_refused(tell):
    road = Road()
    start = road.now
    for n in range(700):
        road.ask(f"c{n}")
    road.run_until(start + HOUR_S)
    allowed = road.pair_burst + HOUR_S / road.pair_interval_s
    tell(f"one pair for an hour: {len(road.refused)} refused, {len(road.accepted) / allowed:.1%} of what it allows")
    assert road.refused == []
    assert len(road.accepted) >= 0.95 * allowed


def test_a_limit_lower_than_we_were_told_is_found_and_left_alone(tell):
    road = Road(mps=12)  # and nobody said so
    start = road.now
    keep_asking(road, start + MINUTES_S)
    road.run_until(start + MINUTES_S)
    late = [at for at, _ in road.refused if at > start + 30]
    ratio = used(road, start + 30, MINUTES_S - 30)
    tell(f"12 mps where we were told 20: {len(late)} of {len(road.accepted)} refused, {ratio:.1%} used")
    assert len(late) < 0.03 * len(road.accepted)
    assert ratio > 0.80


def test_after_refusals_the_whole_pace_comes_back():
    road = Road(mps=5)
    start = road.now
    keep_asking(road, start + 400)
    road.run_until(start + 20)
    assert road.refused
    road.mps = 20
    road.run_until(start + 400)
    assert used(road, start + 380, 20) >= 0.95


def test_app_messages_of_a_person_take_from_the_same_rate():
    road = Road()
    from schemas.items import Contact
    from tests import harness as h

    road.hear(h.echo("wamid.human", Contact(wa_id="34611111111"), road.now))
    assert len(road.queue().holds_until) == 1
