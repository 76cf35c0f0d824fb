"""The wire forms: an event comes back as it was, and what is no event is refused without a word of it."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.cloudevents import NotAnEvent, cloudevent, event_from_headers, headers
from schemas.ports import Event, Record

NUMBER = "106540352242922"
instants = st.integers(0, 4_102_444_800_000).map(lambda ms: ms / 1000)
words = st.text(min_size=1, max_size=20)
json_bytes = st.dictionaries(st.text(), st.text() | st.integers(-(2**53), 2**53) | st.booleans()).map(
    msgspec.json.encode
)
any_event = st.builds(
    Event,
    id=words,
    type=words,
    number=words,
    data=json_bytes | st.none(),
    at=instants,
    recorded_at=instants,
    subject=st.text(max_size=20),
    key=st.text(max_size=20),
    seq=st.integers(0, 2**63 - 1),
    cause=st.text(max_size=20),
    trace=st.text(max_size=20),
).map(lambda event: msgspec.structs.replace(event, key="" if event.key == event.number else event.key))


@given(any_event)
def test_an_event_comes_back_from_its_headers(event):
    key = (event.key or event.number).encode()
    assert event_from_headers(headers(event), key, event.data, 0) == event


@given(any_event)
def test_headers_carry_the_attributes_of_the_structured_form_and_no_other(event):
    structured = cloudevent(Record("timeline", 0, 0, event, 0))
    attributes = {
        name: text for name, text in structured.items() if name not in ("topic", "partition", "offset", "data")
    }
    written = {name.removeprefix("ce_"): text.decode() for name, text in headers(event) if name.startswith("ce_")}
    assert written == attributes


@given(any_event)
def test_an_event_comes_back_from_its_structured_form(event):
    value = msgspec.json.encode(cloudevent(Record("timeline", 0, 0, event, 0)))
    structured = [("content-type", b"application/cloudevents+json; charset=UTF-8")]
    back = event_from_headers(structured, (event.key or event.number).encode(), value, 0)
    data = None if event.data is None else msgspec.json.decode(event.data)
    assert msgspec.structs.replace(back, data=None) == msgspec.structs.replace(event, data=None)
    assert (None if back.data is None else msgspec.json.decode(back.data)) == data


def test_a_record_in_structured_form_has_every_attribute_that_applies():
    event = Event(
        "m:1", "message.added", NUMBER, b'{"a":1}', 1790000000, 1790000000.25, "c-1", "", 2**62, "w:1", "00-a-b-01"
    )
    assert cloudevent(Record("timeline", 3, 41, event, 1790000001)) == {
        "specversion": "1.0",
        "id": "m:1",
        "type": "message.added",
        "source": f"/whatsapp/{NUMBER}",
        "subject": "c-1",
        "time": "2026-09-21T14:13:20Z",
        "number": NUMBER,
        "seq": str(2**62),
        "recordedtime": "2026-09-21T14:13:20.250Z",
        "causationid": "w:1",
        "traceparent": "00-a-b-01",
        "dataschema": "urn:coexist:message.added:v1",
        "topic": "timeline",
        "partition": 3,
        "offset": 41,
        "data": {"a": 1},
    }


def test_what_does_not_apply_is_left_out_and_a_tombstone_has_null_as_data():
    event = Event("v:1", "conversation.state", NUMBER, None, 1790000000, 1790000000)
    form = cloudevent(Record("conversations", 0, 0, event, 0))
    assert form["data"] is None
    assert not form.keys() & {"seq", "subject", "causationid", "traceparent", "dataschema"}
    assert not dict(headers(event)).keys() & {"content-type", "ce_dataschema", "ce_seq", "traceparent"}


def test_an_erased_record_has_the_time_of_its_append_and_not_the_year_1970():
    hole = Record("timeline", 3, 41, Event("erased:1:7", "record.erased", NUMBER, b"{}", 0, 0, seq=7), 1790000001)
    form = cloudevent(hole)
    assert (form["time"], form["recordedtime"]) == ("2026-09-21T14:13:21Z", "2026-09-21T14:13:21Z")


def test_attribute_names_are_those_that_cloudevents_allows():
    event = Event("i", "t", NUMBER, b"{}", 1, 1, "s", "k", 1, "c", "t")
    names = [name.removeprefix("ce_") for name, _ in headers(event) if name.startswith("ce_")]
    assert all(name.isascii() and name.isalnum() and name == name.lower() and len(name) <= 20 for name in names)


def test_a_command_of_another_client_needs_an_id_and_a_type_and_takes_its_number_from_the_key():
    bare = [("ce_id", b"x-1"), ("ce_type", b"send.cancel"), ("traceparent", b"00-a-b-01"), ("other", b"\xff\x00")]
    assert event_from_headers(bare, NUMBER.encode(), b"{}", 1790000000.5) == Event(
        "x-1", "send.cancel", NUMBER, b"{}", 1790000000.5, 1790000000.5, trace="00-a-b-01"
    )


@pytest.mark.parametrize(
    ("pairs", "key", "value"),
    [
        ([], b"1", b"{}"),
        ([("ce_id", b"Laia")], b"1", b"{}"),
        ([("ce_id", b"Laia"), ("ce_type", b"Laia")], None, b"{}"),
        ([("ce_id", b"Laia"), ("ce_type", b"Laia")], b"\xff", b"{}"),
        ([("ce_id", b"\xffLaia"), ("ce_type", b"Laia")], b"1", b"{}"),
        ([("ce_id", b"Laia"), ("ce_type", b"Laia"), ("ce_time", b"Laia")], b"1", b"{}"),
        ([("ce_id", b"Laia"), ("ce_type", b"Laia"), ("ce_seq", b"Laia")], b"1", b"{}"),
        ([("content-type", b"application/cloudevents+json")], b"1", b"Laia"),
        ([("content-type", b"application/cloudevents+json")], b"1", b'["Laia"]'),
        ([("content-type", b"application/cloudevents+json")], b"1", None),
    ],
)
def test_a_record_that_is_no_event_is_refused_without_quoting_it(pairs, key, value):
    with pytest.raises(NotAnEvent) as refused:
        event_from_headers(pairs, key, value, 0)
    assert "Laia" not in str(refused.value)


@given(st.lists(st.tuples(st.text(), st.binary())), st.none() | st.binary(), st.none() | st.binary())
def test_no_record_of_whatever_bytes_breaks_the_reader(pairs, key, value):
    for more in ([], [("ce_id", b"1"), ("ce_type", b"t")], [("content-type", b"application/cloudevents+json")]):
        try:
            event = event_from_headers([*pairs, *more], key, value, 0)
        except NotAnEvent:
            continue
        assert event.number
