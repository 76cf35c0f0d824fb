"""Resealing beside a process that writes: what it writes is never replaced by what was read before."""

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager

import asyncpg
import pytest

from services.commands.failure import UNREACHABLE, Failure
from services.media.sealed import MAGIC
from services.media.store import reference
from services.postgres.pool import schema
from services.sealing.reseal import reseal
from tests.app.rig import settings
from tests.app.test_at_rest import sealed
from tests.cluster.rig import SOON_S, until
from tests.kafka.broker import drop_database, execute, new_database

pytestmark = pytest.mark.kafka

BEGUN = """
INSERT INTO processors VALUES ('p', 1);
INSERT INTO states (slot, key, value) VALUES (65536, 'one', '\\x90aa'), (65536, 'other', '\\x90aa');
INSERT INTO outbox VALUES (65536, 'timeline', 0, 1, 1, '\\x90aa'), (65536, 'timeline', 0, 2, 1, '\\x90aa');
"""
HELD_BY = "SELECT count(*) FROM pg_stat_activity WHERE {} = ANY (pg_blocking_pids(pid))"


@pytest.fixture
async def url():
    made = new_database()
    connection = await asyncpg.connect(made)
    await connection.execute("SET client_min_messages = warning;" + schema() + BEGUN)
    await connection.close()
    yield made
    drop_database(made)


async def test_what_a_process_writes_meanwhile_stays_and_is_told_of(tmp_path, url):
    about = settings(tmp_path, kafka_bootstrap_servers="127.0.0.1:9", database_url=url, **sealed())
    async with asyncio.TaskGroup() as tasks, AsyncExitStack() as later:
        async with writing(url, "UPDATE outbox SET batch = '\\x90bb' WHERE last = 1") as publishing:
            work = tasks.create_task(asyncio.wait_for(refused(about), SOON_S))
            await until(lambda: holds_up(url, publishing))
            deciding = writing(url, "UPDATE states SET value = '\\x90bb' WHERE key = 'one'")
            decider = await later.enter_async_context(deciding)
        await until(lambda: holds_up(url, decider))
        await later.aclose()
    assert work.result().exit_code == UNREACHABLE
    assert "2 of the values meanwhile" in str(work.result())
    assert [values[0] for values in stored(url)] == [b"\x90\xbb"] * 2
    assert {values[1][:2] for values in stored(url)} == {b"c1"}
    await reseal(about)
    assert {value[:2] for values in stored(url) for value in values} == {b"c1"}


async def test_a_file_of_media_that_no_key_opens_is_not_told_as_postgres(tmp_path, url):
    about = settings(tmp_path, kafka_bootstrap_servers="127.0.0.1:9", database_url=url, **sealed())
    file = tmp_path / "media" / reference("ab" * 32)
    file.parent.mkdir(parents=True)
    file.write_bytes(MAGIC + b"of a key that nobody knows")
    assert "A file of media cannot be used" in str(await refused(about))


@asynccontextmanager
async def writing(url, statement):
    """A transaction that has written and commits in the end."""
    connection = await asyncpg.connect(url)
    async with connection.transaction():
        await connection.execute(statement)
        yield connection.get_server_pid()
    await connection.close()


async def holds_up(url, pid):
    return await asyncio.to_thread(lambda: execute(url, HELD_BY.format(pid))[0][0])


def stored(url):
    """The values of the outbox, and of the states."""
    asked = ("SELECT batch FROM outbox ORDER BY last", "SELECT value FROM states ORDER BY key")
    return [[bytes(row[0]) for row in execute(url, one)] for one in asked]


async def refused(about):
    with pytest.raises(Failure) as found:
        await reseal(about)
    return found.value
