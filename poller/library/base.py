"""The methods that an embedded poller and the connection to a daemon have in common."""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import anyio

from poller.comms.ids import check_watchable_id
from poller.library.errors import PollerClosed
from poller.library.waiting import Waiters
from poller.server.documents import GroupDocument, OperationDocument
from poller.store.errors import EventsGone
from poller.tracking.event import EmittedEvent
from poller.tracking.registration import check_group_name, parse_registration

Recorded = TypeVar("Recorded")
EventStream = AsyncGenerator[EmittedEvent, None]

LATEST: Final = 2
"""How many events of a timeline are read for the end: the final one, and its breakdown after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSelection:
    """Which events: of an operation or message, or of a group and its members, else all.

    They begin after `after`, else with the oldest kept, else now.
    """

    id: str | None = None
    group: str | None = None
    from_oldest: bool = False
    after: str | None = None

    @property
    def ids(self) -> tuple[str, ...]:
        """The id, if there is one."""
        return () if self.id is None else (self.id,)

    @property
    def groups(self) -> tuple[str, ...]:
        """The group, if there is one."""
        return () if self.group is None else (self.group,)


class WatchingApi(ABC):
    """What a program asks of a poller: `Poller` and `DaemonConnection` have these methods.

    Ids are those of operations (`comms_operation_…`) or messages (`comms_message_…`). Every method
    may be cancelled at any time, and called by many tasks at once. What the store has acknowledged
    stays: a cancelled `watch` may have registered.
    """

    def __init__(self, *, name: str, not_open: str) -> None:
        """`name` is what messages call it; `not_open` is said where it is used outside `with`."""
        self._name = name
        self._not_open = not_open
        self._waiters = Waiters()
        self._running: AbstractAsyncContextManager[None] | None = None

    async def __aenter__(self) -> Self:
        """Start it; once only."""
        if self._running is not None:
            raise RuntimeError(f"a {self._name} is entered once; make another one")
        self._running = self._run()
        await self._running.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        """Stop it in order."""
        if self._running is None:
            raise PollerClosed(self._not_open)
        return await self._running.__aexit__(exc_type, exc_value, traceback)

    async def watch(
        self,
        id: str,  # noqa: A002 - as the API names it everywhere
        *,
        kind: str | None = None,
        labels: Mapping[str, str] | None = None,
        group: str | None = None,
        breakdown: bool | None = None,
        traceparent: str | None = None,
        tracestate: str | None = None,
    ) -> bool:
        """Watch an operation or a message until its end; durable when this returns.

        Returns whether watching begins now; False where it is known already, also where it has
        ended. A repeated registration adds its labels. `kind` is one of `messages` (the default),
        `emails` and so on; a message has its own. `traceparent` and `tracestate` (W3C Trace
        Context) are attributes of its events and headers of its webhooks.

        :raises BadRegistration: where an argument is wrong; it names the argument.
        :raises Conflict: where it contradicts what is known: another kind, group or account.
        """
        given = {
            "id": id,
            "kind": kind,
            "labels": None if labels is None else dict(labels),
            "group": group,
            "breakdown": breakdown,
            "traceparent": traceparent,
            "tracestate": tracestate,
        }
        document = {name: value for name, value in given.items() if value is not None}
        parse_registration(document)
        return await self._register(document)

    async def wait(
        self,
        id: str,  # noqa: A002 - as above
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - the contract of the API
    ) -> EmittedEvent:
        """Return the final event of what is watched, once it is there; one that is kept at once.

        A program that was killed waits again, with the same store or daemon, and misses nothing.
        `timeout` is in seconds.

        :raises TimeoutError: where it has not ended in time; it is watched on.
        :raises NotWatched: where it is not watched, or no longer.
        :raises EventsGone: where it ended so long ago that the event is not kept.
        """
        check_watchable_id(id)
        return await self._wait(id, timeout)

    async def wait_group(
        self,
        name: str,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - as above
    ) -> EmittedEvent:
        """Return the `group.completed` of a group: it is sealed, and all its members have ended.

        :raises TimeoutError: where it has not ended in time.
        :raises NotWatched: where there is no such group.
        :raises EventsGone: where it ended so long ago that the event is not kept.
        """
        return await self._wait(check_group_name(name), timeout)

    def events(
        self,
        *,
        id: str | None = None,  # noqa: A002 - as above
        group: str | None = None,
        from_oldest: bool = False,
        after: str | None = None,
    ) -> EventStream:
        """Follow events in the order in which they were recorded, until the poller stops.

        All of them, or those of an operation or message, or of a group and its members. They begin
        when the iteration does; with `from_oldest` with the oldest that is kept, with `after`
        behind the event of that id. A program that remembers the last id that it has dealt with
        misses nothing and gets nothing twice.

        Leave the loop early only within `contextlib.aclosing`, as with every generator.

        :raises EventsGone: where events that belong to the answer are no longer kept; there is
            never a silent gap.
        """
        if id is not None:
            check_watchable_id(id)
        if group is not None:
            check_group_name(group)
        chosen = EventSelection(id=id, group=group, from_oldest=from_oldest, after=after)
        return self._follow(chosen)

    @abstractmethod
    async def forget(self, id: str) -> None:  # noqa: A002 - as above
        """Stop watching; events that are recorded are still delivered. Repeating it is no error.

        :raises NotWatched: where it was never watched.
        """

    @abstractmethod
    async def seal(self, group: str, *, expected: int | None = None) -> GroupDocument:
        """Say that a group has all its members, or that it has them when there are `expected`.

        :raises NotWatched: where there is no such group, without `expected`.
        :raises Conflict: where the number contradicts what is there.
        """

    @abstractmethod
    async def operation(self, id: str) -> OperationDocument:  # noqa: A002 - as above
        """Return what is known of an operation or message, as `GET /v1/operations/{id}` shows it.

        :raises NotWatched: where it is not known.
        """

    @abstractmethod
    async def group(self, name: str) -> GroupDocument:
        """Return what is known of a group, as `GET /v1/groups/{name}` shows it.

        :raises NotWatched: where it is not known.
        """

    @abstractmethod
    def _run(self) -> AbstractAsyncContextManager[None]:
        """Be open within the block."""

    @abstractmethod
    async def _register(self, document: Mapping[str, Any]) -> bool:
        """Register what was checked; returns whether watching begins."""

    @abstractmethod
    async def _end_of(self, subject: str) -> EmittedEvent | None:
        """Return the final event of an id or a group that has ended, None where it has not."""

    @abstractmethod
    def _follow(self, chosen: EventSelection) -> EventStream:
        """Yield the chosen events."""

    async def _wait(self, subject: str, seconds: float | None) -> EmittedEvent:
        with anyio.move_on_after(seconds):
            return await self._waiters.wait(subject, lambda: self._end_of(subject))
        raise TimeoutError(f"{subject} has not ended within {seconds:g} s")


def latest_final(
    subject: str, events: Sequence[Recorded], *, is_final: Callable[[Recorded], bool]
) -> Recorded:
    """Return the final one of the latest events of what has ended.

    :raises EventsGone: where retention has taken it.
    """
    for event in reversed(events):
        if is_final(event):
            return event
    raise EventsGone(f"{subject} has ended, and its events are no longer kept (store.retention)")
