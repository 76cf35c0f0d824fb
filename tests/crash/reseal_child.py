"""`coexist reseal` that kills itself at a step of it: SIGKILL, as nothing else ends so.

    python -m tests.crash.reseal_child FOLDER KEYS STEP

Steps are the writes and syncs of the database and whatever is done with a file of media. With step 0 it lives, and
tells how many steps there are.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path

from services.sealing.reseal import reseal
from tests.app.rig import settings
from tests.crash.disk import Disk

OF_FILES = frozenset({"open", "os.remove", "os.rename", "tempfile.mkstemp"})


class Steps:
    """Counts steps, and dies at the one it was told of."""

    def __init__(self, media, last):
        self._media = str(media)
        self._last = last
        self.count = 0

    def __call__(self, *_):
        self.count += 1
        if self.count == self._last:
            os.kill(os.getpid(), signal.SIGKILL)

    def of_media(self, event, arguments):
        """An audit hook of the interpreter."""
        if event in OF_FILES and str(arguments[0]).startswith(self._media):
            self()


def main(folder, keys, last):
    """Reseal, until the step is reached."""
    steps, disk = Steps(folder / "media", last), Disk("killing")
    disk.fails = steps
    sys.addaudithook(steps.of_media)
    done = asyncio.run(reseal(settings(folder, encryption_keys=keys, encrypt_content=True), disk.name))
    print(steps.count, done.states, done.batches, done.media)  # noqa: T201 - this is how the parent learns it


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
