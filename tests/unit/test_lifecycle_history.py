"""The history import of a number: any order, repeated chunks, gaps, a refusal, and silence."""

import random

import pytest
from msgspec import Raw

from echo_sync.imports import Import, import_key, missing, status, view, with_chunk
from echo_sync.lifecycle import life
from echo_sync.messages import Messages
from schemas.items import Item
from schemas.states import MESSAGES, number_key
from schemas.topics import ACCOUNT, HISTORY, INBOUND
from tests.harness import KEY, NUMBER, T0, event, message, phone, progress
from tests.simulation.memory import Memory
from tests.unit.test_lifecycle import ours, update

DAY = 86_400


def chunk(phase, order, percent, at=T0):
    return progress(phase, order, percent, at)


def declined(at=T0):
    errors = Raw(b'[{"code":2593109,"title":"History sharing is turned off"}]')
    return event("webhook.history", "hc:declined", Item(number=NUMBER, errors=errors, raw=errors, at=at))


def world(*chunks, said=()):
    memory = Memory([Messages(KEY)])
    memory.append(INBOUND, message("wamid.0", phone("34600111222"), T0 - 100), *said)
    memory.append(HISTORY, *chunks)
    memory.settle()
    return memory


def state(memory):
    return memory.state(MESSAGES, import_key(NUMBER))


def told(memory):
    return memory.told(ACCOUNT, "history.progress")


SYNC = [chunk(0, 1, 20), chunk(0, 2, 40), chunk(1, 1, 60), chunk(1, 2, 80), chunk(2, 1, 100)]


def test_chunks_in_any_order_and_repeated_end_complete_and_are_told_once():
    for seed in range(40):
        script = SYNC * 2
        random.Random(seed).shuffle(script)
        memory = world(*script)
        assert status(state(memory)) == "complete"
        assert missing(state(memory)) == []
        assert len(told(memory)) == len(SYNC)
        assert memory.next_wake() is None or state(memory).wake_at is None


def test_a_gap_is_named_until_it_is_filled():
    memory = world(chunk(0, 1, 10), chunk(0, 4, 90), chunk(1, 2, 100))
    gaps = [{"phase": 0, "first": 2, "last": 3}, {"phase": 1, "first": 1, "last": 1}]
    assert missing(state(memory)) == gaps
    assert told(memory)[-1]["missing"] == gaps
    assert status(state(memory)) == "running"
    memory.append(HISTORY, chunk(1, 1, 95), chunk(0, 3, 50), chunk(0, 2, 40))
    memory.settle()
    assert status(state(memory)) == "complete"


def test_a_phase_may_count_from_nought():
    assert missing(Import(spans={0: [(0, 0), (2, 2)]})) == [{"phase": 0, "first": 1, "last": 1}]


def test_a_higher_percentage_of_a_known_chunk_is_told():
    memory = world(chunk(0, 1, 10), chunk(0, 1, 55), chunk(0, 1, 30))
    assert [one["progress"] for one in told(memory)] == [10, 55]


def test_runs_of_chunks_are_what_was_heard_of_in_any_order():
    for seed in range(200):
        dice = random.Random(seed)
        heard = [dice.randrange(1, 30) for _ in range(dice.randrange(1, 40))]
        spans = {}
        for order in heard:
            spans = with_chunk(spans, 0, order)
        assert {n for first, last in spans[0] for n in range(first, last + 1)} == set(heard)
        assert all(a[1] + 1 < b[0] for a, b in zip(spans[0], spans[0][1:], strict=False))


def test_nothing_for_a_day_after_it_was_asked_for_is_told_once():
    memory = world(said=[ours("HISTORY_ASKED", T0)])
    assert status(state(memory)) == "asked"
    memory.run_until(T0 + DAY - 1)
    assert told(memory) == []
    memory.run_until(T0 + 3 * DAY)
    (alarm,) = told(memory)
    assert (alarm["stalled"], alarm["progress"], alarm["phase"]) == (True, 0, None)
    assert status(state(memory)) == "stalled"


def test_an_import_that_falls_silent_names_its_gaps_and_goes_on_when_more_comes():
    memory = world(chunk(0, 1, 10), chunk(0, 3, 60))
    memory.run_until(T0 + DAY + 1)
    assert told(memory)[-1]["stalled"] is True
    assert told(memory)[-1]["missing"] == [{"phase": 0, "first": 2, "last": 2}]
    memory.append(HISTORY, chunk(0, 2, 100, at=memory.now))
    memory.settle()
    assert status(state(memory)) == "complete"
    memory.run_until(T0 + 9 * DAY)
    assert len(told(memory)) == 4


def test_a_refusal_is_told_once_and_rings_no_alarm():
    memory = world(declined(), declined(), said=[ours("HISTORY_ASKED", T0)])
    (refusal,) = memory.told(ACCOUNT, "history.declined")
    assert refusal["errors"][0]["code"] == 2593109
    assert status(state(memory)) == "declined"
    memory.run_until(T0 + 3 * DAY)
    assert told(memory) == []


def test_consent_that_is_given_later_brings_the_import_all_the_same():
    memory = world(declined(), *SYNC)
    assert status(state(memory)) == "complete"


@pytest.mark.parametrize("end", [SYNC, [declined(T0 + 60)]])
def test_the_end_of_the_import_ends_the_onboarding(end):
    memory = world(*end, said=[update("PARTNER_ADDED", T0 - 10)])
    assert life(memory.state(MESSAGES, number_key(NUMBER)), T0) == "connected"


def test_a_chunk_that_says_nothing_is_told_nowhere():
    memory = world(event("webhook.history", "hc:x", Item(number=NUMBER, at=T0, raw=Raw(b"{}"))))
    assert state(memory) is None
    assert memory.told(ACCOUNT, "history.progress", "history.declined", "account.changed") == []


def test_what_the_api_shows_of_an_import():
    memory = world(chunk(0, 2, 40), said=[ours("CONTACTS_ASKED", T0), ours("HISTORY_ASKED", T0)])
    shown = view(state(memory))
    assert shown["status"] == "running"
    assert shown["missing"] == [{"phase": 0, "first": 1, "last": 1}]
    assert shown["asked_at"] == shown["contacts_asked_at"] == shown["heard_at"] == "2026-09-21T14:13:20Z"
