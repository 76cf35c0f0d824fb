"""A log whose order is as free as Kafka's: a single file's tidy order must hide nothing.

Around any real log, by seed: topics are read interleaved at random and in pieces of any size; what another processor
has published comes late; and records of topics that are delivered at least once come again, from an earlier place, as
after a crash before the commit. What stands in the log and where is never changed, and `ends` are the truth.
"""

import asyncio
import random

from schemas.ports import Record
from schemas.topics import HISTORY, INBOUND, OUTBOUND, OUTBOUND_BULK
from tests.harness import StrictLog

AT_LEAST_ONCE = frozenset({INBOUND, HISTORY, OUTBOUND, OUTBOUND_BULK})
LATE_S = 0.002
"""How long a reader waits for its first record, in seconds."""
REMEMBERED = 50


class SeededLog(StrictLog):
    """An `EventLog` for `open_app(wrap_log=…)`. `redelivered` counts what was handed out again."""

    def __init__(self, log, seed):
        super().__init__(log)
        self._pick = random.Random(seed)
        self.partitions = log.partitions
        self.redelivered = 0
        self.delayed = 0

    async def reader(self, topics, partition, positions):
        readers = {topic: await self._log.reader([topic], partition, positions) for topic in topics}
        return SeededReader(self, readers, random.Random(self._pick.random()))


class SeededReader:
    """A `Reader` over one reader per topic."""

    def __init__(self, log, readers, pick):
        self._log = log
        self._readers = readers
        self._pick = pick
        self._waiting = {topic: [] for topic in readers}
        self._seen = {topic: [] for topic in readers}
        self._next = {topic: reader.positions()[topic] for topic, reader in readers.items()}

    async def poll(self, limit, wait_s, leaving=frozenset()):
        """Never waits long: the tests move the clock, and a reader that slept would not see it."""
        found = await self._take(limit, leaving)
        if not found and wait_s > 0:
            await asyncio.sleep(min(wait_s, LATE_S))
            found = await self._take(limit, leaving)
        await asyncio.sleep(0)
        return found

    async def _take(self, limit, leaving):
        topics = [topic for topic in self._readers if topic not in leaving]
        self._pick.shuffle(topics)
        for topic in topics:
            self._waiting[topic].extend(await self._readers[topic].poll(limit, 0))
            if not self._waiting[topic]:
                continue
            if topic not in AT_LEAST_ONCE and self._pick.random() < 0.3:
                self._log.delayed += 1
                continue
            return self._again(topic) + self._hand_out(topic, self._pick.randint(1, limit))
        return []

    def _hand_out(self, topic, count):
        taken, self._waiting[topic] = self._waiting[topic][:count], self._waiting[topic][count:]
        self._next[topic] = taken[-1].offset + 1
        self._seen[topic] = [*self._seen[topic], *taken][-REMEMBERED:]
        return taken

    def _again(self, topic) -> list[Record]:
        """From an earlier place, up to where we are; never beyond, so the position only moves forward."""
        seen = self._seen[topic]
        if topic not in AT_LEAST_ONCE or not seen or self._pick.random() > 0.3:
            return []
        again = seen[self._pick.randrange(len(seen)) :]
        self._log.redelivered += len(again)
        return again

    async def ends(self):
        return {topic: (await reader.ends())[topic] for topic, reader in self._readers.items()}

    def positions(self):
        return self._next

    async def close(self):
        for reader in self._readers.values():
            await reader.close()
