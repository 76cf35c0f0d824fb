"""A sender is frozen for longer than its lease with requests in flight, and wakes up: nothing is sent twice unsaid."""

import asyncio
import os
import random
import signal

import httpx
import pytest

from sender.command import OPEN
from tests.cluster.audit import audit
from tests.cluster.books import ClusterBooks
from tests.cluster.bots import Bot
from tests.cluster.fleet import Fleet
from tests.cluster.rig import Cluster
from tests.crash.world import TROUBLE, people_of
from tests.processes import Sandbox

pytestmark = [pytest.mark.kafka, pytest.mark.crash, pytest.mark.faults]

FREEZES = 40 if os.environ.get("COEXIST_TEST_LONG") else 4
SEED = 20_26
NUMBERS = 12
FROZEN_S = 9.0
"""Longer than a lease; in turn with longer than an attempt may be open, so that its answer is given up meanwhile."""
FORGOTTEN_S = 23.0
SLOW_GRAPH_MS = 1_500
COMMANDS_PER_S = 8


async def test_a_sender_frozen_for_longer_than_its_lease_sends_nothing_twice_unless_it_says_so(tmp_path, tell):
    dice, in_flight = random.Random(SEED), []
    async with Cluster(partitions=2) as cluster, cluster.log() as log, ClusterBooks(cluster, log) as books:
        with (
            Sandbox(tmp_path, "http://127.0.0.1:9/webhooks/meta", seed=SEED, numbers=NUMBERS) as sandbox,
            httpx.Client(timeout=5, trust_env=False) as client,
            Fleet(cluster, tmp_path, sandbox.url, client, ("ingest", "echo", "sender-1", "sender-2")) as fleet,
        ):
            sandbox.call("POST", "/faults", TROUBLE | {"graph_delay_ms": SLOW_GRAPH_MS})
            sandbox.call("POST", "/webhook", {"url": fleet["ingest"].webhook})
            sandbox.call("POST", "/traffic", {"messages_per_s": 60, "echoes_ratio": 0.2, "seconds": 2})
            await asyncio.sleep(3)
            with Bot(cluster, people_of(sandbox), COMMANDS_PER_S, SEED) as bot:
                for turn in range(FREEZES):
                    await asyncio.sleep(dice.uniform(1.5, 3))
                    sender = fleet[f"sender-{turn % 2 + 1}"].popen
                    sender.send_signal(signal.SIGSTOP)
                    in_flight.append(sum(command.state == OPEN for command in (await books.all_commands()).values()))
                    await asyncio.sleep(FORGOTTEN_S if turn % 4 == 3 else FROZEN_S)
                    sender.send_signal(signal.SIGCONT)
            await books.rest(sandbox)
            fleet.kill()
            await fleet.decide_what_is_doubtful(sandbox, books)
            report = await audit(books, sandbox, [bot])
    assert sum(in_flight) > FREEZES
    tell(f"cluster, sender frozen {FREEZES} times with {in_flight} attempts open: {report}")
