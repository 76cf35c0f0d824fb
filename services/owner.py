"""Under which name a process takes leases: one per data folder, the same after a restart, never two at once.

A lease is its owner's until it expires. A process that was killed and started again would wait for its own leases;
under its old name it takes them up at once. The name stands in a file that the kernel keeps locked while the process
lives, so whoever has the lock knows that its namesake is dead. Nothing hangs on that for correctness: taking a lease
raises its epoch, and what the namesake may still try then fails.
"""

import fcntl
import re
import secrets
import socket
from contextlib import AsyncExitStack
from pathlib import Path

FILE_NAME = "owner"


def own_name(folder: Path, stack: AsyncExitStack) -> str:
    """The folder's name for its process, locked until `stack` closes.

    Where another process works in the folder already, or it cannot be locked, a name for this life alone.
    """
    file = stack.enter_context((folder / FILE_NAME).open("a+"))
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return _new()
    file.seek(0)
    name = file.read()
    if not re.fullmatch(re.escape(socket.gethostname()) + "/[0-9a-f]{12}", name):  # a copied folder names another host
        name = _new()
        file.truncate(0)
        file.write(name)
        file.flush()
    return name


def _new() -> str:
    return f"{socket.gethostname()}/{secrets.token_hex(6)}"
