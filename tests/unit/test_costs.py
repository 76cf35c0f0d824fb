"""What messages cost: each priced message is counted once, by kinds out of closed sets."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from echo_sync.costs import costs_key
from schemas.countries import COUNTRIES, UNKNOWN, country_of
from schemas.states import MESSAGES
from services.telemetry.metrics import Metrics
from tests import harness as h
from tests.harness import NUMBER, T0
from tests.simulation.line import LAIA, Line

MONTH = "2026-09"
PRICE = {"billable": True, "pricing_model": "PMP", "type": "regular", "category": "utility"}


def priced(line, wamid, status, contact=LAIA, at=T0, **price):
    pricing = Raw(orjson.dumps(PRICE | price))
    line.hear(h.status(wamid, status, contact, at, pricing=pricing))


def counts(line, month=MONTH):
    found = line.state(MESSAGES, costs_key(NUMBER, month))
    return found.counts if found is not None else {}


def test_a_message_is_counted_once_although_two_statuses_tell_its_price():
    line = Line()
    for status in ("sent", "delivered", "sent"):
        priced(line, "wamid.1", status)
    assert counts(line) == {"utility|regular|billable|ES": 1}
    assert line.notes.count("price:utility|regular|billable|ES") == 1


def test_messages_are_counted_by_category_type_country_and_month():
    line = Line()
    priced(line, "wamid.1", "sent")
    priced(line, "wamid.2", "delivered", category="service", type="free_customer_service", billable=False)
    priced(line, "wamid.3", "sent", h.user("MX.1"), category="authentication-international")
    priced(line, "wamid.4", "sent", category="of_tomorrow", type=7)
    priced(line, "wamid.5", "sent", at=T0 + 30 * 86_400)
    assert counts(line) == {
        "utility|regular|billable|ES": 1,
        "service|free_customer_service|free|ES": 1,
        "authentication_international|regular|billable|MX": 1,
        "other|other|billable|ES": 1,
    }
    assert counts(line, "2026-10") == {"utility|regular|billable|ES": 1}


def test_a_status_without_a_price_counts_nothing():
    line = Line()
    line.hear(h.status("wamid.1", "read", LAIA, T0))
    assert counts(line) == {}


def test_the_metric_has_the_same_kinds():
    metrics = Metrics()
    metrics.noted(MESSAGES, ["price:utility|regular|billable|ES"] * 3)
    labels = {"category": "utility", "type": "regular", "billable": "billable"}
    assert metrics.registry.get_sample_value("coexist_priced_messages_total", labels) == 3
    assert metrics.registry.get_sample_value("coexist_billable_messages_total", {"country": "ES"}) == 3


@pytest.mark.parametrize(
    ("wa_id", "user_id", "country"),
    [
        ("34600111222", "", "ES"),
        ("15550100199", "", "US"),
        ("5511987654321", "", "BR"),
        ("376312345", "", "AD"),
        ("351912345678", "", "PT"),
        ("", "ES.13491208655302741918", "ES"),
        ("", "US.ENT.9", "US"),
        ("", "XX.1", UNKNOWN),
        ("", "ESPAÑA", UNKNOWN),
        ("", "", UNKNOWN),
        ("0034600", "", UNKNOWN),
    ],
)
def test_the_country_follows_from_the_calling_code_or_the_user_id(wa_id, user_id, country):
    assert country_of(wa_id, user_id) == country


@given(st.text(), st.text())
def test_a_country_is_one_of_a_closed_set(wa_id, user_id):
    assert country_of(wa_id, user_id) in {UNKNOWN, *COUNTRIES.values()}


def test_no_calling_code_is_the_beginning_of_another():
    codes = list(COUNTRIES)
    assert [(a, b) for a in codes for b in codes if a != b and b.startswith(a)] == []
