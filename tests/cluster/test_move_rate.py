"""How long a move takes: told as seconds per million events, for it is measured beside whatever else runs."""

import os
import time

import pytest

from services.move.migration import move
from tests.cluster.folder import fill, of_cluster
from tests.cluster.rig import Cluster
from tests.processes import busy

pytestmark = [pytest.mark.kafka, pytest.mark.faults]

PARTITIONS = 12
WEBHOOKS = 30_000 if os.environ.get("COEXIST_TEST_LONG") else 2_000
UNREAD = 20_000
"""Records cost the same whether they were read or not, and fewer would time how topics are made."""
WANTED_S = 60.0


async def test_a_move_takes_a_minute_per_million_events(tmp_path, tell):
    folder = tmp_path / "data"
    await fill(folder, WEBHOOKS, UNREAD, partitions=PARTITIONS)
    async with Cluster(partitions=PARTITIONS) as cluster:
        started, used = time.monotonic(), time.process_time()
        moved = await move(of_cluster(folder, cluster), lambda done, of: None)
        took, worked = time.monotonic() - started, time.process_time() - used
    per_million = 1e6 / moved.records
    rate = took * per_million
    tell(
        f"move: {moved.records:,} events and {moved.states:,} states in {took:.1f} s: {rate:.0f} s per "
        f"million events (wanted: {WANTED_S:.0f}), of which {worked * per_million:.0f} s are this process's work"
    )
    assert rate < WANTED_S or busy()
