"""Reads recorded events in commit order, for readers that come and go: streams and programs.

Nothing is queued for a reader. It reads the store page by page behind its cursor, and waits for the
signal that more was recorded.
"""

from collections.abc import Collection, Sequence
from typing import Final, Self

import anyio

from poller.engine.signals import Signals
from poller.store.errors import EventsGone
from poller.store.events import Cursor, StoredEvent
from poller.store.store import Store

_PAGE: Final = 100
# other daemons may write to the same store; their events send no signal to this process
_POLL_SECONDS: Final = 1.0
# events that are recorded shortly after one another are read in one page
_GATHER_SECONDS: Final = 0.02


class EventFeed:
    """The events of the given operations, groups and the groups' members; all where none are given.

    Make one with `start`. `cursor` is the position after the last event that was examined.
    """

    def __init__(
        self,
        store: Store,
        signals: Signals,
        cursor: Cursor,
        *,
        pruned_to: int = 0,
        operations: Collection[str] = (),
        groups: Collection[str] = (),
    ) -> None:
        self.cursor = cursor
        self.has_more = True
        self._store = store
        self._recorded = signals.events.listen()
        self._pruned_to = pruned_to
        self._operations = operations
        self._groups = groups

    @classmethod
    async def start(
        cls,
        store: Store,
        signals: Signals,
        *,
        after: str | None = None,
        from_oldest: bool = False,
        operations: Collection[str] = (),
        groups: Collection[str] = (),
    ) -> Self:
        """Begin after the event `after`, or `from_oldest` with the oldest kept one, or now.

        :raises EventsGone: where `after`, or an event that came after it, is not kept.
        :raises StoreError: where the store refuses.
        """
        pruned_to = 0
        if after:
            found = await store.find_cursor(after)
            if found is None:
                raise _gone(after)
            cursor = found
        elif from_oldest:
            cursor = Cursor(position=0)
            pruned_to = (await store.event_page(after=cursor, limit=1)).pruned_to
        else:
            cursor = await store.last_cursor()
        return cls(
            store, signals, cursor, pruned_to=pruned_to, operations=operations, groups=groups
        )

    async def read(self) -> Sequence[StoredEvent]:
        """Read the next page, which may be empty; where `has_more` holds, another one follows.

        :raises EventsGone: where retention has deleted events that were not read.
        :raises StoreError: where the store refuses; the next call reads the same page.
        """
        page = await self._store.event_page(
            after=self.cursor, limit=_PAGE, operations=self._operations, groups=self._groups
        )
        if page.pruned_to > max(self.cursor.position, self._pruned_to):
            raise _gone(self.cursor.event_id)
        self.cursor = page.end
        self.has_more = len(page.events) == _PAGE
        return page.events

    async def wait(self, seconds: float = _POLL_SECONDS) -> None:
        """Wait until an event is recorded, or at most `seconds`, or until the next query is due."""
        if await self._recorded.wait(min(seconds, _POLL_SECONDS)):
            await anyio.sleep(_GATHER_SECONDS)


def _gone(event_id: str) -> EventsGone:
    return EventsGone(f"the event {event_id[:80]!r}, or one that came after it, is not kept")
