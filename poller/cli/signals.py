"""The signals of the daemon, from the first instruction to the last.

Before the event loop runs, SIGTERM and SIGINT end the process at once with exit code 0: nothing
has begun yet. SIGHUP is held. Once the loop runs, all of them wait in a queue for their reader.
Only `poller run` uses this: every other command ends on these signals as programs usually do.
"""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Final

# imported before anything else of the program: nothing here may take long
if TYPE_CHECKING:
    import anyio

_HELD: Final = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)


class ProcessSignals:
    """A queue of received signals, in order; SIGHUP is in it at most once."""

    def __init__(self) -> None:
        self._waiting: list[int] = []
        self._wake: Callable[[], object] | None = None
        self._arrived: anyio.Event | None = None

    @property
    def stop_requested(self) -> bool:
        """Whether a SIGTERM or a SIGINT waits to be read."""
        return any(number != signal.SIGHUP for number in self._waiting)

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Queue signals for the running event loop; none ends the process by itself any more."""
        import asyncio  # noqa: PLC0415 - it takes a tenth of a second

        import anyio  # noqa: PLC0415 - as above

        loop = asyncio.get_running_loop()
        self._arrived = anyio.Event()
        self._wake = lambda: loop.call_soon_threadsafe(self._ring)
        try:
            yield
        finally:
            # a signal that arrives from now on is ignored: the exit code is decided
            self._wake = lambda: None

    async def get(self) -> int:
        """Wait for the next signal and take it out of the queue."""
        while not self._waiting:
            await self._next()
        return self._waiting.pop(0)

    async def wait_for_stop(self) -> None:
        """Wait until a SIGTERM or a SIGINT has come; it stays in the queue."""
        while not self.stop_requested:
            await self._next()

    def handle(self, number: int, _frame: FrameType | None = None) -> None:
        """Take one signal. The interpreter calls this between two instructions."""
        # a second SIGHUP before the first was read requests the same reload; a second SIGTERM
        # requests more than the first: to stop at once
        if number != signal.SIGHUP or number not in self._waiting:
            self._waiting.append(number)
        if self._wake is not None:
            self._wake()
        elif number != signal.SIGHUP:
            raise SystemExit(0)

    async def _next(self) -> None:
        if self._arrived is None:
            raise RuntimeError("enter attached() first")
        await self._arrived.wait()

    def _ring(self) -> None:
        import anyio  # noqa: PLC0415 - as above

        if self._arrived is not None:
            self._arrived.set()
            self._arrived = anyio.Event()


_active: ProcessSignals | None = None


@contextmanager
def hold_signals(*, until_exit: bool = False) -> Iterator[ProcessSignals]:
    """Queue the signals while the block runs; a nested block shares the queue of the outer one.

    Afterwards the previous handlers are restored. With `until_exit` the signals are ignored
    instead, so that none replaces the exit code while the interpreter shuts down.
    """
    global _active  # noqa: PLW0603 - handlers of signals belong to the process
    if _active is not None:
        yield _active
        return
    _active = signals = ProcessSignals()
    before = {number: signal.signal(number, signals.handle) for number in _HELD}
    try:
        yield signals
    finally:
        _active = None
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if until_exit else handler)
