"""After a restore nothing is sent on the word of an older state, and what is written since goes as ever."""

import pytest

from echo_sync.conversations import Conversations
from echo_sync.messages import Messages
from schemas.instants import rfc3339
from sender.delivery import Delivery
from tests import harness as h
from tests.simulation.line import LAIA, Line

DAY = 24 * 3600


def put_back(line):
    """The state is now one that was put back from a backup."""
    line.processors[-1] = delivery = Delivery(h.KEY, restored_at=line.now)
    assert delivery.name == "sender.delivery"


@pytest.fixture
def line():
    return Line(Messages(h.KEY), Conversations(), Delivery(h.KEY))


@pytest.mark.parametrize("policy", ["at_most_once", "at_least_once"])
def test_what_waited_when_the_backup_was_made_is_told_and_not_sent(line, policy):
    line.ask("open", policy=policy)
    line.ask("queued", policy=policy)
    line.wire.clear()
    sent = len(line.sent)
    line.later(1)
    put_back(line)
    line.later(1_000)
    assert len(line.sent) == sent
    for command_id in ("open", "queued"):
        assert line.outcomes(command_id)[-1] == "send.unresolved"
    assert line.reasons("queued") == ["restored"]


def test_what_is_read_again_from_the_topic_after_the_restore_is_told_and_not_sent(line):
    line.now += 10
    put_back(line)
    line.append("outbound", h.request("c1", "34600111222", line.now - 5))
    line.later(5)
    assert (line.sent, line.reasons("c1")) == ([], ["restored"])


def test_what_is_written_after_the_restore_goes_as_ever_behind_what_does_not(line):
    line.ask("before")
    line.wire.clear()
    line.later(1)
    put_back(line)
    line.ask("after")
    line.until_sent()
    assert [command for _, command, _ in line.sent] == ["before", "after"]


def test_what_was_to_go_only_later_goes_then(line):
    line.ask("later", not_before=rfc3339(line.now + DAY))
    line.later(60)
    put_back(line)
    line.later(DAY)
    assert [command for _, command, _ in line.sent] == ["later"]


def test_a_status_that_comes_afterwards_says_that_it_was_sent(line):
    line.ask("first")
    line.ask("second")
    line.wire.clear()
    line.later(1)
    put_back(line)
    line.later(1_000)
    assert line.outcomes("second") == ["send.unresolved"]
    line.hear(h.status("wamid.second.1", "delivered", LAIA, line.now, token=h.token_of("second")))
    assert line.outcomes("second") == ["send.unresolved", "send.resolved"]
    assert line.command("second").message_id == "wamid.second.1"
