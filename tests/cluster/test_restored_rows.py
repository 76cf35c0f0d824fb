"""`coexist restored` on the cluster: what it writes, and what it leaves behind when it is cut off."""

import json

import pytest
from aiokafka import AIOKafkaProducer

from schemas.ports import Event, Unreadable
from schemas.states import conversation_key
from schemas.topics import CONVERSATIONS as TOPIC
from schemas.topics import TIMELINE
from services.backup import MARK_READ, read
from services.backup_cluster import PAGE_RECORDS, put_back
from services.postgres.statements import AT_WORK
from tests.app.rig import settings
from tests.cluster.rig import Cluster
from tests.kafka.broker import execute

pytestmark = pytest.mark.kafka

NUMBER = "106540352242922"
AT = 1_790_000_000.0
KNOWN = "SELECT value FROM states WHERE key = convert_to('{}', 'UTF8')"


def told(conversation_id, version):
    data = json.dumps({"conversation_id": conversation_id, "version": version}).encode() if version else None
    return TOPIC, Event(f"{conversation_id}/{version}", "conversation.state", NUMBER, data, AT, AT, key=conversation_id)


async def test_a_conversation_that_was_withdrawn_stays_so_and_no_lease_outlives_a_failure(tmp_path):
    async with Cluster(partitions=1) as cluster, cluster.log() as log:
        about = settings(tmp_path, **cluster.settings)
        await log.append([told("lives", 3), told("merged", 7), told("merged", 0)])
        await put_back(about, AT)
        assert execute(cluster.url, KNOWN.format(conversation_key("lives")))
        assert not execute(cluster.url, KNOWN.format(conversation_key("merged")))
        execute(cluster.url, "UPDATE states SET value = '\\x00'")
        with pytest.raises(Unreadable):
            await put_back(about, AT)
        assert execute(cluster.url, AT_WORK)[0][0] == 0


async def test_numbers_go_on_behind_the_newest_however_many_offsets_after_it_hold_nothing(tmp_path):
    async with Cluster(partitions=1) as cluster, cluster.log() as log:
        await log.append([(TIMELINE, Event("e5", "message.added", NUMBER, b"{}", AT, AT, "wamid.1", seq=5))])
        await abandon(cluster, TIMELINE, PAGE_RECORDS + 1)
        await put_back(settings(tmp_path, **cluster.settings), AT)
        (row,) = execute(cluster.url, "SELECT seq FROM sequences WHERE topic = 'timeline'")
        assert row[0] == 5
        (mark,) = execute(cluster.url, MARK_READ)
        assert read(mark[0]).told_until == (await log.end(TIMELINE, 0),)


async def abandon(cluster, topic, count):
    """Offsets that no reader sees: those of a transaction that was given up."""
    producer = AIOKafkaProducer(**cluster.kafka.options, transactional_id=cluster.prefix)
    await producer.start()
    await producer.begin_transaction()
    for _ in range(count):
        await producer.send(cluster.kafka.topic(topic), b"{}", partition=0)
    await producer.flush()
    await producer.abort_transaction()
    await producer.stop()
