"""The service as the bench looks into it: with a subscriber inside, catching up on a filled log, or on a long one.

Everything here is `services.app` with nothing left out; only who feeds it and who watches is the bench's own.
"""

import asyncio
import json
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from schemas.ports import Commit, Event
from schemas.topics import CONVERSATIONS, INBOUND, TIMELINE
from services.app import SWEPT, open_app
from services.bench.bodies import IMPORTED_PHONES, SECRET, Workload
from services.bench.load import percentile
from services.edition import FILE_NAME
from services.running import App
from services.serve import SWITCH_S, calm_collector, loop_factory, serve
from services.settings import Settings, load
from services.sqlite.file import SqliteFile
from services.sqlite.log import SqliteLog
from services.sqlite.store import SqliteStore
from services.telemetry import logs

FILL_WEBHOOKS = 1_000
CAUGHT_UP_POLL_S = 0.02
WATCH_RECORDS = 256


def settings_of(folder: Path) -> Settings:
    """Settings of a service that nobody calls."""
    return Settings.model_validate(
        {"data_dir": folder, "host": "127.0.0.1", "port": 0, "admin_port": 0, "meta_app_secrets": SECRET}
    )


# --- a subscriber inside


class Watcher:
    """Reads `timeline` as a subscriber in the same process does, and keeps how long each message took to get there.

    Of imported messages it keeps how many there were and when, and how many conversations they woke.
    """

    def __init__(self) -> None:
        self.times: list[float] = []
        self.since: list[float] = []
        self.imported = 0
        self.woken = 0
        self.first_imported = self.last_imported = math.inf
        self._tasks: list[asyncio.Task[None]] = []

    def follow(self, app: App) -> None:
        """Start to read every shard from now on."""
        self._tasks = [asyncio.create_task(self._shard(app, shard)) for shard in range(app.log.partitions)]

    async def _shard(self, app: App, shard: int) -> None:
        topics = (TIMELINE, CONVERSATIONS)
        reader = await app.log.reader(topics, shard, {topic: await app.log.end(topic, shard) for topic in topics})
        while True:
            records = await reader.poll(WATCH_RECORDS, 1.0)
            now = app.clock()
            for record in records:
                if record.event.type == "message.added":
                    self._added(record.event, now)
                elif record.topic == CONVERSATIONS:
                    self.woken += is_woken_history(record.event.data or b"")

    def _added(self, event: Event, now: float) -> None:
        if b'"historical":true' in (event.data or b""):
            self.imported += 1
            self.first_imported = min(self.first_imported, event.recorded_at)
            self.last_imported = now
        else:
            self.times.append(now - event.recorded_at)
            self.since.append(event.recorded_at)

    def summary(self) -> dict[str, float]:
        """How many and the percentiles in milliseconds, before and while history was imported."""
        before, meanwhile = [], []
        for since, time_s in zip(self.since, self.times, strict=True):
            if since < self.first_imported:
                before.append(time_s)
            elif since <= self.last_imported:
                meanwhile.append(time_s)
        import_s = self.last_imported - self.first_imported if self.imported else 0.0
        about = {"imported": self.imported, "import_s": import_s, "woken": self.woken}
        return _percentiles("", before) | _percentiles("import_", meanwhile) | about


def _percentiles(prefix: str, times: list[float]) -> dict[str, float]:
    ordered = sorted(times)
    p50_ms, p99_ms = percentile(ordered, 0.50) * 1000, percentile(ordered, 0.99) * 1000
    return {f"{prefix}count": len(ordered), f"{prefix}p50_ms": p50_ms, f"{prefix}p99_ms": p99_ms}


def is_woken_history(state: bytes) -> bool:
    """Whether a conversation that only history knows has an owner, a window, a pause or something unread."""
    if b'"wa_id":"' + IMPORTED_PHONES not in state:
        return False
    quiet = b'"owner":"unknown"' in state and b'"unread":0' in state
    return not quiet or b"window_expires_at" in state or b"automation_paused_until" in state


