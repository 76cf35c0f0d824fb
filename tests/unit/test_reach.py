"""Wishes and words on templates: whatever the order in which they come, and however often, the newest one counts."""

import functools

from hypothesis import given
from hypothesis import strategies as st

from echo_sync.reach import Wish, heard, merged, remembered, stop_of, wished
from echo_sync.templates import joined
from schemas.marks import Tombstone
from schemas.states import ALL, HEARD_STEP_S, MARKETING, OPT_IN, STOP, Reach, Template, reach_key

TIMES = st.integers(1, 5).map(float)
WISHES = st.tuples(
    TIMES,
    st.builds(
        Wish,
        st.sampled_from([ALL, MARKETING]),
        st.sampled_from([STOP, OPT_IN, ""]),
        st.sampled_from([0.0, 9.0]),
        st.sampled_from(["operator", "words"]),
    ),
)
SPOKEN = st.sampled_from(["", "APPROVED", "PAUSED"])
WORDS = st.one_of(
    st.builds(Template, status=SPOKEN, status_at=TIMES, why=st.sampled_from(["", "FIRST_PAUSE"])),
    st.builds(Template, category=st.sampled_from(["MARKETING", "UTILITY"]), category_at=TIMES),
    st.builds(Template, quality=st.sampled_from(["RED", "GREEN"]), quality_at=TIMES),
)


def after(said, reach=None):
    begin = reach or Reach(number="1", conversation="c1")
    return functools.reduce(lambda known, word: wished(known, (word[1],), word[0]), said, begin)


@given(st.lists(WISHES, max_size=8))
def test_what_is_remembered_of_somebody_erased_is_what_they_wanted_no_more_of(said):
    now = 6.0
    scope = stop_of(after(said), now)
    anew = remembered("1", "c2", Tombstone(at=now, stop=scope)) if scope else Reach()
    assert stop_of(anew, now) == scope
    assert (anew.line is not None) == bool(scope)
    assert stop_of(wished(anew, (Wish(scope, OPT_IN, 0, "words"),), now + 1), now + 1) == ""


@given(st.lists(WISHES, max_size=8).flatmap(lambda said: st.tuples(st.just(said), st.permutations(said + said[:3]))))
def test_wishes_lead_to_one_state_in_any_order(both):
    said, shuffled = both
    assert after(said) == after(shuffled)


@given(st.lists(WISHES, max_size=8))
def test_in_each_scope_the_newest_wish_counts_and_a_stop_beats_what_is_said_at_the_same_time(said):
    found = after(said).wishes
    for scope in (ALL, MARKETING):
        about = [(at, wish.value) for at, wish in said if wish.scope == scope]
        newest = {value for at, value in about if at == max(about)[0]}
        if not about:
            assert scope not in found
        else:
            assert found[scope].value == (STOP if STOP in newest else OPT_IN if OPT_IN in newest else "")


@given(st.lists(WISHES, max_size=6), st.lists(WISHES, max_size=6))
def test_two_people_who_are_one_have_the_wishes_that_one_would_have(mine, theirs):
    states = {reach_key("c1"): after(mine), reach_key("c2"): after(theirs, Reach(number="1", conversation="c2"))}
    both = merged(states, "1", "c1", "c2")
    assert both[reach_key("c1")].wishes == after([*mine, *theirs]).wishes
    assert both[reach_key("c1")].conversation == "c1"
    assert both[reach_key("c2")] is None


@given(st.lists(WISHES, max_size=8))
def test_who_does_not_want_everything_stands_in_the_line_of_the_suppressed(said):
    found = after(said)
    stops = [standing.at for standing in found.wishes.values() if standing.value == STOP]
    assert (found.line, found.place) == (("suppressed/1", -max(stops)) if stops else (None, None))


@given(st.lists(st.floats(0, 1e5), min_size=1, max_size=30))
def test_what_is_kept_of_the_last_message_lies_behind_by_less_than_a_step_and_never_ahead(times):
    found = functools.reduce(heard, times, Reach(heard_at=-2 * HEARD_STEP_S))
    assert found.heard_at <= max(times) < found.heard_at + HEARD_STEP_S


@given(st.lists(WORDS, max_size=8).flatmap(lambda said: st.tuples(st.just(said), st.permutations(said + said[:3]))))
def test_words_on_a_template_lead_to_one_state_in_any_order(both):
    said, shuffled = both
    assert functools.reduce(joined, said, Template()) == functools.reduce(joined, shuffled, Template())
