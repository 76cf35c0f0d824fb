"""What the log says of trouble: at most one line per cause and minute, and nothing of anybody."""

import itertools

import orjson
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from ingest.normalize import UNUSED_FIELD
from schemas.items import Item, encode
from schemas.ports import Event
from services.runner import Batch
from services.telemetry.logs import FIELDS
from services.telemetry.metrics import Metrics
from services.telemetry.notices import CAUSES_MAX, EVERY_S, Notices

NUMBER, CONTACT = "106540352242922", "34600111222"


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def commit(notices, topic, kind, **data):
    event = Event("e", kind, NUMBER, orjson.dumps({"number": NUMBER, "command_id": "c", **data}), 1.0, 1.0, CONTACT)
    notices.committed(Batch("sender.delivery", [], [(topic, event)], 0.001, 1.0))


def lines(notices, *commits):
    with structlog.testing.capture_logs() as said:
        for topic, kind, data in commits:
            commit(notices, topic, kind, **data)
    return said


REJECTED = ("sends", "send.rejected", {"reason": "dead", "error": {"code": 131026, "message": f"{CONTACT} said no"}})
PAUSED = ("account", "number.changed", {"sending": "paused", "because": "token"})


@pytest.mark.parametrize(
    ("commit_", "what", "reason", "error"),
    [
        (REJECTED, "send.rejected", "dead", 131026),
        (("sends", "send.rejected", {"reason": "unknown_number"}), "send.rejected", "unknown_number", None),
        (("sends", "send.unresolved", {"reason": "no_evidence"}), "send.unresolved", "no_evidence", None),
        (("sends", "send.expired", {"reason": "expired"}), "send.expired", "expired", None),
        (("sends", "send.deferred", {"reason": "token_refused"}), "send.deferred", "token_refused", None),
        (PAUSED, "number_paused", "token", None),
        (
            ("account", "number.offboarded", {"sending": "paused", "because": "removed"}),
            "number_paused",
            "removed",
            None,
        ),
        (("sends", "send.rejected", {"reason": CONTACT}), "send.rejected", "other", None),
        (("sends", "send.rejected", {"reason": "Laia Puig"}), "send.rejected", "other", None),
    ],
)
def test_trouble_is_a_line_that_names_nobody_and_says_where_to_look(clock, commit_, what, reason, error):
    (line,) = lines(Notices(Metrics(), clock), commit_)
    assert (line.get("type", line["event"]), line["reason"], line.get("error"), line["count"]) == (
        what,
        reason,
        error,
        1,
    )
    assert line["log_level"] == "warning"
    assert "coexist" in line["fix"]
    assert set(line) <= FIELDS | {"log_level"}
    assert not any(secret in str(line) for secret in (NUMBER, CONTACT, "said no", "Laia"))


@pytest.mark.parametrize(
    "commit_",
    [
        ("sends", "send.accepted", {}),
        ("sends", "send.withdrawn", {"reason": "taken_over"}),
        ("sends", "send.deferred", {"reason": "taken_over"}),
        ("sends", "send.deferred", {"reason": "not_before"}),
        ("account", "number.changed", {"sending": "active"}),
        ("timeline", "message.added", {"reason": "dead"}),
    ],
)
def test_what_is_as_it_should_be_is_no_line(clock, commit_):
    assert lines(Notices(Metrics(), clock), commit_) == []


def test_a_cause_is_told_once_a_minute_with_how_often_it_happened(clock):
    notices = Notices(Metrics(), clock)
    assert [line["count"] for line in lines(notices, *[REJECTED] * 500)] == [1]
    clock.now += EVERY_S - 1
    assert lines(notices, REJECTED) == []
    clock.now += 1
    assert [line["count"] for line in lines(notices, REJECTED, REJECTED)] == [501]


@given(st.lists(st.tuples(st.floats(0, 90), st.sampled_from("abcde")), max_size=60))
def test_no_line_follows_its_like_within_a_minute_and_none_is_lost_from_the_count(steps):
    clock, told, happened = Clock(), {}, {}
    notices = Notices(Metrics(), clock)
    for wait, reason in steps:
        clock.now += wait
        happened[reason] = happened.get(reason, 0) + 1
        for line in lines(notices, ("sends", "send.rejected", {"reason": reason})):
            told.setdefault(reason, []).append((clock.now, line["count"]))
            assert sum(count for _, count in told[reason]) == happened[reason]
    for times in told.values():
        assert all(new - old >= EVERY_S for (old, _), (new, _) in itertools.pairwise(times))


def test_however_many_causes_there_are_the_memory_and_the_lines_are_bounded(clock):
    notices = Notices(Metrics(), clock)
    codes = [("sends", "send.rejected", {"reason": "dead", "error": {"code": code}}) for code in range(1, 1000)]
    said = lines(notices, *codes)
    assert [line["error"] for line in said[:-1]] == list(range(1, CAUSES_MAX + 1))
    assert (said[-1]["reason"], said[-1].get("error")) == ("other", None)
    assert len(notices._told) == CAUSES_MAX + 1


def test_refused_webhooks_are_told_where_an_operator_can_mend_it(clock):
    notices = Notices(Metrics(), clock)
    with structlog.testing.capture_logs() as said:
        for _ in range(3):
            for reason in ("signature", "handshake", "too_many", "disconnected", "method", "too_large"):
                notices.refused(reason)
            notices.unconfirmed()
    assert [(line["event"], line["reason"]) for line in said] == [
        ("webhooks_refused", "signature"),
        ("webhooks_refused", "handshake"),
        ("webhooks_refused", "too_many"),
        ("webhooks_not_durable", "unconfirmed"),
    ]


def unknown(reason):
    item = Item(number=NUMBER, reason=reason, field="field_of_tomorrow", raw=Raw(orjson.dumps({"text": CONTACT})))
    return "inbound", Event("u", "webhook.unknown", NUMBER, encode(item), 1.0, 1.0)


def test_webhooks_that_nobody_understood_are_one_line_a_minute_that_says_where_they_are(clock):
    notices = Notices(Metrics(), clock)
    with structlog.testing.capture_logs() as said:
        notices.appended([unknown("unknown_field"), unknown("no_id")], 1.0, 0.1)
        notices.appended([unknown("not_json")], 1.0, 0.1)
        clock.now += EVERY_S
        notices.appended([unknown("too_deep")], 1.0, 0.1)
    assert [(line["event"], line["log_level"], line["count"]) for line in said] == [
        ("webhooks_not_understood", "warning", 2),
        ("webhooks_not_understood", "warning", 2),
    ]
    assert all("coexist tail inbound --from-start --type webhook.unknown" in line["fix"] for line in said)
    assert set().union(*said) <= FIELDS | {"log_level"}
    assert not any(secret in str(said) for secret in (NUMBER, CONTACT, "tomorrow"))


@pytest.mark.parametrize("kind", ["message", "echo", "status", "account"])
def test_what_was_understood_is_no_line_nor_is_a_field_from_which_nothing_is_drawn(clock, kind):
    notices = Notices(Metrics(), clock)
    with structlog.testing.capture_logs() as said:
        notices.appended([("inbound", Event("e", f"webhook.{kind}", NUMBER, b"{}", 1.0, 1.0))], 1.0, 0.1)
        notices.appended([unknown(UNUSED_FIELD)], 1.0, 0.1)
    assert said == []