def watch(roles: Sequence[str]) -> None:
    """`coexist run` with a subscriber inside; at its end it prints the subscriber's summary."""
    logs.configure("json", "error")
    watcher = Watcher()
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(serve(load(), roles, watcher.follow))
    print(json.dumps(watcher.summary()))


# --- catching up


async def fill(folder: Path, workload: Workload, first: int, count: int) -> int:
    """Append what `count` webhooks become, without anybody reading; the number of events."""
    filled = 0
    settings = settings_of(folder)
    file = SqliteFile(folder / FILE_NAME)
    log = SqliteLog(file, settings.partitions, time.time)
    file.start()
    for start in range(first, first + count, FILL_WEBHOOKS):
        webhooks = min(FILL_WEBHOOKS, first + count - start)
        entries = [entry for found in workload.events(start, webhooks, time.time()) for entry in found]
        await log.append(entries)
        filled += len(entries)
    await file.close()
    return filled


async def catch_up(folder: Path) -> tuple[float, float]:
    """Run both processors of echo_sync until nothing is left: seconds by the clock, and seconds of the processor."""
    async with open_app(settings_of(folder), ["echo-sync"]) as app:
        calm_collector()
        started, used = time.perf_counter(), time.process_time()
        while not await is_caught_up(app):  # noqa: ASYNC110 - nobody announces the end of work
            await asyncio.sleep(CAUGHT_UP_POLL_S)
        return time.perf_counter() - started, time.process_time() - used


async def is_caught_up(app: App) -> bool:
    """Whether everything that stands on the inputs was read and committed."""
    for name, runner in app.runners.items():
        for shard in range(app.log.partitions):
            positions = await app.store.positions(name, shard)
            for topic in runner.processor.inputs:
                if positions.get(topic, 0) < await app.log.end(topic, shard):
                    return False
    return True


async def phases(folder: Path, workload: Workload, counts: Sequence[int]) -> list[dict[str, float]]:
    """Fill and catch up, once for each count of webhooks, one phase after the other on the same file."""
    found = []
    first = 0
    for count in counts:
        events = await fill(folder, workload, first, count)
        first += count
        wall_s, cpu_s = await catch_up(folder)
        found.append({"events": events, "wall_s": wall_s, "cpu_s": cpu_s})
    return found


# --- a long log


async def long_log(folder: Path, events: int, unread: int) -> None:
    """Leave a log of `events` of which all but the last `unread` have been read by every processor."""
    workload = Workload(messages=100, echo_every=3)
    await fill(folder, workload, 0, (events - unread) // workload.messages)
    await _skip(folder)
    await fill(folder, workload, (events - unread) // workload.messages, unread // workload.messages)


async def _skip(folder: Path) -> None:
    settings = settings_of(folder)
    file = SqliteFile(folder / FILE_NAME)
    log = SqliteLog(file, settings.partitions, time.time)
    store = SqliteStore(file, log, time.time)
    file.start()
    for shard in range(settings.partitions):
        end = await log.end(INBOUND, shard)
        for processor in SWEPT:
            lease = await store.acquire(processor, shard, "bench", 1.0)
            if lease is not None:
                await store.commit(Commit(lease, {INBOUND: end}))
                await store.release(lease)
    await file.close()


def main() -> None:
    """Do what the arguments name: `watch --roles …`, `phases JSON`, `long-log FOLDER EVENTS UNREAD`."""
    name, *rest = sys.argv[1:]
    sys.setswitchinterval(SWITCH_S)
    if name == "watch":
        watch(rest[1].split(","))
        return
    logs.configure("json", "error")
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        if name == "phases":
            wanted: dict[str, Any] = json.loads(rest[0])
            workload = Workload(**wanted["workload"])
            print(json.dumps(runner.run(phases(Path(wanted["folder"]), workload, wanted["counts"]))))
        else:
            runner.run(long_log(Path(rest[0]), int(rest[1]), int(rest[2])))
            print("{}")


if __name__ == "__main__":
    main()
