"""An embedded edition moves to a real Kafka and Postgres: nothing is lost, told twice or told in another order."""

import asyncio
import time
from collections import Counter

import orjson
import pytest

from schemas.instants import rfc3339
from schemas.tokens import read_token
from schemas.topics import SENDS, TIMELINE, TOPICS
from tests.app.rig import until
from tests.cluster.rig import Cluster, everything, told
from tests.crash.books import OUTCOMES, Books
from tests.crash.sends import AGAIN
from tests.processes import Sandbox, Service, coexist, post, probe, settings_for

pytestmark = [pytest.mark.kafka, pytest.mark.crash]

PARTITIONS = 3
SETTLE_S = 180.0
MOVE_S = 180
SLOW_GRAPH_MS = 1_500
LATER_S = 15
"""Until two of the commands may go: they wait beyond the kill, however slowly it comes."""


def moving(cluster, folder, *more, **settings):
    given = {"data_dir": folder, **cluster.settings, **settings}
    return coexist("migrate-to-cluster", *more, timeout_s=MOVE_S, cwd=folder, **given)


def customer(n):
    return f"3460022{n:04}"


def customers_write(meta, people):
    number = meta.call("GET", "/numbers")[0]["number"]
    for n in people:
        meta.call("POST", "/customer/messages", {"number": number, "contact": customer(n), "text": f"Hola {n}"})
    return number


def ask(service, number, n, **more):
    body = {"number": number, "to": customer(n), "type": "text", "text": {"body": f"no. {n}"}, **more}
    body["command_id"] = f"command-{n}"

    def taken():
        """Nobody may have read yet of the number."""
        answer = service.client.post(f"{service.admin}/v1/messages", json=body, timeout=10)
        assert answer.status_code in (202, *AGAIN), answer.text
        return answer.status_code == 202 and answer.json()["command_id"]

    return service.until(taken)


def unread_webhooks(settings, folder, meta, people):
    """Webhooks that nobody reads before the move: only ingest is at work."""
    with Service(settings, folder, "--roles", "ingest", name="ingest") as service:
        service.ready()
        customers_write(meta, people)
        mine = [probe(number="106540352242922", contact=customer(n), text=f"Hola again {n}") for n in range(20)]
        assert all(post(service.webhook, body) == 200 for body in mine)
        service.stop()
    return [orjson.loads(body)["entry"][0]["changes"][0]["value"]["messages"][0]["id"] for body in mine]


def leave_work(settings, folder, meta):
    """Traffic, then a kill with attempts open, commands in line and a timer set, then webhooks that nobody reads."""
    with Service(settings, folder, name="embedded") as service:
        service.ready()
        number = customers_write(meta, range(30))
        wanted = [ask(service, number, n) for n in range(4)]
        service.until(lambda: len([s for s in meta.call("GET", "/ledger/sends") if s["wamid"]]) >= 4)
        meta.call("POST", "/faults", {"graph_delay_ms": SLOW_GRAPH_MS})
        wanted += [ask(service, number, n, origin="agent") for n in range(4, 8)]
        later = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + LATER_S))
        wanted += [ask(service, number, n, not_before=later) for n in range(8, 10)]
        wanted += [ask(service, number, n, lane="bulk") for n in range(10, 14)]
        service.until(lambda: "send.attempted" in str(stories(service, wanted[4:8])))
        service.kill()
    meta.call("POST", "/faults", {"graph_delay_ms": 0})
    return wanted, unread_webhooks(settings, folder, meta, range(30, 40))


def stories(service, commands):
    return [service.client.get(f"{service.admin}/v1/sends/{command}").json() for command in commands]


@pytest.mark.faults
async def test_open_work_moves_and_goes_on_where_it_was(tmp_path, tell):
    folder = tmp_path / "data"
    settings = settings_for(folder, partitions=PARTITIONS)
    webhook = f"http://127.0.0.1:{settings['port']}/webhooks/meta"
    async with Cluster(partitions=PARTITIONS) as cluster, cluster.log() as log:
        with Sandbox(tmp_path, webhook) as meta:
            settings["meta_graph_url"] = meta.url
            wanted, unread = await asyncio.to_thread(leave_work, settings, tmp_path, meta)
            books = Books(folder, PARTITIONS)
            before = {topic: list(books.records(topic)) for topic in TOPICS}
            key, behind, unsettled = books.key(), books.behind(), len(books.unsettled())
            books.close()
            assert behind >= len(unread)
            assert unsettled >= 2
            done = await asyncio.to_thread(moving, cluster, folder)
            assert done.returncode == 0, done.stderr
            for topic, records in before.items():
                assert seen(await everything(log, topic)) == seen(records)
            with Service(settings | cluster.settings, tmp_path, name="cluster") as service:
                await asyncio.to_thread(service.ready)

                async def settled():
                    ends = {e.subject for e in await told(log, SENDS) if e.type in OUTCOMES}
                    added = {e.subject for e in await told(log, TIMELINE) if e.type == "message.added"}
                    return set(wanted) <= ends and set(unread) <= added

                await until(settled, SETTLE_S)
                await asyncio.to_thread(customers_write, meta, range(40, 45))
                await until(all_heard(meta, log), SETTLE_S)
                await asyncio.to_thread(service.stop)
            looked = await asyncio.to_thread(coexist, "verify", timeout_s=MOVE_S, data_dir=folder, **cluster.settings)
            assert looked.returncode == 0, looked.stdout + looked.stderr
            facts, outcomes = await told(log, TIMELINE), await told(log, SENDS)
            sends = meta.call("GET", "/ledger/sends")
    ends = Counter(event.subject for event in outcomes if event.type in OUTCOMES)
    assert ends == Counter(wanted)
    ids = Counter(event.id for event in (*facts, *outcomes))
    assert [id_ for id_, count in ids.items() if count > 1] == []
    sent = Counter(read_token(key, send["callback"])[0] for send in sends if send["wamid"])
    assert sent == Counter(wanted)
    tell(f"move: {sum(map(len, before.values()))} records, {unsettled} open commands, {behind} unread: all went on")


def all_heard(meta, log):
    """Everything that was acknowledged stands on the timeline, and nobody has anything left to tell."""

    async def heard():
        items = await asyncio.to_thread(meta.call, "GET", "/ledger/items")
        said = {item["wamid"] for item in items if item["kind"] == "message"}
        added = {event.subject for event in await told(log, TIMELINE) if event.type == "message.added"}
        return all(item["acknowledged"] for item in items) and said <= added

    return heard


def seen(records):
    """What must be the same on Kafka: place, ids, `seq`, key, data and times to the millisecond."""
    return [
        (
            record.partition,
            record.offset,
            *(getattr(record.event, field) for field in ("id", "type", "number", "seq", "key", "data", "subject")),
            rfc3339(record.event.at),
            rfc3339(record.event.recorded_at),
            int(record.appended_at * 1000),
        )
        for record in records
    ]
