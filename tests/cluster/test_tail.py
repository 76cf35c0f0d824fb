"""`coexist tail` on the cluster: the topic as Kafka has it, without a service."""

import asyncio
import json
import subprocess

import pytest

from schemas.ports import Event
from schemas.topics import OUTBOUND, TIMELINE
from services.kafka.client import Line
from tests.app.rig import service
from tests.app.test_app_timeline import goes_on_from_the_end_and_not_from_beyond
from tests.cluster.rig import Cluster
from tests.processes import COEXIST, coexist, environment

pytestmark = pytest.mark.kafka

NUMBERS = ["106540352242922", "106540352242923", "106540352242924"]


def fact(n):
    number = NUMBERS[n % 3]
    return TIMELINE, Event(f"m{n}:added", "message.added", number, b'{"n":%d}' % n, n, n, f"m{n}", seq=n // 3 + 1)


def strange():
    """A record of somebody else's that is no event."""
    return Line(b"k", b"not JSON", [])


async def test_tail_prints_a_topic_of_kafka_and_follows_it(tmp_path):
    async with Cluster(partitions=3) as cluster, cluster.log() as log:
        await log.append([fact(n) for n in range(30)])
        await log._writer.append([(cluster.kafka.topic(OUTBOUND), 0, strange())])
        given = {
            "data_dir": tmp_path,
            "kafka_bootstrap_servers": cluster.bootstrap,
            "topic_prefix": cluster.prefix,
        }

        def tail(*arguments):
            done = coexist("tail", *arguments, **given)
            assert done.returncode == 0, done.stderr
            return done.stdout.splitlines()

        everything = [json.loads(line) for line in tail("timeline", "--no-follow", "--json")]
        assert sorted(event["data"]["n"] for event in everything) == list(range(30))
        for number in NUMBERS:
            assert [int(event["seq"]) for event in everything if event["number"] == number] == list(range(1, 11))
        assert len(tail(f"{cluster.prefix}.timeline", "--no-follow", "--number", NUMBERS[1])) == 10
        (unreadable,) = [json.loads(line) for line in tail("outbound", "--no-follow", "--json")]
        assert (unreadable["type"], unreadable["data"]) == ("record.unreadable", "not JSON")
        following = await asyncio.create_subprocess_exec(
            *COEXIST, "tail", "timeline", env=environment(**given), stdout=subprocess.PIPE
        )
        try:
            heard = asyncio.ensure_future(following.stdout.readline())
            n = 30
            while not heard.done():
                await log.append([fact(n)])
                n += 1
                await asyncio.wait([heard], timeout=0.3)
            assert b"message.added" in heard.result()
        finally:
            following.kill()
            await following.communicate()


async def test_a_stream_whose_place_lies_ahead_of_the_topic_is_refused(tmp_path):
    async with Cluster(partitions=3) as cluster, service(tmp_path, roles=(), about=cluster.settings) as rig:
        await goes_on_from_the_end_and_not_from_beyond(rig, "/v1/topics/timeline/events")


async def test_tail_says_what_it_cannot_have(tmp_path):
    away = coexist("tail", "timeline", data_dir=tmp_path, kafka_bootstrap_servers="127.0.0.1:1")
    assert (away.returncode, away.stderr.count("\n")) == (3, 1)
    assert "Kafka did not answer" in away.stderr
