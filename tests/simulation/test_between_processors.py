"""One processor reads what another keeps: whoever is a moment behind must mislead nobody."""

import random

import pytest

from schemas.states import CONVERSATIONS, DELIVERY, MESSAGES
from schemas.topics import INBOUND, OUTBOUND, SENDS, TIMELINE
from sender.command import handovers_key
from tests import harness as h
from tests.harness import T0
from tests.simulation.line import LAIA, Line

SCRIPTS, CHUNKS = 1_200, 4
PAUSE_S = 30 * 60


def talk(line):
    """Laia has written, so that there is a conversation; its id."""
    line.hear(h.message("wamid.0", LAIA, T0 - 9))
    return line.conversation().conversation_id


def handover(line, kind, conversation, **more):
    line.hear(h.outbound(f"conversation.{kind}", line.now, conversation_id=conversation, **more), topic=OUTBOUND)


def let_go(line):
    """A person had answered and lets go; who owns the conversation has read of the answer alone."""
    conversation = talk(line)
    line.hear(h.echo("wamid.human", LAIA, line.now))
    line.behind.add(CONVERSATIONS)
    line.now += 5
    line.append(OUTBOUND, h.outbound("conversation.release", line.now, conversation_id=conversation))


def sent_ids(line):
    return [command for _, command, _ in line.sent]


# --- takeovers and releases have one order with the commands


def test_a_command_after_a_release_goes_though_its_conversation_has_not_read_of_it():
    line = Line(auto=True)
    let_go(line)
    line.ask("c1")
    line.later(1)
    assert line.outcomes("c1") == ["send.accepted"]


def test_a_command_after_a_takeover_is_withdrawn_though_its_conversation_has_not_read_of_it():
    line = Line(auto=True)
    conversation = talk(line)
    line.behind.add(CONVERSATIONS)
    line.append(OUTBOUND, h.outbound("conversation.takeover", line.now, conversation_id=conversation))
    line.ask("c1")
    line.later(1)
    assert (line.sent, line.reasons("c1")) == ([], ["taken_over"])
    line.now += PAUSE_S
    line.ask("c2")
    line.later(1)
    assert sent_ids(line) == ["c2"]


def test_a_takeover_of_a_conversation_that_nobody_has_written_down_yet_holds():
    line = Line(auto=True)
    line.behind.add(CONVERSATIONS)
    line.hear(h.message("wamid.0", LAIA, T0 - 9))
    (told,) = line.told(TIMELINE, "message.added")
    handover(line, "takeover", told["conversation_id"], minutes=1)
    line.ask("c1")
    line.later(61)
    line.ask("c2")
    line.later(1)
    assert (line.reasons("c1"), sent_ids(line)) == (["taken_over"], ["c2"])


def test_a_release_that_was_decided_upon_holds_before_the_socket_too():
    line = Line(hold=True)
    let_go(line)
    line.ask("c1")
    line.leave(line.held.pop())
    assert sent_ids(line) == ["c1"]


def test_what_the_sender_read_itself_is_kept_until_the_conversation_shows_it():
    line = Line(auto=True)
    conversation = talk(line)
    line.behind.add(CONVERSATIONS)
    handover(line, "takeover", conversation, minutes=600)
    line.now += 1
    handover(line, "release", conversation)
    line.later(300)
    assert line.state(DELIVERY, handovers_key(conversation)) is not None
    line.behind.clear()
    line.later(61)
    assert line.state(DELIVERY, handovers_key(conversation)) is None
    assert line.owner() == "bot"


# --- what the sender knows first


@pytest.mark.parametrize("behind", [CONVERSATIONS, MESSAGES])
def test_a_bots_send_behind_a_persons_is_withdrawn_however_late_the_conversation_hears_of_it(behind):
    line = Line()
    talk(line)
    line.ask("c1", origin="agent")
    line.ask("c2")
    line.behind.add(behind)
    line.answer("accepted", "wamid.ours")
    line.later(1)
    assert sent_ids(line) == ["c1"]
    assert line.reasons("c2") == ["taken_over"]
    line.behind.clear()
    line.later(1)
    assert line.owner() == "agent"


def test_a_command_may_name_the_message_that_sends_has_just_told_of():
    line = Line(auto=True)
    talk(line)
    line.behind.add(MESSAGES)
    line.ask("c1")
    (told,) = line.told(SENDS, "send.accepted")
    line.ask("c2", only_if={"no_message_after": told["message_id"]})
    line.later(1)
    assert line.outcomes("c2") == []
    line.behind.clear()
    line.later(3)
    assert line.outcomes("c2") == ["send.accepted"]


