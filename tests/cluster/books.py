"""What a cluster holds, read beside its processes. It answers what the audits of `tests.crash.books` ask."""

import asyncio
from collections import Counter

from schemas.reader import SeqGap, is_new
from schemas.states import DELIVERY
from schemas.topics import TOPICS
from sender.command import FINAL, Command
from services.outbox import HEADER
from services.postgres.store import PostgresStore
from services.shard import decode_state
from services.sqlite.store import SHARDS_MAX
from tests.cluster.rig import PatientDatabase, everything
from tests.crash.books import INPUTS

SETTLE_S = 300.0
LOOK_S = 0.2
PAGE = 500


class ClusterBooks:
    """Topics as a subscriber has them after `read`: repeats are dropped by `seq` and counted, and so are gaps.

    `astray`: what `strays` counted, in words.
    """

    def __init__(self, cluster, log):
        self.log = log
        self.repeats = Counter()
        self.astray = []
        self._gaps = Counter()
        self._database = PatientDatabase(cluster.url)
        self._partitions = cluster.partitions
        self._records = {}

    async def __aenter__(self):
        await self._database.start()
        return self

    async def __aexit__(self, *_):
        await self._database.close()

    async def read(self):
        for topic in TOPICS.values():
            found = await everything(self.log, topic.name)
            self._records[topic.name] = self._once(topic.name, found) if topic.sequenced else found
        self._key = await self.installation_key()
        self._commands = await self.all_commands()

    def _once(self, topic, records):
        seen, kept = {}, []
        for record in records:
            number, seq = record.event.number, record.event.seq
            seen.setdefault((topic, number), 0)
            try:
                new = is_new(seen, topic, number, seq)
            except SeqGap:
                self._gaps[topic] += 1
                seen[topic, number] = seq
                new = True
            if new:
                kept.append(record)
        self.repeats[topic] = len(records) - len(kept)
        return kept

    async def installation_key(self):
        return await PostgresStore(self._database, self._partitions).installation_key()

    def records(self, topic):
        return self._records[topic]

    def key(self):
        return self._key

    def gaps(self):
        """Places at which `seq` does not go on by one, by topic."""
        return self._gaps

    def commands(self):
        """Every command there is, by id."""
        return self._commands

    async def all_commands(self):
        """Every command that stands in the store now, by id."""
        first = await self._database.one("SELECT number FROM processors WHERE processor = $1", DELIVERY) * SHARDS_MAX
        asked = "SELECT value FROM states WHERE slot >= $1 AND slot < $2 AND key >= 'k/' AND key < 'k0'"
        rows = await self._database.rows(asked, first, first + SHARDS_MAX)
        found = [decode_state(Command, row[0]) for row in rows]
        return {command.command_id: command for command in found}

    async def unsettled(self):
        return [command for command in (await self.all_commands()).values() if command.state not in FINAL]

    async def behind(self):
        """Records that a processor has not read yet, and events that are not published yet."""
        rows = await self._database.rows(
            "SELECT processor, topic, slot % 65536, position FROM positions JOIN processors ON number = slot / 65536"
        )
        places = {tuple(row)[:3]: row[3] for row in rows}
        wanted = [
            (name, topic, n) for name, topics in INPUTS.items() for topic in topics for n in range(self._partitions)
        ]
        ends = await asyncio.gather(*(self.log.end(topic, partition) for _, topic, partition in wanted))
        unread = sum(end - places.get(place, 0) for place, end in zip(wanted, ends, strict=True))
        return unread + await self._database.one("SELECT count(*)::int FROM outbox")

    async def rest(self, sandbox, *, decided=False):
        """Wait until Meta has delivered everything, everything is read and told, and, if asked, nothing is doubtful."""
        left = ()
        try:
            async with asyncio.timeout(SETTLE_S):
                while left != (0, 0, 0):
                    flushed = await asyncio.to_thread(sandbox.call, "POST", "/flush", {"timeout_s": 1})
                    doubtful = len(await self.unsettled()) if decided else 0
                    left = flushed["outstanding"], await self.behind(), doubtful
                    await asyncio.sleep(LOOK_S)
        except TimeoutError:
            raise AssertionError(f"undelivered, unread, undecided: {left}") from None

    async def strays(self):
        """Runs of records of an outbox that end behind a younger one of the same outbox: what a zombie has written.

        A run that comes twice and goes on from there repeats what stands before it, and harms nobody.
        """
        found = Counter()
        for name in (topic.name for topic in TOPICS.values() if topic.writer.startswith(("echo_sync", "sender"))):
            for partition in range(self._partitions):
                found[name] += await self._strays(name, partition)
        return found

    async def _strays(self, topic, partition):
        newest, last, stale, place = {}, {}, 0, f"{topic}/{partition}"
        end = await self.log.end(topic, partition)
        for page in range(0, end, PAGE):
            size = min(PAGE, end - page)
            for headers in reversed(await self.log.headers_before(topic, partition, page + size, size)):
                slot, _, text = headers[HEADER].partition(b":")
                number = int(text)
                if last.get(slot, 0) < newest.get(slot, 0) and number != last[slot] + 1:
                    stale += 1
                    self.astray.append(f"{place}: of {slot}, {last[slot]} after {newest[slot]}, then {number}")
                last[slot], newest[slot] = number, max(newest.get(slot, 0), number)
        behind = [f"{place}: of {slot}, {n} after {newest[slot]}" for slot, n in last.items() if n < newest[slot]]
        self.astray += behind
        return stale + len(behind)
