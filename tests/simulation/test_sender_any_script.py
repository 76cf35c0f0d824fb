"""Whatever Meta answers, loses or proves late: each command ends once, no line has two attempts, the pace is kept."""

import os
import random

import pytest

from schemas.instants import rfc3339
from schemas.states import DELIVERY
from schemas.topics import OUTBOUND, OUTBOUND_BULK, SENDS
from sender import command as cmd
from sender.pace import ANSWER_WAIT_S
from sender.pacing import PAIR_BURST, PAIR_INTERVAL_S
from tests import harness as h
from tests.simulation.line import FINAL, Line

LONG = os.environ.get("COEXIST_TEST_LONG") == "1"
SCRIPTS = 3_000 if LONG else 600
CHUNKS = 5
CONTACTS = [h.phone(f"3460000000{n}") for n in range(3)] + [h.user("ES.1")]
FATES = ("accepted", "accepted", "lost", "lost", "lost_for_good", "retry", "dead", "pair", "slow", "not_sent", "crash")
FATES += ("needs_template", "pause_template", "later")
CODES = {"needs_template": 131047, "pause_template": 132015, "later": 131049}
TEMPLATE = {"type": "template", "template": {"name": "order_update", "language": {"code": "en_US"}}}


class Script:
    """One seed's worth of commands, answers, evidence and waiting."""

    def __init__(self, seed):
        self.pick = random.Random(seed)
        self.line = Line(hold=True, strict=seed % 10 == 0)
        self.asked = 0
        self.evidence = []
        self.tokens = set()

    def play(self):
        steps = [self.ask, self.ask, self.ask, self.answer, self.answer, self.leave, self.wait, self.else_]
        for _ in range(self.pick.randint(5, 25)):
            self.pick.choice(steps)()
            self.check_now()
        for _ in range(2_000):
            if not (self.unfinished() or self.line.held or self.line.wire):
                break
            self.leave()
            self.answer()
            self.line.later(7 if self.line.held or self.line.wire else 30)
            self.check_now()
        while self.evidence:
            self.prove()
        self.line.later(300)
        return self.line

    def ask(self):
        self.asked += 1
        to = self.pick.choice(CONTACTS)
        more = {}
        if self.pick.random() < 0.2:
            more["expires_at"] = rfc3339(self.line.now + self.pick.choice([5, 100]))
        if self.pick.random() < 0.1:
            more["not_before"] = rfc3339(self.line.now + 50)
        if self.pick.random() < 0.1:
            more["defer_until_released"] = True
        policy = self.pick.choice(["at_most_once", "at_least_once"])
        topic = self.pick.choice([OUTBOUND, OUTBOUND, OUTBOUND_BULK])
        origin = self.pick.choice(["bot", "agent"])
        if self.pick.random() < 0.3:
            more["fallback"] = TEMPLATE
        name = f"c{self.asked}"
        says = name if self.pick.random() < 0.8 else TEMPLATE
        self.line.ask(name, to.wa_id or to.user_id, topic, policy=policy, origin=origin, says=says, **more)

    def leave(self):
        while self.line.held:
            call = self.line.held.pop(0)
            if self.pick.random() < 0.05:
                continue  # a crash before the request
            before = len(self.line.sent)
            self.line.leave(call)
            self.line.fire_all()
            if len(self.line.sent) > before:
                self.check_leaving(call)

    def check_leaving(self, call):
        assert call.token not in self.tokens, "one attempt left twice"
        self.tokens.add(call.token)

    def answer(self):
        while self.line.wire and self.pick.random() < 0.8:
            call = self.line.wire[0]
            fate = self.pick.choice(FATES)
            wamid = f"wamid.{call.command_id}.{call.attempt}"
            if fate == "accepted":
                self.line.answer("accepted", wamid)
            elif fate in ("lost", "lost_for_good"):
                self.line.answer("ambiguous")
                if fate == "lost":
                    self.evidence.append((call, wamid))
            elif fate == "crash":
                self.line.wire.pop(0)
                if self.pick.random() < 0.5:
                    self.evidence.append((call, wamid))
            elif fate == "not_sent":
                self.line.answer("not_sent", reason="unreachable")
            else:
                self.line.answer("rejected", code=CODES.get(fate, 1), reason=fate)

    def prove(self):
        call, wamid = self.evidence.pop(self.pick.randrange(len(self.evidence)))
        at = self.line.now
        if self.pick.random() < 0.6:
            self.line.hear(h.status(wamid, "sent", call.to, at, call.token))
        else:
            self.line.hear(h.echo(wamid, call.to, at, call.command_id))

    def wait(self):
        self.line.later(self.pick.choice([0.1, 1, 10, 30, 100, 100_000 if self.pick.random() < 0.1 else 1]))

    def else_(self):
        line, what = self.line, self.pick.random()
        if what < 0.3 and self.evidence:
            self.prove()
        elif what < 0.5:
            line.hear(h.echo(f"wamid.h{self.pick.random()}", self.pick.choice(CONTACTS), line.now, "jo"))
        elif what < 0.7 and self.asked:
            command_id = f"c{self.pick.randint(1, self.asked)}"
            line.hear(h.outbound("send.cancel", line.now, command_id=command_id), topic=OUTBOUND)
        else:
            line.hear(h.message(f"wamid.in{self.pick.random()}", self.pick.choice(CONTACTS), line.now))

    # --- what must hold

    def commands(self):
        return [state for key, state in self.line.states[DELIVERY].items() if key.startswith("k/")]

    def unfinished(self):
        return [command for command in self.commands() if command.state not in cmd.FINAL]

    def check_now(self):
        """At most one attempt per line is open or in doubt, and the number's count of open attempts is right."""
        under_way = [c for c in self.commands() if c.state in (cmd.OPEN, cmd.AMBIGUOUS)]
        lanes = [c.lane for c in under_way]
        assert len(lanes) == len(set(lanes)), "two attempts in one line"
        queue = self.line.queue()
        assert (queue.open if queue else 0) == sum(c.state == cmd.OPEN for c in under_way)


