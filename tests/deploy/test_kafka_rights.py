"""The rights in k8s/components/strimzi on a real broker: each role can do its work with them, and nothing beyond."""

import asyncio
import contextlib
import time

import httpx
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupAuthorizationFailedError, TopicAuthorizationFailedError
from aiokafka.protocol.admin import CreateAclsRequest

from schemas.ports import Event
from schemas.topics import DEAD_LETTERS, OUTBOUND, TIMELINE
from services.app import ROLES
from services.kafka import topics as kafka_topics
from services.kafka.client import kafka_of
from services.kafka.log import KafkaLog
from services.sandbox.config import Number
from services.settings import Settings
from tests.app.relay_receiver import receiver
from tests.app.sandbox_receiver import CONTACT
from tests.cluster.rig import everything, until
from tests.deploy.test_kubernetes import of_kind
from tests.kafka.broker import drop_database, jars, new_database
from tests.kafka.cluster import KafkaCluster, Security
from tests.processes import Sandbox, Service, settings_for

pytestmark = [pytest.mark.kafka, pytest.mark.faults]

NUMBER = Number().phone_number_id
OPERATOR, PASSWORD = "operator", "open-sesame-1001"
PARTITIONS = 2
PRINCIPALS = (OPERATOR, *of_kind("KafkaUser"))
BROKER = """\
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS;User:{operator}
allow.everyone.if.no.acl.found=false
listener.name.clients.sasl.enabled.mechanisms=PLAIN
listener.name.clients.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required {users};
"""
RESOURCES = {"topic": 2, "group": 3, "cluster": 4}
PATTERNS = {"literal": 3, "prefix": 4}
OPERATIONS = {"Read": 3, "Write": 4, "Describe": 8, "DescribeConfigs": 10, "IdempotentWrite": 12}
ALLOW = 3
SETTLE_S = 60


def login(cluster, user):
    """The settings with which a user of the broker logs in."""
    return {
        "kafka_bootstrap_servers": cluster.bootstrap,
        "kafka_security_protocol": "SASL_PLAINTEXT",
        "kafka_sasl_mechanism": "PLAIN",
        "kafka_sasl_username": user,
        "kafka_sasl_password": PASSWORD,
        "partitions": PARTITIONS,
    }


def client(cluster, user):
    """What aiokafka's own clients are told."""
    return kafka_of(Settings.model_validate(login(cluster, user))).options


@pytest.fixture
async def cluster(tmp_path):
    """A broker that lets nobody do anything but what the manifests say, with our topics on it."""
    users = " ".join(f'user_{user}="{PASSWORD}"' for user in PRINCIPALS)
    security = Security("SASL_PLAINTEXT", BROKER.format(operator=OPERATOR, users=users))
    found = KafkaCluster(jars(), tmp_path / "kafka", security=security)
    try:
        found.start()
        settings = Settings.model_validate(login(found, OPERATOR))
        await kafka_topics.create(kafka_of(settings), PARTITIONS)
        await grant(found)
        yield found
    finally:
        found.stop()


async def grant(cluster):
    """Write the ACLs of every KafkaUser, as Strimzi's operator would."""
    admin = AIOKafkaAdminClient(**client(cluster, OPERATOR))
    await admin.start()
    try:
        for name, user in of_kind("KafkaUser").items():
            for acl in user["spec"]["authorization"]["acls"]:
                about = acl["resource"]
                kind, pattern = RESOURCES[about["type"]], PATTERNS[about.get("patternType", "literal")]
                resource = about.get("name", "kafka-cluster")
                for operation in acl["operations"]:
                    wanted = (kind, resource, pattern, f"User:{name}", "*", OPERATIONS[operation], ALLOW)
                    answer = await admin._send_request(CreateAclsRequest(*wanted))
                    assert [code for code, *_ in answer.creation_responses] == [0]
    finally:
        await admin.close()


@contextlib.contextmanager
def services(cluster, sandbox, folder, database):
    """A process per role, each logged in as its own user."""
    about = {"database_url": database, "meta_graph_url": sandbox.url, "relay_hosts": "127.0.0.1"}
    about |= {"media_url": folder / "media", "log_level": "info"}
    with contextlib.ExitStack() as stack:
        running = {}
        for role in ROLES:
            settings = settings_for(folder / role, **login(cluster, f"coexist-{role}"), **about)
            running[role] = stack.enter_context(Service(settings, folder, "--roles", role, name=role))
        for service in running.values():
            service.ready()
        yield running


