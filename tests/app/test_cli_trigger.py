"""`coexist trigger`: every kind of webhook there is, at a running service."""

import orjson
import pytest

from services.sandbox.triggers import TRIGGERS
from tests.crash.books import Books


def said(result):
    assert result.exit_code == 0, result.output
    return result.output.splitlines()


@pytest.mark.parametrize("name", TRIGGERS)
def test_every_trigger_is_taken(installation, name):
    assert said(installation.run("trigger", name)) == [f"{name}: 200"]


def test_a_trigger_says_it_n_times_more_and_it_stays_one_message(installation):
    text = "quatre vegades"
    assert said(installation.run("trigger", "message", "--text", text, "--duplicate", 3)) == ["message: 200"] * 4
    books = Books(installation.folder / "data")
    installation.service.until(lambda: books.behind() == 0)
    assert sum(text.encode() in record.event.data for record in books.records("timeline")) == 1
    books.close()


def test_a_trigger_of_another_name_or_to_nobody_fails_with_a_sentence(installation):
    wrong = installation.run("trigger", "mesage")
    assert (wrong.exit_code, "mesage is not a trigger" in wrong.output) == (2, True)
    nobody = installation.run("trigger", "message", "--to-url", "http://127.0.0.1:9/webhooks/meta")
    assert (nobody.exit_code, "could not be reached" in nobody.output) == (3, True)
    refused = installation.run("trigger", "message", "--secret", "another secret, which nobody knows here")
    assert (refused.exit_code, "401" in refused.output) == (1, True)


def test_triggers_about_one_phone_are_about_one_person_and_the_sandbox_knows_the_same_one(installation):
    phone = "34600777888"
    for name in ("message", "message", "echo", "image"):
        assert said(installation.run("trigger", name, "--contact", phone)) == [f"{name}: 200"]
    message = {"number": "106540352242922", "contact": phone, "text": "Soc jo"}
    installation.sandbox.call("POST", "/customer/messages", message)
    installation.sandbox.call("POST", "/flush", {"timeout_s": 30})
    books = Books(installation.folder / "data")
    installation.service.until(lambda: books.behind() == 0)
    data = [orjson.loads(record.event.data) for record in books.records("timeline")]
    added = [one for one in data if one.get("contact", {}).get("wa_id") == phone and "kind" in one]
    assert len(added) == 5
    assert len({one["message_id"] for one in added}) == 5
    assert len({one["conversation_id"] for one in added}) == 1
    assert len({one["contact"]["user_id"] for one in added}) == 1
    books.close()
