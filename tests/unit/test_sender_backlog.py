"""A backlog of inbound messages after a stop takes nothing from what may be sent now; live ones do."""

import pytest

from schemas.items import Item
from schemas.ports import Event
from sender.command import Queue, queue_key
from sender.delivery import INBOUND_COUNTS_S, Delivery

NUMBER = "106540352242922"
NOW = 1_800_000_000.0


class Nothing:
    """States of an empty installation."""

    def get(self, key):
        return None

    def heads(self, line, until, limit):
        return []


@pytest.mark.parametrize(
    ("age_s", "charges"), [(0.0, True), (INBOUND_COUNTS_S / 2, True), (INBOUND_COUNTS_S * 2, False), (86_400.0, False)]
)
def test_only_what_came_just_now_counts_against_the_rate(age_s, charges):
    event = Event("m:1", "webhook.message", NUMBER, b"{}", NOW - age_s, NOW)
    decision = Delivery(b"k" * 32).decide(Nothing(), event, Item(number=NUMBER), NOW)
    queue = decision.states.get(queue_key(NUMBER), Queue())
    assert bool(queue.holds_until) == charges
