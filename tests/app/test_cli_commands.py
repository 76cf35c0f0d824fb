"""The commands beside a running service: tail, send, numbers."""

import json
import signal
import subprocess
import time

import pytest

from tests.processes import COEXIST, Process, busy, coexist, environment

NUMBER = "106540352242922"
CONTACT = "34600111222"
SOON_S = 30


def lines(result):
    assert result.exit_code == 0, result.output
    return result.output.splitlines()


def tailed(installation, *arguments):
    """What is on a topic, as CloudEvents."""
    return [json.loads(line) for line in lines(installation.run("tail", *arguments, "--no-follow", "--json"))]


def until_told(installation, topic, kind, about):
    """The newest event of a kind whose text contains `about`, as soon as there is one."""
    end = time.monotonic() + SOON_S
    while time.monotonic() < end:
        if found := [one for one in tailed(installation, topic, "--type", kind) if about in json.dumps(one)]:
            return found[-1]
        time.sleep(0.02)
    raise AssertionError(f"no {kind} on {topic}")


@pytest.fixture(scope="module")
def known(installation):
    """An installation in which a customer has written."""
    body = {"number": NUMBER, "contact": CONTACT, "text": "Hola!"}
    wamid = installation.sandbox.call("POST", "/customer/messages", body)["wamid"]
    until_told(installation, "timeline", "message.added", wamid)
    until_told(installation, "conversations", "conversation.state", CONTACT)
    return installation


def test_tail_prints_a_line_for_each_event_with_or_without_the_prefix(known):
    plain = lines(known.run("tail", "timeline", "--no-follow", "--type", "message.added"))
    assert plain == lines(known.run("tail", "coexist.timeline", "--no-follow", "--type", "message.added"))
    assert all(" message.added " in line and f" {NUMBER} " in line for line in plain)


def test_tail_prints_cloudevents_and_chooses_by_number_and_type(known):
    events = tailed(known, "timeline", "--number", NUMBER, "--type", "message.added")
    assert events
    assert {(one["type"], one["number"], one["topic"]) for one in events} == {("message.added", NUMBER, "timeline")}
    assert all(one["seq"].isdecimal() and one["specversion"] == "1.0" for one in events)
    assert tailed(known, "timeline", "--number", "1") == []


def test_tail_follows_from_the_end_until_it_is_interrupted(known):
    command = [*COEXIST, "tail", "timeline", "--type", "message.added"]
    with Process(command, known.folder, "tail", environment(**known.settings)) as process:
        body = {"number": NUMBER, "contact": CONTACT, "text": "seguit"}

        def heard():
            known.sandbox.call("POST", "/customer/messages", body)
            time.sleep(0.1)
            return "seguit" in process.out.read_text()

        process.until(heard)
        assert "Hola!" not in process.out.read_text()
        code, took_s = process.stop()
        assert (code, took_s < 2 or busy()) == (0, True)
        assert process.err.read_text() == ""


