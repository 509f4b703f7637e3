"""Many who wait for ends, with one reader of final events for all of them.

A wake-up only says that it is time to look: what has ended is what the store, or the daemon, says.
So a wake-up too many costs a look, and one that was missed costs time, but never an end.
"""

from collections import defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Final, TypeVar

import anyio

from poller.library.errors import PollerClosed

Found = TypeVar("Found")
Ends = AsyncGenerator[str | None, None]
"""The subjects of final events as they are recorded; None where the reading begins, or went on."""

_LOOK_AGAIN: Final = 60.0
"""Seconds: nobody wakes those who wait for what another program forgets."""


class Waiters:
    """Those who wait. `run` reads for them once the first one has come."""

    def __init__(self) -> None:
        self._waiting: defaultdict[str, set[anyio.Event]] = defaultdict(set)
        self._has_begun = anyio.Event()
        self._closed: PollerClosed | None = None

    async def wait(self, subject: str, look: Callable[[], Awaitable[Found | None]]) -> Found:
        """Look until there is something, after each wake-up of the subject, and now and then.

        :raises PollerClosed: where `close` was called.
        """
        self._has_begun.set()
        while True:
            if self._closed is not None:
                raise self._closed
            # it listens before it looks: what ends in between wakes it
            with self._listening(subject) as woken:
                if (found := await look()) is not None:
                    return found
                with anyio.move_on_after(_LOOK_AGAIN):
                    await woken.wait()

    async def run(self, read: Callable[[], Ends]) -> None:
        """Wake those whose subjects `read` yields; begins when somebody waits, and ends with it."""
        await self._has_begun.wait()
        async with aclosing(read()) as ends:
            async for subject in ends:
                self.wake(subject)

    def wake(self, subject: str | None) -> None:
        """Wake those who wait for this subject; with None all."""
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
