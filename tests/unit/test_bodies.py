"""The bodies of the Send API: every kind is taken as it is, and every wrong one is refused by its field."""

import copy
import json
import time
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas import events
from schemas.bodies import MESSAGES
from schemas.interactive import INTERACTIVE
from services.api.door import checked
from tests import processes
from tests.send_bodies import BROKEN, CASES, GOOD, KINDS, NAMES, PLAIN_URL, PUBLIC_URL, TYPES, changed, template

SCHEMA = json.loads((Path(__file__).parents[2] / "schemas" / "json" / "send.requested.schema.json").read_text())
PUBLISHED = jsonschema.Draft202012Validator(SCHEMA)
COMMAND = {"command_id": "k-1", "number": "106540352242922", "to": "15550100199"}
CHECK_US_MAX = 60
BY_CODE_ALONE = ("in all", "public internet", "plain host", "more than one section", "-180 and 180", "cards[")
"""What a JSON Schema does not say: sums, private addresses, limits of numbers as text, what a card needs."""


def check(message, **more):
    return events.DATA["send.requested"].model_validate({**COMMAND, "message": message, **more})


def refusal(message, **more):
    with pytest.raises(ValidationError) as refused:
        check(message, **more)
    return events.explain(refused.value)


@pytest.mark.parametrize("name", GOOD)
def test_a_good_body_is_taken_by_model_and_schema_and_left_as_it_was(name):
    message = copy.deepcopy(GOOD[name])
    assert check(message).message is message
    assert message == GOOD[name]
    PUBLISHED.validate({**COMMAND, "message": message})


@pytest.mark.parametrize(("message", "says"), CASES, ids=NAMES)
def test_a_wrong_body_is_refused_by_the_field_that_is_wrong(message, says):
    assert refusal(message) == f"message.{says}"


@pytest.mark.parametrize(("message", "says"), CASES, ids=NAMES)
def test_what_the_schema_can_say_it_refuses_too(message, says):
    told_by_code = any(words in says for words in (*BY_CODE_ALONE, ".parameters["))
    assert told_by_code or not PUBLISHED.is_valid({**COMMAND, "message": message})


def test_every_known_type_and_kind_has_a_good_and_a_broken_example():
    for examples in (GOOD.values(), [GOOD[kind] for kind, _, _, _ in BROKEN]):
        assert {message.get("type", "text") for message in examples} == set(MESSAGES)
        kinds = {message["interactive"]["type"] for message in examples if "interactive" in message}
        assert kinds == set(INTERACTIVE)


def test_the_lists_in_the_refusals_are_whole():
    assert TYPES.removeprefix("must be one of ").split(", ") == [*MESSAGES]
    assert KINDS.removeprefix("must be one of ").split(", ") == [*INTERACTIVE]


def test_a_fallback_is_checked_as_a_template():
    text = GOOD["text"]
    check(text, fallback=GOOD["template with components"])
    assert refusal(text, fallback=text) == "fallback.type must be template."
    assert refusal(text, fallback={"template": {}}) == "fallback.type is missing."
    assert refusal(text, fallback=template(name="")) == "fallback.template.name must not be empty."
    wrong = changed(GOOD["template with components"], "template.components.2.index", "x")
    assert refusal(text, fallback=wrong) == (
        "fallback.template.components[2].index must be 0 to 9, as a number or as text."
    )
    assert refusal(text, fallback={**template(), "to": "1"}) == (
        "fallback.to belongs beside the message, as the command's own field."
    )


def test_text_that_is_no_unicode_is_refused():
    assert refusal({"text": {"body": "\ud83d"}}) == "message.text.body must be valid Unicode."


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_place_that_is_no_number_is_refused(number):
    message = changed(GOOD["location"], "location.latitude", number)
    assert refusal(message) == "message.location.latitude must be a number, or a number as text."


