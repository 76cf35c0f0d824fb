"""The embedded log keeps what its settings say: oldest first, in small steps, never what somebody has not read."""

import pytest

from schemas.marks import ERASED
from schemas.ports import Event
from schemas.topics import INBOUND, TIMELINE, partition_of
from services.retention import LogKeeper, topics_kept_s
from services.settings import Settings, SettingsError, load, masked
from services.sqlite.file import SqliteFile
from services.sqlite.log import SqliteLog
from tests.harness import NUMBER, Clock

DAY_S = 86_400
PARTITIONS = 2
HOME = partition_of(NUMBER, PARTITIONS)


class Place:
    def __init__(self, folder):
        self.clock = Clock()
        self.file = SqliteFile(folder / "coexist.db")
        self.log = SqliteLog(self.file, PARTITIONS, self.clock)
        self.file.start()
        self.read = 1 << 40
        self.keeper = LogKeeper(self.log, {INBOUND: 14 * DAY_S}, lambda topic, partition: self.read, self.clock)

    async def append(self, count, topic=INBOUND):
        for _ in range(count):
            await self.log.append([(topic, Event("id", "webhook.message", NUMBER, b'{"secret":1}', 1.0, 1.0))])

    async def offsets(self, topic=INBOUND):
        return [record.offset for record in await self.log.read(topic, HOME, 0, 1_000)]


@pytest.fixture
async def place(tmp_path):
    found = Place(tmp_path)
    yield found
    await found.file.close()


async def test_what_is_too_old_goes_and_the_rest_stays(place):
    await place.append(40)
    place.clock.now += 10 * DAY_S
    await place.append(5)
    place.clock.now += 5 * DAY_S
    assert await place.keeper.look() == 40
    assert await place.offsets() == [40, 41, 42, 43, 44]
    assert await place.log.end(INBOUND, HOME) == 45


async def test_what_somebody_has_not_read_stays_however_old(place):
    await place.append(10)
    place.read = 4
    place.clock.now += 30 * DAY_S
    assert await place.keeper.look() == 4
    assert (await place.offsets())[0] == 4


async def test_the_newest_row_stays_empty_so_that_offsets_go_on_after_a_restart(place, tmp_path):
    await place.append(3)
    place.clock.now += 30 * DAY_S
    await place.keeper.look()
    (last,) = await place.log.read(INBOUND, HOME, 0, 10)
    assert (last.offset, last.event.type, last.event.data) == (2, ERASED, b"{}")
    assert await place.keeper.look() == 0
    again = SqliteLog(place.file, PARTITIONS, place.clock)
    assert await again.end(INBOUND, HOME) == 3


async def test_a_topic_without_a_retention_keeps_everything(place):
    await place.append(3, TIMELINE)
    place.clock.now += 900 * DAY_S
    await place.keeper.look()
    assert await place.offsets(TIMELINE) == [0, 1, 2]


async def test_whoever_reads_from_below_the_oldest_record_goes_on_at_the_oldest(place):
    await place.append(10)
    place.clock.now += 13 * DAY_S
    await place.append(2)
    place.clock.now += 2 * DAY_S
    await place.keeper.look()
    reader = await place.log.reader([INBOUND], HOME, {INBOUND: 4})
    assert [record.offset for record in await reader.poll(10, 1.0)] == [10, 11]
    await reader.close()


def test_how_long_is_a_setting_per_topic_and_table_and_is_shown(tmp_path):
    given = load({"COEXIST_RETENTION_INBOUND_DAYS": "20", "COEXIST_RETENTION_OUTBOUND_BULK_DAYS": "3"}, tmp_path / "no")
    assert topics_kept_s(given)[INBOUND] == 20 * DAY_S
    assert topics_kept_s(given)["outbound-bulk"] == 3 * DAY_S
    assert masked(given)["COEXIST_RETENTION_MESSAGES_DAYS"] == "365"
    assert masked(Settings())["COEXIST_RETENTION_AUDIT_DAYS"] == "1095.0"


def test_states_that_know_a_repeat_are_kept_for_longer_than_meta_repeats(tmp_path):
    with pytest.raises(SettingsError, match="COEXIST_RETENTION_MESSAGES_DAYS"):
        load({"COEXIST_RETENTION_MESSAGES_DAYS": "7"}, tmp_path / "no")
