"""The stdout sink: one line per event, for the reader of the pipe."""

import os
import stat
from collections.abc import Callable, Collection, Sequence
from errno import EBADF, ECONNRESET, EIO, EPIPE
from fcntl import F_GETFL, fcntl

import anyio
import anyio.from_thread
import anyio.to_thread

from poller.sinks.base import OutgoingEvent, SinkOutcome, SinkUnavailable, SinkVerdict
from poller.sinks.pipe import STANDARD_OUTPUT, PendingLine, PipeWriter, WriteResult

_BATCH_SIZE = 500
_MARGIN = 1.0
"""Seconds that a write may exceed its timeout: one check, and the start of a thread."""


LineMaker = Callable[[OutgoingEvent], bytes]
"""Makes the line of an event, newline included."""


def json_line(event: OutgoingEvent) -> bytes:
    """Return the event as it is: one line of NDJSON."""
    return event.encoded() + b"\n"


class StdoutSink:
    """Lines to a file descriptor, one write per batch by a worker thread.

    `line` makes the line of an event: NDJSON, or text for people. Sinks for the same descriptor
    share its `writer`.

    A reader may stall for `timeout` seconds before unwritten events count as failed.
    """

    concurrency = 1
    batch_size = _BATCH_SIZE

    def __init__(
        self,
        *,
        name: str = "stdout",
        writer: PipeWriter = STANDARD_OUTPUT,
        timeout: float = 30.0,
        line: LineMaker = json_line,
    ) -> None:
        self.name = name
        self._timeout = timeout
        self._line = line
        self._writer = writer
        self._thread = anyio.CapacityLimiter(1)

    @property
    def deadline(self) -> float:
        """Seconds after which a `deliver` has certainly ended."""
        return self._timeout + _MARGIN

    @property
    def is_closed(self) -> bool:
        """Whether nobody can read any more, found without a write."""
        return self._writer.is_closed

    async def start(self) -> None:
        """Check that there is a descriptor to write to.

        :raises SinkUnavailable: if it is closed.
        """
        try:
            mode = fcntl(self._writer.fd, F_GETFL) & os.O_ACCMODE
        except OSError:
            mode = os.O_RDONLY
        if mode == os.O_RDONLY:
            raise SinkUnavailable(
                f"sink {self.name}: file descriptor {self._writer.fd} is closed",
                "start the program with stdout open, or configure another sink",
                needs_change=True,
            )

    async def recall(self, event_ids: Collection[str]) -> frozenset[str]:  # noqa: ARG002  (protocol)
        """Return nothing: what was written to a pipe cannot be read back."""
        return frozenset()

    async def deliver(self, batch: Sequence[OutgoingEvent]) -> Sequence[SinkOutcome]:
        """Write the batch; when cancelled while the reader stalls, return the outcomes at once."""
        lines = [PendingLine(event_id=e.id, rest=self._line(e)) for e in batch]
        stop = _cancellation_check(anyio.get_cancelled_exc_class())
        progress = await anyio.to_thread.run_sync(
            lambda: self._writer.write(lines, timeout=self._timeout, stop=stop),
            limiter=self._thread,
        )
        return [self._outcome(event, progress) for event in batch]

    async def reopen(self) -> None:
        """Do nothing: the caller opened the descriptor."""

    async def aclose(self) -> None:
        """Finish an unfinished line, if the reader accepts it now; the descriptor stays open."""
        if self._writer.unfinished is None:
            return
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(
                lambda: self._writer.write((), timeout=0.0, stop=lambda: False),
                limiter=self._thread,
            )

    def _outcome(self, event: OutgoingEvent, progress: WriteResult) -> SinkOutcome:
        if event.id in progress.written or progress.fault is None:
            return SinkOutcome(verdict=SinkVerdict.DELIVERED)
        return _fault_outcome(progress.fault, fd=self._writer.fd, timeout=self._timeout)


def _cancellation_check(cancelled: type[BaseException]) -> Callable[[], bool]:
    """Return a function by which the worker thread checks whether its caller is cancelled."""

    def is_cancelled() -> bool:
        try:
            anyio.from_thread.check_cancelled()
        except cancelled:
            return True
        return False

    return is_cancelled


def _fault_outcome(fault: OSError, *, fd: int, timeout: float) -> SinkOutcome:
    place = "stdout" if fd == 1 else f"file descriptor {fd}"
    match fault:
        case TimeoutError():
            error = f"the reader of {place} has taken nothing more for up to {timeout:g} s"
        case InterruptedError():
            error = f"stopped while the reader of {place} was not reading"
        case _ if _is_closed(fault, fd):
            return SinkOutcome(
                verdict=SinkVerdict.CLOSED,
                error=f"{place} is closed: nobody reads it any more",
            )
        case _:
            error = f"writing to {place} failed: {fault.strerror}"
    return SinkOutcome(verdict=SinkVerdict.FAILED, error=error)


def _is_closed(fault: OSError, fd: int) -> bool:
    if fault.errno == EIO:  # a terminal that hung up, or a disk that is broken
        return stat.S_ISCHR(os.fstat(fd).st_mode)
    return fault.errno in {EPIPE, EBADF, ECONNRESET}
