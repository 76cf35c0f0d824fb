"""Greetings and away texts: the signs, what they change, what takes them back, and that no order matters."""

from dataclasses import replace
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echo_sync.automatic import (
    HEARD_MAX,
    SAID_EACH_MAX,
    SAID_IN_MAX,
    SAYING_KEEP_S,
    SIGNS,
    SPELLS_MAX,
    WROTE_MAX,
    Rhythm,
    Saying,
    app_wrote,
    customer_wrote,
    digest_of,
    messages_of,
    reviewed,
    united,
    with_message,
    without_message,
)
from echo_sync.conversations import Conversations
from echo_sync.messages import Messages
from schemas.states import BOT, MESSAGES, PERSON_APP, UNKNOWN
from schemas.topics import CONVERSATIONS, HISTORY, TIMELINE
from sender.delivery import Delivery
from tests import harness as h
from tests.harness import KEY, T0
from tests.simulation.line import LAIA, Line
from tests.simulation.truth import assert_folds

DAY_S = 86_400.0
AWAY = "Ara mateix som fora, tornem dilluns"
OTHERS = [h.phone(f"3460000000{n}") for n in range(6)]


@pytest.fixture
def line():
    return Line(auto=True)


def told(line, wamid):
    """What a reader holds `possibly_automatic` for, in the end, and why."""
    facts = [d for d in line.told(TIMELINE, "message.added", "message.completed") if d["message_id"] == wamid]
    newest = [fact for fact in facts if "possibly_automatic" in fact][-1]
    return newest["possibly_automatic"], newest.get("automatic_because", "")


def away(line, who, wamid, at=T0, after=2, says=AWAY):
    """A customer who was heard of before writes, and gets a text that soon."""
    line.hear(h.message(f"{wamid}.before", who, at - 3600), h.message(f"{wamid}.in", who, at))
    line.hear(h.echo(wamid, who, at + after, says))


# --- a greeting


@pytest.mark.parametrize(
    ("silence_days", "after_s", "looks"),
    [
        (None, 0, "greeting"),
        (None, 5, "greeting"),
        (None, 6, ""),
        (None, -1, ""),
        (14.01, 3, "greeting"),
        (13.99, 3, ""),
    ],
)
def test_an_app_message_right_after_the_first_in_14_days_is_a_greeting(line, silence_days, after_s, looks):
    if silence_days:
        line.hear(h.message("wamid.0", LAIA, T0 - silence_days * DAY_S))
    line.hear(h.message("wamid.1", LAIA, T0), h.echo("wamid.2", LAIA, T0 + after_s, "Benvinguda!"))
    assert told(line, "wamid.2") == (bool(looks), looks)


def test_a_greeting_pauses_no_bot_owns_nothing_and_leaves_the_message_unread(line):
    line.hear(h.message("wamid.1", LAIA, T0), h.echo("wamid.2", LAIA, T0 + 2, "Benvinguda!"))
    assert line.owner() == UNKNOWN
    view = line.told(CONVERSATIONS)[-1]
    assert view["unread"] == 1
    assert "automatic_paused_until" not in view
    line.ask("c1")
    assert line.outcomes("c1") == ["send.accepted"]


def test_a_bot_that_asks_for_nothing_newer_is_not_stopped_by_a_greeting(line):
    line.hear(h.message("wamid.1", LAIA, T0), h.echo("wamid.2", LAIA, T0 + 2, "Benvinguda!"))
    line.ask("c1", only_if={"no_message_after": "wamid.1"})
    assert line.outcomes("c1") == ["send.accepted"]


def test_a_person_who_answers_after_the_greeting_takes_the_conversation(line):
    line.hear(h.message("wamid.1", LAIA, T0), h.echo("wamid.2", LAIA, T0 + 2, "Benvinguda!"))
    line.hear(h.echo("wamid.3", LAIA, T0 + 40, "Digui, digui"))
    assert told(line, "wamid.3") == (False, "")
    assert line.owner() == PERSON_APP
    assert line.told(CONVERSATIONS)[-1]["unread"] == 0


