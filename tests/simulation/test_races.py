"""The race matrix of one send (Meta contract, appendix B), row by row; and what else may overtake what.

Each row is told twice: once as it stands, and once with every delivery repeated at once and again at the end.
"""

import orjson
import pytest

from echo_sync.message import API, ECHO
from schemas.instants import rfc3339
from schemas.states import AGENT, BOT, PERSON_APP, UNKNOWN
from schemas.topics import CONVERSATIONS, HISTORY, INBOUND, SENDS, TIMELINE
from tests import harness as h
from tests.harness import T0
from tests.simulation.line import LAIA, Line
from tests.simulation.truth import assert_folds

WAMID = "wamid.ours"
TOKEN = h.token_of("c1")


class Race:
    """One send of ours to Laia, and what happens around it, step by step."""

    def __init__(self, *, twice=False, policy="at_most_once"):
        self.line = Line()
        self.twice = twice
        self.heard = []
        self.policy = policy

    def play(self, steps):
        self.line.ask("c1", policy=self.policy)
        for step in steps.split():
            name, _, detail = step.partition(":")
            getattr(self, "_" + name)(detail)
        if self.twice:
            for topic, event in self.heard:
                self.line.hear(event, topic=topic)
        self.line.later(1)
        return self.line

    def hear(self, event, topic=INBOUND):
        self.heard.append((topic, event))
        for _ in range(2 if self.twice else 1):
            self.line.hear(event, topic=topic)

    def _response(self, _):
        self.line.answer("accepted", WAMID)

    def _timeout(self, _):
        self.line.answer("ambiguous", reason="no_answer")

    def _refused(self, code):
        self.line.answer("rejected", code=int(code), reason="needs_template")

    def _echo(self, says):
        self.hear(h.echo(WAMID, LAIA, T0 + 1, says or "hola"))

    def _human(self, says):
        self.hear(h.echo("wamid.human", LAIA, self.line.now, says or "jo mateixa"))

    def _customer(self, _):
        self.hear(h.message("wamid.customer", LAIA, T0 - 60))

    def _status(self, name):
        code = 131047 if name == "failed" else 0
        self.hear(h.status(WAMID, name, LAIA, T0 + 2, TOKEN, code))

    def _revoke(self, _):
        self.hear(h.revoke(WAMID, LAIA, T0 + 3, "business"))

    def _edit(self, at):
        self.hear(h.edit(WAMID, f"ed{at}", LAIA, T0 + int(at), f"edited at {at}", "business"))

    def _history(self, _):
        self.hear(h.history(WAMID, LAIA, T0 - 1, "outbound"), HISTORY)

    def _wait(self, seconds):
        self.line.later(float(seconds))


def end_state(line, wamid=WAMID):
    message = line.message(wamid)
    outcomes = line.outcomes("c1")
    shown = {"outcomes": " ".join(kind.removeprefix("send.") for kind in outcomes), "owner": line.owner()}
    if message is None or not message.added:
        return shown | {"lines": len(line.added())}
    data = [data for data in line.told(TIMELINE) if data.get("message_id") == wamid]
    shown |= {
        "lines": len(line.added()),
        "origin": [d["origin"] for d in data if "origin" in d][-1],
        "current": message.current,
        "echoed": bool(message.sources & ECHO),
        "proved": bool(message.sources & API),
        "revoked": bool(message.revoked_at),
    }
    if message.edit_id:
        shown["content"] = orjson.loads(message.edit_content)["body"]
    return shown


OURS = {"lines": 1, "origin": "api", "owner": BOT, "outcomes": "accepted"}
ROWS = {
    "response then statuses": ("response status:sent status:delivered status:read", OURS | {"current": "read"}),
    "sent before the response": ("status:sent response status:delivered", OURS | {"current": "delivered"}),
    "no downgrade": ("status:delivered status:sent response", OURS | {"current": "delivered"}),
    "echo before the response": (
        "echo response status:sent",
        OURS | {"current": "sent", "echoed": True},
    ),
    "response before the echo": ("response echo", OURS | {"echoed": True, "proved": True}),
    "echo, no response, a status with our token": (
        "echo timeout status:sent",
        OURS | {"proved": True, "echoed": True, "current": "sent"},
    ),
    "no response, a status with our token": ("timeout status:sent", OURS | {"proved": True}),
    "no response, only an echo": ("timeout echo", OURS | {"proved": False, "echoed": True}),
    "an echo, then no response": ("echo timeout", OURS | {"proved": False, "echoed": True}),
    "no response, an echo of other words": (
        "timeout echo:altres",
        {"lines": 1, "origin": "business_app", "owner": PERSON_APP, "outcomes": ""},
    ),
    "no response and nothing more": (
        "timeout wait:200",
        {"lines": 0, "owner": None, "outcomes": "unresolved"},
    ),
    "nothing at all, not even a timeout": (
        "wait:200",
        {"lines": 0, "owner": None, "outcomes": "unresolved"},
    ),
    "unresolved, then a late status with our token": (
        "timeout wait:200 status:delivered",
        OURS | {"outcomes": "unresolved resolved", "proved": True},
    ),
    "read implies delivered": ("response status:read", OURS | {"current": "read"}),
    "failed after the response": ("response status:failed", OURS | {"current": "failed"}),
    "delivered after failed": ("response status:failed status:delivered", OURS | {"current": "delivered"}),
    "refused: it needs a template": (
        "refused:131047",
        {"lines": 0, "outcomes": "rejected", "owner": None},
    ),
    "a person writes after Meta accepted": (
        "response human",
        {"lines": 2, "origin": "api", "owner": PERSON_APP, "outcomes": "accepted"},
    ),
    "revoked before the echo": ("response revoke echo", OURS | {"revoked": True, "echoed": True}),
    "revoked before anything": ("revoke timeout echo", OURS | {"revoked": True}),
    "the newer edit before the older": ("response edit:9 edit:5", OURS | {"content": "edited at 9"}),
    "edited before the original": ("edit:9 timeout echo", OURS | {"content": "edited at 9"}),
    "a history copy before the response": ("history response", OURS | {"proved": True}),
    "a history copy and an echo are all there is": ("history timeout echo", OURS | {"proved": False}),
}


