"""SIGKILL in the middle of requests to Graph, again and again: one end per command, and no message is a surprise."""

import os
import random
import time
from collections import Counter

import pytest

from tests.crash.books import Books, ends, sent_twice
from tests.crash.lives import Lives
from tests.processes import probe

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
    dice, open_when_killed = random.Random(SEED), []
    with Lives(tmp_path, seed=SEED, numbers=NUMBERS, trouble=TROUBLE) as lives:
        lives.begin({"messages_per_s": 200, "seconds": 2, "customers": PEOPLE_PER_NUMBER}, for_s=2)
        with lives.sends(SENDS_PER_S) as sends:
            for _ in range(KILLS):
                with lives.service() as process:
                    process.in_service(probe())
                    time.sleep(dice.uniform(*LIFE_S))
                books = Books(lives.data)
                open_when_killed.append(sum(c.state == "open" for c in books.commands().values()))
                books.close()
        with lives.at_rest() as books:
            check(books, lives.sandbox, sends, open_when_killed, tell)


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
