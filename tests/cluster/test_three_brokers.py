"""Three brokers of which two must confirm: one is killed, frozen, cut off, restarted; and workers come and go."""

import asyncio
import os
import random
import signal
import time

import httpx
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from tests.cluster.audit import audit
from tests.cluster.books import ClusterBooks
from tests.cluster.bots import Bot
from tests.cluster.fleet import Fleet
from tests.cluster.rig import Cluster, until
from tests.crash.world import TROUBLE, people_of
from tests.kafka.broker import jars
from tests.kafka.cluster import KafkaCluster
from tests.processes import STOP_S, Sandbox

pytestmark = [pytest.mark.kafka, pytest.mark.crash, pytest.mark.faults]

LONG = bool(os.environ.get("COEXIST_TEST_LONG"))
SEED = 20_26
NUMBERS = 12
TALK = {"messages_per_s": 40, "echoes_ratio": 0.35, "customers": 5}
COMMANDS_PER_S = 3
DOWN_S = 20.0
FROZEN_S = 60.0
CUT_S = 25.0
LEASE_S = 7.0
CHURNS = 60 if LONG else 8
IN_SYNC_S = 180.0


@pytest.fixture(scope="module")
def brokers(tmp_path_factory):
    cluster = KafkaCluster(jars(), tmp_path_factory.mktemp("brokers"), 3, cuttable=True)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


async def leader(cluster):
    """The broker that leads the first partition of `inbound`."""
    return (await partitions(cluster))[0]["leader"]


async def partitions(cluster):
    admin = AIOKafkaAdminClient(**cluster.kafka.options)
    await admin.start()
    try:
        (inbound,) = await admin.describe_topics([cluster.kafka.topic("inbound")])
        return sorted(inbound["partitions"], key=lambda one: one["partition"])
    finally:
        await admin.close()


async def in_sync(cluster):
    """Wait until every broker has everything again."""

    async def all_of_them():
        try:
            return all(len(one["isr"]) == 3 for one in await partitions(cluster))
        except (KafkaError, OSError, TimeoutError):  # the one that was asked is only just back
            return False

    await until(all_of_them, IN_SYNC_S)


# --- what happens


async def the_leader_is_killed(brokers, cluster, fleet):
    node = await leader(cluster)
    brokers.kill(node)
    await asyncio.sleep(DOWN_S)
    brokers.start(node)


async def a_broker_is_frozen_for_a_minute(brokers, cluster, fleet):
    node = await leader(cluster)
    brokers.freeze(node)
    try:
        await asyncio.sleep(FROZEN_S)
    finally:
        brokers.thaw(node)


async def a_broker_is_cut_off_from_everybody(brokers, cluster, fleet):
    node = await leader(cluster)
    brokers.links.cut(node)
    try:
        await asyncio.sleep(CUT_S)
    finally:
        brokers.links.heal(node)


async def every_broker_is_restarted_in_turn(brokers, cluster, fleet):
    for node in brokers.ports:
        brokers.restart(node)
        await in_sync(cluster)


async def workers_come_go_and_freeze(brokers, cluster, fleet):
    """Leases move all the time, and a frozen owner wakes up when its shards are another's."""
    dice = random.Random(SEED)
    for turn in range(CHURNS):
        process = fleet[dice.choice(("all-1", "all-2"))]
        if turn % 2:
            process.popen.send_signal(signal.SIGSTOP)
            await asyncio.sleep(LEASE_S + dice.uniform(0.5, 2))
            process.popen.send_signal(signal.SIGCONT)
        else:
            await asyncio.to_thread(fleet.start("all-3").ready)
            await asyncio.sleep(dice.uniform(0, 2))
            fleet["all-3"].popen.send_signal(dice.choice((signal.SIGTERM, signal.SIGKILL)))
            await asyncio.to_thread(fleet["all-3"].popen.wait, STOP_S)
        await asyncio.sleep(dice.uniform(0, 1))


TROUBLES = (
    the_leader_is_killed,
    a_broker_is_frozen_for_a_minute,
    a_broker_is_cut_off_from_everybody,
    every_broker_is_restarted_in_turn,
    workers_come_go_and_freeze,
)


@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: trouble.__name__)
async def test_nothing_is_lost_or_told_twice_while(trouble, brokers, tmp_path, tell):
    async with (
        Cluster(bootstrap=brokers.bootstrap) as cluster,
        cluster.log() as log,
        ClusterBooks(cluster, log) as books,
    ):
        with (
            Sandbox(tmp_path, "http://127.0.0.1:9/webhooks/meta", seed=SEED, numbers=NUMBERS) as sandbox,
            httpx.Client(timeout=5, trust_env=False) as client,
        ):
            sandbox.call("POST", "/faults", TROUBLE)
            with Fleet(cluster, tmp_path, sandbox.url, client, ("all-1", "all-2"), ("all-3",)) as fleet:
                sandbox.call("POST", "/webhook", {"url": fleet["all-1"].webhook})
                sandbox.call("POST", "/traffic", TALK)
                await asyncio.sleep(2)
                with Bot(cluster, people_of(sandbox), COMMANDS_PER_S, SEED) as bot:
                    began = time.monotonic()
                    await trouble(brokers, cluster, fleet)
                    await in_sync(cluster)
                    await asyncio.sleep(3)
                    took = time.monotonic() - began
                sandbox.call("DELETE", "/traffic")
                await books.rest(sandbox)
                rested = time.monotonic() - began - took
            await fleet.decide_what_is_doubtful(sandbox, books)
            report = await audit(books, sandbox, [bot])
    what = trouble.__name__.replace("_", " ")
    tell(f"three brokers, {what} ({took:.0f} s, at rest {rested:.1f} s later): {report}")
