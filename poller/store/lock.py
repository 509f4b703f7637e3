"""One daemon per SQLite file: an advisory lock on a file beside it.

The lock is the kernel's, so it cannot outlive its process. The content of the file, the pid of the
holder, is only for messages.
"""

import fcntl
import os
from pathlib import Path
from typing import Self

from poller.os_errors import needs_change
from poller.store.errors import StoreInUse, StoreUnavailable


class FileLock:
    """Holds `<database>.lock` from `acquire` to `release`."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._path = _beside(database)
        self._fd: int | None = None

    def acquire(self) -> Self:
        """Take the lock.

        :raises StoreInUse: where another process has it, naming its pid.
        :raises StoreUnavailable: where the file cannot be opened or written.
        """
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _unopened(self._path, error) from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = _pid_in(fd)
            os.close(fd)
            raise StoreInUse(
                f"store.url: {self._database} is in use by another daemon (pid {pid}); "
                "hand it operations with `poller add ID`, or give this one a store of its own"
            ) from None
        try:
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            os.close(fd)
            raise StoreUnavailable(
                f"store.url: cannot write {self._path}: {error.strerror}; free some space"
            ) from error
        self._fd = fd
        return self

    def release(self) -> None:
        """Release it. The file stays: if it were removed, two holders could lock two files."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def lock_holder(database: Path) -> str | None:
    """Return the pid of the daemon that uses the database, else None; creates no file.

    The pid is "unknown" where the file does not contain one.

    :raises StoreUnavailable: where the file exists and cannot be opened.
    """
    path = _beside(database)
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unopened(path, error) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _pid_in(fd)
    else:
        return None
    finally:
        os.close(fd)


def _beside(database: Path) -> Path:
    return database.with_name(database.name + ".lock")


def _pid_in(fd: int) -> str:
    return os.pread(fd, 32, 0).decode("ascii", "replace").strip() or "unknown"


def _unopened(path: Path, error: OSError) -> StoreUnavailable:
    return StoreUnavailable(
        f"store.url: cannot open {path}: {error.strerror}; "
        "choose a directory that exists and that this user can write to",
        needs_change=needs_change(error),
    )
