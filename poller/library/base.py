"""The methods that an embedded poller and a connection to a daemon have in common."""

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
from poller.tracking.registration import check_expected, check_group_name, parse_registration

Recorded = TypeVar("Recorded")
EventStream = AsyncGenerator[EmittedEvent, None]

LATEST: Final = 2
"""How many events of a timeline include the final one: a breakdown may follow it."""

_LAST_QUERY: Final = 1.0
"""Seconds that the query after a timeout may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSelection:
    """Selects events: of an operation or message, or of a group and its members, else all.

    They begin after the event `after`, else with the oldest stored one, else now.
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
    """The methods of `Poller` and `DaemonConnection`.

    Ids are those of operations (`comms_operation_…`) or messages (`comms_message_…`); a text that
    cannot be an id, or the name of a group, is a `ValueError` everywhere. Every method may be
    cancelled at any time, and may be called by many tasks at once. What the store has acknowledged
    stays: a cancelled `watch` may have registered.
    """

    def __init__(self, *, name: str, not_open: str) -> None:
        """`name` is used in messages; `not_open` is the error if it is used outside `with`."""
        self._name = name
        self._not_open = not_open
        self._waiters = Waiters()
        self._running: AbstractAsyncContextManager[None] | None = None

    async def __aenter__(self) -> Self:
        """Start; an instance can be entered only once."""
        if self._running is not None:
            raise RuntimeError(f"a {self._name} can be entered only once; create another one")
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

        Returns True if watching begins now, False if it is already known, even if it has ended. A
        repeated registration adds its labels. `kind` is `messages` (the default), `emails` and so
        on; leave it out for a message. `traceparent` and `tracestate` (W3C Trace Context) become
        attributes of its events and headers of its webhooks.

        :raises BadRegistration: where an argument is wrong; it names the argument.
        :raises Conflict: where it conflicts with what is known: another kind, group or account.
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
        """Wait for the final event of an operation or message, and return it.

        Returns at once if it has ended already, whatever the timeout. A program that was killed can
        wait again, with the same store or daemon, and misses nothing. `timeout` is in seconds.

        :raises TimeoutError: where it has not ended in time; watching continues.
        :raises NotWatched: where it is not watched, or not any more.
        :raises EventsGone: where it ended so long ago that the event is not stored any more.
        """
        check_watchable_id(id)
        return await self._wait(id, timeout)

    async def wait_group(
        self,
        name: str,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - as above
    ) -> EmittedEvent:
        """Wait until a group is sealed and all its members have ended; return `group.completed`.

        :raises TimeoutError: where it has not ended in time.
        :raises NotWatched: where there is no such group.
        :raises EventsGone: where it ended so long ago that the event is not stored any more.
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

        Yields all events, or those of an operation or message, or of a group and its members. They
        begin when the iteration begins; with `from_oldest` they begin with the oldest stored one,
        with `after` after the event with that id. A program that remembers the last id that it has
        processed misses nothing and gets nothing twice.

        To leave the loop early, use `contextlib.aclosing`, as for every asynchronous generator.

        :raises EventsGone: where requested events are no longer stored: there is no silent gap.
        """
        if id is not None:
            check_watchable_id(id)
        if group is not None:
            check_group_name(group)
        chosen = EventSelection(id=id, group=group, from_oldest=from_oldest, after=after)
        return self._follow(chosen)

    async def forget(self, id: str) -> None:  # noqa: A002 - as above
        """Stop watching. Recorded events are still delivered. Repeating it is not an error.

        :raises NotWatched: where it was never watched.
        """
        await self._forget(check_watchable_id(id))
        self._waiters.wake(id)

    async def seal(self, group: str, *, expected: int | None = None) -> GroupDocument:
        """Seal a group: it has all its members now, or once it has `expected` members.

        :raises BadRegistration: where an argument is wrong; it names the argument.
        :raises NotWatched: where there is no such group, and `expected` is not given.
        :raises Conflict: where the group has more members, or was sealed with another number.
        """
        return await self._seal(check_group_name(group), check_expected(expected))

    async def operation(self, id: str) -> OperationDocument:  # noqa: A002 - as above
        """Return the document of an operation or message, as from `GET /v1/operations/{id}`.

        :raises NotWatched: where it is not known.
        """
        return await self._operation(check_watchable_id(id))

    async def group(self, name: str) -> GroupDocument:
        """Return the document of a group, as from `GET /v1/groups/{name}`.

        :raises NotWatched: where it is not known.
        """
        return await self._group(check_group_name(name))

    @abstractmethod
    async def _forget(self, watched: str) -> None:
        """Stop watching a checked id; see `forget`."""

    @abstractmethod
    async def _seal(self, group: str, expected: int | None) -> GroupDocument:
        """Seal the group of a checked name; see `seal`."""

    @abstractmethod
    async def _operation(self, watched: str) -> OperationDocument:
        """Return the document of a checked id; see `operation`."""

    @abstractmethod
    async def _group(self, name: str) -> GroupDocument:
        """Return the document of the group of a checked name; see `group`."""

    @abstractmethod
    def _run(self) -> AbstractAsyncContextManager[None]:
        """Return the context manager in which it is open."""

    @abstractmethod
    async def _register(self, document: Mapping[str, Any]) -> bool:
        """Register a checked document; returns whether watching begins."""

    @abstractmethod
    async def _end_of(self, subject: str) -> EmittedEvent | None:
        """Return the final event of an id or a group; None if it has not ended."""

    @abstractmethod
    def _follow(self, chosen: EventSelection) -> EventStream:
        """Yield the selected events."""

    async def _wait(self, subject: str, seconds: float | None) -> EmittedEvent:
        with anyio.move_on_after(seconds):
            return await self._waiters.wait(subject, lambda: self._end_of(subject))
        # a short timeout may have ended before the first query has
        with anyio.move_on_after(_LAST_QUERY):
            if (found := await self._end_of(subject)) is not None:
                return found
        raise TimeoutError(f"{subject} has not ended within {seconds:g} s")


def latest_final(
    subject: str, events: Sequence[Recorded], *, is_final: Callable[[Recorded], bool]
) -> Recorded:
    """Return the final event among the latest events of `subject`, which has ended.

    :raises EventsGone: where retention has removed it.
    """
    for event in reversed(events):
        if is_final(event):
            return event
    raise EventsGone(f"{subject} has ended, and its events are no longer kept (store.retention)")
