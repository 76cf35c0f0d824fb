"""A data folder of the embedded edition with everything in it that a move must bring over, made in process."""

import time

import apsw

from schemas.ports import Commit, Event, Row
from schemas.topics import DEAD_LETTERS
from services.app import open_app
from services.bench.bodies import Workload
from services.bench.service import is_caught_up
from services.edition import FILE_NAME
from services.settings import Settings
from tests.app.rig import settings, until

LONG_KEY = "x/" + "🦜" * 2_000
"""A key longer than Postgres can index."""
READ_ROLES = ["echo-sync", "sender"]


def workload():
    return Workload(messages=10, numbers=7, contacts=70, echo_every=3)


async def fill(folder, webhooks, unread=5, partitions=3):
    """Webhooks that were read, and some that were not; marks of dead letters; a timer and a line of their own."""
    async with open_app(settings(folder, partitions=partitions), READ_ROLES) as app:
        await _append(app, 0, webhooks)
        await until(lambda: is_caught_up(app))
        letters = [Event(f"dead:{n}", "dead.letter", str(n), b'{"topic":"inbound"}', n, n) for n in range(9)]
        await app.log.append([(DEAD_LETTERS, letter) for letter in letters])
        lease = await app.store.acquire("services.dead_letters", 1, "console", 10)
        rows = {"d/000000000001": Row(b"mark"), LONG_KEY: Row(b"long", 2e9, LONG_KEY, 1.5)}
        await app.store.commit(Commit(lease, rows=rows))
    async with open_app(settings(folder, partitions=partitions), []) as app:
        await _append(app, webhooks, unread)


async def _append(app, first, count):
    for entries in workload().events(first, count, time.time()):
        await app.log.append(entries)


def of_cluster(folder, cluster) -> Settings:
    return settings(folder, **cluster.settings)


def change(folder, *statements):
    """What no service does to a folder."""
    with apsw.Connection(str(folder / FILE_NAME)) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()
