"""Erasing on Kafka and Postgres: states go at once, what Kafka keeps is left out when read, and its end is told."""

import pytest

from tests.app.rig import NUMBER, service, until
from tests.app.test_privacy_erase import erase
from tests.cluster.rig import SOON_S, Cluster
from tests.kafka.broker import execute

PHONE = "34600555777"

pytestmark = pytest.mark.kafka


def names(url, text):
    """Rows of the database that name somebody."""
    found = execute(url, "SELECT key, value FROM states") + execute(url, "SELECT ''::bytea, batch FROM outbox")
    return [bytes(key) for key, value in found if text.encode() in bytes(key) + bytes(value)]


async def test_a_person_goes_from_postgres_at_once_and_the_report_says_when_kafka_forgets(tmp_path):
    async with Cluster() as cluster:
        await erased(tmp_path, cluster)


async def erased(folder, cluster):
    """Two people write, and one of them is erased."""
    async with service(folder, about=cluster.settings) as rig:
        await rig.trigger("message", contact=PHONE, text="clau-secreta")
        await rig.trigger("image", contact="34600555888")
        one = await until(lambda: rig.conversation(PHONE), SOON_S)
        assert names(cluster.url, PHONE)
        _, report = await erase(rig, PHONE)
        assert report["ages_out"]["where"] == "kafka"
        assert names(cluster.url, PHONE) == []
        assert names(cluster.url, "clau-secreta") == []
        await until(lambda: rig.events("contacts", "contact.erased"), SOON_S)
        last = [r for r in await rig.records("conversations") if r.event.key == one["conversation_id"]][-1]
        assert last.event.data is None
        first = next(r for r in await rig.records("inbound") if r.event.type == "webhook.message")
        ends = [await rig.app.log.end("inbound", partition) for partition in range(cluster.partitions)]
        await rig.app.log.append([("inbound", first.event)])
        assert ends == [await rig.app.log.end("inbound", partition) for partition in range(cluster.partitions)]
        export = await rig.admin.post("/v1/privacy/export", json={"number": NUMBER, "contact": PHONE})
        assert export.status_code == 200
        await until(lambda: waits(rig), SOON_S)


async def waits(rig):
    """Does the picture of the one who stays wait to be fetched, as the metrics have it?"""
    return "\ncoexist_media_queue_depth 1.0\n" in (await rig.admin.get("/metrics")).text
