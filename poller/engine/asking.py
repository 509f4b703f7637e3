"""Asking the API: one request under one ticket, and what its answer means for all others."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from typing import TypeVar

import structlog
from anyio import current_time
from anyio.to_thread import run_sync

from poller.comms.client import CommsClient
from poller.comms.credentials import Credentials
from poller.comms.errors import CommsError, Forbidden, Unauthorized
from poller.comms.gate import Reason
from poller.comms.throttle import Throttle, Ticket
from poller.engine.log_events import log_pause_change
from poller.engine.meter import NO_METER, Meter, Request
from poller.engine.status import Failing, failing_after
from poller.engine.supervision import attempt
from poller.store.store import Store

__all__ = ["Asker"]

log = structlog.get_logger()

T = TypeVar("T")


class Asker:
    """Sends requests, and keeps pauses and credentials true.

    `credentials` reads them afresh and may block. `refused` is called for every 401 and 403;
    `good_answers` counts the requests that brought what was asked for; `failing` is set while none
    is answered.
    """

    def __init__(
        self,
        *,
        client: CommsClient,
        throttle: Throttle,
        store: Store,
        credentials: Callable[[], Credentials],
        refused: Callable[[CommsError], None],
        now: Callable[[], datetime],
        meter: Meter = NO_METER,
    ) -> None:
        self.client = client
        self.credentials = credentials
        self.good_answers = 0
        self.failing: Failing | None = None
        self._throttle = throttle
        self._store = store
        self._refused = refused
        self._now = now
        self._meter = meter

    async def ask(
        self,
        ticket: Ticket,
        request: Callable[[CommsClient], Awaitable[T]],
        *,
        name: Request = Request.FETCH,
    ) -> T:
        """Send one request and finish its ticket; `name` is for the meter.

        :raises CommsError: where it brought nothing; the pauses know of it by then.
        """
        try:
            if ticket.probe in {Reason.UNAUTHORIZED, Reason.FORBIDDEN}:
                await self._renew_credentials()
            found = await self._send(ticket, request, name)
            self.good_answers += 1
            await self._finish(ticket, None)
        except CommsError as error:
            if isinstance(error, Unauthorized | Forbidden):
                self._refused(error)
            await self._finish(ticket, error)
            raise
        finally:
            # does nothing after `finish`; frees the slot of what was cancelled
            self._throttle.abandon(ticket)
        return found

    async def _send(
        self, ticket: Ticket, request: Callable[[CommsClient], Awaitable[T]], name: Request
    ) -> T:
        begun = current_time()
        try:
            found = await request(self.client)
        except CommsError as error:
            seconds = current_time() - begun
            self._meter.requested(name, kind=ticket.kind, error=error, seconds=seconds)
            raise
        seconds = current_time() - begun
        self._meter.requested(name, kind=ticket.kind, error=None, seconds=seconds)
        return found

    async def _finish(self, ticket: Ticket, error: CommsError | None) -> None:
        self.failing = failing_after(self.failing, error, self._now())
        change = self._throttle.finish(ticket, error)
        log_pause_change(change, kind=ticket.kind, error=error)
        if change.changed:
            await attempt(partial(self._store.write_pause, change.pause), name="poll")

    async def _renew_credentials(self) -> None:
        try:
            self.client.use(await run_sync(self.credentials))
        except Exception as error:  # noqa: BLE001 - whatever the settings raise, the old ones stay
            log.warning("credentials.unreadable", error=str(error))
