"""The version before this one, from the history: what an upgrade comes from, and what it may have to go back to."""

import io
import subprocess
import tarfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
FORMER = "f58c4776"
"""Until there is a release: a commit of main that stores what this version stores; it moves on with a stored form.
Afterwards the tag of the newest release, which stays."""
PACKAGES = ("schemas", "ingest", "echo_sync", "sender", "services")


def former(folder):
    """The former version's source tree, unpacked into `folder`; None where the history does not hold it."""
    command = ["git", "-C", str(ROOT), "archive", FORMER, *PACKAGES]
    try:
        packed = subprocess.run(command, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    tree = folder / "former"
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(tree, filter="data")
    return tree


def named(tree):
    """What a report calls the version that was tried beside this one."""
    return f"{FORMER} and this version" if tree else "this version and itself, for the history is not here"