@pytest.mark.parametrize("twice", [False, True], ids=["once", "twice"])
@pytest.mark.parametrize("row", ROWS)
def test_race(row, twice):
    steps, expected = ROWS[row]
    line = Race(twice=twice).play(steps)
    found = end_state(line)
    assert {field: found.get(field) for field in expected} == expected
    assert len(line.sent) == 1
    assert_folds(line)


@pytest.mark.parametrize("twice", [False, True], ids=["once", "twice"])
def test_a_human_echo_while_a_bot_reply_waits_withdraws_it_before_the_socket(twice):
    line = Line(hold=True)
    line.ask("c1")
    for _ in range(2 if twice else 1):
        line.hear(h.echo("wamid.human", LAIA, T0, "jo mateixa"))
    line.leave(line.held.pop())
    line.later(1)
    assert line.sent == []
    assert line.outcomes("c1") == ["send.withdrawn"]
    assert line.reasons("c1") == ["taken_over"]
    assert line.added() == ["wamid.human"]


def test_repeating_everything_changes_nothing():
    race = Race()
    line = race.play("customer echo response status:sent status:delivered edit:9 revoke history human")
    before = {topic: len(records) for topic, records in line.log.items() if topic != INBOUND}
    inbound, imported = list(line.log[INBOUND]), list(line.log[HISTORY])
    line.append(HISTORY, *imported)
    line.hear(*inbound)
    line.hear(*reversed(inbound))
    line.later(10)
    before[HISTORY] = len(line.log[HISTORY])
    assert {topic: len(records) for topic, records in line.log.items() if topic != INBOUND} == before


# --- echoes that wait


def test_an_echo_waits_for_the_open_send_and_not_for_ever():
    line = Race().play("echo:altres")
    assert line.added() == []
    line.later(13.5)
    assert line.added() == []
    line.later(1)
    assert line.added() == [WAMID]
    assert line.message(WAMID).wake_at is None


def test_an_echo_waits_only_for_the_send_that_was_open_when_it_came():
    line = Race().play("response human")
    assert line.added() == [WAMID, "wamid.human"]


def test_an_echo_in_another_conversation_waits_for_nobody():
    line = Race().play("wait:1")
    line.hear(h.echo("wamid.other", h.phone("34600333444"), T0, "hola"))
    assert line.added() == ["wamid.other"]


def test_a_waiting_echo_is_a_persons_once_the_answer_names_another_message():
    line = Race().play("human:hola response")
    assert sorted(line.added()) == ["wamid.human", WAMID]
    assert end_state(line, "wamid.human")["origin"] == "business_app"
    assert line.owner() == PERSON_APP


# --- proof that comes late


def test_later_proof_takes_an_echo_back_that_was_a_persons_after_all():
    line = Race().play("timeout human:hola")
    assert end_state(line, "wamid.human")["origin"] == "api"
    assert line.owner() == BOT
    line.hear(h.status(WAMID, "delivered", LAIA, T0 + 5, TOKEN))
    assert end_state(line, "wamid.human")["origin"] == "business_app"
    assert end_state(line)["origin"] == "api"
    assert line.owner() == PERSON_APP
    assert line.command("c1").message_id == WAMID
    assert "send.duplicate_detected" not in line.outcomes("c1")
    assert_folds(line)


def test_a_refusal_takes_an_echo_back_that_was_a_persons_after_all():
    line = Race().play("human:hola wait:20")
    assert end_state(line, "wamid.human")["origin"] == "api"
    line.hear(h.answered("c1", "rejected", LAIA, T0, code=131026, reason="dead"))
    assert end_state(line, "wamid.human")["origin"] == "business_app"
    assert line.owner() == PERSON_APP
    assert_folds(line)


