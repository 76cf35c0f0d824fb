"""`coexist verify` on a cluster: an installation that was moved there, at rest, is as it must be; damage is found."""

import time

import pytest

from schemas.topics import TIMELINE
from services.commands.failure import Failure
from services.move.migration import move
from services.verify.books import FolderBooks
from services.verify.cluster import cluster_books
from services.verify.verdict import verify
from tests.app.rig import settings as embedded
from tests.cluster.folder import fill, of_cluster
from tests.cluster.rig import Cluster
from tests.cluster.test_privacy import erased
from tests.kafka.broker import execute

pytestmark = [pytest.mark.kafka, pytest.mark.faults]

PARTITIONS = 3
WEBHOOKS = 30


async def look(settings):
    async with cluster_books(settings) as books:
        return await verify(settings, books, time.time(), lambda what: None)


def found(verdict):
    return {difference.kind for difference in verdict.differences}


async def test_what_was_moved_is_as_it_must_be_and_damage_is_found(tmp_path):
    folder = tmp_path / "data"
    await fill(folder, WEBHOOKS, partitions=PARTITIONS)
    before = FolderBooks(embedded(folder, partitions=PARTITIONS))
    there = await verify(embedded(folder, partitions=PARTITIONS), before, time.time(), lambda what: None)
    await before.close()
    assert there.differences == []
    async with Cluster(partitions=PARTITIONS) as cluster, cluster.log() as log:
        settings = of_cluster(folder, cluster)
        await move(settings, lambda done, of: None)
        here = await look(settings)
        assert (here.differences, here.events, here.messages) == ([], there.events, there.messages)
        assert here.messages == WEBHOOKS * 10
        schema = cluster.url.rpartition("search_path=")[2]

        def change(statement):
            execute(cluster.url, statement.replace("$", f"{schema}."))

        change("UPDATE $leases SET expires_at = 1e12 WHERE slot = 0")
        with pytest.raises(Failure, match="is at work"):
            await look(settings)
        change("UPDATE $leases SET expires_at = 0")
        (record, *_) = [r for p in range(PARTITIONS) for r in await log.read(TIMELINE, p, 0, 1)]
        await log.append([(TIMELINE, record.event)])
        again = await look(settings)
        assert (again.differences, again.repeats) == ([], 1)
        change("DELETE FROM $states WHERE id = (SELECT min(id) FROM $states WHERE key LIKE 'm/%')")
        change("UPDATE $sequences SET seq = seq + 1 WHERE topic = 'timeline'")
        assert found(await look(settings)) == {"gap", "lost"}


async def test_what_kafka_keeps_of_an_erased_person_is_no_difference(tmp_path):
    async with Cluster(partitions=1) as cluster:
        await erased(tmp_path, cluster)
        verdict = await look(of_cluster(tmp_path, cluster))
    assert (verdict.differences, verdict.messages) == ([], 1)