def test_a_reaction_is_a_persons_however_quick(line):
    line.hear(h.message("wamid.1", LAIA, T0))
    line.hear(h.echo("wamid.2", LAIA, T0 + 1, ("reaction", h.text("x")[1])))
    assert told(line, "wamid.2") == (False, "")


def test_a_late_greeting_is_judged_by_when_it_was_sent(line):
    line.hear(h.message("wamid.1", LAIA, T0 - 1200))
    line.hear(h.echo("wamid.2", LAIA, T0 - 1197, "Benvinguda!"))
    assert told(line, "wamid.2") == (True, "greeting")
    assert line.owner() == UNKNOWN


def test_an_echo_before_its_customers_message_pauses_until_that_comes(line):
    line.hear(h.echo("wamid.2", LAIA, T0 + 2, "Benvinguda!"))
    assert line.owner() == PERSON_APP
    line.hear(h.message("wamid.1", LAIA, T0))
    assert told(line, "wamid.2") == (True, "greeting")
    assert line.owner() == UNKNOWN
    assert_folds(line)


def test_a_correction_lifts_only_the_pause_that_the_greeting_caused(line):
    line.hear(h.echo("wamid.2", LAIA, T0 + 2, "Benvinguda!"), h.echo("wamid.3", LAIA, T0 + 30, "Digui"))
    line.hear(h.message("wamid.1", LAIA, T0))
    assert line.owner() == PERSON_APP


def test_an_earlier_message_that_comes_late_makes_a_greeting_an_answer(line):
    line.hear(h.message("wamid.1", LAIA, T0), h.echo("wamid.2", LAIA, T0 + 2, "Benvinguda!"))
    line.hear(h.message("wamid.0", LAIA, T0 - 60))
    assert told(line, "wamid.2") == (False, "")
    assert line.owner() == PERSON_APP
    assert_folds(line)


def test_history_makes_nothing_a_greeting_and_takes_none_back(line):
    line.hear(h.history("wamid.0", LAIA, T0, "inbound"), topic=HISTORY)
    line.hear(h.echo("wamid.2", LAIA, T0 + 2, "Benvinguda!"))
    assert told(line, "wamid.2") == (False, "")
    line.hear(h.message("wamid.5", OTHERS[0], T0), h.echo("wamid.6", OTHERS[0], T0 + 2, "Benvinguda!"))
    line.hear(h.history("wamid.4", OTHERS[0], T0 - DAY_S, "inbound"), topic=HISTORY)
    assert told(line, "wamid.6") == (True, "greeting")


def test_our_own_send_is_no_greeting(line):
    line.hear(h.message("wamid.1", LAIA, T0), h.attempted("c9", LAIA, T0), h.echo("wamid.2", LAIA, T0 + 2, "hola"))
    line.hear(h.answered("c9", "accepted", LAIA, T0, "wamid.2"))
    assert told(line, "wamid.2") == (False, "")
    assert line.owner() == BOT


def test_a_greeting_that_turns_out_to_be_ours_is_none_any_more(line):
    line.hear(h.message("wamid.1", LAIA, T0), h.echo("wamid.2", LAIA, T0 + 2, "hola"))
    assert told(line, "wamid.2") == (True, "greeting")
    line.hear(h.attempted("c9", LAIA, T0), h.answered("c9", "accepted", LAIA, T0, "wamid.2"))
    assert told(line, "wamid.2") == (False, "")
    assert_folds(line)


def test_zero_seconds_turn_it_off():
    line = Line(Messages(KEY, signs=replace(SIGNS, within_s=0)), Conversations(), Delivery(KEY))
    line.hear(h.message("wamid.1", LAIA, T0), h.echo("wamid.2", LAIA, T0, "Benvinguda!"))
    assert told(line, "wamid.2") == (False, "")