def most_within(times, window_s):
    return max((sum(1 for t in times if start <= t < start + window_s) for start in times), default=0)


def check_end(script):
    line = script.line
    assert not script.unfinished(), "a command has no end"
    for command in script.commands():
        kinds = line.outcomes(command.command_id)
        ends = [kind for kind in kinds if kind in FINAL]
        assert len(ends) == 1, f"{command.command_id} ended {len(ends)} times: {kinds}"
        if "send.resolved" in kinds:
            assert kinds.index("send.resolved") > kinds.index(ends[0])
        assert ("send.accepted" in kinds or "send.resolved" in kinds) == (command.state == cmd.ACCEPTED)
    opened = [at for at, _ in line.opened]
    for window_s in (1.0, 2.0, 10.0):
        assert most_within(opened, window_s) <= 20 * window_s
    for contact in CONTACTS:
        ids = {c.command_id for c in script.commands() if cmd.live_lane(c.lane) == cmd.lane_of(contact)}
        times = [at for at, command_id in line.opened if command_id in ids]
        assert most_within(times, 60) <= PAIR_BURST + 60 / PAIR_INTERVAL_S
    told = [data["command_id"] for data in line.told(SENDS)]
    assert set(told) >= {command.command_id for command in script.commands()}


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_any_script_of_answers_and_evidence_ends_each_command_once(chunk):
    for seed in range(chunk, SCRIPTS, CHUNKS):
        script = Script(seed)
        try:
            script.play()
            check_end(script)
        except AssertionError as problem:
            lines = [f"{at - h.T0:8.2f} {command} attempt {attempt}" for at, command, attempt in script.line.sent]
            story = [f"{data['at']} {data['type']} {data['command_id']}" for data in script.line.told(SENDS)]
            pytest.fail("\n".join([f"seed {seed}: {problem}", *lines, *story]))


def test_a_message_behind_an_unanswered_one_waits_a_bounded_time():
    line = Line(hold=True)
    line.ask("c1", policy="at_most_once")
    line.ask("c2")
    line.held.clear()
    line.later(ANSWER_WAIT_S + 90 + 1)
    assert [call.command_id for call in line.held] == ["c2"]
