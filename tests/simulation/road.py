"""Time on the road: requests travel to Meta and answers back, webhooks come later than what they tell of.

Meta's limits are the sandbox's own: a number's window is any second, in and out together; a pair's burst is borrowed.
"""

import heapq
import itertools
import random

from services.sandbox.limits import Pairs, Throughput
from tests import harness as h
from tests.simulation.line import Line

TRAVEL_S = (0.010, 0.034)
"""From a request's slot to Meta's count: between these."""
ANSWER_S = 0.050
"""From Meta's count to the answer."""
WEBHOOK_S = 0.050
"""From Meta's count of an inbound message to us."""


class Road(Line):
    """A line to a Meta that counts. `refused`: codes by time; `accepted`, `inbound`: times at which Meta counted."""

    def __init__(self, *processors, seed=7, mps=20, pair_interval_s=6.0, pair_burst=45, fate=None, **more):
        self.travel_s, self.webhook_s = more.pop("travel_s", TRAVEL_S), more.pop("webhook_s", WEBHOOK_S)
        self.due = []
        self.order = itertools.count()
        self.pick = random.Random(seed)
        self.throughput = Throughput()
        self.pairs = Pairs()
        self.mps = mps
        self.pair_interval_s, self.pair_burst = pair_interval_s, pair_burst
        self.fate = fate or (lambda call: "accepted")
        self.refused = []
        self.accepted = []
        self.inbound = []
        super().__init__(*processors, **({"strict": False} | more))

    # --- Meta

    def leave(self, call):
        self.append("inbound", h.attempted(call.command_id, call.to, call.opened_at, attempt=call.attempt))
        leaves_at = max(self.now, call.leaves_at)
        self.sent.append((leaves_at, call.command_id, call.attempt))
        self.at(leaves_at + self.pick.uniform(*self.travel_s), self._arrive, call)

    def _arrive(self, call):
        pair = call.to.wa_id or call.to.user_id
        if not self.throughput.admit(self.now, self.mps):
            self._refuse(call, 130429, "slow")
        elif not self.pairs.admit(pair, self.now, self.pair_interval_s, self.pair_burst):
            self._refuse(call, 131056, "pair")
        else:
            self.accepted.append(self.now)
            self._fare(call, self.fate(call))

    def _fare(self, call, fate):
        wamid = f"wamid.{call.command_id}.{call.attempt}"
        self.at(self.now + ANSWER_S, self._answer, call, fate, wamid if fate == "accepted" else "")

    def _refuse(self, call, code, reason):
        self.refused.append((self.now, code))
        self.at(self.now + ANSWER_S, self._answer, call, "rejected", "", code, reason)

    def write(self):
        """A customer writes, whom nobody answers."""
        self.throughput.note(self.now)
        self.inbound.append(self.now)
        message = h.message(f"wamid.in{len(self.inbound)}", h.phone("34699999999"), self.now)
        self.at(self.now + self.webhook_s, self.append, "inbound", message)

    # --- time

    def at(self, time, what, *about):
        heapq.heappush(self.due, (time, next(self.order), what, about))

    def run_until(self, end):
        self.fire_all()
        while True:
            wake, due = self.next_wake(), self.due[0][0] if self.due else None
            upcoming = min((t for t in (wake, due) if t is not None), default=end)
            if upcoming > end:
                break
            self.now = max(self.now, upcoming)
            while self.due and self.due[0][0] <= self.now:
                _, _, what, about = heapq.heappop(self.due)
                what(*about)
            self.fire_all()
        self.now = end