async def test_every_role_does_all_of_its_work_with_the_rights_of_its_own_user(cluster, tmp_path):
    database, there = new_database(), receiver()
    log = KafkaLog(kafka_of(Settings.model_validate(login(cluster, OPERATOR))), PARTITIONS)
    await log.start()
    try:
        with Sandbox(tmp_path, "") as sandbox, services(cluster, sandbox, tmp_path, database) as running:
            async with there.listening(), httpx.AsyncClient(timeout=20, trust_env=False) as client_:
                await work(sandbox, running, client_, there, log)
        for role, service in running.items():
            said = service.err.read_text()
            assert "Authorization" not in said, f"{role}: {said}"
    finally:
        await log.close()
        drop_database(database)


async def work(sandbox, running, asked, there, log):
    """Messages, media, an echo, a send, a relay, a command that nobody can read: each role's whole work."""
    admin = running["echo-sync"].admin
    sandbox.call("POST", "/faults", {"duplicate_p": 0, "reorder_p": 0, "drop200_p": 0, "status_delay_ms": 5})
    sandbox.call("POST", "/webhook", {"url": running["ingest"].webhook})
    relay = await asked.post(f"{admin}/v1/relays", json={"url": there.url, "topics": ["timeline"], "from_start": True})
    assert relay.status_code < 300, relay.text
    there.secrets.append(relay.json()["secret"])
    for kind in ("text", "image"):
        about = {"number": NUMBER, "contact": CONTACT, "text": "Hola!", "kind": kind}
        sandbox.call("POST", "/customer/messages", about)
    sandbox.call("POST", "/history", {"number": NUMBER})
    body = {"number": NUMBER, "to": CONTACT, "type": "text", "text": {"body": "hola"}, "origin": "agent"}

    async def known():
        return (await asked.get(f"{admin}/v1/numbers")).json()["numbers"]

    await until(known, SETTLE_S)
    command = (await asked.post(f"{admin}/v1/messages", json=body)).json()["command_id"]
    now = time.time()
    poison = Event("poison", "send.requested", NUMBER, b'{"command_id": ', now, now)
    await log.append([(OUTBOUND, poison)])

    async def accepted():
        return (await asked.get(f"{admin}/v1/sends/{command}")).json().get("state") == "accepted"

    await until(accepted, SETTLE_S)
    sandbox.call("POST", "/app/messages", {"number": NUMBER, "contact": CONTACT, "text": "Ara hi vaig"})

    async def told():
        kinds = [record.event.type for record in await everything(log, TIMELINE)]
        return {"message.added", "status.changed", "message.completed"} <= set(kinds)

    await until(told, SETTLE_S)

    async def set_aside():
        return len(await everything(log, DEAD_LETTERS)) == 1

    await until(set_aside, SETTLE_S)

    async def relayed():
        return len(there.taken) > 3

    await until(relayed, SETTLE_S)


async def reads(cluster, user, topic):
    """Raises where a user may not read a topic."""
    consumer = AIOKafkaConsumer(**client(cluster, user), auto_offset_reset="earliest")
    await consumer.start()
    try:
        consumer.subscribe([f"coexist.{topic}"])
        async with asyncio.timeout(SETTLE_S):
            await consumer.getone()
    finally:
        await consumer.stop()


async def writes(cluster, user, topic):
    """Raises where a user may not write to a topic."""
    producer = AIOKafkaProducer(**client(cluster, user))
    await producer.start()
    try:
        async with asyncio.timeout(SETTLE_S):
            await producer.send_and_wait(f"coexist.{topic}", b"{}", partition=0)
    finally:
        await producer.stop()


async def test_nobody_may_do_what_is_another_role_s(cluster):
    await writes(cluster, OPERATOR, "timeline")
    await writes(cluster, "coexist-ingest", "inbound")
    for user, topic in (("ingest", "timeline"), ("ingest", "inbound"), ("media", "conversations")):
        with pytest.raises((TopicAuthorizationFailedError, GroupAuthorizationFailedError)):
            await reads(cluster, f"coexist-{user}", topic)
    for user, topic in (("ingest", "timeline"), ("relay", "timeline"), ("sender", "timeline"), ("keda", "inbound")):
        with pytest.raises(TopicAuthorizationFailedError):
            await writes(cluster, f"coexist-{user}", topic)
