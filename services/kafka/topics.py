"""The topics as Kafka must have them: partitions, replicas, retention, compaction.

Makes what is missing and tells what is wrong, but changes nothing that exists: a topic's partitions are fixed for the
life of an installation.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from time import monotonic
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, NotControllerError, for_code

from schemas.ports import LogUnavailable
from schemas.topics import RECORD_BYTES_MAX, TOPICS, Topic
from services.kafka.client import Kafka, bounded, started
from services.kafka.refusal import refusal

REPLICAS = 3
"""Where there are as many brokers: two must have a record before it is acknowledged, and one may be away."""
ADMIN_S = 30.0
CREATE_MS = 20_000
TOPIC_EXISTS = 36
CLOSE_S = 2.0
ASK_AGAIN_S = 0.1
HEARD_OF_S = 2.0


def configuration(topic: Topic, replicas: int, kept_s: Mapping[str, float] | None = None) -> dict[str, str]:
    """The settings of a topic that we rely on."""
    found = {
        "min.insync.replicas": str(2 if replicas >= REPLICAS else 1),
        "max.message.bytes": str(RECORD_BYTES_MAX),
        "unclean.leader.election.enable": "false",
    }
    if topic.retention_s is None:
        return found | {"cleanup.policy": "compact"}
    return found | {
        "cleanup.policy": "delete",
        "retention.ms": str(round((kept_s or {}).get(topic.name, topic.retention_s) * 1000)),
        "retention.bytes": "-1",
    }


async def create(kafka: Kafka, partitions: int, kept_s: Mapping[str, float] | None = None) -> list[str]:
    """Make the topics that are missing and return their names. Raises LogUnavailable."""

    async def work(admin: AIOKafkaAdminClient) -> list[str]:
        replicas = min(REPLICAS, len((await admin.describe_cluster())["brokers"]))
        there = set(await admin.list_topics())
        missing = [topic for topic in TOPICS.values() if kafka.topic(topic.name) not in there]
        if not missing:
            return []
        wanted = [
            NewTopic(
                kafka.topic(topic.name),
                partitions,
                replicas,
                topic_configs=configuration(topic, replicas, kept_s or {}),
            )
            for topic in missing
        ]
        await made_by(admin, wanted)
        made = [kafka.topic(topic.name) for topic in missing]
        await _described(admin, made, ADMIN_S)
        return made

    return await _asked(kafka, work)


async def made_by(admin: AIOKafkaAdminClient, wanted: Sequence[NewTopic]) -> None:
    """Have topics made. Raises LogUnavailable where one is refused, and KafkaError where nobody is there to make it."""
    try:
        answer = await admin.create_topics(list(wanted), timeout_ms=CREATE_MS)
    except AttributeError:  # aiokafka looks for the controller's id although the brokers have not told of one yet
        raise NotControllerError from None
    for _, code, *_ in answer.topic_errors:
        if code not in (0, TOPIC_EXISTS):
            raise LogUnavailable(f"Kafka refused to create a topic: {for_code(code).__name__}")


async def problems(kafka: Kafka, partitions: int, kept_s: Mapping[str, float] | None = None) -> list[str]:
    """What is wrong with the topics, each as one sentence with its remedy; nothing when all is well.

    Raises LogUnavailable.
    """

    async def work(admin: AIOKafkaAdminClient) -> list[str]:
        names = [kafka.topic(name) for name in TOPICS]
        found = await _described(admin, names, HEARD_OF_S)
        missing = [name for name in names if name not in found]
        if missing:
            return [f"{', '.join(missing)} missing on Kafka. Run `coexist topics create`."]
        wrong = []
        seen = await _configurations(admin, names)
        for topic in TOPICS.values():
            name = kafka.topic(topic.name)
            wrong += _wrong(name, topic, found[name], seen[name], partitions, kept_s or {})
        return wrong

    return await _asked(kafka, work)


async def _described(admin: AIOKafkaAdminClient, names: list[str], within_s: float) -> dict[str, Any]:
    """The topics as a broker has them. It hears of a new one a moment after that was made: so look for a while."""
    deadline = monotonic() + within_s
    while True:
        found = {one["topic"]: one for one in await admin.describe_topics()}
        if all(name in found for name in names) or monotonic() > deadline:
            return found
        await asyncio.sleep(ASK_AGAIN_S)


def _wrong(
    name: str, topic: Topic, found: dict[str, Any], seen: dict[str, str], partitions: int, kept_s: Mapping[str, float]
) -> list[str]:
    count = len(found["partitions"])
    if count != partitions:
        fixed = f"Set it to {count}; it is fixed for the life of an installation."
        return [f"{name} has {count} partitions, and COEXIST_PARTITIONS is {partitions}. {fixed}"]
    replicas = min(len(partition["replicas"]) for partition in found["partitions"])
    wrong = []
    for key, wanted in configuration(topic, replicas, kept_s).items():
        value = seen.get(key, "")
        if not _good_enough(key, value, wanted):
            wrong.append(f"{name} has {key}={value}, and should have {wanted}. Change it with kafka-configs.sh.")
    return wrong


def _good_enough(key: str, value: str, wanted: str) -> bool:
    """Longer retention and larger records than we need are an operator's choice."""
    if key in ("retention.ms", "max.message.bytes", "min.insync.replicas"):
        return value == "-1" or (value.isdecimal() and int(value) >= int(wanted))
    return value == wanted or (key == "retention.bytes" and value == "")


async def _configurations(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, dict[str, str]]:
    """The settings of some topics. A broker hears of a new topic a moment after it was made: then it is asked again."""
    while True:
        answers = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in names])
        resources = [resource for answer in answers for resource in answer.resources]
        if all(code == 0 for code, *_ in resources):
            return {name: {entry[0]: entry[1] or "" for entry in entries} for _, _, _, name, entries in resources}
        await asyncio.sleep(ASK_AGAIN_S)


async def _asked(kafka: Kafka, work: Callable[[AIOKafkaAdminClient], Awaitable[list[str]]]) -> list[str]:
    """What `work` finds. A broker that does not answer may be one of several: while another does, it is asked again."""
    deadline = monotonic() + ADMIN_S
    while True:
        admin = AIOKafkaAdminClient(**kafka.options)
        connected = False
        try:
            async with asyncio.timeout(max(0.0, deadline - monotonic())):
                await started(admin, ADMIN_S)
                connected = True
                return await work(admin)
        except (KafkaError, OSError, TimeoutError) as problem:
            if not connected:
                raise LogUnavailable(await refusal(kafka)) from None
            if monotonic() > deadline:
                raise LogUnavailable(f"Kafka did not answer: {type(problem).__name__}") from None
        finally:
            await bounded(admin.close(), CLOSE_S)
        await asyncio.sleep(ASK_AGAIN_S)
