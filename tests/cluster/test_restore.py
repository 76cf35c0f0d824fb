"""The drill of the cluster: Postgres is put back from a backup while Kafka stands. Nothing is sent twice or lost."""

import asyncio
import io
import time

import asyncpg
import pytest

from schemas.topics import TIMELINE
from services.verify.cluster import cluster_books
from services.verify.verdict import verify
from tests.app.rig import ADDED, NUMBER, service, until
from tests.app.sandbox_receiver import post, sandbox
from tests.app.test_backup import accepted, known_to, settled
from tests.cluster.folder import of_cluster
from tests.cluster.rig import SOON_S, Cluster, told
from tests.processes import coexist

pytestmark = [pytest.mark.kafka, pytest.mark.faults]

PEOPLE = [f"3460044{n:04}" for n in range(8)]
TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() ORDER BY 1"


async def dump(url):
    """Every table as it is at one instant, as pg_dump would have it."""
    connection, found = await asyncpg.connect(url), {}
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        for (table,) in await connection.fetch(TABLES):
            found[table] = io.BytesIO()
            await connection.copy_from_table(table, output=found[table], format="binary")
    await connection.close()
    return found


async def put_back(url, tables):
    connection = await asyncpg.connect(url)
    async with connection.transaction():
        for table, rows in tables.items():
            await connection.execute(f"TRUNCATE {table}")
            rows.seek(0)
            await connection.copy_to_table(table, source=rows, format="binary")
    await connection.close()


async def say(rig, text, people=PEOPLE):
    for person in people:
        await rig.customer(text, contact=person)
    await rig.owner(f"{text}, jo mateixa", contact=people[0])
    await until(lambda: rig.conversation(people[-1]), SOON_S)


async def send(rig, texts):
    """Commands that Meta took."""
    sent = [await rig.send(text, to=PEOPLE[n % len(PEOPLE)], origin="agent") for n, text in enumerate(texts)]
    assert {await settled(rig, command_id) for command_id in sent} == {"accepted"}
    return sent


async def before(rig, meta, url):
    """A life with a backup in its middle. The backup, the commands that waited in it, and all that were sent."""
    await post(meta, "/webhook", {"url": rig.webhook})
    await say(rig, "abans")
    sent = await send(rig, ["one", "two"])
    await rig.admin.post(f"/v1/numbers/{NUMBER}/pause")
    await rig.data("account", "number.changed")
    waiting = [await rig.send(f"waits {n}", to=PEOPLE[n], policy="at_least_once", origin="agent") for n in range(3)]
    for command_id in waiting:
        await until(lambda known=command_id: known_to(rig, known))
    backup = await dump(url)
    await rig.admin.post(f"/v1/numbers/{NUMBER}/resume")
    assert {await settled(rig, command_id) for command_id in waiting} == {"accepted"}
    await say(rig, "després")
    later = await send(rig, ["three", "four", "five"])
    await post(meta, "/flush", {"timeout_s": 10})
    return backup, waiting, later, [*sent, *waiting, *later]


async def test_a_database_put_back_behind_kafka_sends_nothing_twice_and_loses_nothing(tmp_path, tell):
    folder = tmp_path / "data"
    async with sandbox() as meta, Cluster() as cluster, cluster.log() as log:
        url = str(meta.base_url).rstrip("/")
        async with service(folder, url, meta=meta, about=cluster.settings) as rig:
            backup, waiting, later, sent = await before(rig, meta, cluster.url)
        await put_back(cluster.url, backup)
        said = await asyncio.to_thread(coexist, "restored", data_dir=folder, **cluster.settings)
        assert (said.returncode, said.stderr) == (0, ""), said.stderr
        count = len(await told(log, TIMELINE))
        async with service(folder, url, meta=meta, about=cluster.settings) as rig:
            await post(meta, "/webhook", {"url": rig.webhook})
            await rig.admin.post(f"/v1/numbers/{NUMBER}/resume")
            for command_id in (*waiting, *later):
                await until(lambda known=command_id: over(rig, known), SOON_S)
            await say(rig, "ara")
            sent += await send(rig, ["six"])
            assert await accepted(rig) == dict.fromkeys(sent, 1)
            await post(meta, "/flush", {"timeout_s": 10})
        events = await told(log, TIMELINE)
        added = {event.subject for event in events if event.type == ADDED}
        assert {send["wamid"] for send in (await meta.get("/sandbox/api/ledger/sends")).json()} <= added
        async with cluster_books(of_cluster(folder, cluster)) as books:
            verdict = await verify(of_cluster(folder, cluster), books, time.time(), lambda what: None)
        told_anew = len(events) - count
        tell(
            f"cluster, Postgres put back behind Kafka: {len(sent)} commands, none sent twice; {told_anew} facts told "
            f"since, {len(verdict.differences)} differences, {verdict.repeats} repeats"
        )
        assert verdict.differences == []


async def over(rig, command_id):
    """Whether the command has an end that was told after the restore, too."""
    state = (await rig.admin.get(f"/v1/sends/{command_id}")).json()
    return state.get("state") in ("unresolved", "accepted")
