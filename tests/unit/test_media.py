"""Which media is fetched, when it is tried again, and when it is given up: the decider alone, with virtual time."""

import msgspec
import orjson
import pytest

from echo_sync.media import ATTEMPT_S, BACKOFF_S, IMPORTED_OPEN_MAX, LIFE_S, OPEN_MAX, SLOTS, Fetching, job_key
from schemas import items
from schemas.items import Item, Media
from schemas.ports import Event, Timer
from tests.harness import NUMBER, T0, Clock, check

IMAGE = {"id": "920000000000001", "sha256": "q80=", "mime_type": "image/jpeg"}
ADDED = {
    "message_id": "wamid.1",
    "conversation_id": "c-1",
    "number": NUMBER,
    "origin": "customer",
    "kind": "image",
    "content": IMAGE,
}


class Desk:
    """The processor with its states, as the runner would drive it. Every output is checked against its model."""

    def __init__(self):
        self.clock = Clock()
        self.processor = Fetching("0.0.0")
        self.states, self.calls, self.emitted, self.notes = {}, [], [], []

    def get(self, key):
        return self.states.get(key)

    def heads(self, line, until, limit):
        found = [(key, state) for key, state in self.states.items() if state.line == line and state.place <= until]
        return sorted(found, key=lambda pair: pair[1].place)[:limit]

    def decide(self, event, item=None):
        decision = self.processor.decide(self, event, item, self.clock.now)
        for topic, emitted in decision.emit:
            check(topic, emitted)
        self.states |= decision.states
        self.states = {key: state for key, state in self.states.items() if state is not None}
        self.calls += decision.calls
        self.emitted += decision.emit
        self.notes += decision.notes

    def take(self, kind, data, at=None):
        event = Event(f"{kind}:{len(self.emitted)}", kind, NUMBER, orjson.dumps(data), T0, at or self.clock.now)
        item = self.processor.parse(event)
        if item is not None:
            self.decide(event, item)
            self.fire()

    def fire(self):
        """Fire what is due, as often as something is."""
        while due := [k for k, s in self.states.items() if s.wake_at is not None and s.wake_at <= self.clock.now]:
            for key in due:
                self.decide(Timer(key))

    def added(self, n=1, **about):
        content = about.pop("content", {**IMAGE, "id": f"92{n:013}"})
        self.take("message.added", ADDED | {"message_id": f"wamid.{n}", "content": content, **about})

    def came_of(self, kind, call, reason=""):
        media = Media(id=call.media.id, ref="ab/abcd" if kind == "media.stored" else "")
        item = Item(number=NUMBER, message_id=call.message_id, attempt=call.attempt, media=media, reason=reason)
        self.take(kind, orjson.loads(items.encode(item)))

    def later(self, seconds):
        self.clock.now += seconds
        self.fire()

    @property
    def jobs(self):
        return [key for key in self.states if key != SLOTS]


@pytest.fixture
def desk():
    return Desk()


@pytest.mark.parametrize("kind", ["image", "video", "audio", "document", "sticker"])
def test_every_kind_of_media_is_fetched_at_once(desk, kind):
    desk.added(kind=kind)
    (call,) = desk.calls
    assert (call.message_id, call.kind, call.attempt) == ("wamid.1", kind, 1)
    assert call.media == Media(id="920000000000001", sha256="q80=", mime_type="image/jpeg")


@pytest.mark.parametrize(
    "about",
    [
        {"kind": "text", "content": {"body": "92"}},
        {"kind": "media_placeholder", "content": {}},
        {"content": {"link": "https://example.org/a.jpg"}},
        {"content": {"id": "../../me"}},
        {"content": {"id": ""}},
        {"content": {"id": "9" * 200}},
        {"content": {"id": 92}},
        {"content": [{"id": "92"}]},
        {"origin": "api"},
    ],
)
def test_what_is_no_media_of_others_is_left(desk, about):
    desk.added(**about)
    assert (desk.calls, desk.states) == ([], {})


def test_late_media_of_an_imported_placeholder_is_fetched(desk):
    desk.added(kind="media_placeholder", content={}, historical=True)
    desk.take("message.completed", ADDED | {"historical": True})
    assert [call.message_id for call in desk.calls] == ["wamid.1"]


def test_where_media_is_kept_is_no_reason_to_fetch_it_again(desk):
    desk.added()
    desk.came_of("media.stored", desk.calls[0])
    told = {key: value for key, value in ADDED.items() if key not in ("kind", "content")}
    desk.take("message.completed", told | {"media": {"id": IMAGE["id"], "ref": "ab/abcd"}})
    assert len(desk.calls) == 1
    assert desk.jobs == []
    assert desk.notes == ["media:stored"]


