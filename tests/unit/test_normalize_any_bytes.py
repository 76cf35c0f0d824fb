"""Whatever is signed comes out: n items in, n facts out, and no bytes raise (design 6.2; reliability E11)."""

import base64
import json
import string

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.normalize import normalize
from schemas.items import decode

AT = 1790009999.5
QUICK = settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
WORDS = ["id", "from", "to", "type", "text", "timestamp", "edit", "revoke", "system", "context", "errors", "image"]
WORDS += ["status", "recipient_id", "action", "contact", "value", "metadata", "threads", "messages", "reaction"]
items = st.dictionaries(st.sampled_from(WORDS), anything, max_size=5) | anything.filter(lambda v: v is not None)
ARRAYS = ["messages", "message_echoes", "statuses", "errors", "state_sync", "user_preferences", "somethings"]
FIELDS = ["messages", "smb_message_echoes", "smb_app_state_sync", "user_preferences"]


def envelope(changes):
    return {"object": "whatsapp_business_account", "entry": [{"id": "7", "changes": changes}]}


def facts(document):
    found = normalize(json.dumps(document).encode(), AT)
    for _, event in found:
        item = decode(event)
        assert item.raw is not msgspec.UNSET or item.raw_base64
        if item.content is not msgspec.UNSET:
            msgspec.json.decode(item.content)
        assert event.id
        assert event.number
        assert event.at > 0
    return found


@QUICK
@given(
    st.lists(
        st.tuples(st.sampled_from(FIELDS), st.sampled_from(ARRAYS[:-1]), st.lists(items, min_size=1, max_size=4)),
        max_size=4,
    )
)
def test_n_items_in_n_facts_out(changes):
    document = envelope([{"field": field, "value": {key: inside}} for field, key, inside in changes])
    assert len(facts(document)) == sum(len(inside) for _, _, inside in changes)


@QUICK
@given(st.lists(st.lists(items, max_size=4), max_size=3), st.dictionaries(st.sampled_from(WORDS), anything, max_size=3))
def test_every_message_of_every_thread_comes_out_and_the_chunk_itself(threads, metadata):
    chunk = {"metadata": metadata, "threads": [{"id": "15550100199", "messages": inside} for inside in threads]}
    found = facts(envelope([{"field": "history", "value": {"history": [chunk]}}]))
    assert len(found) == sum(map(len, threads)) + 1
    assert {topic for topic, _ in found} == {"history"}


@QUICK
@given(anything)
def test_any_json_is_kept(document):
    facts(document)


@QUICK
@given(st.dictionaries(st.sampled_from(["object", "entry", "field", "value", "history", "metadata"]), anything))
def test_any_envelope_is_kept(document):
    facts(document)


@QUICK
@given(st.binary(max_size=60))
def test_no_bytes_raise_and_none_are_lost(body):
    found = normalize(body, AT)
    assert all(decode(event) for _, event in found)
    try:
        json.loads(body)
    except ValueError:
        assert len(found) == 1


@QUICK
@given(st.data())
def test_a_damaged_body_is_mended_or_kept_as_bytes(data):
    message = {"from": "15550100199", "id": "w", "timestamp": "1790000000", "type": "text", "text": {"body": "hé"}}
    body = bytearray(json.dumps(envelope([{"field": "messages", "value": {"messages": [message]}}])).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    for _, event in normalize(bytes(body), AT):
        decode(event)


def text_body(written):
    return (
        b'{"object":"whatsapp_business_account","entry":[{"id":"7","changes":[{"field":"messages","value":{"messages":['
        b'{"from":"15550100199","id":"w","timestamp":"1790000000","type":"text","text":{"body":"' + written + b'"}}'
        b"]}}]}]}"
    )


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (rb"a\ud83d\ude00", "a\U0001f600"),
        (rb"a\ud83db", "a\ufffdb"),
        (rb"a\ude00b", "a\ufffdb"),
        (rb"\\ud83d\ude00", "\\ud83d\ufffd"),
        (rb"a\u0000b", "ab"),
        (rb"a\\u0000b", "a\\u0000b"),
        (b"a\x00b", "ab"),
        (b"a\nb", "a\nb"),
        (b"a\xffb", "a\ufffdb"),
        ("\u2603".encode(), "\u2603"),
    ],
)
def test_text_that_others_choke_on_is_mended(written, read):
    ((topic, event),) = normalize(text_body(written), AT)
    assert (topic, event.type, event.id) == ("inbound", "webhook.message", "m:w")
    assert json.loads(event.data)["content"] == {"body": read}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_other_encodings_are_read(encoding):
    ((_, event),) = normalize(text_body(b"hi").decode().encode(encoding), AT)
    assert event.type == "webhook.message"


def kept(body, reason):
    ((topic, event),) = normalize(body, AT)
    item = decode(event)
    assert (topic, event.type, event.number, item.reason) == ("inbound", "webhook.unknown", "unknown", reason)
    assert base64.b64decode(item.raw_base64) == body


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"<xml/>", b'{"a":01}', b"null null"])
def test_what_is_no_json_is_kept_as_bytes(body):
    kept(body, "not_json")


def nested(depth):
    return b'{"object":"whatsapp_business_account","entry":[{"id":"7","changes":[{"field":"new","value":%s%s}]}]}' % (
        b"[" * (depth - 5),
        b"]" * (depth - 5),
    )


def test_nesting_is_bounded_at_64():
    ((_, event),) = normalize(nested(64), AT)
    assert decode(event).reason == "not_an_object"
    for depth in (65, 999, 100_000, 1_000_000):
        kept(nested(depth), "too_deep")


