"""A disk of our own under SQLite: it remembers what was written and what was synced, and fails when told to.

What was written and not synced may be lost, in any subset, and torn at a sector, when the power goes. That is what
`Image` makes of a moment: the files as they may be found afterwards.
"""

from collections import defaultdict

import apsw

SECTOR_BYTES = 512


class Disk(apsw.VFS):
    """The system's VFS with a memory. `done`: every write, truncate, sync and delete, in order.

    `fails(what, name)` is asked before each of them and may give an exception of apsw to be raised in its place.
    """

    def __init__(self, name):
        self.done = []
        self.fails = lambda what, name: None
        self.name = name
        super().__init__(name, "")

    def xOpen(self, name, flags):  # noqa: N802 - a name of SQLite
        return File(self, name, flags)

    def xDelete(self, name, sync_folder):  # noqa: N802 - a name of SQLite
        super().xDelete(name, sync_folder)
        self.note("delete", name)

    def note(self, what, name, *more):
        self.done.append((what, name, *more))

    def may(self, what, name):
        if (problem := self.fails(what, name)) is not None:
            raise problem


class File(apsw.VFSFile):
    """One file on a Disk."""

    def __init__(self, disk, name, flags):
        self.disk = disk
        self.name = name.filename() if hasattr(name, "filename") else name
        super().__init__("", name, flags)

    def xWrite(self, data, offset):  # noqa: N802 - a name of SQLite
        self.disk.may("write", self.name)
        super().xWrite(data, offset)
        self.disk.note("write", self.name, offset, bytes(data))

    def xTruncate(self, size):  # noqa: N802 - a name of SQLite
        super().xTruncate(size)
        self.disk.note("truncate", self.name, size)

    def xSync(self, flags):  # noqa: N802 - a name of SQLite
        self.disk.may("sync", self.name)
        super().xSync(flags)
        self.disk.note("sync", self.name)


class Image:
    """What is on the disk while its story is told again: the synced content of files, and what is not synced."""

    def __init__(self):
        self.synced = defaultdict(bytearray)
        self.pending = defaultdict(list)

    def tell(self, operations):
        for what, name, *more in operations:
            if what == "sync":
                for operation in self.pending.pop(name, ()):
                    _apply(self.synced[name], *operation)
            elif what == "delete":
                self.pending.pop(name, None)
                self.synced.pop(name, None)
            else:
                self.pending[name].append((what, *more))

    def lose_power(self, dice, kept_p):
        """The files after a power loss now: of what was not synced each piece survives with `kept_p`, some torn."""
        files = {name: bytearray(content) for name, content in self.synced.items()}
        for name, operations in self.pending.items():
            content = files.setdefault(name, bytearray())
            for operation in operations:
                if dice.random() < kept_p:
                    _apply(content, *_torn(operation, dice))
        return files


def _torn(operation, dice):
    if operation[0] != "write" or dice.random() > 0.3:
        return operation
    what, offset, data = operation
    sectors = len(data) // SECTOR_BYTES
    return what, offset, data[: dice.randint(0, sectors) * SECTOR_BYTES]


def _apply(content, what, *more):
    if what == "truncate":
        (size,) = more
        del content[size:]
        content.extend(bytes(size - len(content)))
    else:
        offset, data = more
        content.extend(bytes(max(0, offset + len(data) - len(content))))
        content[offset : offset + len(data)] = data
