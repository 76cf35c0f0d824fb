"""What goes on around a service that is killed, upgraded or cut off: Meta's faults, and people who talk meanwhile."""

TROUBLE = {
    "duplicate_p": 0.08,
    "reorder_p": 0.1,
    "drop200_p": 0.05,
    "retry_max_ms": 200,
    "webhook_timeout_ms": 2000,
    "status_before_response_p": 0.2,
    "status_delay_ms": 30,
    "cut_after_accept_p": 0.04,
    "error500_after_accept_p": 0.02,
    "pair_interval_ms": 0,
    "number_mps": 0,
}


class World:
    """What happens in each cycle: people talk by `plan`; and seldom things, marked so that they can be found again."""

    def __init__(self, sandbox, plan):
        self.sandbox = sandbox
        self.plan = plan
        self.number = sandbox.call("GET", "/numbers")[0]["number"]
        self.marks = []

    def happen(self, cycle):
        self.sandbox.call("POST", "/traffic", self.plan)
        for name in ("template", "preference", "unknown"):
            self.marks.append(f"mark-{name}-{cycle}.")
            self.sandbox.call("POST", "/trigger", {"name": name, "number": self.number, "text": self.marks[-1]})
        self.marks.append(str(34_700_000_000 + cycle))
        self.sandbox.call("POST", "/trigger", {"name": "contact", "number": self.number, "contact": self.marks[-1]})
        if cycle % 8 == 0:
            self.sandbox.call("POST", "/history", {"number": self.number, "messages": 60, "overlap": True})


def people_of(sandbox):
    """Who has written, as soon as somebody has: pairs of number and phone."""
    chats = sandbox.until(lambda: sandbox.call("GET", "/chats"))
    return [(chat["number"], chat["contact"]) for chat in chats]