def test_a_message_that_does_not_become_known_is_old_after_some_seconds():
    line = Line(auto=True)
    talk(line)
    line.ask("c1", only_if={"no_message_after": "wamid.never"})
    line.ask("c2")
    line.later(4)
    assert line.sent == []
    line.later(2)
    assert (line.reasons("c1"), sent_ids(line)) == (["newer_message"], ["c2"])


# --- any lag


class Lag:
    """A bot that reads `timeline` as it is written, a desk, and processors that read one by one when chance says so."""

    def __init__(self, seed):
        self.pick = random.Random(seed)
        self.line = Line(auto=True, strict=seed % 20 == 0)
        self.asked = {}
        self.wamids = 0
        self.desk = []

    def play(self):
        steps = [self.customer, self.owner, self.ask, self.ask, self.read, self.read, self.read, self.hand, self.wait]
        for _ in range(self.pick.randint(5, 30)):
            self.pick.choice(steps)()
        self.line.later(20)
        return self

    def hear(self, make, seconds):
        self.wamids += 1
        self.line.append(INBOUND, make(f"wamid.{self.wamids}", LAIA, self.line.now - seconds))

    def customer(self):
        self.hear(h.message, self.pick.choice([0, 0, 1, 3]))

    def owner(self):
        if self.pick.random() < 0.3:
            self.hear(h.echo, 0)

    def read(self):
        self.line.read(self.pick.choice(self.line.processors), self.pick.choice([1, 1, 2, 9]))

    def wait(self):
        """Time passes, and somebody may come to nothing in it."""
        self.line.behind = set(self.pick.sample([MESSAGES, CONVERSATIONS, DELIVERY], self.pick.choice([0, 1, 2])))
        self.line.later(self.pick.choice([0.1, 1, 2]))
        self.line.behind = set()

    def told(self):
        return [one for one in self.line.told(TIMELINE, "message.added") if one["origin"] != "api"]

    def ask(self):
        """Answer the newest message that anybody has told of, or the newest send, or nothing."""
        sends = [one["message_id"] for one in self.line.told(SENDS, "send.accepted")]
        named = self.pick.choice([[one["message_id"] for one in self.told()], sends, []])[-1:]
        origin = self.pick.choice(["bot", "campaign", "campaign", "campaign", "agent"])
        more = {"only_if": {"no_message_after": named[0]}} if named else {}
        command_id = f"c{len(self.asked)}"
        self.asked[command_id] = (origin, *named, len(self.desk))
        self.line.append(OUTBOUND, h.request(command_id, LAIA.wa_id, self.line.now, origin=origin, **more))

    def hand(self):
        """A person takes the conversation, or gives it back; there must be one."""
        known = self.told()
        if known:
            self.line.now += 0.01
            kind = self.pick.choice(["takeover", "release"])
            event = h.outbound(f"conversation.{kind}", self.line.now, conversation_id=known[-1]["conversation_id"])
            self.line.append(OUTBOUND, event)
            self.desk.append(kind)

    # --- what must hold

    def check(self):
        sent = set(sent_ids(self.line))
        for command_id, (origin, *named, desk) in self.asked.items():
            reasons = self.line.reasons(command_id)
            assert reasons, f"{command_id} has no end"
            if "newer_message" in reasons:
                assert self.has_newer(*named), f"{command_id} was withdrawn, and nobody wrote after {named}"
            before, later = self.desk[:desk], self.desk[desk:]
            if origin == "bot" and before[-1:] == ["takeover"] and "release" not in later:
                assert command_id not in sent, f"{command_id} went after a takeover"

    def has_newer(self, after):
        """Whether a customer or a person wrote in a later second than that of a message; a person may do so by us."""
        added = {one["message_id"]: one for one in self.line.told(TIMELINE, "message.added")}
        bots = {command_id for command_id, (origin, *_) in self.asked.items() if origin != "agent"}
        since = added[after]["sent_at"][:19]
        return any(one["sent_at"][:19] > since for one in added.values() if one.get("command_id") not in bots)


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_whoever_lags_an_answer_to_the_newest_message_is_withdrawn_only_if_somebody_wrote_after_it(chunk):
    for seed in range(chunk, SCRIPTS, CHUNKS):
        lag = Lag(seed).play()
        try:
            lag.check()
        except AssertionError as problem:
            pytest.fail(f"seed {seed}: {problem}")