LINKS_REFUSED = {
    PLAIN_URL: [
        "http://example.org/a.jpg",
        "ftp://example.org/a.jpg",
        "http\u017f://example.org/a.jpg",
        "https://example.org\u212a/",
        "file:///etc/passwd",
        "//example.org/a.jpg",
        "example.org/a.jpg",
        "https:example.org/a.jpg",
        "https:///a.jpg",
        "https://",
        "https://user@example.org/",
        "https://example.org@10.0.0.1/",
        "https://example.org\\@10.0.0.1/",
        "https://example.org:x/",
        "https://exam ple.org/",
        "https://example.org/a b",
        "https://example.org/\n",
        "https://example.org/\u00a0a",
        "https://127%2e0%2e0%2e1/",
        "https://\uff11\uff12\uff17.0.0.1/",
        "https://127\u30020\u30020\u30021/",
        "https://[fe80::1%25eth0]/",
        "https://[::1/",
        " https://example.org/",
        "https://example.org/" + "x" * 2048,
        "",
        7,
        None,
    ],
    PUBLIC_URL: [
        "https://127.0.0.1/",
        "https://127.1.2.3:8443/a",
        "https://127.0.0.1./",
        "https://127.1/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0x7f.0.0.1/",
        "https://0177.0.0.1/",
        "https://127.0.0.0x1/",
        "https://0/",
        "https://0.0.0.0/",
        "https://10.0.0.1/",
        "https://172.16.0.1/",
        "https://172.31.255.255/",
        "https://192.168.1.1/",
        "https://169.254.169.254/latest/meta-data/",
        "https://100.64.0.1/",
        "https://192.0.2.1/",
        "https://198.18.0.1/",
        "https://224.0.0.1/",
        "https://255.255.255.255/",
        "https://999.1.1.1/",
        "https://8.8.8/",
        "https://[::]/",
        "https://[::1]/",
        "https://[fe80::1]/",
        "https://[fc00::1]/",
        "https://[fd12:3456::1]/",
        "https://[ff02::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[::ffff:7f00:1]/",
        "https://[::127.0.0.1]/",
        "https://[64:ff9b::7f00:1]/",
        "https://[2002:7f00:1::]/",
        "https://[2001:0:7f00:1::]/",
        "https://[2001:db8::1]/",
        "https://[:::]/",
        "https://[1.2.3.4]/",
        "https://localhost/",
        "https://LOCALHOST./",
        "https://api.localhost/",
        "https://printer.local/",
        "https://metadata.google.internal/",
        "https://intranet/",
        "https://nas.lan/",
        "https://box.home.arpa/",
        "https://./",
    ],
}
LINKS_TAKEN = [
    "https://example.org",
    "https://example.org/",
    "HTTPS://Example.ORG:8443/a.jpg?x=1#y",
    "https://example.org?sig=a%2Fb",
    "https://my_bucket.s3.example.org/à/é.jpg",
    "https://xn--e1afmkfd.example/a.png",
    "https://8.8.8.8/a.jpg",
    "https://[2606:4700:4700::1111]/a.jpg",
    "https://10.example.org/",
    "https://127.0.0.1.example.org/",
]


@pytest.mark.parametrize("link", LINKS_TAKEN)
def test_a_link_into_the_public_internet_is_taken(link):
    check({"type": "image", "image": {"link": link}})


@pytest.mark.parametrize(("link", "says"), [(link, says) for says, links in LINKS_REFUSED.items() for link in links])
def test_a_link_elsewhere_is_refused(link, says):
    assert refusal({"type": "image", "image": {"link": link}}) == f"message.image.link {says}."


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def places(node, path=""):
    """The path of every field of a body."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for name, inner in items:
        yield f"{path}{name}"
        yield from places(inner, f"{path}{name}.")


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(GOOD)), st.data(), ANYTHING)
def test_anything_anywhere_is_taken_or_refused_in_one_sentence_that_does_not_quote_it(name, data, anything):
    marked = {"x-mark": "GEHEIM"} if anything is None else anything
    message = changed(GOOD[name], data.draw(st.sampled_from(sorted(places(GOOD[name])))), marked)
    try:
        check(message)
    except ValidationError as error:
        says = events.explain(error)
        assert says.startswith("message")
        assert says.endswith(".")
        assert "\n" not in says
        assert "GEHEIM" not in says


def test_a_text_is_checked_in_a_few_microseconds():
    data = {**COMMAND, "message": GOOD["text"]}
    checked("send.requested", data)

    def round_us():
        started = time.perf_counter()
        for _ in range(500):
            checked("send.requested", data)
        return (time.perf_counter() - started) / 500 * 1e6

    assert min(round_us() for _ in range(10)) < CHECK_US_MAX or processes.busy()
