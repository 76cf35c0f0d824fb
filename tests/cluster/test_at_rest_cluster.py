"""Content at rest on the cluster: states and outbox are sealed, topics are for everybody, and a sealed folder moves."""

import pytest

from services.commands.failure import Failure
from services.move.migration import move
from services.sealing.reseal import reseal
from services.settings import SettingsError
from tests.app.rig import service, settings, together, until
from tests.app.test_at_rest import CANARY, HEARD_S, KEY, NEW_KEY, OTHER_KEY, PHONE, holding, sealed, talk
from tests.cluster.rig import Cluster
from tests.cluster.test_move_steps import PARTITIONS, heard_of, silent
from tests.kafka.broker import execute

pytestmark = [pytest.mark.kafka, pytest.mark.faults]


def values(url):
    """Every value that the database holds."""
    found = execute(url, "SELECT value FROM states") + execute(url, "SELECT batch FROM outbox")
    return [bytes(row[0]) for row in found]


async def test_what_people_write_is_in_no_value_of_the_database(tmp_path):
    async with Cluster() as cluster:
        async with together(tmp_path, about={"pause_minutes": 0, **cluster.settings, **sealed()}) as rig:
            await talk(rig)
            stored = values(cluster.url)
            assert [value for value in stored if CANARY.encode() in value] == []
            assert len([value for value in stored if value.startswith(b"c1")]) == len(stored) > 4
            (talked,) = [one for one in [await rig.conversation(PHONE)] if one]
            assert talked["contact"]["wa_id"] == PHONE
        assert holding(tmp_path, CANARY.encode()) == []
        with pytest.raises(SettingsError, match="Put that key back"):
            async with service(tmp_path, about={**cluster.settings, **sealed(OTHER_KEY)}):
                pass


async def test_a_sealed_folder_moves_as_it_is_and_needs_its_keys(tmp_path):
    async with together(tmp_path, about={"pause_minutes": 0, "partitions": PARTITIONS, **sealed()}) as rig:
        first, *_ = await talk(rig)
    async with Cluster(partitions=PARTITIONS) as cluster:
        await heard_of(cluster)
        with pytest.raises(SettingsError, match="Put that key back"):
            await move(settings(tmp_path, **cluster.settings, **sealed(OTHER_KEY)), silent)
        about = cluster.settings | sealed()
        await move(settings(tmp_path, **about), silent)
        assert [value for value in values(cluster.url) if CANARY.encode() in value] == []
        async with service(tmp_path, about=about) as rig:
            assert (await rig.data("timeline", "message.added", first))["content"]["body"] == CANARY
            assert await until(lambda: rig.conversation(PHONE))


async def test_resealing_a_cluster_leaves_one_key_enough(tmp_path):
    async with Cluster(partitions=PARTITIONS) as cluster:
        about = {"pause_minutes": 0, **cluster.settings}
        async with together(tmp_path, about={**about, **sealed(wanted=False)}) as rig:
            first, *_ = await talk(rig)
        assert [value for value in values(cluster.url) if CANARY.encode() in value]
        keys = sealed(f"{NEW_KEY},{KEY}")
        done = await reseal(settings(tmp_path, **about, **keys))
        assert done.states > 4
        assert [value for value in values(cluster.url) if CANARY.encode() in value] == []
        async with service(tmp_path, about=about | sealed(NEW_KEY)) as rig:
            assert (await rig.data("timeline", "message.added", first))["content"]["body"] == CANARY
            assert await until(lambda: rig.conversation(PHONE), HEARD_S)
            with pytest.raises(Failure, match="Stop every process first"):
                await reseal(settings(tmp_path, **about, **sealed(NEW_KEY)))
