"""A disk that is full, or that fails: Meta is never told 200 for what is not durable, and what can recover does."""

import asyncio
import os
import threading
import time

import apsw
import pytest

from schemas.ports import Event, LogUnavailable
from schemas.topics import partition_of
from services.sqlite.file import WAL_PAGES_MAX, SqliteFile
from services.sqlite.log import SqliteLog
from services.sqlite.store import SqliteStore
from tests.app.rig import ADDED, service, until
from tests.crash.books import Books, Timeline
from tests.crash.disk import Disk
from tests.processes import probe

POINTS = range(1, 400) if os.environ.get("COEXIST_TEST_LONG") else (1, 2, 3, 5, 8, 13, 21, 34)
NUMBER = "106540352242922"
PARTITIONS = 2
SOON_S = 120


def event(name, size=10):
    return Event(name, "webhook.message", NUMBER, b'"%b"' % (b"x" * size), 1.0, 1.0, name)


def full(_what, _name):
    return apsw.FullError("the test's disk is full")


def works(_what, _name):
    return None


def nth(count, problem):
    """Fail the nth write or sync, once."""
    asked = iter(range(1, 10_000_000))
    return lambda _what, _name: problem("the test's disk failed") if next(asked) == count else None


@pytest.fixture
def disk(request):
    return Disk(f"disk-{request.node.name}")


async def opened(folder, disk):
    file = SqliteFile(folder / "coexist.db", disk.name)
    log = SqliteLog(file, PARTITIONS, time.time)
    store = SqliteStore(file, log, time.time)
    return file, log, store


# --- the whole app


async def test_a_full_disk_answers_503_and_works_again_by_itself_once_there_is_room(tmp_path, disk):
    bodies = [probe() for _ in range(12)]
    async with service(tmp_path, vfs=disk.name) as rig:
        assert (await rig.post(bodies[0])).status_code == 200
        disk.fails = full
        refused = [await rig.post(body) for body in bodies]
        assert {answer.status_code for answer in refused} == {503}
        assert all(answer.headers["retry-after"] for answer in refused)
        assert (await rig.admin.get("/livez")).status_code == 200
        disk.fails = works
        assert [(await rig.post(body)).status_code for body in bodies] == [200] * len(bodies)
        added = await until(lambda: enough(rig, len(bodies)))
        assert len({subject for _, subject, _ in added}) == len(added) == len(bodies)


async def enough(rig, count):
    added = await rig.events("timeline", ADDED)
    return added if len(added) >= count else None


async def test_a_commit_that_finds_the_disk_full_at_any_call_costs_nothing_that_was_acknowledged(tmp_path, disk):
    for point in POINTS:
        folder = tmp_path / str(point)
        disk.fails = works
        async with service(folder, vfs=disk.name) as rig:
            disk.fails = nth(point, apsw.FullError)
            waiting = [probe() for _ in range(10)]
            while waiting:
                answer = await rig.post(waiting[0])
                assert answer.status_code in (200, 503)
                if answer.status_code == 200:
                    waiting.pop(0)
            await until(lambda rig=rig: enough(rig, 10))
        assert account(folder) == (10, 0, 0)


async def work_until_it_ends(folder, disk, point):
    """Post webhooks while the nth call fails. How many were acknowledged; raises what the service ended with."""
    acknowledged = 0
    disk.fails = works
    try:
        async with service(folder, vfs=disk.name) as rig:
            disk.fails = nth(point, apsw.IOError)
            while not rig.app.tasks[0].done():
                acknowledged += (await rig.post(probe())).status_code == 200
            assert (await rig.post(probe())).status_code == 503
            await rig.app.run()
    except apsw.IOError:
        return acknowledged
    raise AssertionError("it went on although the disk failed")


async def test_a_disk_that_fails_at_any_call_ends_the_service_and_nothing_acknowledged_is_lost(tmp_path, disk):
    for point in POINTS:
        folder = tmp_path / str(point)
        acknowledged = await asyncio.wait_for(work_until_it_ends(folder, disk, point), SOON_S)
        disk.fails = works
        async with service(folder) as rig:
            await until(lambda rig=rig, count=acknowledged: at_least(rig, count))
        found, repeated, gaps = account(folder)
        assert (found >= acknowledged, repeated, gaps) == (True, 0, 0)


async def at_least(rig, count):
    return len(await rig.events("timeline", ADDED)) >= count


def account(folder):
    """Messages on the timeline, facts told twice, gaps of `seq`."""
    books = Books(folder, PARTITIONS)
    told = Timeline(books)
    assert books.sound()
    found = len(told.added), told.repeated, books.gaps().total()
    books.close()
    return found


# --- the adapters


async def test_the_end_of_a_topic_is_never_beyond_what_is_durable(tmp_path, disk):
    file, log, _ = await opened(tmp_path, disk)
    file.start()
    reached, go = [threading.Event(), threading.Event()], [threading.Event(), threading.Event()]
    syncs = iter(range(2))

    def hold(what, _name):
        if what == "sync" and (serial := next(syncs, None)) is not None:
            reached[serial].set()
            go[serial].wait(SOON_S)

    disk.fails = hold
    first = asyncio.create_task(log.append([("inbound", event("first"))]))
    await asyncio.to_thread(reached[0].wait, SOON_S)
    second = asyncio.create_task(log.append([("inbound", event("second"))]))
    await asyncio.sleep(0)
    go[0].set()
    await first
    await asyncio.to_thread(reached[1].wait, SOON_S)
    partition = partition_of(NUMBER, PARTITIONS)
    assert await log.end("inbound", partition) == 1
    go[1].set()
    await second
    assert await log.end("inbound", partition) == 2
    await file.close()


async def test_a_processor_keeps_its_place_in_the_file_when_its_first_lease_found_the_disk_full(tmp_path, disk):
    file, _, store = await opened(tmp_path, disk)
    file.start()
    disk.fails = full
    with pytest.raises(LogUnavailable):
        await store.acquire("first", 0, "me", 60)
    disk.fails = works
    for processor in ("second", "first"):
        await store.acquire(processor, 0, "me", 60)
    slots = dict(file.reading.execute("SELECT processor, number FROM processors"))
    assert slots == {"second": 0, "first": 1}
    await file.close()


async def test_an_append_is_confirmed_although_the_file_has_no_room_for_a_checkpoint(tmp_path, disk):
    file, log, _ = await opened(tmp_path, disk)
    file.start()
    disk.fails = lambda what, name: full(what, name) if what == "write" and name.endswith(".db") else None
    for n in range(WAL_PAGES_MAX * 4096 // 500_000 + 2):
        await log.append([("inbound", event(f"e{n}", 500_000))])
    disk.fails = works
    await log.append([("inbound", event("last"))])
    await file.close()
    assert file.wal_bytes() == 0


async def test_after_the_disk_failed_appends_are_refused_at_once(tmp_path, disk):
    file, log, _ = await opened(tmp_path, disk)
    writer = file.start()
    disk.fails = nth(1, apsw.IOError)
    for name in ("first", "second"):
        with pytest.raises(LogUnavailable):
            await asyncio.wait_for(log.append([("inbound", event(name))]), SOON_S)
    with pytest.raises(apsw.IOError):
        await writer
    await file.close()
