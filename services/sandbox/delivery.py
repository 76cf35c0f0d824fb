"""Webhooks on their way, with Meta's habits: batches, repeats, overtaking, lost answers, retries for days.

Meta contract 1.2 to 1.5. Every update waits in one queue until it is due; a failed POST puts its updates back
one by one, so the next batch is cut anew. Chance is by key: the same update meets the same fate in every run.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

from services.sandbox import wire
from services.sandbox.dice import Dice
from services.sandbox.faults import Faults
from services.sandbox.feed import Feed
from services.sandbox.ledger import Ledger
from services.sandbox.poster import NoAnswer, Poster
from services.sandbox.wire import Update

RECENT_POSTS = 200  # bodies kept for the page, newest last


@dataclass(slots=True)
class Job:
    """One delivery of one update. `then` runs as it first leaves; `alone` keeps it out of batches."""

    update: Update
    first_s: float
    attempt: int = 0
    copy: bool = False
    alone: bool = False
    lose_200: bool = False
    then: Callable[[], None] | None = None


@dataclass(frozen=True, slots=True)
class Trouble:
    """Trouble ordered for one update, beside what chance brings: a repeat, a lost 200, a delay."""

    duplicate: bool = False
    drop200: bool = False
    late_ms: float = 0.0


NO_TROUBLE = Trouble()


class Delivery:
    """The queue and the loop that empties it. `push` never blocks; `run` is the loop."""

    def __init__(
        self, secret: str, faults: Faults, dice: Dice, ledger: Ledger, feed: Feed, *, url: str | None = None
    ) -> None:
        self._secret = secret.encode()
        self._faults = faults
        self._dice = dice
        self._ledger = ledger
        self._feed = feed
        self._queue: list[tuple[float, int, Job]] = []
        self._order = count()
        self._in_flight: set[asyncio.Task[None]] = set()
        self._poster: Poster | None = None
        self._wake = asyncio.Event()
        self._settled = asyncio.Event()
        self._settled.set()
        self._leaving = False
        self._offline_until = 0.0
        self.outstanding = 0
        self.recent: list[dict[str, Any]] = []
        if url:
            self.aim(url)

    @property
    def url(self) -> str | None:
        """Return where webhooks go, None if nowhere yet."""
        return self._poster.url if self._poster else None

    def aim(self, url: str, secret: str | None = None) -> None:
        """Send webhooks to another URL from now on; raises ValueError for a URL without scheme or host."""
        poster = Poster(url)
        if self._poster is not None:
            self._poster.close()
        self._poster = poster
        if secret is not None:
            self._secret = secret.encode()
        self.wake()

    def go_offline(self, seconds: float) -> None:
        """Deliver nothing for so long, and then go on by itself, whoever still looks; 0 ends it at once."""
        self._offline_until = time.monotonic() + seconds
        self.wake()

    @property
    def offline_s(self) -> float:
        """Return for how long nothing will be delivered."""
        return max(0.0, self._offline_until - time.monotonic())

    def wake(self) -> None:
        """Look at the queue and the settings again."""
        self._wake.set()

    def leave(self) -> None:
        """Let everybody go who waits for the queue: the sandbox stops."""
        self._leaving = True
        self._settled.set()

    def push(
        self,
        update: Update,
        delay_s: float = 0.0,
        then: Callable[[], None] | None = None,
        trouble: Trouble = NO_TROUBLE,
    ) -> None:
        """Enter an update into the ledger and queue it, with the trouble that was ordered or that its key is due."""
        faults, key, now = self._faults, update.refs[0].key, time.monotonic()
        self._ledger.open(update, time.time())
        job = Job(update, now, alone=len(update.refs) > 1, then=then, lose_200=trouble.drop200)
        due = now + delay_s + (faults.delay_ms + trouble.late_ms) / 1000
        if self._dice.hits(faults.reorder_p, "reorder", key):
            due += self._dice.roll("reorder_by", key) * faults.reorder_ms / 1000
        self._queue_job(job, due)
        if trouble.duplicate or self._dice.hits(faults.duplicate_p, "duplicate", key):
            self._ledger.duplicates += 1
            self._queue_copy(update, key, due)

    async def run(self) -> None:
        """Deliver until cancelled."""
        try:
            while True:
                wait_s = self._launch_due()
                self._wake.clear()
                try:
                    async with asyncio.timeout(wait_s):
                        await self._wake.wait()
                except TimeoutError:
                    continue
        finally:
            for task in self._in_flight:
                task.cancel()
            await asyncio.gather(*self._in_flight, return_exceptions=True)
            if self._poster is not None:
                self._poster.close()

    async def settled(self, timeout_s: float) -> int:
        """Wait until nothing is queued or on its way; return how many deliveries are left after the time."""
        try:
            async with asyncio.timeout(timeout_s):
                while self.outstanding and not self._leaving:
                    self._settled.clear()
                    await self._settled.wait()
        except TimeoutError:
            pass
        return self.outstanding

    def _queue_copy(self, update: Update, key: str, due: float) -> None:
        job = Job(update, due, copy=True, alone=True)
        if not self._dice.hits(self._faults.duplicate_concurrent_p, "concurrent", key):
            due += self._dice.roll("duplicate_by", key) * self._faults.duplicate_ms / 1000
        self._queue_job(job, due)

    def _queue_job(self, job: Job, due: float) -> None:
        slice_s = self._faults.batch_wait_ms / 1000
        if slice_s and not job.attempt:
            due = (due // slice_s + 1) * slice_s
        heapq.heappush(self._queue, (due, next(self._order), job))
        self.outstanding += 1
        self._wake.set()

    def _launch_due(self) -> float | None:
        """Start every POST that may start; return the seconds to the next, None to wait for news."""
        if self._poster is None or self._faults.paused:
            return None
        if offline_s := self.offline_s:
            return offline_s
        now = time.monotonic()
        while self._queue and len(self._in_flight) < self._faults.concurrency:
            if (left := self._queue[0][0] - now) > 0:
                return left
            task = asyncio.create_task(self._deliver(self._poster, self._take_batch(now)))
            self._in_flight.add(task)
            task.add_done_callback(self._landed)
        return None

    def _landed(self, task: asyncio.Task[None]) -> None:
        self._in_flight.discard(task)
        self._wake.set()
        if not task.cancelled():
            task.result()

    def _take_batch(self, now: float) -> list[Job]:
        jobs = [heapq.heappop(self._queue)[2]]
        faults = self._faults
        wanted = 1
        if not jobs[0].alone and self._dice.hits(faults.batch_p, "batch", str(self._ledger.posts)):
            wanted = 2 + int(self._dice.roll("batch_of", str(self._ledger.posts)) * (faults.batch_max - 1))
        while len(jobs) < min(wanted, faults.batch_max) and self._queue and self._queue[0][0] <= now:
            if self._queue[0][2].alone:
                break
            jobs.append(heapq.heappop(self._queue)[2])
        for job in jobs:
            if job.then is not None:
                job.then()
                job.then = None
        return jobs

    async def _deliver(self, poster: Poster, jobs: list[Job]) -> None:
        updates = [job.update for job in jobs]
        serial = str(self._ledger.posts)
        body = wire.body(
            updates,
            merged=self._dice.roll("merged", serial) < 0.8,
            side_by_side=self._dice.hits(self._faults.side_by_side_p, "side_by_side", serial),
        )
        self._ledger.delivered(updates)
        outcome = await self._post(poster, body)
        self._ledger.answered(updates, outcome, time.time(), time.monotonic())
        self._tell(jobs, body, outcome)
        self.outstanding -= len(jobs)
        for job in jobs:
            if outcome != "200" or self._loses_200(job):
                self._retry(job)
        if not self.outstanding:
            self._settled.set()

    async def _post(self, poster: Poster, body: bytes) -> str:
        headers = {
            "Content-Type": "application/json",
            "X-Hub-Signature-256": wire.sign(body, self._secret),
            "User-Agent": "facebookexternalua",
        }
        try:
            return str(await poster.post(body, headers, self._faults.webhook_timeout_ms / 1000))
        except TimeoutError:
            return "timeout"
        except NoAnswer:
            return "unreachable"

    def _loses_200(self, job: Job) -> bool:
        key = f"{job.update.refs[0].key}:{job.attempt}:{job.copy}"
        lost = job.lose_200 or self._dice.hits(self._faults.drop200_p, "drop200", key)
        job.lose_200 = False
        self._ledger.lost_200 += lost
        return lost

    def _retry(self, job: Job) -> None:
        faults, now = self._faults, time.monotonic()
        if now - job.first_s > faults.retry_horizon_s:
            self._ledger.given_up += 1
            return
        backoff_ms = min(faults.retry_max_ms, faults.retry_first_ms * 2 ** min(job.attempt, 20))
        job.attempt += 1
        jitter = 0.5 + self._dice.roll("jitter", f"{job.update.refs[0].key}:{job.attempt}")
        self._queue_job(job, now + backoff_ms * jitter / 1000)

    def _tell(self, jobs: list[Job], body: bytes, outcome: str) -> None:
        if not self._feed.heard:
            return
        keys = [job.update.refs[0].key for job in jobs]
        attempt, copy = max(job.attempt for job in jobs), any(job.copy for job in jobs)
        signature = wire.sign(body, self._secret)
        text = body[:65536].decode("ascii")
        self.recent.append({"items": keys, "outcome": outcome, "body": text, "signature": signature})
        del self.recent[:-RECENT_POSTS]
        self._feed.tell("webhook.delivered", items=keys, outcome=outcome, attempt=attempt, copy=copy)
