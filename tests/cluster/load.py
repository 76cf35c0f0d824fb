"""A cluster under load while something happens to it: people, an agent and somebody else's bot are at work."""

import asyncio

import httpx

from tests.cluster.audit import audit
from tests.cluster.books import ClusterBooks
from tests.cluster.bots import Bot
from tests.cluster.fleet import Fleet
from tests.cluster.rig import Cluster
from tests.crash.sends import Sends
from tests.crash.world import TROUBLE, World, people_of
from tests.processes import Sandbox

NUMBERS = 24
PLAN = {"messages_per_s": 80, "seconds": 1, "echoes_ratio": 0.35, "customers": 5}
COMMANDS_PER_S = 4


async def under_load(folder, happen, *, seed, source=None):
    """Call `happen(fleet, sandbox, world)` in a thread, come to rest, and audit; what it returned, and the report.

    `source`: the tree of another version, as which the processes begin.
    """
    async with Cluster() as cluster, cluster.log() as log, ClusterBooks(cluster, log) as books:
        with (
            Sandbox(folder, "http://127.0.0.1:9/webhooks/meta", seed=seed, numbers=NUMBERS) as sandbox,
            httpx.Client(timeout=5, trust_env=False) as client,
        ):
            sandbox.call("POST", "/faults", TROUBLE)
            sandbox.call("POST", "/traffic", PLAN)
            with Fleet(cluster, folder, sandbox.url, client, source=source) as fleet:
                sandbox.call("POST", "/webhook", {"url": fleet["all"].webhook})
                await asyncio.sleep(1.5)
                people, world = people_of(sandbox), World(sandbox, PLAN)
                with (
                    Sends(fleet["all"].admin, people, COMMANDS_PER_S, seed) as sends,
                    Bot(cluster, people, COMMANDS_PER_S, seed) as bot,
                ):
                    happened = await asyncio.to_thread(happen, fleet, sandbox, world)
                await books.rest(sandbox)
            await fleet.decide_what_is_doubtful(sandbox, books)
            report = await audit(books, sandbox, [sends, bot], world.marks)
    assert sends.refused == []
    return happened, report
