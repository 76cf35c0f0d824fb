"""The sender's side of the bench: a Graph that takes everything, a bare loop of the same client, and our sender.

`graph PORT` answers every send at once; `loop PORT IN_FLIGHT COUNT` posts to it with the sender's own client and
nothing else; `sender FOLDER PORT NUMBERS RATE COUNT` lets the sender role work off that many commands.
"""

import asyncio
import itertools
import json
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
from msgspec import Raw

from schemas import items
from schemas.items import Contact, Item
from schemas.ports import Event
from schemas.topics import INBOUND, OUTBOUND, SENDS
from sender import graph
from services.app import open_app
from services.bench.floors import serve as serve_asgi
from services.bench.rig import BenchFailed
from services.bench.service import CAUGHT_UP_POLL_S, is_caught_up
from services.running import App
from services.serve import SWITCH_S, calm_collector, loop_factory
from services.settings import Settings
from services.telemetry import logs

TOKEN = "bench"  # noqa: S105 - the bench's Graph takes any
TEXT: dict[str, Any] = {"type": "text", "text": {"body": "Good morning, yes: the blue one is here in size M."}}

CONTENT = graph.body(Contact(wa_id="15550100199"), TEXT, "c1.bench.1.0000000000000000")

GIVE_UP_S = 60.0

_counter = itertools.count()


async def _accept(scope: Any, receive: Any, send: Any) -> None:
    more = True
    while more:
        more = (await receive()).get("more_body", False)
    body = (
        b'{"messaging_product":"whatsapp","contacts":[{"input":"15550100199","wa_id":"15550100199"}],'
        b'"messages":[{"id":"wamid.%020d"}]}' % next(_counter)
    )
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def bare_loop(port: int, in_flight: int, count: int) -> dict[str, float]:
    """Sends a second of the client alone: with one pool for all that is in flight, and as the sender has it.

    Each connection is opened before the clock starts.
    """
    async with graph.client(connections=in_flight) as client:
        url = f"http://127.0.0.1:{port}/v26.0/8/messages"
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}

        async def post() -> None:
            (await client.post(url, content=CONTENT, headers=headers)).raise_for_status()

        one_pool = await _per_s(post, in_flight, count)
    spread = graph.Graph(graph.client, f"http://127.0.0.1:{port}", "v26.0")

    async def send() -> None:
        await spread.send("8", TOKEN, CONTENT)

    small_pools = await _per_s(send, in_flight, count)
    await spread.aclose()
    return {"one_pool": one_pool, "small_pools": small_pools}


async def _per_s(post: Callable[[], Awaitable[None]], in_flight: int, count: int) -> float:
    left = 0

    async def work() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await post()

    for left in (in_flight * 2, count):  # noqa: B007 - the workers count it down
        started = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(in_flight)))
    return count / (time.perf_counter() - started)


# --- our sender


def _settings(folder: Path, port: int) -> Settings:
    return Settings.model_validate(
        {
            "data_dir": folder,
            "admin_port": 0,
            "meta_access_token": TOKEN,
            "meta_graph_url": f"http://127.0.0.1:{port}",
        }
    )


def number_of(index: int) -> str:
    """A number of the bench."""
    return f"8{index:014d}"


async def _register(settings: Settings, numbers: int, rate_per_s: int) -> None:
    async with open_app(settings, ["echo-sync"]) as app:
        now = time.time()
        for index in range(numbers):
            raw = Raw(orjson.dumps({"rate_per_s": rate_per_s}))
            item = Item(number=number_of(index), field="coexist", event="REGISTERED", at=now, received_at=now, raw=raw)
            body = items.encode(item)
            await app.log.append([(INBOUND, Event(f"bench:{index}", "webhook.account", item.number, body, now, now))])
        while not await is_caught_up(app):  # noqa: ASYNC110 - nobody announces the end of work
            await asyncio.sleep(CAUGHT_UP_POLL_S)


async def _until_told(app: App, outcomes: int) -> None:
    """Wait for that many outcomes. Raises BenchFailed when they do not come."""
    give_up = time.perf_counter() + GIVE_UP_S
    while True:
        told = sum([await app.log.end(SENDS, shard) for shard in range(app.log.partitions)])
        if told >= outcomes:
            return
        if time.perf_counter() > give_up:
            raise BenchFailed(f"{told} of {outcomes} sends have an outcome")
        await asyncio.sleep(CAUGHT_UP_POLL_S)


async def send_all(folder: Path, port: int, numbers: int, rate_per_s: int, count: int) -> dict[str, float]:
    """Sends a second of the sender role, from the first command read to the last outcome told."""
    settings = _settings(folder, port)
    await _register(settings, numbers, rate_per_s)
    async with open_app(settings, ["sender"]) as app:
        calm_collector()
        warm = count // 10
        await _ask(app, numbers, 0, warm)
        await _until_told(app, warm)
        started, used = time.perf_counter(), time.process_time()
        await _ask(app, numbers, warm, count)
        await _until_told(app, warm + count)
        took, cpu = time.perf_counter() - started, time.process_time() - used
    return {"per_s": count / took, "cpu_ms": cpu / count * 1000}


async def _ask(app: App, numbers: int, first: int, count: int) -> None:
    now = time.time()
    entries = []
    for n in range(first, first + count):
        number = number_of(n % numbers)
        data = {"command_id": f"bench-{n}", "number": number, "to": f"1555{n:08d}", "message": TEXT}
        event = Event(f"send:bench-{n}", "send.requested", number, orjson.dumps(data), now, now, f"bench-{n}")
        entries.append((OUTBOUND, event))
    for start in range(0, len(entries), 500):
        await app.log.append(entries[start : start + 500])


def main() -> None:
    """Do what the arguments name."""
    name, *rest = sys.argv[1:]
    sys.setswitchinterval(SWITCH_S)
    if name == "graph":
        serve_asgi(_accept, int(rest[0]))
        return
    logs.configure("json", "error")
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        if name == "loop":
            print(json.dumps(runner.run(bare_loop(*map(int, rest)))))
        else:
            print(json.dumps(runner.run(send_all(Path(rest[0]), *map(int, rest[1:])))))


if __name__ == "__main__":
    main()
