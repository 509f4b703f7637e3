"""An NDJSON file that one process appends to: synchronous, for a worker thread.

After `append` has returned, the lines are on disk; after it has raised, none of them count. If the
process is killed at any point, the file consists of whole lines once it is open again.

A line is one event and ends with a newline. JSON never contains a raw newline, so a newline always
marks the end of a whole line.
"""

import fcntl
import json
import os
import stat
from collections.abc import Iterable, Sequence
from contextlib import suppress
from errno import EINVAL, ENOTSUP
from pathlib import Path
from typing import NamedTuple

from poller.log import get_logger
from poller.os_errors import needs_change
from poller.sinks.base import OutgoingEvent, SinkHeld, SinkUnavailable
from poller.trouble import TroubleLog


def join_lines(batch: Sequence[OutgoingEvent]) -> bytes:
    """Return the batch as lines, one for each event."""
    return b"".join(event.encoded() + b"\n" for event in batch)


def sound_length(tail: bytes) -> int:
    """Return the length of the whole lines in a file's tail."""
    return tail.rfind(b"\n") + 1


def whole_lines(tail: bytes, *, limit: int) -> list[bytes]:
    """Return the last `limit` whole lines of a file's tail."""
    return tail.split(b"\n")[:-1][-limit:]


def ids_of(lines: Iterable[bytes]) -> frozenset[str]:
    """Return the event ids in these lines; a line that is not an event has none."""
    return frozenset(found for line in lines if (found := _id_of(line)) is not None)


def _id_of(line: bytes) -> str | None:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):  # not JSON, not UTF-8, or nested too deep
        return None
    found = event.get("id") if isinstance(event, dict) else None
    return found if isinstance(found, str) else None


_BLOCK = 1 << 18
_LONGEST_LINE = 1 << 26
"""Bytes without a newline after which a file is certainly not a file of events."""
_LOCK_ATTEMPTS = 10

_log = get_logger()


class Disk:
    """The system calls that make bytes durable; tests replace them to inject failures."""

    def write(self, fd: int, data: memoryview) -> int:
        """Append as many bytes as possible; return how many."""
        return os.write(fd, data)

    def sync(self, fd: int) -> None:
        """Return when all that was written is on disk."""
        os.fsync(fd)

    def truncate(self, fd: int, length: int) -> None:
        """Cut the file to this length."""
        os.ftruncate(fd, length)


class _Identity(NamedTuple):
    device: int
    inode: int