def test_proof_lifts_a_pause_that_only_our_own_echo_caused():
    line = Line()
    line.hear(h.echo(WAMID, LAIA, T0, "hola"))  # decided at once: no send to her was known to be open
    assert line.owner() == PERSON_APP
    line.hear(h.attempted("c1", h.user("ES.1"), T0 - 1))
    line.hear(h.answered("c1", "accepted", h.phone(LAIA.wa_id, "ES.1"), T0 - 1, WAMID))
    assert line.owner() == BOT
    assert "automation_paused_until" not in line.told(CONVERSATIONS)[-1]
    assert line.message(WAMID).command_id == "c1"


def test_an_agents_send_keeps_its_claim_when_a_copy_corrects_its_time():
    line = Line()
    line.ask("c1", origin="agent")
    line.answer("accepted", WAMID)
    assert line.owner() == AGENT
    line.hear(h.history(WAMID, LAIA, T0 - 7, "outbound"), topic=HISTORY)
    assert line.owner() == AGENT


# --- placeholders, edits, revokes


@pytest.mark.parametrize("make", [h.message, h.echo])
def test_a_placeholder_becomes_the_real_message_in_either_order(make):
    for deliveries in (
        [h.placeholder(make, "wamid.1", LAIA, T0), make("wamid.1", LAIA, T0, "de debò")],
        [make("wamid.1", LAIA, T0, "de debò"), h.placeholder(make, "wamid.1", LAIA, T0)],
    ):
        line = Line()
        line.hear(*deliveries)
        assert line.added() == ["wamid.1"]
        assert line.message("wamid.1").kind == "text"
        assert orjson.loads(line.message("wamid.1").content) == {"body": "de debò"}
        assert_folds(line)


def test_an_edit_waits_for_its_original_and_is_told_once_it_is_there():
    line = Line()
    line.hear(h.edit("wamid.1", "ed1", LAIA, T0 + 5, "nou"))
    assert line.told(TIMELINE) == []
    line.hear(h.message("wamid.1", LAIA, T0, "vell"))
    told = line.told(TIMELINE)
    assert [data["type"] for data in told] == ["message.added", "message.edited"]
    assert [data["content"]["body"] for data in told] == ["vell", "nou"]


def test_an_older_edit_is_not_told_any_more():
    line = Line()
    line.hear(h.message("wamid.1", LAIA, T0), h.edit("wamid.1", "ed2", LAIA, T0 + 9, "segon"))
    line.hear(h.edit("wamid.1", "ed1", LAIA, T0 + 5, "primer"))
    assert [data["content"]["body"] for data in line.told(TIMELINE, "message.edited")] == ["segon"]


def test_nothing_is_told_of_an_edit_once_its_message_was_revoked():
    line = Line()
    line.hear(h.message("wamid.1", LAIA, T0), h.revoke("wamid.1", LAIA, T0 + 5))
    line.hear(h.edit("wamid.1", "ed1", LAIA, T0 + 3, "massa tard"))
    assert [data["type"] for data in line.told(TIMELINE)] == ["message.added", "message.revoked"]


# --- history


def test_history_pauses_nobody_and_opens_no_window():
    line = Line()
    line.hear(
        h.history("wamid.1", LAIA, T0 - 60, "inbound"),
        h.history("wamid.2", LAIA, T0 - 30, "outbound"),
        topic=HISTORY,
    )
    state = line.conversation()
    assert (line.owner(), state.window_until, state.inbound) == (UNKNOWN, 0, b"")
    assert all(data["historical"] for data in line.told(TIMELINE, "message.added"))


def test_a_live_copy_after_its_history_copy_opens_the_window_and_pauses():
    line = Line()
    copies = (h.history("wamid.1", LAIA, T0 - 50, "inbound"), h.history("wamid.2", LAIA, T0 - 3, "outbound"))
    line.hear(*copies, topic=HISTORY)
    line.hear(h.message("wamid.1", LAIA, T0 - 49), h.echo("wamid.2", LAIA, T0 - 2))
    assert line.owner() == PERSON_APP
    assert line.told(CONVERSATIONS)[-1]["window_expires_at"] == rfc3339(T0 - 50 + 86_400)
    assert sorted(line.added()) == ["wamid.1", "wamid.2"]


def test_a_status_of_an_unknown_message_is_told_and_kept():
    line = Line()
    line.hear(h.status("wamid.9", "delivered", LAIA, T0))
    line.hear(h.status("wamid.9", "sent", LAIA, T0))
    assert [data["current"] for data in line.told(TIMELINE)] == ["delivered", "delivered"]
    line.hear(h.echo("wamid.9", LAIA, T0))
    assert line.message("wamid.9").current == "delivered"


def test_a_status_with_a_foreign_token_proves_nothing():
    line = Race().play("timeout")
    line.hear(h.status(WAMID, "sent", LAIA, T0, token="c1.c1.1.0000000000000000"))
    assert line.added() == []
    assert line.told(SENDS) == []
