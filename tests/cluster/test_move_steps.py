"""What the move refuses before it writes anything, how it is cut off and taken up again, and what it brings over."""

import asyncio
import contextlib
import os
import random
import shutil
from asyncio.subprocess import PIPE
from collections import Counter

import asyncpg
import pytest
from pydantic import SecretStr

from schemas.ports import Event, LogUnavailable
from schemas.topics import CONVERSATIONS, INBOUND, TIMELINE, TOPICS
from services import statements as sql
from services.edition import open_edition
from services.move.folder import GONE, Folder, Refused, columns_of
from services.move.kafka import KafkaTarget
from services.move.mark import Mark
from services.move.migration import abandon, move
from services.postgres.store import key_bytes
from services.settings import SettingsError
from services.sqlite.file import FileInUse
from tests.app.rig import settings as embedded
from tests.app.rig import until
from tests.cluster.folder import change, fill, of_cluster
from tests.cluster.rig import Cluster, everything
from tests.cluster.test_move import seen
from tests.crash.books import Books
from tests.processes import COEXIST, environment

pytestmark = [pytest.mark.kafka, pytest.mark.faults]

PARTITIONS = 3
WEBHOOKS = 40
KILLS = 40 if os.environ.get("COEXIST_TEST_LONG") else 6
CUTS = 30 if os.environ.get("COEXIST_TEST_LONG") else 3
HEARD_S = 40.0
SMALL_BYTES = 8_192


class Cut(Exception):
    """The move was ended here."""


def silent(done, of):
    pass


def cut_at(records):
    def tell(done, of):
        if done >= records:
            raise Cut

    return tell


@pytest.fixture
async def cluster():
    async with Cluster(partitions=PARTITIONS) as made:
        await heard_of(made)
        yield made


async def heard_of(cluster):
    """A broker hears of new topics a moment after they were made."""
    target = KafkaTarget(cluster.kafka, PARTITIONS)

    async def all_there():
        return len(await target.ends()) == PARTITIONS * len(TOPICS)

    await until(all_there, HEARD_S)


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    made = tmp_path_factory.mktemp("filled") / "data"
    asyncio.run(fill(made, WEBHOOKS, partitions=PARTITIONS))
    return made


@pytest.fixture
def folder(filled, tmp_path):
    return shutil.copytree(filled, tmp_path / "data")


def stands(folder):
    """The records of a folder by topic, and its tables as Postgres has them."""
    books = Books(folder, PARTITIONS)
    try:
        tables = {table: set(stored(table, books.file)) for table in columns_of(sql.SCHEMA)}
        return {topic: seen(books.records(topic)) for topic in TOPICS}, tables
    finally:
        books.close()


def stored(table, file):
    columns = [column for column in columns_of(sql.SCHEMA)[table] if column != "id"]
    for row in file.execute(f"SELECT {', '.join(columns)} FROM {table}"):
        told = dict(zip(columns, row, strict=True))
        if table == "leases":
            told["expires_at"] = 0
        if told.get("name") != "move":
            bytes_ = key_bytes if table == "states" else str.encode
            yield tuple(
                bytes_(value) if name in ("key", "line") and value is not None else value
                for name, value in told.items()
            )


async def came(cluster):
    """The same of the cluster."""
    async with cluster.log() as log:
        records = {topic: seen(await everything(log, topic)) for topic in TOPICS}
    connection = await asyncpg.connect(cluster.url)
    tables = {}
    for table, columns in columns_of(sql.SCHEMA).items():
        kept = ", ".join(column for column in columns if column != "id")
        rows = await connection.fetch(f"SELECT {kept} FROM {table}")
        tables[table] = {tuple(row) for row in rows if row[0] != "move"}
    await connection.close()
    return records, tables


async def tables_there(cluster):
    connection = await asyncpg.connect(cluster.url)
    found = await connection.fetchval(
        "SELECT count(*) FROM information_schema.tables WHERE table_schema = current_schema()"
    )
    await connection.close()
    return found


async def opened(settings):
    """Open an edition as the service does, and close it."""
    async with contextlib.AsyncExitStack() as stack:
        return (await open_edition(settings, lambda: 0.0, stack)).name


async def test_everything_stands_on_the_cluster_as_it_stood_in_the_folder(folder, cluster):
    records, tables = stands(folder)
    assert len(tables["states"]) > 500
    assert {len(rows) > 0 for rows in tables.values()} == {True}
    moved = await move(of_cluster(folder, cluster), silent)
    assert (moved.records, moved.states, moved.found) == (sum(map(len, records.values())), len(tables["states"]), 0)
    assert await came(cluster) == (records, tables)


