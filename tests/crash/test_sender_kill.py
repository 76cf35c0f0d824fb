"""SIGKILL in the middle of requests to Graph, again and again: one end per command, and no message is a surprise."""

import asyncio
import os
import random
import time
from collections import Counter

import httpx
import pytest

from tests.crash.books import Books, ends, sent_twice
from tests.crash.sends import Sends
from tests.crash.test_kill import come_to_rest, decide_what_is_doubtful, people_of
from tests.processes import Sandbox, Service, probe, settings_for

KILLS = 200 if os.environ.get("COEXIST_TEST_LONG") else 20
SEED = 20_27
NUMBERS = 12
PEOPLE_PER_NUMBER = 12
SENDS_PER_S = 60
LIFE_S = (0.4, 1.5)
TROUBLE = {
    "duplicate_p": 0.05,
    "drop200_p": 0.05,
    "retry_max_ms": 200,
    "webhook_timeout_ms": 2000,
    "status_before_response_p": 0.2,
    "status_delay_ms": 30,
    "graph_delay_ms": 40,
    "cut_after_accept_p": 0.03,
    "cut_before_accept_p": 0.03,
    "error500_after_accept_p": 0.02,
    "pair_interval_ms": 0,
}
"""Requests take 40 ms, so that a kill meets some of them on their way; the number's own limit stays on."""


@pytest.mark.faults
@pytest.mark.crash
def test_a_sender_killed_under_load_ends_each_command_once_and_flags_what_went_twice(tmp_path, tell):
    settings = settings_for(tmp_path / "data")
    client = httpx.Client(timeout=5, trust_env=False)
    webhook = f"http://127.0.0.1:{settings['port']}/webhooks/meta"
    dice, open_when_killed = random.Random(SEED), []
    with Sandbox(tmp_path, webhook, seed=SEED, numbers=NUMBERS) as sandbox, client:
        settings["meta_graph_url"] = sandbox.url
        sandbox.call("POST", "/faults", TROUBLE)
        sandbox.call("POST", "/traffic", {"messages_per_s": 200, "seconds": 2, "customers": PEOPLE_PER_NUMBER})
        with Service(settings, tmp_path, client=client) as first:
            first.in_service(probe())
            time.sleep(2)
        admin = f"http://127.0.0.1:{settings['admin_port']}"
        with Sends(admin, people_of(sandbox), SENDS_PER_S, SEED) as sends:
            for _ in range(KILLS):
                with Service(settings, tmp_path, client=client) as process:
                    process.in_service(probe())
                    time.sleep(dice.uniform(*LIFE_S))
                books = Books(tmp_path / "data")
                open_when_killed.append(sum(c.state == "open" for c in books.commands().values()))
                books.close()
        with Service(settings, tmp_path, client=client) as last:
            last.in_service(probe())
            books = Books(tmp_path / "data")
            come_to_rest(sandbox, books)
            assert last.stop()[0] == 0
        asyncio.run(decide_what_is_doubtful(settings, sandbox, books))
        check(books, sandbox, sends, open_when_killed, tell)
        books.close()


def check(books, sandbox, sends, open_when_killed, tell):
    ledger = sandbox.call("GET", "/ledger/sends")
    twice, unflagged = sent_twice(books, ledger)
    outcomes = ends(books)
    states = Counter(command.state for command in books.commands().values())
    refused = sum(send["code"] == 130429 for send in ledger)
    tell(
        f"{len(open_when_killed)} kills of a sender under load, {sum(open_when_killed)} attempts open then: "
        f"{len(sends.taken)} commands, {len(ledger)} requests, {len(twice)} twice against their policy, "
        f"{len(unflagged)} unflagged, {refused} refused as too fast; {dict(states)}"
    )
    assert {command: outcomes[command] for command in sends.taken} == dict.fromkeys(sends.taken, 1)
    assert (twice, unflagged) == (set(), set())
    assert sends.refused == []
    assert sum(open_when_killed) > 0