def test_brackets_in_text_do_not_count_as_nesting():
    body = text_body(b"[{" * 5000 + rb"\"" + b"[" * 5000)
    ((_, event),) = normalize(body, AT)
    assert event.type == "webhook.message"


def test_deep_nesting_cannot_hide_behind_brackets_in_text():
    levels = b'{"a":"]}","b":' * 70
    body = nested(6).replace(b'"value":[]', b'"value":' + levels + b"1" + b"}" * 70)
    kept(body, "too_deep")


def test_more_than_20_000_items_are_kept_as_bytes():
    def numbered(count):
        return json.dumps(envelope([{"field": "messages", "value": {"messages": list(range(count))}}])).encode()

    assert len(normalize(numbered(20_000), AT)) == 20_000
    kept(numbered(20_001), "too_many_items")
    kept(b"[" + b"0," * 2_000_000 + b"0]", "too_many_items")


def test_an_item_that_no_record_can_hold_is_kept_as_bytes():
    body = text_body(string.ascii_letters.encode() * (4 * 1024 * 1024 // 52 - 10))
    assert len(body) < 4 * 1024 * 1024
    (found,) = normalize(body, AT)
    assert len(found[1].data) < 8 * 1024 * 1024


def test_numbers_beyond_every_integer_and_double_keep_their_digits():
    for digits in (b"18446744073709551617", b"1" * 5000, b"1e400", b"0.1234567890123456789012345"):
        body = text_body(b"x").replace(b'"text":{', b'"big":%s,"text":{' % digits)
        ((_, event),) = normalize(body, AT)
        assert b'"big":%s,' % digits in event.data


def test_content_that_no_reader_could_parse_is_unsupported():
    body = text_body(b"x").replace(b'"type":"text"', b'"type":"location","location":{"latitude":1e400}')
    ((_, event),) = normalize(body, AT)
    assert decode(event).kind == "unsupported"


def test_of_equal_keys_the_last_wins():
    body = text_body(b"x").replace(b'"id":"w"', b'"id":"v","id":"w"')
    ((_, event),) = normalize(body, AT)
    assert event.id == "m:w"


def test_two_offboardings_at_two_times_are_two_facts():
    def offboarded(at):
        value = {"event": "ACCOUNT_OFFBOARDED"}
        entry = {"id": "7", "time": at, "changes": [{"field": "account_update", "value": value}]}
        ((_, event),) = facts({"object": "whatsapp_business_account", "entry": [entry]})
        return event.id

    assert offboarded(1790000000) == offboarded(1790000000)
    assert offboarded(1790000000) != offboarded(1790000500)


def said_to(number, waba="7"):
    """The fact of a message to a number."""
    value = {"metadata": {"phone_number_id": number}, "messages": [{"from": "15550100199", "id": "w", "type": "text"}]}
    entry = {"id": waba, "changes": [{"field": "messages", "value": value}]}
    ((_, event),) = facts({"object": "whatsapp_business_account", "entry": [entry]})
    return event, value


@pytest.mark.parametrize("wrong", ["../../x", "a/b", "1 2", "-1", "1?x", "\u0661\u0662", "1" * 65])
def test_what_can_be_no_number_s_id_makes_no_number_and_is_kept_with_all_it_came_with(wrong):
    event, value = said_to(wrong)
    item = decode(event)
    assert (event.type, event.number, item.reason) == ("webhook.unknown", "7", "not_a_number")
    assert msgspec.json.decode(item.raw) == value
    event, _ = said_to("", waba=wrong)
    assert (event.type, event.number, decode(event).reason) == ("webhook.unknown", "unknown", "not_a_number")
    offboarded = {"event": "PARTNER_REMOVED", "waba_info": {"waba_id": wrong}}
    ((_, event),) = facts(envelope([{"field": "account_update", "value": offboarded}]))
    assert (event.type, event.number) == ("webhook.account", "7")


@given(st.text(max_size=20) | st.integers().map(str), st.text(max_size=20) | st.integers(0).map(str))
def test_every_fact_belongs_to_what_can_be_an_id_or_to_nobody(number, waba):
    event, _ = said_to(number, waba)
    assert event.number.isascii()
    assert event.number.replace("_", "").replace(".", "").replace("-", "").isalnum()


def test_an_id_that_is_a_json_number_and_one_of_any_length_are_taken():
    assert said_to(106540352242922)[0].number == "106540352242922"
    assert said_to("9" * 30)[0].number == "9" * 30
    assert said_to("a-7_x.2")[0].number == "a-7_x.2"


def test_content_that_follows_an_unsupported_message_is_another_fact():
    unsupported = text_body(b"x").replace(b'"type":"text"', b'"type":"unsupported"')
    ((_, first),), ((_, second),) = normalize(unsupported, AT), normalize(text_body(b"x"), AT)
    assert first.subject == second.subject == "w"
    assert first.id != second.id


def test_ids_do_not_depend_on_how_a_batch_is_cut():
    messages = [
        {"from": "15550100199", "id": f"w{n}", "timestamp": "1790000000", "type": "text", "text": {"body": "x"}}
        for n in range(10)
    ]
    whole = facts(envelope([{"field": "messages", "value": {"messages": messages}}]))
    parts = [facts(envelope([{"field": "messages", "value": {"messages": [message]}}])) for message in messages]
    assert [event for _, event in whole] == [event for ((_, event),) in parts]
