"""Standard error that neither blocks nor fails: a bounded queue, and one thread that writes it.

A log that cannot be written must not stop the work: the reader of a pipe may be gone or stalled,
and the disk may be full. Lines are then dropped and counted, and the first line that can be written
again says how many. Everything that is written to `sys.stderr` is queued here: the log, the loggers
of libraries, warnings, tracebacks, messages of commands.
"""

import atexit
import os
import select
import sys
import threading
from collections import deque
from collections.abc import Callable
from io import TextIOBase
from typing import Final

from poller.text import counted

_CAPACITY: Final = 1024 * 1024
"""The most bytes that are queued."""
_FLUSH_SECONDS: Final = 1.0
"""How long the exit of the process waits for unwritten lines, at most."""


class BackgroundStream(TextIOBase):
    """Text for a descriptor, written in order by a thread of its own. Thread-safe.

    `notice` returns the line that reports how many lines were dropped.
    """

    def __init__(
        self, fd: int, *, encoding: str = "utf-8", isatty: bool = False, capacity: int = _CAPACITY
    ) -> None:
        super().__init__()
        self.dropped = 0
        self.notice: Callable[[int], str] = _plain_notice
        self._fd = fd
        self._encoding = encoding
        self._isatty = isatty
        self._capacity = capacity
        # reentrant: a signal handler or a finaliser may write in a thread that is just writing
        self._changed = threading.Condition(threading.RLock())
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._reported = 0
        self._is_writing = False
        self._is_torn = False
        self._thread: threading.Thread | None = None

    @property
    def encoding(self) -> str:  # type: ignore[override] # a constant there
        """The encoding of the terminal or the locale."""
        return self._encoding

    @property
    def errors(self) -> str:  # type: ignore[override] # a constant there
        """How characters that the encoding lacks are written: as escapes."""
        return "backslashreplace"

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._fd

    def isatty(self) -> bool:
        """Return whether it is a terminal."""
        return self._isatty

    def writable(self) -> bool:
        """Return True: it can be written."""
        return True

    def write(self, text: str, /) -> int:
        """Queue a text; it is dropped if the queue is full. Never blocks, never raises."""
        data = text.encode(self._encoding, self.errors)
        with self._changed:
            if self._size + len(data) > self._capacity or not self._is_running():
                self.dropped += _lines(data)
            elif data:
                self._waiting.append(data)
                self._size += len(data)
                self._changed.notify_all()
        return len(text)

    def flush(self) -> None:
        """Do nothing: lines are written as soon as possible, and a caller must not wait."""

    def drain(self, seconds: float = _FLUSH_SECONDS) -> None:
        """Wait until everything is written, for at most `seconds`."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting and not self._is_writing, seconds)

    def _is_running(self) -> bool:
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="stderr", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # no thread can be started while the process exits
                return False
            self._thread = thread
        return True

    def _run(self) -> None:
        while True:
            data = self._take()
            lost = self._push(data)
            with self._changed:
                self.dropped += lost
                count = self.dropped - self._reported
                is_time = count > 0 and not lost and self._size <= self._capacity // 2
            if is_time and not self._push(self.notice(count).encode(self._encoding, self.errors)):
                self._reported += count
            with self._changed:
                self._is_writing = False
                self._changed.notify_all()

    def _take(self) -> bytes:
        """Wait for texts; take as many as a pipe accepts in one write, but at least one."""
        with self._changed:
            while not self._waiting:
                self._changed.wait()
            taken = [self._waiting.popleft()]
            size = len(taken[0])
            while self._waiting and size + len(self._waiting[0]) <= select.PIPE_BUF:
                taken.append(self._waiting.popleft())
                size += len(taken[-1])
            self._size -= size
            self._is_writing = True
        return b"".join(taken)

    def _push(self, data: bytes) -> int:
        """Write; returns the number of lines that could not be written."""
        rest = memoryview(b"\n" + data if self._is_torn else data)
        while rest:
            try:
                rest = rest[os.write(self._fd, rest) :]
            except BlockingIOError:  # somebody made the descriptor non-blocking
                select.select([], [self._fd], [], 1.0)
            except OSError:
                # a partly written line must be ended before the next one
                done = len(data) - len(rest)
                if done > 0:
                    self._is_torn = data[done - 1 : done] != b"\n"
                return _lines(bytes(rest))
            else:
                self._is_torn = False
        return 0


def install() -> None:
    """Replace `sys.stderr` with such a stream; it is drained when the process exits."""
    former = sys.stderr
    stream = BackgroundStream(2, encoding=former.encoding, isatty=former.isatty())
    sys.stderr = stream
    atexit.register(stream.drain)


def dropped_lines() -> int:
    """Return the number of lines on standard error that were dropped so far."""
    return sys.stderr.dropped if isinstance(sys.stderr, BackgroundStream) else 0


def set_drop_notice(notice: Callable[[int], str]) -> None:
    """Let `notice` return the line that reports how many lines were dropped."""
    if isinstance(sys.stderr, BackgroundStream):
        sys.stderr.notice = notice


def _lines(data: bytes) -> int:
    return max(1, data.count(b"\n")) if data.strip() else 0


def _plain_notice(count: int) -> str:
    return f"poller: {counted(count, 'line')} could not be written here\n"
