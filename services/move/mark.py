"""The mark of a move to the cluster: in the data folder that is moved, and in the database that it is moved to.

A folder with a mark is run by nobody: what it holds is, or is about to be, somewhere else. A database whose mark is not
done holds half of an installation, and is run by nobody either.
"""

from pathlib import Path

import msgspec

from schemas.instants import rfc3339

MARK = "move"
"""The name of the mark in the table `installation`."""
MARK_READ = f"SELECT value FROM installation WHERE name = '{MARK}'"  # noqa: S608 - a constant


class Mark(msgspec.Struct, frozen=True):
    """One move. `at`: when it began, in seconds since 1970. The database's also names Kafka and the prefix."""

    id: str
    at: float
    done: bool = False
    kafka: str = ""
    prefix: str = ""


_decoder = msgspec.json.Decoder(Mark)


def read(value: bytes | None) -> Mark | None:
    """The mark that is stored, or None."""
    return None if value is None else _decoder.decode(value)


def stored(mark: Mark) -> bytes:
    """The mark as it is stored."""
    return msgspec.json.encode(mark)


def moved(folder: Path, mark: Mark) -> str:
    """Why the embedded edition may not run on a marked folder, and what to do."""
    if mark.done:
        return (
            f"What {folder} holds was moved to the cluster on {rfc3339(mark.at)}. Set COEXIST_KAFKA_BOOTSTRAP_SERVERS "
            "and COEXIST_DATABASE_URL to run it there, or COEXIST_DATA_DIR to another folder."
        )
    return (
        f"A move of {folder} to the cluster was begun on {rfc3339(mark.at)} and is not finished. Run "
        "`coexist migrate-to-cluster` again: it goes on where it stopped. Or `coexist migrate-to-cluster --abandon`."
    )


HALF_MOVED = (
    "A move from a data folder to this cluster was begun and is not finished. "
    "Run `coexist migrate-to-cluster` again: it goes on where it stopped."
)
