"""Where a message's media is, merged into the message: any order of the same words leads to the same truth."""

import itertools

import orjson
import pytest
from msgspec import Raw

from echo_sync import message as msg
from echo_sync.message import HISTORY, LIVE, Message
from schemas.items import Item, Media
from schemas.webhooks import INBOUND_TYPES
from tests.harness import NUMBER, T0, phone

WAMID = "wamid.1"
CONTENT = orjson.dumps({"id": "92", "mime_type": "image/jpeg"})
KEPT = {"id": "92", "ref": "ab/abcd", "sha256": "abcd", "bytes": 5, "mime_type": "image/jpeg"}


def item(**fields):
    return Item(number=NUMBER, message_id=WAMID, contact=phone("34600111222"), at=T0, received_at=T0, **fields)


def hear(message, source, **fields):
    now = msg.heard(message, item(**fields), source, "c-1")
    now.added = True
    return now


STEPS = {
    "placeholder": lambda m: hear(m, HISTORY, kind="media_placeholder", direction="inbound"),
    "content": lambda m: hear(m, HISTORY, kind="image", content=Raw(CONTENT), direction="inbound"),
    "live": lambda m: hear(m, LIVE, kind="image", content=Raw(CONTENT)),
    "failed": lambda m: msg.with_media(m, item(media=Media(id="92"), reason="unreachable")),
    "stored": lambda m: msg.with_media(m, item(media=Media(**KEPT))),
    "again": lambda m: msg.with_media(m, item(media=Media(**KEPT))),
}


def told(order):
    """The state after some steps, and the facts that were published on the way."""
    before, published = Message(number=NUMBER, message_id=WAMID), []
    for name in order:
        now = STEPS[name](before)
        published += orjson.loads(orjson.dumps(msg.facts(before, now)))
        before = now
    return before, published


@pytest.mark.parametrize("left_out", [None, "live", "failed"])
def test_any_order_leads_to_the_same_message_and_the_last_word_on_its_media_is_where_it_is(left_out):
    steps = [name for name in STEPS if name != left_out]
    wanted, _ = told(steps)
    for order in itertools.permutations(steps):
        state, published = told(order)
        assert state == wanted
        assert [data["media"] for _, _, data in published if "media" in data][-1] == KEPT
        assert len([kind for kind, _, _ in published if kind == "message.added"]) == 1
        assert len({(kind, suffix) for kind, suffix, _ in published}) == len(published)


def test_a_failure_after_success_changes_nothing():
    state, published = told(["live", "stored", "failed"])
    assert orjson.loads(state.media) == KEPT
    assert len([1 for _, _, data in published if "media" in data]) == 1


def test_media_of_a_message_that_was_deleted_for_everyone_is_not_told():
    heard, _ = told(["live"])
    deleted = msg.revoked(heard, item(side="customer"))
    assert msg.facts(deleted, STEPS["stored"](deleted)) == []


def test_every_word_on_media_has_a_published_model():
    assert {"media.wanted", "media.stored", "media.missed", "media.failed"} <= set(INBOUND_TYPES)
