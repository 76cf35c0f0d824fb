"""How long what is kept is kept: by topic and by table, from the settings, and removed in small steps.

Records of the embedded log go a few rows at a time, oldest first, and never before every processor has read them.
The newest row of a partition stays, for it says where the partition ends; what stood in it becomes holes. On Kafka
the topics' own settings do the same (`coexist topics create`). States go by the walks of `services.privacy.sweep`.
"""

import asyncio
from collections.abc import Callable, Mapping

import structlog

from schemas.marks import ERASED
from schemas.ports import LogUnavailable
from schemas.topics import DAY_S, TOPICS
from services.privacy.purge import hole
from services.settings import Settings
from services.sqlite.log import SqliteLog

LOOK_S = 60.0
"""How often the log is looked at."""
ROWS_AT_ONCE = 16
"""Rows removed in one step: `secure_delete` zeroes them, and a step must hold the writer for less than 5 ms."""
STATES = ("messages", "commands")

log = structlog.get_logger()


def topic_retention_s(settings: Settings, topic: str) -> float | None:
    """How long a topic keeps its records, in seconds; None where compaction, not age, removes them."""
    if TOPICS[topic].retention_s is None:
        return None
    days: float = getattr(settings, f"retention_{topic.replace('-', '_')}_days")
    return days * DAY_S


def topics_kept_s(settings: Settings) -> Mapping[str, float]:
    """How long each topic keeps its records that is not compacted."""
    found = {topic: topic_retention_s(settings, topic) for topic in TOPICS}
    return {topic: kept_s for topic, kept_s in found.items() if kept_s is not None}


def state_retention_s(settings: Settings) -> Mapping[str, float]:
    """How long states are kept by what they are, in seconds."""
    return {kind: getattr(settings, f"retention_{kind}_days") * DAY_S for kind in STATES}


class LogKeeper:
    """Removes what is too old from the embedded log. `read_up_to(topic, partition)`: what every processor has read."""

    def __init__(
        self,
        log_: SqliteLog,
        kept_s: Mapping[str, float],
        read_up_to: Callable[[str, int], int],
        clock: Callable[[], float],
    ) -> None:
        self._log = log_
        self._kept_s = kept_s
        self._read_up_to = read_up_to
        self._clock = clock

    async def run(self) -> None:
        """Look every minute, until cancelled. While the disk confirms nothing, nothing is removed."""
        while True:
            try:
                await self.look()
            except LogUnavailable:
                log.warning("retention_waits", reason="the disk did not confirm")
            await asyncio.sleep(LOOK_S)

    async def look(self) -> int:
        """Remove what is too old now. How many records went."""
        gone = 0
        for topic, kept_s in self._kept_s.items():
            for partition in range(self._log.partitions):
                gone += await self._expire(topic, partition, self._clock() - kept_s)
        return gone

    async def _expire(self, topic: str, partition: int, before: float) -> int:
        gone = 0
        while count := await self._log.expire(
            topic, partition, before, self._read_up_to(topic, partition), ROWS_AT_ONCE
        ):
            gone += count
            await asyncio.sleep(0)
        await self._empty_last(topic, partition, before)
        return gone

    async def _empty_last(self, topic: str, partition: int, before: float) -> None:
        """The newest row only says where the partition ends, once it is too old itself."""
        read = self._read_up_to(topic, partition)
        last = self._log.read_now(topic, partition, max(0, await self._log.end(topic, partition) - 1), 1)
        if not last or last[0].appended_at >= before or last[0].event.type == ERASED or last[0].offset >= read:
            return
        row = self._log.row_of(topic, partition, last[0].offset)
        await self._log.rewrite(topic, partition, {record.offset: hole(record.event) for record in row})
