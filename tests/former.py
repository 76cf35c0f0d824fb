"""The version before this one, from the history: what an upgrade comes from, and what it may have to go back to."""

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FORMER = "997d1f51"
"""Until there is a release: a commit of main that stores what this version stores; it moves on with a stored form.
Afterwards the tag of the newest release, which stays."""
PACKAGES = ("schemas", "ingest", "echo_sync", "sender", "services")
NOT_HERE = f"""The version before this one, {FORMER}, is not in this clone's history.
Bring it: `git fetch --unshallow` in a shallow clone, else `git fetch origin main`; then run this again."""


def former(folder, root=ROOT):
    """The former version's source tree, unpacked into `folder`.

    A clone whose history is cut fails, for a version tried beside itself proves nothing; what is no clone is skipped.
    """
    if not (root / ".git").exists():
        pytest.skip("no upgrade can be tried here: these sources are no clone, so they have no former version")
    command = ["git", "-C", str(root), "archive", FORMER, *PACKAGES]
    try:
        packed = subprocess.run(command, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.fail(NOT_HERE, pytrace=False)
    tree = folder / "former"
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(tree, filter="data")
    return tree
