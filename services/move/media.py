"""What lies beside the data folder's store, on its way to the cluster: media, and the ledger of erasures.

Media go to the store that COEXIST_MEDIA_URL names. References are digests of the content, so states and events need no
change, and a file that is there already is no second copy. The ledger goes to where COEXIST_ERASURE_LEDGER says. What
has no other place stays where it is.
"""

import asyncio
import shutil
import tempfile
from pathlib import Path

from services.media.folder import MediaFolder, kept
from services.media.store import MediaStore, open_store
from services.move.folder import Refused
from services.privacy.ledger import FILE_NAME as LEDGER_NAME
from services.privacy.ledger import ErasureLedger
from services.settings import Settings


async def copy_media(folder: Path, settings: Settings) -> int:
    """Keep every file of the folder in the settings' store as well; how many there were. Raises Refused."""
    store = _elsewhere(folder, settings)
    if store is None:
        return 0
    count = 0
    try:
        for file in kept(folder):
            copy = await asyncio.to_thread(_copied, file, store.incoming)
            try:
                await store.keep(copy, file.name)
            finally:
                copy.unlink(missing_ok=True)
            count += 1
    except OSError as problem:
        raise Refused(
            f"Media could not be copied to COEXIST_MEDIA_URL: {type(problem).__name__}. Mend that and run it "
            "again: it goes on where it stopped."
        ) from None
    return count


def copy_ledger(folder: Path, settings: Settings) -> None:
    """Note the folder's erasures in the settings' ledger as well. Raises Refused."""
    if settings.erasure_ledger is None:
        return
    try:
        ErasureLedger(settings.erasure_ledger).take_over(ErasureLedger(folder / LEDGER_NAME))
    except OSError as problem:
        raise Refused(
            f"COEXIST_ERASURE_LEDGER cannot be written: {type(problem).__name__}. Mend that and run it again: it goes "
            "on where it stopped."
        ) from None


def _elsewhere(folder: Path, settings: Settings) -> MediaStore | None:
    """The store that media go to; None where there are none, or where they lie in it already."""
    if not settings.media_url or not folder.is_dir():
        return None
    store = open_store(settings.media_url, settings.data_dir)
    is_same = isinstance(store, MediaFolder) and store.incoming.parent.resolve() == folder.resolve()
    return None if is_same else store


def _copied(file: Path, folder: Path) -> Path:
    with tempfile.NamedTemporaryFile(dir=folder, delete=False) as copy, file.open("rb") as source:
        shutil.copyfileobj(source, copy)
    return Path(copy.name)
