"""Webhooks at a steady rate, signed, whatever becomes of them; and when each message came out on the timeline."""

import asyncio
import random
import time
from dataclasses import dataclass

import orjson

from schemas.topics import TIMELINE, partition_of
from services.sandbox.config import DEFAULT_SECRET
from services.sandbox.poster import NoAnswer, Poster
from services.sandbox.wire import sign
from tests.processes import probe

ANSWER_S = 10.0


@dataclass
class Post:
    """One webhook: when it left, what was answered (0: nothing) and after how long, and the message in it."""

    at: float
    wamid: str
    status: int
    answered_s: float


def many(number, contact, count, name):
    """A webhook of `count` messages of one person."""
    body = orjson.loads(probe(number=number, contact=contact))
    value = body["entry"][0]["changes"][0]["value"]
    (message,) = value["messages"]
    value["messages"] = [message | {"id": f"wamid.{name}.{n}"} for n in range(count)]
    return orjson.dumps(body)


class Door:
    """Where webhooks are posted; `posts` is what became of each."""

    def __init__(self, url):
        self.posts = []
        self._poster = Poster(url)

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        self._poster.close()
        await asyncio.sleep(0.1)  # its connections close in the loop's next rounds

    async def post(self, body):
        """Post once and keep what became of it."""
        headers = {"Content-Type": "application/json", "X-Hub-Signature-256": sign(body, DEFAULT_SECRET.encode())}
        at = time.monotonic()
        try:
            status = await self._poster.post(body, headers, ANSWER_S)
        except (NoAnswer, TimeoutError):
            status = 0
        wamid = orjson.loads(body)["entry"][0]["changes"][0]["value"]["messages"][0]["id"]
        self.posts.append(Post(at, wamid, status, time.monotonic() - at))
        return status


class Webhooks(Door):
    """Customers of `numbers` write at `per_s`. With `async with`: until the end of the block."""

    def __init__(self, url, numbers, per_s, seed=1):
        super().__init__(url)
        self._numbers, self._per_s, self._dice = numbers, per_s, random.Random(seed)
        self._under_way = set()

    async def __aenter__(self):
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_):
        self._task.cancel()
        await asyncio.wait([self._task, *self._under_way])
        await super().__aexit__()

    async def _run(self):
        started, count = time.monotonic(), 0
        while True:
            while count < (time.monotonic() - started) * self._per_s:
                count += 1
                contact = f"3460011{self._dice.randrange(40):04}"
                task = asyncio.create_task(self.post(probe(number=self._dice.choice(self._numbers), contact=contact)))
                self._under_way.add(task)
                task.add_done_callback(self._under_way.discard)
            await asyncio.sleep(0.2 / self._per_s)

    def between(self, begin, end):
        """The posts that left in a span of time."""
        return [post for post in self.posts if begin <= post.at < end]


class Arrivals:
    """When each message came out on the timelines of some numbers."""

    def __init__(self, log, numbers):
        self._log = log
        self._partitions = {partition_of(number, log.partitions) for number in numbers}
        self.at = {}

    async def __aenter__(self):
        self._readers = [
            await self._log.reader((TIMELINE,), partition, {TIMELINE: await self._log.end(TIMELINE, partition)})
            for partition in self._partitions
        ]
        self._tasks = [asyncio.create_task(self._follow(reader)) for reader in self._readers]
        return self

    async def __aexit__(self, *_):
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        for reader in self._readers:
            await reader.close()

    async def _follow(self, reader):
        while True:
            for record in await reader.poll(1_000, 1.0):
                if record.event.type == "message.added":
                    self.at.setdefault(record.event.subject, time.monotonic())

    def latencies(self, posts):
        """Seconds from the webhook to the timeline of those that were acknowledged; what has not come is infinite."""
        return sorted(self.at.get(post.wamid, float("inf")) - post.at for post in posts if post.status == 200)


def percentile(values, share):
    """The value below which `share` of sorted values lie."""
    return values[min(len(values) - 1, int(len(values) * share))]


class Memory:
    """The resident memory of a process, sampled; `with` it over a span of time."""

    def __init__(self, pid):
        self._pid = pid
        self.samples = []

    async def __aenter__(self):
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_):
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _run(self):
        while True:
            self.samples.append(resident_mib(self._pid))
            await asyncio.sleep(0.25)


def resident_mib(pid):
    """Resident memory in MiB."""
    with open(f"/proc/{pid}/status") as status:  # noqa: PTH123 - no file of ours
        line = next(line for line in status if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024
