"""Writing lines to a descriptor that may stall, half accept or go away: synchronous, for a thread.

A reader that stops reading must not hold the writer for ever, and a line that was begun must be
finished before another begins. So nothing is written before the descriptor says it can take it,
and what is still owed of a line is remembered.
"""

import os
import select
import stat
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_TICK = 0.05
"""Seconds between two looks at whether to stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingLine:
    """The bytes that are still to be written of one event's line, newline included."""

    event_id: str
    rest: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteResult:
    """How far a write came: the events whose lines are out whole, and what stopped it.

    `fault` is None when all is written, TimeoutError when the reader took nothing until the
    deadline, InterruptedError when told to stop, else what the system said.
    """

    written: frozenset[str]
    fault: OSError | None


class PipeWriter:
    """Lines to one descriptor; never more than one half line, and that one is finished first."""

    def __init__(self, fd: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.fd = fd
        self._clock = clock
        self._owed: PendingLine | None = None

    @property
    def owed(self) -> PendingLine | None:
        """The line that was begun and is not finished."""
        return self._owed

    def write(
        self, lines: Sequence[PendingLine], *, timeout: float, stop: Callable[[], bool]
    ) -> WriteResult:
        """Write what is owed, then these lines, for at most `timeout` seconds.

        A line whose event is the owed one is not written again: it is the one being finished.
        """
        owed = self._owed
        queue = [owed] if owed else []
        queue += [line for line in lines if owed is None or line.event_id != owed.event_id]
        data = b"".join(line.rest for line in queue)
        count, fault = self._push(memoryview(data), deadline=self._clock() + timeout, stop=stop)
        return WriteResult(written=self._settle(queue, count), fault=fault)

    def _settle(self, queue: Sequence[PendingLine], count: int) -> frozenset[str]:
        """Work out from the number of bytes written which lines are whole and which is owed."""
        written: set[str] = set()
        before, self._owed = self._owed, None
        for line in queue:
            if count < len(line.rest):
                if count or line is before:
                    self._owed = PendingLine(event_id=line.event_id, rest=line.rest[count:])
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
            if stop():
                raise InterruptedError
            if self._clock() >= deadline:
                raise TimeoutError


def _chunk(fd: int, length: int) -> int:
    """Return how much may be offered at once without the write waiting for the reader.

    POSIX promises PIPE_BUF bytes on a blocking pipe that polls as writable, and no more.
    """
    if stat.S_ISREG(os.fstat(fd).st_mode) or not os.get_blocking(fd):
        return length
    return select.PIPE_BUF
