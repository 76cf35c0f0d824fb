"""The real runner on a real SQLite file, on the seeded log, with virtual time, crashes and owners that change."""

import asyncio
import random
from contextlib import asynccontextmanager

from echo_sync.conversations import Conversations
from echo_sync.messages import Messages
from schemas.ports import Fenced
from schemas.topics import TOPICS, partition_of
from services.foreign_states import foreign_type
from services.runner import Runner
from services.shard import decode_state
from services.sqlite.file import SqliteFile
from services.sqlite.log import LogFile, SqliteLog
from services.sqlite.store import SqliteStore, scan
from tests.harness import KEY, NUMBER, Clock, StrictStore, read_all
from tests.simulation.seeded_log import SeededLog

PARTITIONS = 2
SHARD = partition_of(NUMBER, PARTITIONS)
DEADLINE_S = 30.0
LATE_S = 0.002


class Crash(Exception):
    """The process ended here."""


class CrashingStore(StrictStore):
    """Ends the process before or after a commit, by seed."""

    def __init__(self, store, pick, share):
        super().__init__(store)
        self._pick = pick
        self._share = share
        self.crashes = 0

    async def commit(self, commit):
        fate = self._pick.random()
        if fate < self._share:
            self.crashes += 1
            raise Crash
        await super().commit(commit)
        if fate > 1 - self._share:
            self.crashes += 1
            raise Crash


class LateLog(SqliteLog):
    """Readers hear of a commit a moment after it is on the disk, by seed: as when the loop has much to do."""

    pick = random.Random()

    def committed(self, ends):
        tell = super().committed
        asyncio.get_running_loop().call_later(self.pick.random() * LATE_S, tell, ends)


class Quiet:
    """An observer that remembers what could not be decided."""

    def __init__(self):
        self.dead = []

    def committed(self, batch):
        pass

    def noted(self, *_):
        pass

    def dead_lettered(self, processor, reason):
        self.dead.append((processor, reason))


class Embedded:
    """Two processors, each with an owner that may crash, or be overtaken by another one while it still works."""

    def __init__(self, path, seed, *, crashes=0.0):
        self.pick = random.Random(seed)
        self.clock = Clock()
        self.file = SqliteFile(path)
        real = LateLog(self.file, PARTITIONS, self.clock)
        real.pick = random.Random(seed)
        self.rows = LogFile(self.file.reading, PARTITIONS)
        self.store = CrashingStore(SqliteStore(self.file, real, self.clock), self.pick, crashes)
        self.log = SeededLog(real, seed)
        self.observer = Quiet()
        self.processors = [Messages(KEY), Conversations()]
        self.owners = []
        self.fenced = 0
        self.moves = 0
        self.closing = False

    def start(self):
        self.file.start()
        for processor in self.processors:
            self.move(processor)

    def move(self, processor):
        """Give the shard to a new owner; the old one is not asked."""
        self.moves += 1
        self.owners.append(asyncio.create_task(self._own(processor, f"owner{self.moves}")))

    async def _own(self, processor, owner):
        """What a process does: take the shard once, work until it crashes or is fenced; a crash starts it anew."""
        again = True
        while again and not self.closing:
            again = False
            lease = await self.store.acquire(processor.name, SHARD, owner, 0.0)
            runner = Runner(processor, self.log, self.store, self.clock, self.observer, foreign=foreign_type)
            try:
                await runner.serve(lease)
            except Crash:
                again = True
            except Fenced:
                self.fenced += 1

    async def quiet(self):
        """Wait until everything was read, no timer is due, and all that the file holds has been announced."""
        async with asyncio.timeout(DEADLINE_S):
            while not (await self._is_quiet() and await self._is_announced()):
                for task in self.owners:
                    if task.done():
                        task.result()
                if self.pick.random() < 0.2 and all(task.done() for task in self.owners):
                    raise AssertionError("nobody works any more")
                await asyncio.sleep(0.002)

    async def _is_quiet(self):
        """By what the file holds alone: a commit is on the disk a moment before the log tells of it.

        Each processor is asked before those that read what it writes, and its position before the end: what rests
        when it is asked still rests when the last one is.
        """
        for processor in self.processors:
            positions = await self.store.positions(processor.name, SHARD)
            for topic in processor.inputs:
                if positions.get(topic, 0) < self.rows.end(topic, SHARD):
                    return False
            wake = await self.store.next_wake(processor.name, SHARD)
            if wake is not None and wake <= self.clock.now:
                return False
        return True

    async def _is_announced(self):
        """Whether readers see all that the file holds: a snapshot reads states there, and topics as readers do."""
        return all([await self.log.end(topic, SHARD) == self.rows.end(topic, SHARD) for topic in TOPICS])

    async def run_until(self, end):
        """Let virtual time pass, from one timer to the next."""
        while True:
            await self.quiet()
            wakes = [await self.store.next_wake(processor.name, SHARD) for processor in self.processors]
            wake = min((wake for wake in wakes if wake is not None), default=None)
            if wake is None or wake > end:
                break
            self.clock.now = wake
        self.clock.now = end

    async def close(self):
        """End the owners: one that crashes in the very commit in which it is cancelled begins no other life."""
        self.closing = True
        for task in self.owners:
            task.cancel()
        await asyncio.gather(*self.owners, return_exceptions=True)
        await self.file.close()

    async def snapshot(self):
        """What is stored and published, in the form that `truth` reads."""
        states = {}
        for processor in self.processors:
            rows = scan(self.file, processor.name, "")
            states[processor.name] = {key: decode_state(processor.state_type(key), value) for _, key, value in rows}
        log = {topic: [record.event for record in await read_all(self.log, topic)] for topic in TOPICS}
        return Snapshot(states, log)


class Snapshot:
    def __init__(self, states, log):
        self.states = states
        self.log = log


@asynccontextmanager
async def embedded(folder, seed, **more):
    running = Embedded(folder / "coexist.db", seed, **more)
    running.start()
    try:
        yield running
    finally:
        await running.close()
