"""The file sink: each event exactly once, one line each, on disk before it is delivered."""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TypeVar

import anyio
import anyio.to_thread

from poller.log import get_logger
from poller.sinks.base import OutgoingEvent, SinkOutcome, SinkUnavailable, SinkVerdict
from poller.sinks.journal import Disk, Journal, join_lines

_T = TypeVar("_T")

_BATCH_SIZE = 500
_RECALL_LINES = 2 * _BATCH_SIZE
"""Only the last batch can be in the file and not yet recorded. Twice its size, so that a later
version may write smaller batches."""
_DEADLINE = 120.0
"""Seconds within which even a failing disk returns a result or an error."""

_log = get_logger()


class FileSink:
    """NDJSON appended to a file under `flock`; a batch is one write and one `fsync`.

    A batch is in the file as a whole or not at all. Cancellation does not interrupt it, so the file
    and the reported outcomes never differ while the process lives.
    """

    concurrency = 1
    batch_size = _BATCH_SIZE
    deadline = _DEADLINE

    def __init__(self, *, name: str, path: Path, disk: Disk | None = None) -> None:
        self.name = name
        self._journal = Journal(path.absolute(), recall_lines=_RECALL_LINES, disk=disk)
        self._thread = anyio.CapacityLimiter(1)

    @property
    def is_closed(self) -> bool:
        """Return False: a file can be opened again."""
        return False

    async def start(self) -> None:
        """Open, lock and repair the file.

        :raises SinkHeld: if another process has locked it.
        :raises SinkUnavailable: if it cannot be opened, or is not a file of events.
        """
        await self._in_thread(self._journal.hold)

    async def recall(self, event_ids: Collection[str]) -> frozenset[str]:
        """Return those of these ids that are in the file's last 1,000 lines.

        :raises SinkUnavailable: if the file cannot be read.
        """
        if not event_ids:
            return frozenset()
        return (await self._in_thread(self._journal.recent_ids)).intersection(event_ids)

    async def deliver(self, batch: Sequence[OutgoingEvent]) -> Sequence[SinkOutcome]:
        """Append the batch: all delivered, or all failed with the same error."""
        outcome = SinkOutcome(verdict=SinkVerdict.DELIVERED)
        try:
            await self._in_thread(lambda: self._journal.append(join_lines(batch)))
        except SinkUnavailable as error:
            outcome = SinkOutcome(verdict=SinkVerdict.FAILED, error=str(error))
        return [outcome] * len(batch)

    async def reopen(self) -> None:
        """Close the file and open the one that is at the path now."""
        await self._in_thread(self._journal.close)
        try:
            await self.start()
        except SinkUnavailable as error:
            _log.warning("sink.file.reopen_failed", sink=self.name, error=str(error))

    async def aclose(self) -> None:
        """Close the file and release the lock."""
        with anyio.CancelScope(shield=True):
            await self._in_thread(self._journal.close)

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        """Run one file operation at a time; once it has begun, cancellation waits for its end."""
        return await anyio.to_thread.run_sync(work, limiter=self._thread)
