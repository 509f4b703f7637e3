"""Writing lines to a pipe whose reader may stall or close it: synchronous, for a worker thread.

A reader that stops reading must not block the writer for ever, and a line that was begun must be
finished before another begins. So nothing is written before the descriptor is writable, and the
rest of an unfinished line is remembered.
"""

import os
import select
import stat
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

_TICK = 0.05
"""Seconds between two checks for a stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingLine:
    """The bytes that are still to be written of one event's line, newline included."""

    event_id: str
    rest: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteResult:
    """The result of a write: the events whose lines are complete, and what stopped it.

    `fault` is None when all is written, TimeoutError when the reader read nothing until the
    deadline, InterruptedError after a stop, else the error of the system.
    """

    written: frozenset[str]
    fault: OSError | None


class PipeWriter:
    """Writes lines to one descriptor; an unfinished line is finished before the next one.

    Threads share it: while one writes, the others wait, as for the reader.
    """

    def __init__(self, fd: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.fd = fd
        self._clock = clock
        self._unfinished: PendingLine | None = None
        self._lock = threading.Lock()

    @property
    def unfinished(self) -> PendingLine | None:
        """The unfinished line; None where there is none."""
        return self._unfinished

    @property
    def is_closed(self) -> bool:
        """Whether the reader has gone, or the descriptor is closed; returns at once."""
        poll = select.poll()
        poll.register(self.fd, 0)  # POLLERR, POLLHUP and POLLNVAL are always reported
        return bool(poll.poll(0))

    def write(
        self, lines: Sequence[PendingLine], *, timeout: float, stop: Callable[[], bool]
    ) -> WriteResult:
        """Finish the unfinished line, then write these lines, for at most `timeout` seconds.

        A line of the same event as the unfinished one is not written again.
        """
        deadline = self._clock() + timeout
        try:
            while not self._lock.acquire(timeout=_TICK):
                self._check(deadline=deadline, stop=stop)
        except OSError as fault:
            return WriteResult(written=frozenset(), fault=fault)
        try:
            return self._write(lines, deadline=deadline, stop=stop)
        finally:
            self._lock.release()

    def _write(
        self, lines: Sequence[PendingLine], *, deadline: float, stop: Callable[[], bool]
    ) -> WriteResult:
        unfinished = self._unfinished
        queue = [unfinished] if unfinished else []
        queue += [
            line for line in lines if unfinished is None or line.event_id != unfinished.event_id
        ]
        data = b"".join(line.rest for line in queue)
        count, fault = self._push(memoryview(data), deadline=deadline, stop=stop)
        return WriteResult(written=self._complete_lines(queue, count), fault=fault)

    def _complete_lines(self, queue: Sequence[PendingLine], count: int) -> frozenset[str]:
        """Return the complete lines among the bytes written, and remember the unfinished one."""
        written: set[str] = set()
        before, self._unfinished = self._unfinished, None
        for line in queue:
            if count < len(line.rest):
                if count or line is before:
                    self._unfinished = PendingLine(event_id=line.event_id, rest=line.rest[count:])
                break
            count -= len(line.rest)
            written.add(line.event_id)
        return frozenset(written)

    def _push(
        self, data: memoryview, *, deadline: float, stop: Callable[[], bool]
    ) -> tuple[int, OSError | None]:
        count = 0
        try:
            most = _chunk(self.fd, len(data))
            while count < len(data):
                self._wait(deadline=deadline, stop=stop)
                count += self._offer(data[count : count + most])
        except OSError as fault:
            return count, fault
        return count, None

    def _offer(self, piece: memoryview) -> int:
        try:
            return os.write(self.fd, piece)
        except BlockingIOError:  # another writer of the same pipe was faster
            time.sleep(_TICK)
            return 0

    def _wait(self, *, deadline: float, stop: Callable[[], bool]) -> None:
        poll = select.poll()
        poll.register(self.fd, select.POLLOUT)
        while not poll.poll(_TICK * 1000):
            self._check(deadline=deadline, stop=stop)

    def _check(self, *, deadline: float, stop: Callable[[], bool]) -> None:
        if stop():
            raise InterruptedError
        if self._clock() >= deadline:
            raise TimeoutError


def _chunk(fd: int, length: int) -> int:
    """Return how many bytes may be written at once without blocking on the reader.

    POSIX promises PIPE_BUF bytes on a blocking pipe that polls as writable, and no more.
    """
    if stat.S_ISREG(os.fstat(fd).st_mode) or not os.get_blocking(fd):
        return length
    return select.PIPE_BUF


STANDARD_OUTPUT: Final = PipeWriter(1)
"""For everything that writes lines there: with two writers, parts of their lines would be mixed."""