# --- a text said to three customers


def test_the_third_time_a_text_is_said_at_once_all_three_are_automatic(line):
    for n in (0, 1):
        away(line, OTHERS[n], f"wamid.{n}")
        assert line.owner(OTHERS[n]) == PERSON_APP
    away(line, OTHERS[2], "wamid.2")
    assert [told(line, f"wamid.{n}") for n in range(3)] == [(True, "repeated_text")] * 3
    assert [line.owner(OTHERS[n]) for n in range(3)] == [UNKNOWN] * 3
    away(line, OTHERS[3], "wamid.3")
    added = line.told(TIMELINE, "message.added")[-1]
    assert (added["possibly_automatic"], added["automatic_because"]) == (True, "repeated_text")
    assert_folds(line)


@pytest.mark.parametrize(
    ("what", "times"),
    [
        ("to one customer", [(0, 2, AWAY)] * 3),
        ("to two", [(0, 2, AWAY), (1, 2, AWAY), (1, 3, AWAY)]),
        ("once slowly", [(0, 2, AWAY), (1, 2, AWAY), (2, 6, AWAY)]),
        ("in other words", [(0, 2, AWAY), (1, 2, AWAY), (2, 2, AWAY + "!")]),
        ("in a word that people use", [(0, 2, "ok"), (1, 2, "ok"), (2, 2, "ok")]),
    ],
)
def test_a_person_may_say_the_same(line, what, times):
    for nth, (who, after, says) in enumerate(times):
        away(line, OTHERS[who], f"wamid.{nth}", T0 + nth * 10, after, says)
    assert [told(line, f"wamid.{nth}") for nth in range(len(times))] == [(False, "")] * len(times), what


def test_customers_who_turn_out_to_be_one_are_counted_once(line):
    by_user = h.user("US.1")
    for n, who in enumerate((by_user, OTHERS[0], OTHERS[1])):
        away(line, who, f"wamid.{n}")
    assert told(line, "wamid.1") == (True, "repeated_text")
    line.hear(h.message("wamid.9", h.phone(OTHERS[0].wa_id, "US.1"), T0 + 60))
    assert [told(line, f"wamid.{n}") for n in range(3)] == [(False, "")] * 3
    assert line.owner(OTHERS[1]) == PERSON_APP
    assert_folds(line)


def test_one_that_was_ours_takes_the_others_back(line):
    for n in range(3):
        away(line, OTHERS[n], f"wamid.{n}")
    line.hear(h.attempted("c9", OTHERS[0], T0, AWAY), h.answered("c9", "accepted", OTHERS[0], T0, "wamid.0"))
    assert [told(line, f"wamid.{n}") for n in range(3)] == [(False, "")] * 3


def test_a_text_is_kept_as_a_digest_and_forgotten_after_a_month(line):
    for n in range(3):
        away(line, OTHERS[n], f"wamid.{n}")
    kept = [key for key in line.states[MESSAGES] if key.startswith("g/")]
    assert len(kept) == 1
    assert AWAY not in kept[0]
    line.later(SAYING_KEEP_S + 1)
    assert not [key for key in line.states[MESSAGES] if key.startswith("g/")]


# --- the pure part


heard = st.lists(st.integers(0, 30).map(lambda day: T0 + day * DAY_S), max_size=8, unique=True)
wrote = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 8)), max_size=4, unique=True)
CLOSE = replace(SIGNS, quiet_s=9 * DAY_S)
"""In 30 days there are no more spells than are remembered."""


def rhythm(steps):
    found = Rhythm()
    for step in steps:
        if step[0] == "heard":
            found = customer_wrote(found, CLOSE, 0, step[1])
        else:
            found = app_wrote(found, CLOSE, f"w{step[1]}", T0 + step[1][0] * DAY_S + step[1][1], "d")
    return found