@pytest.mark.faults
async def test_a_move_is_cut_off_anywhere_and_goes_on_where_it_was(folder, cluster, tell):
    dice, wanted = random.Random(20_26), stands(folder)
    total = sum(map(len, wanted[0].values())) + len(wanted[1]["states"])
    settings, found = of_cluster(folder, cluster), []
    for _ in range(CUTS):
        with pytest.raises(Cut):
            await move(settings, cut_at(dice.randrange(total)), SMALL_BYTES)
        found.append(sum((await KafkaTarget(cluster.kafka, PARTITIONS).ends()).values()))
        with pytest.raises(SettingsError, match="migrate-to-cluster"):
            await opened(embedded(folder, partitions=PARTITIONS))
        with pytest.raises(SettingsError, match="migrate-to-cluster"):
            await opened(settings)
    moved = await move(settings, silent)
    assert moved.found == found[-1]
    assert await came(cluster) == wanted
    tell(f"move cut off {CUTS} times, with {found} of {moved.records} records copied: all there, once, in order")


@pytest.mark.faults
async def test_a_move_that_is_killed_again_and_again_ends_like_one_that_was_not(folder, cluster, tell):
    dice, wanted, ended = random.Random(20_26), stands(folder), 0
    given = environment(data_dir=folder, **cluster.settings)
    for _ in range(KILLS):
        moving = await asyncio.create_subprocess_exec(
            *COEXIST, "migrate-to-cluster", env=given, stderr=PIPE, stdout=PIPE
        )
        _, pending = await asyncio.wait([asyncio.ensure_future(moving.wait())], timeout=dice.uniform(0.5, 5.0))
        if pending:
            moving.kill()
        ended += not pending
        await moving.communicate()
    await move(of_cluster(folder, cluster), silent)
    assert await came(cluster) == wanted
    tell(f"move killed {KILLS - ended} times: all there, once, in order")


async def test_once_moved_the_cluster_runs_and_the_folder_does_not(folder, cluster):
    settings = of_cluster(folder, cluster)
    await move(settings, silent)
    assert await opened(settings) == "cluster"
    with pytest.raises(SettingsError, match="was moved to the cluster"):
        await opened(embedded(folder, partitions=PARTITIONS))
    assert await move(settings, silent) is None
    with pytest.raises(Refused, match="is done"):
        await abandon(settings)
    async with Cluster(partitions=PARTITIONS) as other:
        with pytest.raises(Refused, match="was moved already"):
            await move(of_cluster(folder, other), silent)


async def test_a_move_whose_last_step_was_not_done_does_only_that(folder, cluster):
    settings = of_cluster(folder, cluster)
    await move(settings, silent)
    await mark(folder, done=False)
    with pytest.raises(Refused, match="is done"):
        await abandon(settings)
    assert await move(settings, silent) is None
    with pytest.raises(SettingsError, match="was moved to the cluster"):
        await opened(embedded(folder, partitions=PARTITIONS))


async def mark(folder, *, done):
    held = Folder(embedded(folder, partitions=PARTITIONS))
    held.put_mark(Mark(held.mark.id, held.mark.at, done=done))
    await held.close()


async def test_a_move_that_is_given_up_leaves_a_folder_that_runs(folder, cluster):
    settings = of_cluster(folder, cluster)
    with pytest.raises(Cut):
        await move(settings, cut_at(300))
    assert "can be run again" in await abandon(settings)
    assert await opened(embedded(folder, partitions=PARTITIONS)) == "embedded"
    with pytest.raises(Refused, match="holds an installation already"):
        await move(settings, silent)
    with pytest.raises(Refused, match="not on the move"):
        await abandon(settings)


async def refused(settings, folder, cluster, sentence, kind=Refused):
    """It is refused in one sentence, and neither folder nor cluster has changed."""
    with pytest.raises(kind, match=sentence):
        await move(settings, silent)
    assert Books(folder, PARTITIONS).file.execute("SELECT count(*) FROM installation").fetchone() == (1,)
    assert await tables_there(cluster) == 0
    assert set((await KafkaTarget(cluster.kafka, PARTITIONS).ends()).values()) == {0}


