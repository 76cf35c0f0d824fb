"""How many people a number may write to first in a day: the count, the places, and what is too many."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from schemas.instants import rfc3339
from schemas.items import Item
from schemas.states import WINDOW_S
from schemas.topics import OUTBOUND, SENDS
from sender.people import DAY_S, STEP_S, People, after, counting, ends_at, next_place, people_key, step_of
from tests import harness as h
from tests.harness import NUMBER, T0
from tests.simulation.line import LAIA, Line

TEMPLATE = {"type": "template", "template": {"name": "avis", "language": {"code": "ca"}}}
LIMIT = 3


def person(n):
    return f"3460000{n:04d}"


@pytest.fixture
def line():
    found = Line(auto=True)
    allow(found, LIMIT)
    return found


def allow(line, people):
    raw = Raw(orjson.dumps({"max_daily_conversation_per_phone": people}))
    item = Item(number=NUMBER, field="business_capability_update", at=line.now, raw=raw)
    line.hear(h.event("webhook.account", f"a:limit:{people}:{line.now}", item))


def write_to(line, n, command_id="", **more):
    line.ask(command_id or f"c{n}", person(n), says=TEMPLATE, origin="agent", **more)
    line.later(1)


def sent(line):
    return [command for _, command, _ in line.sent]


def test_people_beyond_the_limit_wait_for_a_place_and_are_told_when(line):
    for n in range(LIMIT + 2):
        write_to(line, n)
    assert sent(line) == ["c0", "c1", "c2"]
    told = [data for data in line.told(SENDS) if data["command_id"] == "c3"]
    assert [(data["type"], data["reason"]) for data in told] == [("send.deferred", "people_limit")]
    line.later(DAY_S - 60)
    assert sent(line) == ["c0", "c1", "c2"]
    line.later(STEP_S + 60)
    assert sorted(sent(line)) == ["c0", "c1", "c2", "c3", "c4"]
    assert line.outcomes("c3") == ["send.deferred", "send.accepted"]


def test_what_has_no_place_within_a_day_is_refused_with_a_time(line):
    for n in range(2 * LIMIT + 1):
        write_to(line, n)
    (told,) = [data for data in line.told(SENDS) if data["command_id"] == f"c{2 * LIMIT}"]
    assert (told["type"], told["reason"]) == ("send.rejected", "people_limit")
    assert told["retry_at"]


def test_the_same_person_counts_once_and_a_reply_not_at_all(line):
    for n in range(LIMIT):
        write_to(line, n)
    write_to(line, 0, "again")
    line.hear(h.message("wamid.in", LAIA, line.now))
    line.ask("reply")
    line.ask("template-reply", says=TEMPLATE)
    line.later(5)
    assert sent(line) == ["c0", "c1", "c2", "again", "reply", "template-reply"]


def test_who_waits_for_a_place_and_writes_is_answered_at_once(line):
    for n in range(LIMIT + 1):
        write_to(line, n)
    line.hear(h.message("wamid.in", h.phone(person(LIMIT)), line.now))
    line.later(5)
    assert sent(line)[-1] == f"c{LIMIT}"


def test_a_message_of_a_person_who_waits_costs_no_second_place(line):
    for n in range(LIMIT + 1):
        write_to(line, n)
    promised = line.state("sender.delivery", people_key(NUMBER)).promised
    line.hear(h.echo("wamid.e", h.phone(person(LIMIT)), line.now))
    line.later(5)
    assert line.state("sender.delivery", people_key(NUMBER)).promised == promised
    assert line.outcomes(f"c{LIMIT}") == ["send.deferred"]


def test_what_expires_while_it_waits_says_so(line):
    for n in range(LIMIT):
        write_to(line, n)
    write_to(line, LIMIT, expires_at=rfc3339(line.now + 3600))
    line.later(3700)
    assert line.outcomes(f"c{LIMIT}") == ["send.deferred", "send.expired"]


def test_whoever_ends_while_waiting_leaves_the_place_to_others(line):
    for n in range(2 * LIMIT):
        write_to(line, n)
    for n in range(LIMIT, 2 * LIMIT):
        line.hear(h.outbound("send.cancel", line.now, command_id=f"c{n}"), topic=OUTBOUND)
    line.later(1)
    assert line.state("sender.delivery", people_key(NUMBER)).promised == {}
    for n in range(LIMIT, 2 * LIMIT):
        write_to(line, n + 10)
        assert line.outcomes(f"c{n + 10}") == ["send.deferred"]


def test_a_place_that_was_promised_goes_to_nobody_else(line):
    for n in range(LIMIT + 1):
        write_to(line, n)
    place = line.state("sender.delivery", people_key(NUMBER)).promised
    (step,) = place
    line.now = ends_at(step)  # the place has come, and nobody has been woken yet
    for n in range(50, 50 + LIMIT):
        write_to(line, n)
    line.later(STEP_S)
    assert line.outcomes(f"c{LIMIT}") == ["send.deferred", "send.accepted"]
    assert len(sent(line)) == 2 * LIMIT


def test_a_raised_limit_holds_from_the_next_command_on(line):
    for n in range(LIMIT + 1):
        write_to(line, n)
    allow(line, 2_000)
    write_to(line, LIMIT + 1)
    assert sent(line)[-1] == f"c{LIMIT + 1}"


@pytest.mark.parametrize("people", [-1, 0])
def test_without_a_limit_nothing_is_counted(people):
    line = Line(auto=True)
    if people:
        allow(line, people)
    for n in range(10):
        write_to(line, n)
    assert len(sent(line)) == 10
    assert line.state("sender.delivery", people_key(NUMBER)) is None


def test_the_window_of_a_reply_is_a_day_of_its_own(line):
    """Once it is closed, a template to the same person begins a conversation."""
    line.hear(h.message("wamid.in", LAIA, line.now))
    line.later(WINDOW_S + 1)
    line.ask("c", says=TEMPLATE)
    line.later(1)
    assert line.state("sender.delivery", people_key(NUMBER)).begun == {step_of(line.now - 1): 1}


# --- the figures


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0, DAY_S / 3)), max_size=60))
def test_everybody_counts_once_from_the_last_time_on_for_a_day_and_at_most_a_step_longer(writes):
    begun, last, now = {}, {}, T0
    for who, pause in writes:
        now += pause
        begun = after(begun, last.get(who, 0), now)
        last[who] = now
        count = sum(counting(begun, now).values())
        assert sum(at + DAY_S > now for at in last.values()) <= count
        assert count <= sum(at + DAY_S + STEP_S > now for at in last.values())


@given(st.dictionaries(st.integers(0, 90), st.integers(1, 9), min_size=1), st.integers(1, 50))
def test_each_place_is_promised_once(begun_by_step, limit):
    begun = {step_of(T0) - step: count for step, count in begun_by_step.items()}
    now, promised, places, count = T0, {}, [], sum(begun.values())
    limit = min(limit, count)  # else nobody asks
    while (step := next_place(begun, promised, limit, now)) is not None:
        promised[step] = promised.get(step, 0) + 1
        places.append(ends_at(step))
    assert places == sorted(places)
    for nth, at in enumerate(places):
        gone = sum(n for step, n in begun.items() if ends_at(step) <= at)
        assert count - gone + nth + 1 <= limit
    assert all(at <= now + DAY_S + STEP_S for at in places)
    assert People().begun == {}
