"""One daemon per SQLite file: an advisory lock on a file beside it.

The lock is the kernel's, so it cannot outlive its process; the file's content only tells people
who holds it.
"""

import fcntl
import os
from pathlib import Path
from typing import Self

from poller.store.errors import StoreInUse, StoreUnavailable

__all__ = ["FileLock"]


class FileLock:
    """Holds `<database>.lock` from `acquire` to `release`."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._path = database.with_name(database.name + ".lock")
        self._fd: int | None = None

    def acquire(self) -> Self:
        """Take the lock.

        :raises StoreInUse: where another process has it, naming its pid.
        :raises StoreUnavailable: where the file cannot be opened.
        """
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreUnavailable(
                f"store.url: cannot open {self._path}: {error.strerror}; "
                "choose a directory that this user can write to"
            ) from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(fd)
            raise StoreInUse(
                f"store.url: {self._database} is in use by another daemon (pid {holder}); "
                "hand it operations with `poller add ID`, or give this one a store of its own"
            ) from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        self._fd = fd
        return self

    def release(self) -> None:
        """Let go. The file stays: removing it would let two holders lock two different files."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