class Journal:
    """One file of lines, held under `flock`; an append is whole and durable, or not at all.

    `recall_lines` is how many lines of the tail are searched for ids. It must be at least the
    number of lines of one `append`: only the outcome of the last append can be unknown to the
    caller, who makes the next one only when the outcome of the one before is known.
    """

    def __init__(self, path: Path, *, recall_lines: int, disk: Disk | None = None) -> None:
        self.path = path
        self._recall_lines = recall_lines
        self._disk = disk or Disk()
        self._fd: int | None = None
        self._identity = _Identity(0, 0)
        self._end = 0
        self._suspect = False
        self._troubles = TroubleLog()

    def hold(self) -> int:
        """Return a descriptor of the file that is at the path now, locked, with whole lines only.

        :raises SinkHeld: if another process has locked it.
        :raises SinkUnavailable: if it cannot be opened, or is not a file of events.
        """
        try:
            if self._fd is None or not self._in_place():
                self.close()
                self._fd = self._take()
        except OSError as error:
            self.close()
            raise self._unavailable("cannot be opened for writing", error) from error
        return self._fd

    def append(self, data: bytes) -> None:
        """Write whole lines, and return when they are on disk.

        :raises SinkUnavailable: if that failed; the file is as it was, or will be before anything
            else is written.
        """
        fd = self.hold()
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[self._disk.write(fd, rest) :]
            self._disk.sync(fd)
        except OSError as error:
            self._undo(fd)
            raise self._unavailable("could not be written", error) from error
        self._end += len(data)

    def recent_ids(self) -> frozenset[str]:
        """Return the event ids in the last `recall_lines` lines.

        :raises SinkUnavailable: if the file cannot be opened or read.
        """
        fd = self.hold()
        try:
            _, tail = self._read_tail(fd)
        except OSError as error:
            raise self._unavailable("cannot be read", error) from error
        return ids_of(whole_lines(tail, limit=self._recall_lines))

    def close(self) -> None:
        """Close the file and release the lock; `hold` opens it again. Idempotent."""
        if self._fd is not None:
            fd, self._fd = self._fd, None
            with suppress(OSError):  # no write that matters can be pending
                os.close(fd)

    def _in_place(self) -> bool:
        """Whether the open file is still the one at the path, with the length that we left."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return False
        return (_identity(found), found.st_size) == (self._identity, self._end)

    def _take(self) -> int:
        fd = self._open_locked()
        try:
            self._repair(fd)
            _sync_directory(self.path.parent)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _repair(self, fd: int) -> None:
        """Make sure that the file has whole lines only, all on disk; remember its length."""
        found = os.fstat(fd)
        if self._suspect and _identity(found) == self._identity and found.st_size > self._end:
            self._disk.truncate(fd, self._end)
        self._suspect = False
        self._identity = _identity(found)
        self._end = self._cut_torn(fd)
        self._disk.sync(fd)  # lines of a process that was killed before its own fsync

    def _open_locked(self) -> int:
        """Open and lock the file at the path, which may be rotated away between the two."""
        for _ in range(_LOCK_ATTEMPTS):
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOCTTY | os.O_NONBLOCK
            fd = os.open(self.path, flags, 0o666)  # the umask decides
            try:
                self._refuse_special(fd)
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                with suppress(FileNotFoundError):
                    if _identity(self.path.stat()) == _identity(os.fstat(fd)):
                        return fd
            except BlockingIOError:
                os.close(fd)
                raise self._held() from None
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)
        raise self._held()

    def _refuse_special(self, fd: int) -> None:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise SinkUnavailable(
                f"{self.path} is not a regular file",
                'set path to a file of its own, or use type = "stdout" for a pipe',
                needs_change=True,
            )

    def _cut_torn(self, fd: int) -> int:
        """Cut an incomplete line at the end; return the length of the file after it.

        Only a line that was never acknowledged can be incomplete, so nothing is lost. Bytes that
        cannot be the beginning of an event belong to another program, and are not touched.
        """
        start, tail = self._read_tail(fd)
        sound = sound_length(tail)
        if torn := tail[sound:]:
            if torn[:1] not in {b"{", b"\0"}:
                raise self._foreign()
            self._disk.truncate(fd, start + sound)
            self._troubles.failure(
                _log, "sink.file.torn_line_cut", path=str(self.path), cut_bytes=len(torn)
            )
        return start + sound

    def _read_tail(self, fd: int) -> tuple[int, bytes]:
        """Return the last `recall_lines` lines with the rest of the file, and where they begin."""
        start = os.fstat(fd).st_size
        blocks: list[bytes] = []
        newlines = 0
        while start and newlines <= self._recall_lines:
            size = min(_BLOCK, start)
            start -= size
            blocks.append(os.pread(fd, size, start))
            newlines += blocks[-1].count(b"\n")
            if not newlines and len(blocks) * _BLOCK > _LONGEST_LINE:
                raise self._foreign()
        tail = b"".join(reversed(blocks))
        skipped = tail.find(b"\n") + 1 if start else 0
        return start + skipped, tail[skipped:]

    def _undo(self, fd: int) -> None:
        """Undo a failed append, now or, if the disk fails again, when the file is reopened.

        The descriptor is closed in any case: after a failed fsync the state of the kernel's cache
        is unknown, and truncating the file discards those pages.
        """
        self._suspect = True
        try:
            self._disk.truncate(fd, self._end)
            self._disk.sync(fd)
        except OSError as error:
            self._troubles.failure(
                _log,
                "sink.file.undo_failed",
                cause=error.errno,
                path=str(self.path),
                error=error.strerror,
            )
        self.close()

    def _held(self) -> SinkHeld:
        return SinkHeld(
            f"{self.path} is being written by another process or sink",
            "a file takes one writer: stop the other one, or give this sink a path of its own",
        )

    def _foreign(self) -> SinkUnavailable:
        return SinkUnavailable(
            f"{self.path} does not end like a file of events, and was not changed",
            "set path to a new file, or end its last line with a newline",
            needs_change=True,
        )

    def _unavailable(self, what: str, error: OSError) -> SinkUnavailable:
        return SinkUnavailable(
            f"{self.path} {what}: {error.strerror}",
            _hint(error, self.path),
            needs_change=needs_change(error),
        )


def _identity(found: os.stat_result) -> _Identity:
    return _Identity(found.st_dev, found.st_ino)


def _sync_directory(directory: Path) -> None:
    """Make a new file's name durable, where the system allows it."""
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:  # it may be entered but not listed
        return
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in {EINVAL, ENOTSUP}:  # the file system does not support it
            raise
    finally:
        os.close(fd)


def _hint(error: OSError, path: Path) -> str:
    match error:
        case FileNotFoundError():
            return f"create the directory {path.parent}"
        case PermissionError():
            return f"let the user that runs the poller write to {path}"
        case IsADirectoryError() | NotADirectoryError():
            return "set path to a file"
        case _:
            return "free space or repair the file system; the events wait until then"
