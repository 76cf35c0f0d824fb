"""Power loss: whatever of the unsynced is lost or torn, every append and commit that was confirmed is found again."""

import asyncio
import os
import random
import shutil
import time
from collections import Counter
from pathlib import Path

import apsw

from schemas.ports import Commit, Event, Row
from services.sqlite.file import SqliteFile
from services.sqlite.log import SqliteLog
from services.sqlite.store import SqliteStore
from tests.crash.disk import Disk, Image

IMAGES = 12_000 if os.environ.get("COEXIST_TEST_LONG") else 300
SEED = 77
PARTITIONS = 4
NUMBERS = ("106540352242922", "106540352242923", "106540352242924")
KEPT_PS = (0.0, 0.3, 0.5, 0.8, 0.97)
PROCESSOR = "test.counter"


def event(name, size=40, number=NUMBERS[0]):
    return Event(name, "webhook.message", number, b'"%b"' % (b"x" * size), 1.0, 1.0, name)


class Work:
    """Appends and commits on a disk that remembers; what was confirmed, and when in the disk's story."""

    def __init__(self, folder, disk, *, rounds, event_bytes, synchronous="FULL"):
        self.folder, self.disk = folder, disk
        self.rounds, self.event_bytes, self.synchronous = rounds, event_bytes, synchronous
        self.confirmed = []  # (operations done by then, event ids, rounds committed)

    async def run(self):
        file = SqliteFile(self.folder / "coexist.db", vfs=self.disk.name)
        log = SqliteLog(file, PARTITIONS, time.time)
        store = SqliteStore(file, log, time.time)
        file.script(f"PRAGMA synchronous={self.synchronous}")
        file.start()
        lease = await store.acquire(PROCESSOR, 0, "me", 60)
        self.began = len(self.disk.done)
        for n in range(1, self.rounds + 1):
            await asyncio.gather(self.append(log, n, "a"), self.append(log, n, "b"), self.commit(store, lease, n))
        self.ended = len(self.disk.done)
        await file.close()

    async def append(self, log, n, who):
        events = [event(f"{who}{n}.{i}", self.event_bytes, NUMBERS[(n + i) % 3]) for i in range(3)]
        await log.append([("inbound", one) for one in events])
        self.confirmed.append((len(self.disk.done), [one.id for one in events], 0))

    async def commit(self, store, lease, n):
        row = Row(str(n).encode())
        await store.commit(Commit(lease, {"inbound": n}, {"counter": row}, [("timeline", event(f"t{n}"))]))
        self.confirmed.append((len(self.disk.done), [], n))


def found_in(folder):
    """What the adapters find in a folder: event ids of the log, the counter, its position, the ids on timeline."""

    async def look():
        file = SqliteFile(folder / "coexist.db")
        log = SqliteLog(file, PARTITIONS, time.time)
        store = SqliteStore(file, log, time.time)
        assert list(file.reading.execute("PRAGMA integrity_check")) == [("ok",)]
        ids, told = [], []
        for partition in range(PARTITIONS):
            ids += [r.event.id for r in await log.read("inbound", partition, 0, 100_000)]
            told += [r.event for r in await log.read("timeline", partition, 0, 100_000)]
        state = await store.load(PROCESSOR, 0, ["counter"])
        position = (await store.positions(PROCESSOR, 0)).get("inbound", 0)
        await file.close()
        return ids, int(state.get("counter", b"0")), position, told

    return asyncio.run(look())


def images(work, count, folder):
    """Lose the power at random moments of the work; the confirmed, and what is found."""
    dice = random.Random(SEED)
    image, told = Image(), 0
    moments = sorted(dice.randint(work.began, work.ended) for _ in range(count))
    for serial, moment in enumerate(moments):
        image.tell(work.disk.done[told:moment])
        told = moment
        place = folder / f"image-{serial}"
        place.mkdir()
        for name, content in image.lose_power(dice, dice.choice(KEPT_PS)).items():
            (place / Path(name).name).write_bytes(content)
        confirmed = [entry for entry in work.confirmed if entry[0] <= moment]
        yield {one for _, ids, _ in confirmed for one in ids}, max((n for *_, n in confirmed), default=0), place


def judge(confirmed, counted, place):
    """How many confirmed events or commits an image has lost; what it holds must be consistent in any case."""
    ids, counter, position, told = found_in(place)
    shutil.rmtree(place)
    assert max(Counter(ids).values(), default=0) <= 1
    assert counter == position == len(told)
    assert [event.seq for event in told] == list(range(1, counter + 1))
    return len(confirmed - set(ids)) + max(0, counted - counter)


def trial(folder, name, count, **how):
    disk = Disk(name)
    work = Work(folder, disk, **how)
    asyncio.run(work.run())
    (folder / "images").mkdir()
    return work, [judge(*image) for image in images(work, count, folder / "images")]


def test_what_was_confirmed_survives_the_loss_of_power(tmp_path, tell):
    work, lost = trial(tmp_path, "memory-full", IMAGES, rounds=150, event_bytes=40)
    tell(f"power loss, FULL: {len(lost)} images of {len(work.confirmed)} confirmations, {sum(lost)} lost")
    assert lost == [0] * IMAGES


def test_what_was_confirmed_survives_the_loss_of_power_around_checkpoints(tmp_path, tell):
    count = IMAGES // 5
    work, lost = trial(tmp_path, "memory-checkpoints", count, rounds=60, event_bytes=60_000)
    checkpointed = sum(
        1 for what, name, *_ in work.disk.done[work.began : work.ended] if what == "sync" and name.endswith(".db")
    )
    tell(f"power loss, FULL, {checkpointed} syncs by checkpoints: {count} images, {sum(lost)} lost")
    assert checkpointed > 0
    assert lost == [0] * count


def test_without_a_sync_at_each_commit_confirmed_events_would_be_lost(tmp_path, tell):
    count = IMAGES // 3
    _, lost = trial(tmp_path, "memory-normal", count, rounds=150, event_bytes=40, synchronous="NORMAL")
    share = sum(1 for found in lost if found) / count
    tell(f"power loss, NORMAL (negative control): {share:.0%} of {count} images lost confirmed events")
    assert share > 0.5


def test_the_sqlite_in_use_is_one_without_the_wal_reset_bug():
    assert tuple(int(part) for part in apsw.sqlite_lib_version().split(".")) >= (3, 51, 3)
