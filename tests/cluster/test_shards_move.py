"""Several processes share the shards evenly, and they move within ten seconds."""

import asyncio
import signal
import time

import httpx
import pytest

from services.app import SWEPT
from services.cluster import LEASE_TTL_S
from tests.cluster.fleet import Fleet
from tests.cluster.rig import Cluster, PatientDatabase, until
from tests.processes import busy

pytestmark = [pytest.mark.kafka, pytest.mark.crash, pytest.mark.faults]

MOVE_S = 10.0
DEADLINE_S = 60.0
BACK_S = 4.0
"""What a process that was killed needs from its start until it works again; its leases would last for longer."""
SHARES = """
SELECT p.processor, l.owner, count(*) FROM leases l JOIN processors p ON l.slot / 65536 = p.number
WHERE l.expires_at > extract(epoch FROM clock_timestamp()) AND p.processor = ANY($1) GROUP BY 1, 2
"""
EPOCHS = "SELECT sum(epoch)::int FROM leases"


async def test_shards_move_within_ten_seconds_on_a_start_a_crash_and_a_stop_and_at_once_on_a_restart(tmp_path, tell):
    async with Cluster(partitions=6) as cluster:
        database = PatientDatabase(cluster.url)
        await database.start()

        async def shared(*wanted):
            started = time.monotonic()

            async def so():
                """Of every processor: they follow one another by moments."""
                shares = {name: [] for name in SWEPT}
                for name, _, count in await database.rows(SHARES, list(SWEPT)):
                    shares[name].append(count)
                return all(sorted(counts) == sorted(wanted) for counts in shares.values())

            await until(so, DEADLINE_S)
            return time.monotonic() - started

        with httpx.Client(trust_env=False) as client:
            fleet = Fleet(cluster, tmp_path, "http://127.0.0.1:9", client, ("all-1",), ("all-2",))
            with fleet:
                await shared(6)
                await asyncio.to_thread(fleet.start("all-2").ready)
                out_s = await shared(3, 3)
                epochs = await database.one(EPOCHS)
                back = fleet.restart("all-2")
                await asyncio.to_thread(back.ready)
                back_s = time.monotonic() - back.started
                even_s = await shared(3, 3)
                taken = await database.one(EPOCHS) - epochs
                fleet["all-2"].kill()
                crash_s = await shared(6)
                await asyncio.to_thread(fleet.start("all-2").ready)
                await shared(3, 3)
                await asyncio.to_thread(fleet["all-2"].stop, signal.SIGTERM)
                stop_s = await shared(6)
        await database.close()
    tell(
        f"cluster: moved {out_s:.1f} s after a start, {crash_s:.1f} s after a crash, {stop_s:.1f} s after a stop;"
        f" a killed process worked again {back_s:.1f} s after its start"
    )
    assert even_s < 1 or busy()
    in_time = back_s < LEASE_TTL_S - 2  # later, they may be another's by right
    assert taken == 3 * len(SWEPT) or not in_time, (
        "only the shards of the process that came back were taken, once, by each of its processors"
    )
    assert max(out_s, crash_s, stop_s) < MOVE_S or busy()
    assert back_s < BACK_S or busy()
