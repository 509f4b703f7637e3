"""The events of operations as NDJSON on standard output, for programs."""

from collections.abc import Sequence
from typing import Final, Self

import anyio
import structlog

from poller.cli.watch.news import GroupUpdate, News, Update
from poller.sinks.base import OutgoingEvent, SinkVerdict
from poller.sinks.stdout import StdoutSink

log = structlog.get_logger()

_RETRY_SECONDS: Final = 1.0


class Lines:
    """NDJSON on standard output, each event as it happens."""

    def __init__(self) -> None:
        self._sink = StdoutSink()
        self._gone = anyio.Event()

    @classmethod
    async def open(cls) -> Self:
        """Take standard output.

        :raises SinkUnavailable: where it is closed.
        """
        lines = cls()
        await lines._sink.start()
        return lines

    async def show(self, news: Sequence[News]) -> None:
        """Write the events among the news, however long the reader takes."""
        updates = [item for item in news if isinstance(item, Update | GroupUpdate)]
        events = [event for update in updates for event in update.events]
        waiting = [OutgoingEvent(id=event.id, body=event.body) for event in events]
        while waiting:
            outcomes = await self._sink.deliver(waiting)
            if any(outcome.verdict is SinkVerdict.CLOSED for outcome in outcomes):
                self._gone.set()
                await anyio.sleep_forever()
            failed = [
                (event, outcome.error)
                for event, outcome in zip(waiting, outcomes, strict=True)
                if outcome.verdict is not SinkVerdict.DELIVERED
            ]
            waiting = [event for event, _ in failed]
            if failed:
                log.warning("stdout.failed", waiting=len(waiting), error=failed[0][1])
                await anyio.sleep(_RETRY_SECONDS)

    async def run(self) -> None:
        """Return when the reader has closed the pipe, even while there is nothing to write."""
        while not self._gone.is_set() and not self._sink.is_closed:
            with anyio.move_on_after(_RETRY_SECONDS):
                await self._gone.wait()

    async def close(self, ending: str) -> None:  # noqa: ARG002 - the events show it
        """Complete a partly written line."""
        await self._sink.aclose()
