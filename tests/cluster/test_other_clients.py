"""Commands from confluent-kafka, whose default partitioner is not Kafka's: moved once, sent once."""

import asyncio
import time
from collections import Counter

import httpx
import orjson
import pytest

from schemas.tokens import read_token
from schemas.topics import OUTBOUND, OUTBOUND_BULK, partition_of
from services.app import open_app
from services.settings import Settings
from tests.cluster.books import ClusterBooks
from tests.cluster.bots import Bot
from tests.cluster.rig import Cluster, everything, until
from tests.processes import post, probe, settings_for

pytestmark = pytest.mark.kafka

PARTITIONS = 4
NUMBERS = [f"10654035224{n:04}" for n in range(8)]
COMMANDS = 48


class Graph:
    """Meta's end: accepts everything and counts the tokens."""

    def __init__(self):
        self.tokens = []

    def answer(self, request):
        self.tokens.append(orjson.loads(request.content)["biz_opaque_callback_data"])
        return httpx.Response(200, json={"messages": [{"id": f"wamid.{len(self.tokens)}"}]})


def command(n):
    lane = "bulk" if n % 3 == 0 else None
    common = {"command_id": f"c{n}", "number": NUMBERS[n % len(NUMBERS)], "to": f"3460022{n:04}", "lane": lane}
    return common | {"text": {"body": f"no. {n}"}, "origin": "campaign", "policy": "at_most_once"}


async def test_commands_placed_by_crc32_are_moved_once_and_sent_once(tmp_path, tell):
    graph = Graph()
    async with Cluster(PARTITIONS) as cluster, cluster.log() as log, ClusterBooks(cluster, log) as books:
        settings = Settings.model_validate(settings_for(tmp_path, **cluster.settings))

        async def placed():
            found = [record for topic in (OUTBOUND, OUTBOUND_BULK) for record in await everything(log, topic)]
            home = Counter(r.event.id for r in found if r.partition == partition_of(r.event.number, PARTITIONS))
            away = Counter(r.event.id for r in found if r.partition != partition_of(r.event.number, PARTITIONS))
            return home, away

        async def run(*acts):
            async with open_app(settings, graph_transport=httpx.MockTransport(graph.answer)) as app:
                running = asyncio.create_task(app.run())
                for act in acts:
                    await asyncio.to_thread(act)
                    await until(at_rest)
                app.stopping.set()
                await running

        def numbers_write():
            for number in NUMBERS:
                body = probe(number=number)
                while post(f"http://127.0.0.1:{settings.port}/webhooks/meta", body) != 200:
                    time.sleep(0.1)

        def bot_writes():
            bot = Bot(cluster, [], 1, 1)
            for n in range(COMMANDS):
                bot.write(command(n))
            bot.flush()

        async def at_rest():
            return await books.behind() == 0 and not await books.unsettled()

        await run(numbers_write, bot_writes)
        home, away = await placed()
        assert home == Counter(f"c{n}" for n in range(COMMANDS))
        assert 0 < away.total() < COMMANDS
        assert set(away.values()) == {1}
        key = await books.installation_key()
        sent = Counter(read_token(key, token)[0] for token in graph.tokens)
        assert sent == home
        await run(lambda: None)  # another owner finds nothing to move
        assert await placed() == (home, away)
        assert len(graph.tokens) == COMMANDS
    tell(f"confluent-kafka: {away.total()} of {COMMANDS} commands lay elsewhere, moved once, sent once")
