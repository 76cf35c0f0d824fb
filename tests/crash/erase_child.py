"""A service that asks for an erasure and kills itself at a point of it: SIGKILL, as nothing else ends so.

    python -m tests.crash.erase_child FOLDER CONTACT POINT

A point is `before TYPE` or `after TYPE`, an event that is appended in the course of an erasure, or `write N`, so many
writes to the disk after it was asked for. With `write 0` it lives, and tells how many writes an erasure takes.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path

from schemas.items import Contact
from services.app import open_app
from services.privacy.erasing import begin, erasure
from tests.app.rig import NUMBER, settings, until
from tests.crash.disk import Disk

SLOW_S = 60


def die():
    """Not one statement more."""
    os.kill(os.getpid(), signal.SIGKILL)


class Ending:
    """The log, until the point is reached."""

    def __init__(self, log, point):
        self._log = log
        self._when, _, self._kind = point.partition(" ")
        self.partitions = log.partitions

    def __getattr__(self, name):
        return getattr(self._log, name)

    async def append(self, entries):
        named = any(event.type == self._kind for _, event in entries)
        if named and self._when == "before":
            die()
        await self._log.append(entries)
        if named and self._when == "after":
            die()


class Counting:
    """The disk's conscience: from when it is `on` it counts writes and syncs, and dies at the one it was told of."""

    def __init__(self, last):
        self.on = False
        self.count = 0
        self._last = last

    def __call__(self, what, name):
        if self.on:
            self.count += 1
            if self.count == self._last:
                die()


async def is_ready(app):
    """Every shard is held."""
    return app.ready()


async def main(folder, contact, point):
    """Erase, until the point is reached."""
    kind, _, number = point.partition(" ")
    counting, disk = Counting(int(number) if kind == "write" else 0), Disk("killing")
    disk.fails = counting
    async with open_app(settings(folder), wrap_log=lambda log: Ending(log, point), vfs="killing") as app:
        working = asyncio.create_task(app.run())
        await until(lambda: is_ready(app), SLOW_S)
        counting.on = True
        erasure_id = await begin(app, NUMBER, Contact(wa_id=contact), "test")

        async def done():
            found = await erasure(app, erasure_id, NUMBER)
            return found is not None and found.done_at

        await until(done, SLOW_S)
        print(counting.count)  # noqa: T201 - this is how the parent learns it
        app.stopping.set()
        await working


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
