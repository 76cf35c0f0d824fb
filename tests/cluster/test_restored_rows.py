"""`coexist restored` on the cluster: what it writes, and what it leaves behind when it is cut off."""

import json

import pytest

from schemas.ports import Event, Unreadable
from schemas.states import conversation_key
from schemas.topics import CONVERSATIONS as TOPIC
from services.backup_cluster import put_back
from services.statements_postgres import AT_WORK
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
