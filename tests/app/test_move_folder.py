"""Nothing of a data folder is forgotten by a move: each of its tables and files is moved, or needs no move."""

from services import statements as sql
from services.edition import FILE_NAME
from services.media.store import FOLDER_NAME
from services.move.folder import Folder, columns_of
from services.move.media import copy_ledger
from services.privacy.ledger import FILE_NAME as LEDGER_NAME
from services.privacy.ledger import ErasureLedger
from services.sqlite import log as log_sqlite
from tests.app.relay_receiver import receiver
from tests.app.rig import settings, together, until
from tests.app.test_privacy_erase import erase

PHONE = "34600555777"
COPIED_AS_RECORDS = {"log", "topics", "partitions"}
BEGINS_EMPTY = {"members", "outbox"}
"""Who attends, and what is not published yet: the embedded edition has neither."""
MOVED = {FILE_NAME, FOLDER_NAME, LEDGER_NAME}
NO_MOVE = {f"{FILE_NAME}-wal", f"{FILE_NAME}-shm", "lock", "admin.json"}
"""Parts of the database, and what says where a process is at work."""


async def used(folder):
    """A folder in which something of everything was kept."""
    async with together(folder, about={"relay_hosts": ["127.0.0.1"]}) as rig, receiver().listening() as there:
        assert (await rig.admin.post("/v1/relays", json={"url": there.url})).status_code == 201
        await rig.customer("mira", kind="image")
        await rig.customer(contact=PHONE)
        await rig.outcome(await rig.send(to=PHONE))
        await until(lambda: rig.events("timeline", "message.completed"))
        await erase(rig, PHONE)
        return {path.name for path in folder.iterdir()}


async def test_every_table_and_every_file_of_a_folder_is_moved_or_needs_no_move(tmp_path):
    assert await used(tmp_path) <= MOVED | NO_MOVE
    folder = Folder(settings(tmp_path))
    there, known = folder.columns(), columns_of(sql.SCHEMA)
    assert there == columns_of(log_sqlite.SCHEMA) | known
    assert there.keys() == COPIED_AS_RECORDS | known.keys()
    assert columns_of(sql.SCHEMA_CLUSTER).keys() == BEGINS_EMPTY
    assert {table: any(True for _ in folder.rows(table, known[table])) for table in known} == dict.fromkeys(known, True)
    await folder.close()
    moving = settings(tmp_path, erasure_ledger=tmp_path / "elsewhere.jsonl")
    for _ in range(2):
        copy_ledger(tmp_path, moving)
    noted, copied = (ErasureLedger(tmp_path / name).entries(0) for name in (LEDGER_NAME, "elsewhere.jsonl"))
    assert len(noted) == 1
    assert copied == noted
    assert len((tmp_path / "elsewhere.jsonl").read_bytes().splitlines()) == len(
        (tmp_path / LEDGER_NAME).read_bytes().splitlines()
    )
