"""Waiting for ends: many waiting tasks share one reader of final events.

A wake-up only means that it is time to query: the store or the daemon knows what has ended. So a
superfluous wake-up costs one query, and a missed one costs time, but no end is lost.
"""

from collections import defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Final, TypeVar

import anyio

from poller.library.errors import PollerClosed

Found = TypeVar("Found")
Ends = AsyncGenerator[str | None, None]
"""The subjects of final events as they are recorded; None when reading begins, or after a gap."""

_QUERY_SECONDS: Final = 60.0
"""Waiting tasks also query this often: nothing wakes them if another program forgets it."""


class Waiters:
    """The waiting tasks. `run` begins to read for them when the first one waits."""

    def __init__(self) -> None:
        self._waiting: defaultdict[str, set[anyio.Event]] = defaultdict(set)
        self._has_begun = anyio.Event()
        self._closed: PollerClosed | None = None

    async def wait(self, subject: str, query: Callable[[], Awaitable[Found | None]]) -> Found:
        """Query until there is a result: after each wake-up of the subject, and from time to time.

        :raises PollerClosed: where `close` was called.
        """
        self._has_begun.set()
        while True:
            if self._closed is not None:
                raise self._closed
            # listen before the query, so that an end in between is not missed
            with self._listening(subject) as woken:
                if (found := await query()) is not None:
                    return found
                with anyio.move_on_after(_QUERY_SECONDS):
                    await woken.wait()

    async def run(self, read: Callable[[], Ends]) -> None:
        """Call `read` once a task waits, and wake those that wait for its subjects."""
        await self._has_begun.wait()
        async with aclosing(read()) as ends:
            async for subject in ends:
                self.wake(subject)

    def wake(self, subject: str | None) -> None:
        """Wake the tasks that wait for this subject; with None all."""
        chosen = [*self._waiting.values()] if subject is None else [self._waiting.get(subject, ())]
        for events in chosen:
            for event in events:
                event.set()

    def close(self, reason: str) -> None:
        """Raise `PollerClosed` in all waiting calls, and in all later ones."""
        self._closed = PollerClosed(reason)
        self.wake(None)

    @contextmanager
    def _listening(self, subject: str) -> Iterator[anyio.Event]:
        woken = anyio.Event()
        self._waiting[subject].add(woken)
        try:
            yield woken
        finally:
            self._waiting[subject].discard(woken)
            if not self._waiting[subject]:
                del self._waiting[subject]
