"""An erasure's way through its processor: tombstones first, walks until nothing is found, a purge, done."""

from hypothesis import given, settings
from hypothesis import strategies as st

from echo_sync.erasures import NO_STOP, PURGE_AGAIN_S, Erasures, Mark, Purge, Word, encode, erasure_key
from schemas.marks import LEDGER_KEY, TOMBSTONE_KEEP_S, tombstone_key
from schemas.ports import Event, Forget, Timer
from tests.harness import NUMBER, T0, message, phone

BOTH = ("one", "two")


class Desk:
    """The processor over a plain dictionary, with virtual time."""

    def __init__(self, processors=BOTH):
        self.processor = Erasures(processors)
        self.states, self.calls, self.now = {}, [], T0

    def get(self, key):
        return self.states.get(key)

    def heads(self, *_):
        raise AssertionError("it asks for no line")

    def take(self, event, item):
        decision = self.processor.decide(self, event, item, self.now)
        for key, state in decision.states.items():
            self.states.pop(key, None) if state is None else self.states.update({key: state})
        self.calls += decision.calls

    def say(self, kind, **data):
        word = Word(number=NUMBER, at=data.pop("at", self.now), **data)
        event = Event("id", f"privacy.{kind}", NUMBER, encode(word), self.now, self.now)
        self.take(event, self.processor.parse(event))

    def fire(self, key):
        self.take(Timer(key), None)

    @property
    def ledger(self):
        return self.states[LEDGER_KEY]

    def swept(self, *names):
        for name in names:
            self.say("swept", processor=name, generation=self.ledger.generation)


def begun():
    desk = Desk()
    desk.say("erase", id="e1", marks=[Mark("a", person=True)])
    return desk


def test_an_erasure_begins_with_its_tombstones():
    desk = begun()
    assert desk.states[tombstone_key("a")].at == T0
    assert (desk.ledger.open, desk.ledger.newest_at) == (["e1"], T0)
    assert desk.calls == []


def test_the_rest_is_purged_once_every_processor_has_found_nothing_left():
    desk = begun()
    desk.swept("one")
    assert desk.calls == []
    desk.swept("two")
    assert desk.calls == [Purge(NUMBER, ("e1",), 1)]


def test_what_a_walk_brings_to_light_lets_all_walk_again():
    desk = begun()
    desk.swept("one")
    desk.say("marked", id="e1", marks=[Mark("b")], counts={"messages": 2}, refs=["x"])
    desk.swept("two")
    assert desk.calls == []
    desk.swept("one")
    assert len(desk.calls) == 1
    assert desk.states[erasure_key("e1")].counts == {"messages": 2}
    assert desk.states[erasure_key("e1")].refs == ["x"]


def test_what_was_known_already_lets_nobody_walk_again():
    desk = begun()
    desk.say("marked", id="e1", marks=[Mark("a", person=True)])
    assert desk.ledger.generation == 1


def test_an_alias_that_was_claimed_late_makes_the_erasure_hold_until_then():
    desk = begun()
    desk.say("marked", id="e1", marks=[Mark("a", person=True)], at=T0 + 2)
    assert desk.states[tombstone_key("a")].at == T0 + 2
    assert desk.states[erasure_key("e1")].at == T0 + 2
    assert desk.ledger.generation == 2


def test_a_purge_without_a_word_is_asked_for_again():
    desk = begun()
    desk.swept(*BOTH)
    desk.now += PURGE_AGAIN_S
    desk.fire(LEDGER_KEY)
    assert len(desk.calls) == 2


def test_after_its_purge_an_erasure_is_done_and_its_tombstones_stay():
    desk = begun()
    desk.swept(*BOTH)
    desk.say("erased", ids=["e1"], counts={"records": 7})
    assert desk.ledger.open == []
    assert desk.ledger.wake_at is None
    assert desk.states[erasure_key("e1")].done_at == T0
    assert desk.states[erasure_key("e1")].counts == {"records": 7}
    assert tombstone_key("a") in desk.states


def test_an_erasure_that_comes_during_the_purge_of_another_is_not_taken_for_done():
    desk = begun()
    desk.swept(*BOTH)
    desk.say("erase", id="e2", marks=[Mark("b", person=True)])
    desk.say("erased", ids=["e1"])
    assert desk.ledger.open == ["e2"]
    assert not desk.states[erasure_key("e2")].done_at


def test_the_same_erasure_asked_for_twice_is_one():
    desk = begun()
    desk.say("erase", id="e1", marks=[Mark("z", person=True)])
    assert desk.ledger.generation == 1
    assert tombstone_key("z") not in desk.states


def test_what_a_person_wanted_no_more_of_is_kept_without_end_until_they_want_it_again():
    desk = Desk()
    desk.say("erase", id="e1", marks=[Mark("a", person=True, stop="marketing")])
    assert (desk.states[tombstone_key("a")].stop, desk.states[tombstone_key("a")].wake_at) == ("marketing", None)
    desk.say("marked", id="e1", marks=[Mark("a", person=True)])
    assert desk.states[tombstone_key("a")].stop == "marketing"
    desk.say("erase", id="e2", marks=[Mark("a", person=True, stop=NO_STOP)])
    assert (desk.states[tombstone_key("a")].stop, desk.states[tombstone_key("a")].wake_at) == (
        "",
        T0 + TOMBSTONE_KEEP_S,
    )


def test_a_tombstone_outlives_what_meta_may_repeat_and_then_goes():
    desk = begun()
    assert TOMBSTONE_KEEP_S >= 190 * 86_400
    desk.now += TOMBSTONE_KEEP_S - 1
    desk.fire(tombstone_key("a"))
    assert tombstone_key("a") in desk.states
    desk.now += 1
    desk.fire(tombstone_key("a"))
    assert tombstone_key("a") not in desk.states


def test_a_rights_request_is_kept_until_it_is_closed_or_its_person_is_erased():
    desk = Desk()
    event = message("wamid.A", phone("34600111222"), T0, says="Please delete all my data")
    desk.take(event, desk.processor.parse(event))
    key = f"r/{NUMBER}/wamid.A"
    assert desk.states[key].right == "erasure"
    desk.say("request_closed", message_id="wamid.A", by="anna")
    assert desk.states[key].closed_by == "anna"
    assert desk.processor.about(key, desk.states[key]).things == ("m:wamid.A",)
    desk.take(Forget(key), None)
    assert key not in desk.states


marks_ = st.lists(st.builds(Mark, digest=st.sampled_from("abc"), person=st.booleans()), max_size=3)
words = st.one_of(
    st.tuples(st.just("erase"), st.fixed_dictionaries({"id": st.sampled_from(("e1", "e2")), "marks": marks_})),
    st.tuples(st.just("marked"), st.fixed_dictionaries({"id": st.sampled_from(("e1", "e2")), "marks": marks_})),
    st.tuples(st.just("swept"), st.fixed_dictionaries({"processor": st.sampled_from(BOTH)})),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(words, max_size=12))
def test_whatever_the_order_nothing_is_purged_before_all_have_swept_for_all_marks(script):
    desk, since = Desk(), dict.fromkeys(BOTH, -1)
    for kind, data in script:
        before, calls = desk.states.get(LEDGER_KEY), len(desk.calls)
        if kind == "swept":
            generation = before.generation if before else 0
            since[data["processor"]] = generation
            desk.say(kind, **data, generation=generation)
        else:
            desk.say(kind, **data)
        if len(desk.calls) > calls:
            assert set(since.values()) == {desk.ledger.generation}
            assert desk.calls[-1].ids == tuple(desk.ledger.open) != ()
