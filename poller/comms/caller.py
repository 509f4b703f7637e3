"""Calls of the API: one request with one ticket of the throttle, and the effects of its result.

A daemon claims work after the throttle admits it and before the request, so it takes the ticket
itself and calls `send`. A command has nothing to claim: `call` waits for the throttle, and repeats
the request where waiting may help.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol, TypeVar

import anyio
from anyio import current_time
from anyio.to_thread import run_sync

from poller.comms.client import CommsClient
from poller.comms.credentials import AnyCredentials
from poller.comms.errors import CommsError
from poller.comms.throttle import Change, Throttle, Ticket
from poller.log import get_logger

log = get_logger()

_TRIES: Final = 5
_FIRST_WAIT: Final = 1.0
_LONGEST_WAIT: Final = 60.0
_CHECK_INTERVAL: Final = 0.1

T = TypeVar("T")


class Request(StrEnum):
    """The kinds of request that metrics distinguish."""

    FETCH = "fetch"
    """One operation or message."""
    LIST = "list"
    """A page of the list of a kind."""
    DETAIL = "detail"
    """A page of the messages, receipts or errors of an operation or a group message."""


class CallObserver(Protocol):
    """Is called after each request; neither waits nor raises."""

    def requested(
        self, request: Request, *, kind: str, error: CommsError | None, seconds: float
    ) -> None:
        """Count a request that took `seconds`; `error` is None where it succeeded."""


class PauseKeeper(Protocol):
    """Stores the pauses, where they must outlive the process."""

    async def __call__(self, change: Change, *, kind: str, error: CommsError | None) -> None:
        """Store the current pauses, after a request of `kind`. Does not raise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failing:
    """The API has been unusable `since`; `error` is that of the last request."""

    since: datetime
    error: str


def failing_after(
    before: Failing | None, error: CommsError | None, now: datetime
) -> Failing | None:
    """Return the outage of the API after a request that ended with `error`; None where it works.

    `error` is None for success. A refusal, a pause and an answer about a single operation show that
    the API works.
    """
    if error is None or not error.scope.is_outage:
        return None
    return Failing(since=now if before is None else before.since, error=str(error))


class ApiCaller:
    """Sends requests, and keeps throttle, pauses and credentials up to date.

    `credentials` reads the credentials again and may block; if it raises, the old ones stay in use.
    `refused` is called for every 401 and 403. `good_answers` counts the successful requests;
    `failing` is set while the API is unusable. `now` returns the time in UTC.
    """

    def __init__(
        self,
        *,
        client: CommsClient,
        throttle: Throttle,
        credentials: Callable[[], AnyCredentials],
        now: Callable[[], datetime],
        observer: CallObserver | None = None,
        keep_pauses: PauseKeeper | None = None,
        refused: Callable[[CommsError], None] | None = None,
    ) -> None:
        self.client = client
        self.credentials = credentials
        self.good_answers = 0
        self.failing: Failing | None = None
        self._throttle = throttle
        self._now = now
        self._observer = observer
        self._keep_pauses = keep_pauses
        self._refused = refused

    async def send(
        self,
        ticket: Ticket,
        request: Callable[[CommsClient], Awaitable[T]],
        *,
        name: Request = Request.FETCH,
    ) -> T:
        """Send one request and finish its ticket; `name` is for the observer.

        :raises CommsError: where it failed; the throttle has recorded that.
        """
        try:
            if ticket.needs_credentials:
                await self._renew_credentials()
            found = await self._measured(ticket, request, name)
            self.good_answers += 1
            await self._finish(ticket, None)
        except CommsError as error:
            if error.scope.is_refusal and self._refused is not None:
                self._refused(error)
            await self._finish(ticket, error)
            raise
        finally:
            # does nothing after `finish`; frees the slot of a request that was cancelled
            self._throttle.abandon(ticket)
        return found

    async def call(
        self,
        request: Callable[[CommsClient], Awaitable[T]],
        *,
        kind: str,
        name: Request = Request.FETCH,
        waiting: Callable[[CommsError, float], None],
    ) -> T:
        """Send one request when the throttle allows it; repeat it where waiting may help.

        `waiting` is called with the error and the seconds until the next of at most five tries.
        Calls are made one after the other.

        :raises CommsError: where it fails for good, five times, or for over a minute.
        """
        tries = 0
        while True:
            ticket = await self._take_ticket(kind)
            tries += 1
            try:
                return await self.send(ticket, request, name=name)
            except CommsError as error:
                wait = self._wait_after(error, tries)
                if wait is None:
                    # the next call probes at once: a command does not wait for the probe interval
                    self._throttle.retry_now()
                    raise
                waiting(error, wait)
            if self._throttle.account_pause is None:  # the throttle waits for the end of a pause
                await anyio.sleep(wait)

    async def _take_ticket(self, kind: str) -> Ticket:
        while True:
            await self._throttle.admit()
            if (ticket := self._throttle.begin(kind)) is not None:
                return ticket
            await anyio.sleep(_CHECK_INTERVAL)

    def _wait_after(self, error: CommsError, tries: int) -> float | None:
        """Return the seconds until the next try; None for no other try."""
        if not error.retryable or tries == _TRIES or (error.retry_after or 0) > _LONGEST_WAIT:
            return None
        if (pause := self._throttle.account_pause) is not None:
            return pause.wait.total_seconds()
        return error.retry_after or _FIRST_WAIT * 2.0 ** (tries - 1)

    async def _measured(
        self, ticket: Ticket, request: Callable[[CommsClient], Awaitable[T]], name: Request
    ) -> T:
        begun = current_time()
        try:
            found = await request(self.client)
        except CommsError as error:
            self._observe(ticket, name, error, begun)
            raise
        self._observe(ticket, name, None, begun)
        return found

    def _observe(
        self, ticket: Ticket, name: Request, error: CommsError | None, begun: float
    ) -> None:
        if self._observer is not None:
            seconds = current_time() - begun
            self._observer.requested(name, kind=ticket.kind, error=error, seconds=seconds)

    async def _finish(self, ticket: Ticket, error: CommsError | None) -> None:
        self.failing = failing_after(self.failing, error, self._now())
        change = self._throttle.finish(ticket, error)
        if self._keep_pauses is not None:
            await self._keep_pauses(change, kind=ticket.kind, error=error)

    async def _renew_credentials(self) -> None:
        try:
            self.client.use(await run_sync(self.credentials))
        except Exception as error:  # noqa: BLE001 - after any exception the old ones stay in use
            log.warning("credentials.unreadable", error=str(error))
