"""Files that other programs replace: detects whether one has changed."""

from collections.abc import Hashable
from pathlib import Path


def file_version(path: Path) -> Hashable:
    """Return a value that changes when a file is replaced or written; None where it is missing.

    It follows links, since Kubernetes replaces a mounted secret by changing a link.
    """
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