def test_a_missed_attempt_is_repeated_with_a_growing_delay(desk):
    desk.added()
    for n in range(6):
        assert [call.attempt for call in desk.calls] == list(range(1, n + 2))
        desk.came_of("media.missed", desk.calls[-1], "unreachable")
        desk.later(BACKOFF_S * 2**n - 1)
        assert len(desk.calls) == n + 1
        desk.later(1)
    assert desk.emitted == []


def test_an_attempt_without_a_word_is_taken_for_missed(desk):
    desk.added()
    desk.later(ATTEMPT_S)
    desk.later(BACKOFF_S)
    assert [call.attempt for call in desk.calls] == [1, 2]


def test_a_late_word_of_an_older_attempt_does_not_disturb_the_present_one(desk):
    desk.added()
    desk.later(ATTEMPT_S)
    desk.later(BACKOFF_S)
    desk.came_of("media.missed", desk.calls[0], "too_large")
    assert desk.emitted == []
    desk.came_of("media.stored", desk.calls[0])
    assert desk.jobs == []


def test_media_is_given_up_when_its_id_is_dead_and_not_before(desk):
    desk.added()
    last = desk.clock.now
    while desk.jobs:
        last = desk.clock.now
        desk.came_of("media.missed", desk.calls[-1], "unreachable")
        desk.later(3600)
        assert desk.clock.now < T0 + 2 * LIFE_S
    assert T0 + LIFE_S - 7 * 3600 < last < T0 + LIFE_S
    assert 30 < len(desk.calls) < 50


@pytest.mark.parametrize(("reason", "attempts"), [("too_large", 1), ("wrong_type", 1), ("wrong_hash", 5)])
def test_what_no_repetition_mends_is_given_up_early_and_replayed_from_its_dead_letter(desk, reason, attempts):
    desk.added()
    for _ in range(attempts):
        desk.came_of("media.missed", desk.calls[-1], reason)
        desk.later(3600)
    assert [(topic, event.type) for topic, event in desk.emitted] == [
        ("inbound", "media.failed"),
        ("dead-letters", "dead.letter"),
    ]
    failed = orjson.loads(desk.emitted[0][1].data)
    assert (failed["reason"], failed["media"]) == (reason, {"id": "920000000000001"})
    assert desk.jobs == []
    letter = orjson.loads(desk.emitted[1][1].data)
    assert letter["reason"] == f"media.fetching: {reason}"
    desk.take(letter["type"], orjson.loads(letter["raw"]))
    assert desk.calls[-1] == msgspec.structs.replace(desk.calls[0], attempt=1)


def test_few_are_open_at_a_time_and_each_that_ends_lets_the_next_in(desk):
    for n in range(1, 21):
        desk.added(n)
    assert len(desk.calls) == OPEN_MAX
    for n in range(20):
        assert len(desk.states[SLOTS].open) == min(OPEN_MAX, 20 - n)
        desk.came_of("media.stored", desk.calls[n])
    assert [call.message_id for call in desk.calls] == [f"wamid.{n}" for n in range(1, 21)]
    assert desk.jobs == []
    assert desk.states[SLOTS].open == []


def test_an_import_never_takes_the_last_slot_and_live_media_goes_first(desk):
    for n in range(1, 11):
        desk.added(n, historical=True)
    assert len(desk.calls) == IMPORTED_OPEN_MAX
    desk.added(50)
    desk.added(51)
    assert [call.message_id for call in desk.calls[IMPORTED_OPEN_MAX:]] == ["wamid.50"]
    desk.came_of("media.stored", desk.calls[0])
    assert desk.calls[-1].message_id == "wamid.51"


def test_media_of_a_message_deleted_for_everyone_is_not_fetched_any_more(desk):
    for n in range(1, OPEN_MAX + 2):
        desk.added(n)
    desk.take("message.revoked", {"message_id": f"wamid.{OPEN_MAX + 1}", "number": NUMBER})
    desk.take("message.revoked", {"message_id": "wamid.1", "number": NUMBER})
    assert job_key(NUMBER, "wamid.1") not in desk.states
    assert len(desk.states[SLOTS].open) == OPEN_MAX - 1
    desk.came_of("media.missed", desk.calls[0], "unreachable")
    desk.later(3600)
    assert f"wamid.{OPEN_MAX + 1}" not in {call.message_id for call in desk.calls}


def test_the_same_fact_twice_is_one_job(desk):
    desk.added()
    desk.added()
    assert len(desk.calls) == 1
