"""What a number may send: the words that say so, from an operator and from Meta, in whatever form."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from echo_sync.limits import heard
from schemas.items import Item
from schemas.states import MESSAGES, Number, number_key
from schemas.topics import INBOUND
from tests import harness as h
from tests.harness import T0
from tests.simulation.line import Line


def word(field, event="", at=T0, **value):
    return Item(number=h.NUMBER, field=field, event=event, at=at, raw=Raw(orjson.dumps(value)))


def test_an_operator_says_the_rate_and_meta_that_it_was_raised():
    number = heard(Number(), word("coexist", "REGISTERED", rate_per_s=80))
    assert number.rate_per_s == 80
    number = heard(number, word("phone_number_quality_update", "THROUGHPUT_UPGRADE", T0 + 1))
    assert number.rate_per_s == 1_000


@pytest.mark.parametrize(
    ("value", "people"),
    [
        ({"max_daily_conversations_per_business": "TIER_2K"}, 2_000),
        ({"max_daily_conversations_per_business": 2_000}, 2_000),
        ({"current_limit": "TIER_250"}, 250),
        ({"max_daily_conversation_per_phone": -1}, -1),
        ({"max_daily_conversations_per_business": "TIER_UNLIMITED"}, -1),
        ({"max_daily_conversations_per_business": "TIER_NOT_SET"}, 0),
        ({"max_daily_conversations_per_business": None}, 0),
        ({}, 0),
    ],
)
@pytest.mark.parametrize("field", ["phone_number_quality_update", "business_capability_update"])
def test_a_tier_is_read_in_every_form(field, value, people):
    assert heard(Number(), word(field, "ONBOARDING", **value)).people_per_day == people


def test_a_stale_word_changes_nothing():
    number = heard(Number(), word("business_capability_update", at=T0 + 10, max_daily_conversation_per_phone=2_000))
    assert heard(number, word("business_capability_update", at=T0, max_daily_conversation_per_phone=250)) is number


json = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 10**9) | st.text(max_size=12) | st.just("TIER_1000000000K"),
    lambda inner: st.lists(inner, max_size=2),
)


@given(
    st.sampled_from(["coexist", "phone_number_quality_update", "business_capability_update", "security"]),
    st.dictionaries(st.sampled_from(["rate_per_s", "current_limit", "max_daily_conversation_per_phone"]), json),
)
def test_whatever_stands_there_the_rate_stays_a_rate(field, value):
    number = heard(Number(), word(field, **value))
    assert 1 <= number.rate_per_s <= 1_000
    assert number.people_per_day >= -1


def test_a_number_of_a_thousand_a_second_sends_so_many():
    line = Line(auto=True, strict=False)
    item = word("coexist", "REGISTERED", T0, rate_per_s=1_000)
    line.hear(h.event("webhook.account", "a:rate", item), topic=INBOUND)
    assert line.state(MESSAGES, number_key(h.NUMBER)).rate_per_s == 1_000
    for n in range(3_000):
        line.append("outbound", h.request(f"c{n}", f"3460{n:07d}", line.now))
    line.later(4)
    times = sorted(at for at, _, _ in line.sent)
    assert len(times) == 3_000
    assert 2_999 / (times[-1] - times[0]) >= 900
    assert max(sum(1 for at in times if start <= at < start + 1) for start in times[::50]) <= 1_000
