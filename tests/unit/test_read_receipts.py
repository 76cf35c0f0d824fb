"""Read receipts: no messages, so they take from no limit, wait for nobody, and leave nothing behind."""

import orjson
import pytest

from schemas.items import Contact
from sender.graph import body, classify
from sender.refusals import REFUSALS_MAX
from tests import harness as h
from tests.simulation.line import LAIA, Line

READ = {"status": "read", "message_id": "wamid.in"}
WORDS = {"type": "text", "text": {"body": "hola"}}


def ask(line, command_id, to="", message=READ, **more):
    line.ask(command_id, to or None, says=message, **more)


def sent(line):
    return [command for _, command, _ in line.sent]


def test_its_body_names_nobody_and_carries_no_token():
    assert orjson.loads(body(Contact(), READ, "c1.x.1.y")) == {"messaging_product": "whatsapp", **READ}


def test_success_accepts_a_read_receipt_and_no_message():
    assert classify(200, b'{"success":true}', read=True).outcome == "accepted"
    assert classify(200, b'{"success":true}').outcome == "ambiguous"
    assert classify(200, b'{"success":false}', read=True).outcome == "ambiguous"


def test_it_takes_from_no_bucket():
    line = Line(auto=True)
    ask(line, "c1")
    assert line.outcomes("c1") == ["send.accepted"]
    assert line.queue().tat <= line.now
    assert line.lane() is None


def test_it_does_not_wait_behind_the_messages_of_its_person_nor_they_behind_it():
    line = Line()
    ask(line, "c1", LAIA.wa_id, WORDS)
    ask(line, "r1", LAIA.wa_id)
    ask(line, "c2", "34600333444", WORDS)
    assert sent(line) == ["c1", "r1", "c2"]


def test_a_person_who_has_taken_the_conversation_reads_for_themselves():
    line = Line(auto=True)
    line.hear(h.echo("wamid.e", LAIA, line.now))
    ask(line, "r1", LAIA.wa_id)
    ask(line, "r2", LAIA.wa_id, origin="agent")
    assert (line.reasons("r1"), sent(line)) == (["taken_over"], ["r2"])


@pytest.mark.parametrize("how", ["ambiguous", "crash"])
def test_without_an_answer_it_is_sent_again_and_not_for_ever(how):
    line = Line()
    ask(line, "r1")
    for _ in range(REFUSALS_MAX + 1):
        line.until_sent()
        if how == "ambiguous":
            line.answer("ambiguous")
        else:
            line.wire.clear()
            line.later(30)
    assert (line.outcomes("r1")[-1], line.reasons("r1")[-1]) == ("send.unresolved", "no_answer")
    assert len(line.sent) == REFUSALS_MAX + 1
    assert line.queue().open == 0


def test_a_message_without_a_recipient_is_refused():
    line = Line(strict=False)
    ask(line, "c1", message=WORDS)
    assert line.reasons("c1") == ["invalid_command"]
