"""Several processes share the shards, and a sender that was frozen sends nothing twice."""

import asyncio
import os
import signal
import time
from collections import Counter

import httpx
import orjson
import pytest

from schemas.tokens import read_token
from schemas.topics import SENDS
from services.postgres import Postgres
from services.store_postgres import PostgresStore
from tests.cluster.rig import Cluster, told, until
from tests.processes import Sandbox, Service, settings_for

pytestmark = [pytest.mark.kafka, pytest.mark.crash]

CYCLES = 60 if os.environ.get("COEXIST_TEST_LONG") else 5
SEED = 20_26
NUMBERS = [f"10654035224{n:04}" for n in range(16)]
SETTLE_S = 60.0
MOVE_S = 10.0
FROZEN_S = 9.0
"""Longer than a lease."""
FINAL = ("send.accepted", "send.rejected", "send.unresolved", "send.withdrawn", "send.expired")
WORKERS = "echo-sync,sender"


def service(cluster, folder, name, roles, **more):
    settings = settings_for(folder / name, **cluster.settings, **more)
    return Service(settings, folder / name, "--roles", roles, name=name)


def wamid(body):
    return orjson.loads(body)["entry"][0]["changes"][0]["value"]["messages"][0]["id"]


@pytest.mark.faults
async def test_shards_move_within_ten_seconds_on_a_crash_and_on_scaling_out(tmp_path, tell):
    async with Cluster(partitions=6) as cluster:
        database = Postgres(cluster.url)
        await database.start()

        async def shares():
            await asyncio.sleep(0)
            rows = await database.rows(
                "SELECT owner, count(*) FROM leases WHERE expires_at > extract(epoch FROM clock_timestamp())"
                " AND slot < 65536 GROUP BY owner"
            )
            return sorted(row[1] for row in rows)

        async def shared(*wanted):
            started = time.monotonic()

            async def so():
                return await shares() == sorted(wanted)

            await until(so, MOVE_S)
            return time.monotonic() - started

        with service(cluster, tmp_path, "a", WORKERS) as one:
            await asyncio.to_thread(one.ready)
            await shared(6)
            with service(cluster, tmp_path, "b", WORKERS) as two:
                await asyncio.to_thread(two.ready)
                out_s = await shared(3, 3)
                two.kill()
            crash_s = await shared(6)
            with service(cluster, tmp_path, "c", WORKERS) as three:
                await asyncio.to_thread(three.ready)
                await shared(3, 3)
                await asyncio.to_thread(three.stop, signal.SIGTERM)
            stop_s = await shared(6)
        await database.close()
    tell(
        f"cluster: shards moved {out_s:.1f} s after a start, {crash_s:.1f} s after a crash, {stop_s:.1f} s after a stop"
    )


@pytest.mark.faults
async def test_a_sender_frozen_for_longer_than_its_lease_sends_nothing_twice(tmp_path):
    async with Cluster(partitions=1) as cluster, cluster.log() as log:
        number = "106540352242922"
        with service(cluster, tmp_path, "ingest", "ingest,echo-sync") as ingest:
            await asyncio.to_thread(ingest.ready)
            with Sandbox(tmp_path, ingest.webhook) as sandbox:
                frozen = service(cluster, tmp_path, "s1", "sender", meta_graph_url=sandbox.url)
                await asyncio.to_thread(frozen.ready)
                number = sandbox.call("GET", "/numbers")[0]["number"]
                for n in range(16):
                    told_ = {"number": number, "contact": customer(n), "text": "Hola!"}
                    await asyncio.to_thread(sandbox.call, "POST", "/customer/messages", told_)
                wanted = [await ask(ingest, number, n) for n in range(12)]
                await asyncio.sleep(0.3)
                frozen.popen.send_signal(signal.SIGSTOP)
                with service(cluster, tmp_path, "s2", "sender", meta_graph_url=sandbox.url):
                    wanted += [await ask(ingest, number, n) for n in range(12, 16)]
                    await asyncio.sleep(FROZEN_S)
                    frozen.popen.send_signal(signal.SIGCONT)
                    try:

                        async def all_told():
                            events = await told(log, SENDS)
                            return set(wanted) <= {event.subject for event in events if event.type in FINAL}

                        await until(all_told, 200.0)
                    finally:
                        frozen.kill()
                events = await told(log, SENDS)
                final = [event for event in events if event.type in FINAL]
                assert sorted(event.subject for event in final) == sorted(wanted)
                key = await installation_key(cluster)
                sends = [send for send in sandbox.call("GET", "/ledger/sends") if send["wamid"] is not None]
                sent = Counter(read_token(key, send["callback"])[0] for send in sends)
                flagged = {event.subject for event in events if b"possible_duplicate" in event.data}
                assert {command for command, count in sent.items() if count > 1} <= flagged


async def installation_key(cluster):
    database = Postgres(cluster.url)
    await database.start()
    key = await PostgresStore(database, cluster.partitions).installation_key()
    await database.close()
    return key


def customer(n):
    return f"3460022{n:04}"


async def ask(process, number, n):
    body = {"number": number, "to": customer(n), "type": "text", "text": {"body": f"no. {n}"}}
    answer = await asyncio.to_thread(httpx.post, f"{process.admin}/v1/messages", json=body, timeout=10)
    assert answer.status_code == 202, answer.text
    return answer.json()["command_id"]
