"""Files that others replace: whether one has changed."""

from collections.abc import Hashable
from pathlib import Path


def file_version(path: Path) -> Hashable:
    """Return what differs once a file was replaced or written; None where it cannot be looked at.

    It follows links, as Kubernetes replaces a mounted secret by turning one.
    """
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
