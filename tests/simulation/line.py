"""Everything of one number in memory, with the part between a committed attempt and its answer played by hand."""

import orjson

from schemas.items import Contact
from schemas.states import CONVERSATIONS, DELIVERY, MESSAGES, conversation_key, message_key, owner_now
from schemas.topics import INBOUND, OUTBOUND, SENDS, TIMELINE
from sender.command import READ, command_key, lane_key, lane_of, queue_key
from sender.conditions import find_conversation, withheld
from tests import harness as h
from tests.simulation.memory import Memory

LAIA = Contact(wa_id="34600111222")
FINAL = ("send.accepted", "send.rejected", "send.unresolved", "send.withdrawn", "send.expired", "send.cancelled")


class Line(Memory):
    """`wire` holds the requests that have left and wait for their answer; `sent` all that ever left, with the time.

    `hold`: calls wait in `held` until the test lets them leave. `auto`: Meta accepts everything at once.
    """

    def __init__(self, *processors, hold=False, auto=False, **more):
        super().__init__(processors, perform=self._leave, **more)
        self.hold = hold
        self.auto = auto
        self.held = []
        self.wire = []
        self.sent = []
        self.opened = []
        self.hear(h.account("REGISTERED", h.T0 - 10))

    # --- what comes in

    def hear(self, *events, topic=INBOUND):
        self.append(topic, *events)
        self.fire_all()

    def ask(self, command_id, to=LAIA.wa_id, topic=OUTBOUND, **more):
        self.hear(h.request(command_id, to, self.now, **more), topic=topic)

    def later(self, seconds):
        self.run_until(self.now + seconds)

    def until_sent(self, within_s=2_000.0):
        """Let time pass until a request is on the wire."""
        end = self.now + within_s
        while not self.wire:
            assert self.now < end, "nothing was sent"
            self.later(0.5)

    # --- the shell's part: announce, look once more, send (services.sending)

    def _leave(self, call):
        self.opened.append((call.leaves_at, call.command_id))
        if self.hold:
            self.held.append(call)
        else:
            self.leave(call)

    def leave(self, call):
        if call.kind != READ:
            attempt = h.attempted(call.command_id, call.to, call.opened_at, _says(call), call.attempt, call.origin)
            self.append(INBOUND, attempt)
        get = self._views[DELIVERY].get
        reason = withheld(get, find_conversation(get, call.number, call.to), call.origin, call.conditions, self.now)
        if reason:
            self._answer(call, "withdrawn", reason=reason)
            return
        self.wire.append(call)
        self.sent.append((max(self.now, call.leaves_at), call.command_id, call.attempt))
        if self.auto:
            wamid = f"wamid.{call.command_id}.{call.attempt}" if call.kind != READ else ""
            self._answer(self.wire.pop(), "accepted", wamid)

    def answer(self, outcome="accepted", wamid="", code=0, reason="", nth=0):
        """Meta answers the oldest request on the wire, or the nth."""
        call = self.wire.pop(nth)
        if outcome == "accepted" and not wamid:
            wamid = f"wamid.{call.command_id}.{call.attempt}"
        self._answer(call, outcome, wamid, code, reason)
        self.fire_all()
        return call

    def _answer(self, call, outcome, wamid="", code=0, reason=""):
        made = h.answered(call.command_id, outcome, call.to, call.opened_at, wamid, call.attempt, code, reason)
        self.append(INBOUND, made)

    # --- looking

    def message(self, wamid):
        return self.state(MESSAGES, message_key(h.NUMBER, wamid))

    def added(self):
        return [data["message_id"] for data in self.told(TIMELINE, "message.added")]

    def command(self, command_id):
        return self.state(DELIVERY, command_key(command_id))

    def lane(self, contact=LAIA):
        return self.state(DELIVERY, lane_key(h.NUMBER, lane_of(contact)))

    def queue(self):
        return self.state(DELIVERY, queue_key(h.NUMBER))

    def outcomes(self, command_id):
        return [data["type"] for data in self.told(SENDS) if data["command_id"] == command_id]

    def reasons(self, command_id):
        return [data.get("reason", "") for data in self.told(SENDS) if data["command_id"] == command_id]

    def conversation(self, contact=LAIA):
        return find_conversation(self._views[DELIVERY].get, h.NUMBER, contact)

    def owner(self, contact=LAIA):
        state = self.conversation(contact)
        return owner_now(state, self.now) if state else None

    def view(self, conversation_id):
        state = self.state(CONVERSATIONS, conversation_key(conversation_id))
        return orjson.loads(state.told)


def _says(call):
    from msgspec import Raw

    return call.kind, Raw(orjson.dumps(orjson.loads(call.message)[call.kind]))