@pytest.mark.faults
async def test_what_cannot_be_moved_is_refused_before_anything_is_written(folder, cluster):
    settings = of_cluster(folder, cluster)
    two = settings.model_copy(update={"partitions": 2})
    await refused(two, folder, cluster, "has 3 partitions, and COEXIST_PARTITIONS is 2|made with 3", Exception)
    nowhere = settings.model_copy(update={"data_dir": folder / "nowhere"})
    await refused(nowhere, folder, cluster, "nothing to move")
    alone = settings.model_copy(update={"database_url": None})
    await refused(alone, folder, cluster, "must say where to move to", SettingsError)
    async with contextlib.AsyncExitStack() as stack:
        await open_edition(embedded(folder, partitions=PARTITIONS), lambda: 0.0, stack)
        await refused(settings, folder, cluster, "is in use by process", FileInUse)
    change(folder, "ALTER TABLE states ADD COLUMN newer TEXT")
    await refused(settings, folder, cluster, "another version of Coexist")
    change(folder, "ALTER TABLE states DROP COLUMN newer", "CREATE TABLE newer (a)")
    await refused(settings, folder, cluster, "another version of Coexist")
    change(folder, "DROP TABLE newer")
    assert (await move(settings, silent)).records > 0


async def test_a_target_that_holds_anything_is_refused(folder, cluster):
    settings = of_cluster(folder, cluster)
    async with cluster.log() as log:
        await log.append([(INBOUND, Event("a", "webhook.unknown", "1", b"{}", 1, 1))])
    with pytest.raises(Refused, match="has had records on Kafka already"):
        await move(settings, silent)
    assert await tables_there(cluster) == 0
    async with Cluster(partitions=PARTITIONS) as other:
        await heard_of(other)
        async with contextlib.AsyncExitStack() as stack:
            store = (await open_edition(of_cluster(folder, other), lambda: 0.0, stack)).store
            await store.installation_key()
        with pytest.raises(Refused, match="holds an installation already"):
            await move(of_cluster(folder, other), silent)
    assert await opened(embedded(folder, partitions=PARTITIONS)) == "embedded"


async def test_a_record_that_the_move_did_not_write_ends_it(folder, cluster):
    settings = of_cluster(folder, cluster)
    with pytest.raises(Cut):
        await move(settings, cut_at(300), SMALL_BYTES)
    async with cluster.log() as log:
        await log.append([(INBOUND, Event("a", "webhook.unknown", str(n), b"{}", 1, 1)) for n in range(20)])
    with pytest.raises(Refused, match="holds records that this move did not put there"):
        await move(settings, silent)


async def test_a_move_goes_on_only_where_it_began(folder, cluster):
    settings = of_cluster(folder, cluster)
    with pytest.raises(Cut):
        await move(settings, cut_at(300))
    with pytest.raises(Refused, match="another Kafka or another COEXIST_TOPIC_PREFIX"):
        await move(settings.model_copy(update={"topic_prefix": f"{cluster.prefix}x"}), silent)


async def test_who_cannot_be_reached_ends_the_move_with_a_sentence(folder, cluster):
    settings = of_cluster(folder, cluster)
    for away in ({"kafka_bootstrap_servers": "127.0.0.1:1"}, {"database_url": SecretStr("postgresql://127.0.0.1:1/x")}):
        with pytest.raises(LogUnavailable, match=r"did not answer|cannot be reached"):
            await move(settings.model_copy(update=away), silent)
    assert await opened(embedded(folder, partitions=PARTITIONS)) == "embedded"


async def test_offsets_stay_where_old_records_are_gone_and_where_somebody_was_erased(folder, cluster):
    wanted, tables = stands(folder)
    numbers = dict(Books(folder, PARTITIONS).file.execute("SELECT topic, number FROM topics"))
    busiest = Counter(record[0] for record in wanted[INBOUND]).most_common(1)[0][0]
    rows = [(topic, numbers[topic] * PARTITIONS + busiest) for topic in (INBOUND, TIMELINE, CONVERSATIONS)]
    for _, place in rows:
        here = f"SELECT id FROM log WHERE id >= {place} << 40 AND id < ({place} + 1) << 40 ORDER BY id LIMIT 1"
        change(folder, f"DELETE FROM log WHERE id IN (({here}), ({here} OFFSET 3))")
    await move(of_cluster(folder, cluster), silent)
    left = Books(folder, PARTITIONS)
    async with cluster.log() as log:
        for topic, _ in rows:
            records = [r for r in await everything(log, topic) if r.event.type != GONE]
            assert seen(records) == seen(r for p in range(PARTITIONS) for r in read(left, topic, p))
            ends = [await log.end(topic, partition) for partition in range(PARTITIONS)]
            assert ends == [sum(1 for r in wanted[topic] if r[0] == partition) for partition in range(PARTITIONS)]
        (first,) = await log.read(INBOUND, busiest, 0, 1)
        assert first.event.type != GONE
        assert first.offset > 0
    left.close()
    assert (await came(cluster))[1] == tables


def read(books, topic, partition):
    return books.log.read(topic, partition, 0, 1_000_000)