@given(heard, wrote, st.randoms(use_true_random=False))
def test_the_same_messages_in_any_order_have_one_rhythm(heard, wrote, pick):
    steps = [("heard", at) for at in heard] + [("wrote", one) for one in wrote]
    shuffled = pick.sample(steps, len(steps))
    one, other = rhythm(steps), rhythm(shuffled)
    assert one == other


@given(heard, wrote, st.integers(0, 12))
def test_two_halves_of_a_conversation_united_have_the_rhythm_of_the_whole(heard, wrote, cut):
    steps = [("heard", at) for at in heard] + [("wrote", one) for one in wrote]
    halves = reviewed(united(rhythm(steps[:cut]), rhythm(steps[cut:])), CLOSE)
    assert halves == rhythm(steps)


@given(heard, wrote)
def test_a_greeting_is_what_the_rule_says(heard, wrote):
    steps = [("heard", at) for at in heard] + [("wrote", one) for one in wrote]
    for one in rhythm(steps).wrote:
        near = [at for at in heard if 0 <= one.at - at <= CLOSE.within_s]
        first = [at for at in near if not any(0 < at - before <= CLOSE.quiet_s for before in heard)]
        assert (one.quick, one.greeting) == (bool(near), bool(first))


def test_a_rhythm_stays_small():
    found = Rhythm()
    for day in range(0, 2000, 10):
        found = customer_wrote(found, CLOSE, 0, T0 + day * DAY_S)
        found = app_wrote(found, CLOSE, f"w{day}", T0 + day * DAY_S + 1, "d")
    assert (len(found.heard), len(found.spells), len(found.wrote)) == (HEARD_MAX, SPELLS_MAX, WROTE_MAX)
    assert all(one.greeting for one in found.wrote)


def test_a_customers_message_whose_time_is_corrected_counts_once():
    found = customer_wrote(customer_wrote(Rhythm(), SIGNS, 0, T0 + 5), SIGNS, T0 + 5, T0)
    assert found.heard == (T0,)
    assert not app_wrote(found, SIGNS, "w", T0 + 8, "").wrote[0].quick


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_a_saying_is_the_same_in_any_order_and_repeats_nothing(order):
    said = [("c1", "w1"), ("c1", "w2"), ("c2", "w3")]
    saying = Saying()
    for n in (*order, *order):
        saying = with_message(saying, *said[n], T0)
    assert saying.said == {"c1": ["w1", "w2"], "c2": ["w3"]}
    assert without_message(saying, "w3").said == {"c1": ["w1", "w2"]}
    assert without_message(saying, "w9") is saying


def test_a_saying_stays_small_and_is_written_once_a_day_at_most():
    saying = Saying()
    for n in range(100):
        saying = with_message(saying, f"c{n % 20}", f"w{n}", T0)
    assert len(saying.said) == SAID_IN_MAX
    assert len(messages_of(saying)) <= SAID_IN_MAX * SAID_EACH_MAX
    assert with_message(saying, "c99", "w999", T0 + 3600) is saying
    assert with_message(saying, "c99", "w999", T0 + 2 * DAY_S).wake_at == T0 + 2 * DAY_S + SAYING_KEEP_S


@pytest.mark.parametrize(
    ("kind", "content"),
    [("text", b""), ("text", b"[]"), ("text", b'{"body":7}'), ("text", b'{"body":"  short  "}'), ("image", b"{}")],
)
def test_only_a_text_of_some_length_has_a_digest(kind, content):
    assert digest_of(KEY, kind, content) == ""


def test_the_digest_is_keyed_and_blind_to_space_around_the_words():
    one = digest_of(KEY, "text", b'{"body":"Tornem dilluns"}')
    assert one == digest_of(KEY, "text", b'{"body":" Tornem dilluns\\n","preview_url":false}')
    assert one != digest_of(b"x" * 32, "text", b'{"body":"Tornem dilluns"}')