def test_tail_ends_quietly_when_nobody_reads_its_output_any_more(known):
    command = [*COEXIST, "tail", "inbound", "--no-follow", "--json"]
    with subprocess.Popen(
        command, env=environment(**known.settings), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        process.stdout.close()
        process.wait(SOON_S)
        assert b"Traceback" not in process.stderr.read()


def test_tail_of_a_topic_that_is_none_names_those_that_are(known):
    result = known.run("tail", "timelin", "--no-follow")
    assert (result.exit_code, "timeline" in result.output) == (2, True)


def test_tail_of_a_type_that_is_none_says_so_beside_its_output_and_goes_on(known):
    result = known.run("tail", "timeline", "--no-follow", "--type", "message.aded")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "Did you mean message.added" in result.stderr


def test_tail_without_a_data_folder_says_what_to_start(tmp_path):
    result = coexist("tail", "timeline", "--no-follow", data_dir=tmp_path / "none")
    assert (result.returncode, result.stdout) == (3, "")
    assert "coexist run" in result.stderr


def test_send_prints_the_command_id_and_with_wait_its_outcomes(known):
    by_bot = ("--number", NUMBER, "--to", CONTACT, "--text", "Bon dia", "--origin", "bot")
    command_id, *steps = lines(known.run("send", *by_bot, "--wait", SOON_S))
    assert [step.split()[1] for step in steps] == ["send.requested", "send.attempted", "send.accepted"]
    assert until_told(known, "sends", "send.accepted", command_id)["data"]["command_id"] == command_id


def test_send_takes_the_data_of_a_command_from_a_file_and_from_standard_input(known, tmp_path):
    data = {
        "command_id": "from-a-file",
        "number": NUMBER,
        "to": CONTACT,
        "message": {"type": "text", "text": {"body": "Des d'un fitxer"}},
        "policy": "at_most_once",
    }
    file = tmp_path / "command.json"
    file.write_text(json.dumps(data))
    assert lines(known.run("send", "--json", file, "--wait", SOON_S))[0] == "from-a-file"
    sent = subprocess.run(
        [*COEXIST, "send", "--json", "-"],
        input=json.dumps(data | {"command_id": "from-a-pipe"}),
        env=environment(**known.settings),
        capture_output=True,
        text=True,
        timeout=SOON_S,
        check=False,
    )
    assert (sent.returncode, sent.stdout, sent.stderr) == (0, "from-a-pipe\n", "")
    wrong = known.run("send", "--json", file.with_name("none.json"))
    assert wrong.exit_code == 2
    file.write_text("[]")
    assert known.run("send", "--json", file).exit_code == 2


def test_a_send_by_hand_is_a_person_s_unless_it_says_otherwise(known, tmp_path):
    def author(*arguments):
        command_id = lines(known.run("send", *arguments, "--wait", SOON_S))[0]
        return until_told(known, "outbound", "send.requested", command_id)["data"]["origin"]

    by_hand = ("--number", NUMBER, "--to", CONTACT, "--text", "A mà")
    assert author(*by_hand) == "agent"
    assert author(*by_hand, "--origin", "campaign") == "campaign"
    file = tmp_path / "command.json"
    data = {"number": NUMBER, "to": CONTACT, "message": {"type": "text", "text": {"body": "x"}}, "origin": "campaign"}
    file.write_text(json.dumps(data))
    assert author("--json", file) == "campaign"
    assert author("--json", file, "--origin", "agent") == "agent"
    assert known.run("send", *by_hand, "--origin", "me").exit_code == 2


def test_a_refusal_is_a_sentence_with_its_fix_and_its_code(known):
    said = ("--number", NUMBER, "--to", CONTACT, "--text", "x")
    lines(known.run("send", *said, "--origin", "agent", "--wait", SOON_S))
    until_told(known, "conversations", "conversation.state", '"owner": "agent"')
    told = known.run("send", *said, "--origin", "bot", "--wait", SOON_S)
    assert told.exit_code == 1
    assert (
        "The command was withdrawn: a person answered first (taken_over). Wait until the person is done" in told.output
    )


def test_send_cancels_what_has_not_gone(known, tmp_path):
    file = tmp_path / "later.json"
    message = {"type": "text", "text": {"body": "més tard"}}
    later = {"number": NUMBER, "to": CONTACT, "message": message, "not_before": "2999-01-01T00:00:00Z"}
    file.write_text(json.dumps(later | {"command_id": "much-later"}))
    assert lines(known.run("send", "--json", file)) == ["much-later"]
    until_told(known, "sends", "send.deferred", "much-later")
    assert lines(known.run("send", "--cancel", "much-later")) == ["much-later"]
    until_told(known, "sends", "send.cancelled", "much-later")
    unknown = known.run("send", "--cancel", "never-heard-of")
    assert (unknown.exit_code, "no such command" in unknown.output) == (1, True)


def test_send_that_lacks_something_or_gets_no_outcome_says_so(known):
    assert known.run("send", "--number", NUMBER).exit_code == 2
    nobody = known.run("send", "--number", "1", "--to", CONTACT, "--text", "x", "--wait", 5)
    assert (nobody.exit_code, "no such number" in nobody.output) == (1, True)
    assert "`coexist numbers list`" in nobody.output


def test_numbers_are_listed_paused_and_resumed(known):
    assert any(line.startswith(f"{NUMBER}  20/s  sending on") for line in lines(known.run("numbers", "list")))
    assert lines(known.run("numbers", "pause", NUMBER)) == [f"{NUMBER}: paused"]
    end = time.monotonic() + SOON_S
    while "sending paused" not in known.run("numbers", "list").output:
        assert time.monotonic() < end
    assert lines(known.run("numbers", "resume", NUMBER)) == [f"{NUMBER}: resumed"]
    assert lines(known.run("numbers", "add", "106540352249999")) == ["106540352249999"]


def test_how_many_people_a_number_may_write_to_first_is_shown(known):
    assert "people" not in known.run("numbers", "list").output
    assert lines(known.run("trigger", "quality")) == ["quality: 200"]
    end = time.monotonic() + SOON_S
    while "  2000 new people a day" not in known.run("numbers", "list").output:
        assert time.monotonic() < end
    shown = json.loads("".join(lines(known.run("numbers", "show", NUMBER))))
    assert (shown["people_per_day"], shown["people_begun"]) == (2000, 0)


def test_suppress_adds_lists_and_removes(known):
    about = ("--number", NUMBER, "--contact", CONTACT)
    assert lines(known.run("suppress", "add", *about)) == [f"{NUMBER}: marketing"]
    until_told(known, "account", "preference.changed", '"stop"')
    (line,) = lines(known.run("suppress", "list", "--number", NUMBER))
    assert line.split()[1:] == [CONTACT, "marketing", "operator"]
    lines(known.run("suppress", "remove", *about))
    until_told(known, "account", "preference.changed", '"resume"')
    assert lines(known.run("suppress", "list", "--number", NUMBER)) == []
    lines(known.run("suppress", "opt-in", *about))
    until_told(known, "account", "preference.changed", '"opt_in"')
    wrong = known.run("suppress", "add", "--number", NUMBER, "--contact", "Laia", "--all")
    assert (wrong.exit_code, wrong.output) == (
        2,
        "Error: nobody is named. Give `number` and `contact`, a phone or a user id.\n",
    )


def test_who_is_suppressed_with_all_is_freed_by_the_command_that_the_refusal_names(known):
    lifting = "`coexist suppress remove --all` lifts it"
    about = ("--number", NUMBER, "--contact", CONTACT)
    known.run("suppress", "add", *about, "--all")
    until_told(known, "account", "preference.changed", '"category": "all"')
    refused = known.run("send", "--number", NUMBER, "--to", CONTACT, "--text", "x", "--wait", SOON_S)
    assert (refused.exit_code, lifting in refused.output) == (1, True), refused.output
    assert lifting in known.run("suppress", "remove", *about).output
    assert [line.split()[2] for line in lines(known.run("suppress", "list", "--number", NUMBER))] == ["all"]
    assert lifting not in known.run("suppress", "remove", *about, "--all").output
    end = time.monotonic() + SOON_S
    while lines(known.run("suppress", "list", "--number", NUMBER)):
        assert time.monotonic() < end


def test_a_number_s_own_token_needs_a_key_and_an_empty_file_is_refused(known):
    file = known.folder / "token"
    file.write_text("\n")
    empty = known.run("numbers", "add", NUMBER, "--token-file", file)
    assert (empty.exit_code, empty.output) == (2, "Error: The token file is empty.\n")
    file.write_text("EAA-a-token\n")
    refused = known.run("numbers", "add", NUMBER, "--token-file", file)
    assert refused.exit_code == 1
    assert "COEXIST_ENCRYPTION_KEYS is not set. Make one with `openssl rand -base64 32`" in refused.output


def test_a_command_without_a_running_service_ends_with_3_and_says_what_to_start(tmp_path):
    for arguments in (["numbers", "list"], ["send", "--number", "1", "--to", "2", "--text", "x"]):
        result = coexist(*arguments, data_dir=tmp_path)
        assert (result.returncode, result.stdout) == (3, "")
        assert "coexist run" in result.stderr
    gone = coexist("numbers", "list", admin_url="http://127.0.0.1:9")
    assert (gone.returncode, "did not answer" in gone.stderr) == (3, True)


def test_tail_reads_what_a_stopped_service_left(known):
    """The last one of this file: it stops the service."""
    before = tailed(known, "timeline")
    assert known.service.stop(signal.SIGTERM)[0] == 0
    assert before
    assert tailed(known, "timeline")[: len(before)] == before
