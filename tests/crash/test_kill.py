"""SIGKILL at random instants under load: what was acknowledged stays, what was told is told once."""

import asyncio
import os
import random
import statistics
import time

import httpx
import pytest

from services.app import open_app
from services.settings import Settings
from tests.crash.books import Books, Timeline, ends, lost, sent_twice, unheard
from tests.crash.sends import Sends
from tests.processes import Sandbox, Service, probe, settings_for

CYCLES = 600 if os.environ.get("COEXIST_TEST_LONG") else 40
SEED = 20_26
NUMBERS = 24
PEOPLE_PER_NUMBER = 5
PLAN = {"messages_per_s": 350, "seconds": 1, "echoes_ratio": 0.35, "customers": PEOPLE_PER_NUMBER}
"""What people say in each cycle: so much and no more, however slow the machine is."""
SENDS_PER_S = 12
LIFE_S_MAX = 0.9
STILLBORN_P = 0.15
SETTLE_S = 120
RESTART_S = 2.0
BUSY = 1.5
"""Processes per core that want to run, beyond which a restart measures the others and not us."""
AHEAD_S = 600
"""Past the answers that were open; waits for evidence begin anew after a stop, so that time also runs faster."""
AHEAD_PACE = 5

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
    """What happens in each cycle: people talk; and seldom things, marked so that they can be found again."""

    def __init__(self, sandbox, plan=PLAN):
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


def kill_again_and_again(service, client, dice, world):
    """Start, let it live for a moment, kill it. The times from start to service of those that lived."""
    restarts = []
    for cycle in range(CYCLES):
        world.happen(cycle)
        with service() as process:
            if dice.random() < STILLBORN_P:
                time.sleep(dice.uniform(0.1, 0.8))
            else:
                restarts.append(process.in_service(probe()))
                time.sleep(dice.uniform(0, LIFE_S_MAX))
    return restarts


def come_to_rest(sandbox, books, doubtful=list):
    """Wait until Meta has delivered everything, every processor has read everything, and nothing is doubtful."""
    end = time.monotonic() + SETTLE_S
    while True:
        outstanding = sandbox.call("POST", "/flush", {"timeout_s": 1})["outstanding"]
        left = outstanding, books.behind(), len(doubtful())
        if left == (0, 0, 0):
            return
        assert time.monotonic() < end, f"undelivered, unread, undecided: {left}"
        time.sleep(0.05)


async def decide_what_is_doubtful(settings, sandbox, books):
    """Boot the same app on the same folder, later: every wait for evidence is over."""
    began = time.time()

    def clock():
        return began + AHEAD_S + AHEAD_PACE * (time.time() - began)

    async with open_app(Settings.model_validate(settings), clock=clock) as app:
        working = asyncio.create_task(app.run())
        await asyncio.to_thread(come_to_rest, sandbox, books, books.unsettled)
        app.stopping.set()
        await working


def busy():
    return os.getloadavg()[0] > BUSY * os.cpu_count()


def people_of(sandbox):
    return [(chat["number"], chat["contact"]) for chat in sandbox.call("GET", "/chats")]


@pytest.mark.crash
def test_nothing_acknowledged_is_lost_or_told_twice_whenever_it_is_killed(tmp_path, tell):
    settings = settings_for(tmp_path / "data")
    client = httpx.Client(timeout=5, trust_env=False)
    webhook = f"http://127.0.0.1:{settings['port']}/webhooks/meta"
    with Sandbox(tmp_path, webhook, seed=SEED, numbers=NUMBERS) as sandbox, client:
        settings["meta_graph_url"] = sandbox.url
        sandbox.call("POST", "/faults", TROUBLE)

        def service():
            return Service(settings, tmp_path, client=client)

        sandbox.call("POST", "/traffic", PLAN)
        with service() as first:
            first.in_service(probe())
            time.sleep(1)
        admin = f"http://127.0.0.1:{settings['admin_port']}"
        with Sends(admin, people_of(sandbox), SENDS_PER_S, SEED) as sends:
            world = World(sandbox)
            restarts = kill_again_and_again(service, client, random.Random(SEED), world)
        with service() as last:
            last.in_service(probe())
            books = Books(tmp_path / "data")
            come_to_rest(sandbox, books)
            assert last.stop()[0] == 0
        asyncio.run(decide_what_is_doubtful(settings, sandbox, books))
        assert unheard(books, world.marks) == []
        report(books, sandbox, sends, restarts, tell)


def report(books, sandbox, sends, restarts, tell):
    told, ledger = Timeline(books), sandbox.call("GET", "/ledger/items")
    missing, gaps = lost(books, told, ledger), books.gaps()
    twice, unflagged = sent_twice(books, sandbox.call("GET", "/ledger/sends"))
    accepted = {send["wamid"] for send in sandbox.call("GET", "/ledger/sends") if send["wamid"]}
    acknowledged = sum(1 for item in ledger if item["acknowledged"])
    middle, worst = statistics.median(restarts), max(restarts)
    tell(
        f"{CYCLES} kills: {acknowledged} items acknowledged, {len(missing)} lost, {told.repeated} duplicates, "
        f"{gaps.total()} gaps; {len(sends.taken)} commands, {len(accepted)} accepted by Meta, "
        f"{len(twice)} twice against their policy; in service again p50 {middle:.2f} s, max {worst:.2f} s"
    )
    assert books.sound()
    assert missing == []
    assert acknowledged == len(ledger)
    assert told.repeated == 0
    assert gaps.total() == 0
    assert (twice, unflagged) == (set(), set())
    assert accepted <= set(told.added)
    assert sends.refused == []
    outcomes = ends(books)
    assert {command: outcomes[command] for command in sends.taken} == dict.fromkeys(sends.taken, 1)
    assert len(accepted) > CYCLES
    assert middle <= RESTART_S or busy()
    books.close()
