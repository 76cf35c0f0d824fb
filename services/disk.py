"""What is on the disk for good: a file's content, and the names in a folder, outlive a loss of power once synced."""

import os
from pathlib import Path


def sync(path: Path) -> None:
    """Return once a file's content, or a folder's names, are on the disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
