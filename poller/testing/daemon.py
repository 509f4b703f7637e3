"""A running poller in a thread, for tests that may block."""

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Final

from anyio.from_thread import BlockingPortal
from pydantic import SecretStr

from poller.control.address import address_of_url
from poller.control.client import ControlClient
from poller.library.base import EventStream
from poller.library.embedded import Poller
from poller.server.documents import GroupDocument, OperationDocument, OperationStoryDocument
from poller.testing.simulator import CommsSimulator
from poller.testing.thread import InThread
from poller.tracking.event import EmittedEvent

_TIMEOUT: Final = 10.0
_CHECK_SECONDS: Final = 0.02
_MOST_EVENTS: Final = 1000
_FAST: Final[Mapping[str, Mapping[str, Any]]] = {
    "api": {"requests_per_second": 1000},
    "polling": {"min_interval": "20ms", "max_interval": "200ms", "progress_interval": "0s"},
    "engine": {"shutdown_grace": "1s"},
    "server": {"listen": "127.0.0.1:0"},
}


class PollerDaemon(InThread):
    """A poller that watches a simulator, as `poller run` does; a context manager.

    It has a store of its own, a control API at `url`, and polls every 20 to 200 ms. `settings` are
    tables as in `poller.toml`. Its methods are those of `poller.Poller`, but they block; an
    asynchronous test can use `poller.connect(daemon.url)` instead.
    """

    def __init__(
        self,
        simulator: CommsSimulator,
        store: Path,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        """Check the settings.

        :raises SettingsError: with every problem that was found.
        """
        super().__init__()
        given = settings or {}
        tables = {
            name: {**_FAST.get(name, {}), **given.get(name, {})} for name in {**_FAST, **given}
        }
        self._poller = Poller(
            account_sid=simulator.account_sid,
            auth_token=simulator.auth_token,
            base_url=simulator.base_url,
            store=f"sqlite:///{store}",
            settings=tables,
        )
        token = tables["server"].get("token")
        self._token = None if token is None else SecretStr(str(token))
        self._events: list[EmittedEvent] = []
        self.url = ""

    @property
    def environment(self) -> Mapping[str, str]:
        """The variable with which an application, or `poller add`, finds this daemon."""
        return {"POLLER_URL": self.url}

    @property
    def events(self) -> list[EmittedEvent]:
        """The events emitted so far, in order."""
        return list(self._events)

    def events_of(self, subject: str) -> list[EmittedEvent]:
        """Return the events emitted so far about an operation, a message or a group."""
        return [event for event in self.events if event.subject == subject]

    def watch(
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
        """Watch an operation or a message; see `poller.Poller.watch`."""
        return self._running.call(
            partial(
                self._poller.watch,
                id,
                kind=kind,
                labels=labels,
                group=group,
                breakdown=breakdown,
                traceparent=traceparent,
                tracestate=tracestate,
            )
        )

    def seal(self, group: str, *, expected: int | None = None) -> GroupDocument:
        """Seal a group; see `poller.Poller.seal`."""
        return self._running.call(partial(self._poller.seal, group, expected=expected))

    def operation(self, id: str) -> OperationDocument:  # noqa: A002 - as above
        """Return the document of an operation; see `poller.Poller.operation`."""
        found: OperationDocument = self._running.call(partial(self._poller.operation, id))
        return found

    def wait(self, id: str, *, timeout: float = _TIMEOUT) -> EmittedEvent:  # noqa: A002 - as above
        """Wait for the final event of an operation or message, and return it.

        `events` then contains it, and all before it.

        :raises TimeoutError: where it has not ended in time.
        :raises NotWatched: where it is not watched.
        """
        return self._collected(
            self._running.call(partial(self._poller.wait, id, timeout=timeout)), timeout
        )

    def wait_group(self, name: str, *, timeout: float = _TIMEOUT) -> EmittedEvent:
        """Wait for the `group.completed` of a group, and return it; see `wait`."""
        return self._collected(
            self._running.call(partial(self._poller.wait_group, name, timeout=timeout)), timeout
        )

    def wait_delivered(
        self,
        id: str,  # noqa: A002 - as above
        *,
        timeout: float = _TIMEOUT,
    ) -> EmittedEvent:
        """Wait until an operation or message has ended and all its events so far are delivered.

        Returns its final event.

        :raises TimeoutError: where that takes longer; it names what is not delivered, and why.
        :raises NotWatched: where it is not watched.
        """
        deadline = time.monotonic() + timeout
        final = self.wait(id, timeout=timeout)
        while missing := _undelivered(self._running.call(partial(self._story, id))):
            if time.monotonic() > deadline:
                raise TimeoutError(f"not delivered within {timeout:g} s: {', '.join(missing)}")
            time.sleep(_CHECK_SECONDS)
        return final

    async def _story(self, watched: str) -> OperationStoryDocument:
        address = address_of_url(self.url, "url")
        async with ControlClient(address, token=self._token) as client:
            return await client.operation(watched, events=_MOST_EVENTS)

    def wait_for(
        self, wanted: Callable[[EmittedEvent], bool], *, timeout: float = _TIMEOUT
    ) -> EmittedEvent:
        """Return the first event that is `wanted`; waits if none was emitted yet.

        :raises TimeoutError: where there is none in time.
        """
        deadline = time.monotonic() + timeout
        seen = 0
        while True:
            events = self.events
            for event in events[seen:]:
                if wanted(event):
                    return event
            seen = len(events)
            if time.monotonic() > deadline:
                raise TimeoutError(f"no such event within {timeout:g} s, of {seen}")
            time.sleep(_CHECK_SECONDS)

    def _collected(self, event: EmittedEvent, timeout: float) -> EmittedEvent:
        return self.wait_for(lambda each: each.id == event.id, timeout=timeout)

    async def _collect(self, events: EventStream) -> None:
        # one by one, so that a test can read them while the poller runs
        async for event in events:
            self._events.append(event)

    def _start(self, portal: BlockingPortal, exits: ExitStack) -> None:
        exits.enter_context(portal.wrap_async_context_manager(self._poller))
        portal.start_task_soon(self._collect, self._poller.events(from_oldest=True))
        self.url = self._poller.address or ""

    @property
    def _name(self) -> str:
        return "poller"


def _undelivered(story: OperationStoryDocument) -> list[str]:
    """Describe each event that has not reached a sink, and why."""
    return [
        f"{event['type']} to {delivery['sink']} ({delivery['lastError'] or delivery['state']})"
        for event in story["events"]
        for delivery in event["deliveries"]
        if delivery["state"] != "delivered"
    ]
