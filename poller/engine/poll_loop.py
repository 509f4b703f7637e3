"""The poll loop: wait for the throttle, claim the most urgent work, send the request.

In this order a lease is taken only for work that starts at once. Due work is found by a query, so
the loop has no state but the requests under way.
"""

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Final

import anyio
from anyio.abc import TaskGroup

from poller.comms.caller import ApiCaller
from poller.comms.errors import CommsError
from poller.comms.kinds import KINDS
from poller.comms.throttle import Throttle, Ticket
from poller.engine.configuration import Configuration
from poller.engine.log_events import PollLog, log_unreadable_schedule
from poller.engine.meter import NO_METER, Meter
from poller.engine.requests import call_for, refusal_of, request_of
from poller.engine.signals import Signals
from poller.engine.supervision import Heartbeats, attempt, repeat
from poller.engine.sweeper import Sweep, Sweeper
from poller.store.store import Store
from poller.store.watches import Claim, Lease
from poller.tracking.answer import Answer, FailedAnswer, ScheduleAnswer
from poller.tracking.watch import NextRequest, Watch
from poller.trouble import TroubleLog

_NAME: Final = "poll"
# Seconds: while a daemon is busy, it reads the sweeps of the other daemons this often.
_SHARED_CHECK_INTERVAL: Final = 0.5
# The store is queried again at least this often: clocks jump, and other processes write.
_QUERY_INTERVAL: Final = 1.0
# Seconds that a lease outlasts the request's hard deadline: time to record the answer.
_LEASE_MARGIN: Final = 15.0


class PollLoop:
    """Sends the requests that are due to the API, and hands every answer to the store.

    `has_others` returns whether other daemons that share the store are alive.
    """

    def __init__(
        self,
        *,
        store: Store,
        caller: ApiCaller,
        throttle: Throttle,
        configuration: Configuration,
        now: Callable[[], datetime],
        signals: Signals,
        heartbeats: Heartbeats,
        has_others: Callable[[], bool] = lambda: False,
        meter: Meter = NO_METER,
    ) -> None:
        self.configuration = configuration
        self.wakeup = signals.polls.listen()
        self._store = store
        self._caller = caller
        self._throttle = throttle
        self._owner = store.owner
        self._has_others = has_others
        self._now = now
        self._signals = signals
        self._heartbeats = heartbeats
        self._meter = meter
        self._waited = 0.0
        self._is_idle = False
        self._next_shared_check = 0.0
        self._claiming = anyio.CancelScope()
        self._log = PollLog(now)
        self._troubles = TroubleLog(now)
        self._sweeper = Sweeper(
            store=store,
            caller=caller,
            now=now,
            configuration=lambda: self.configuration,
            signals=signals,
            log=self._log,
            meter=meter,
        )

    def stop(self) -> None:
        """Start no further request; those under way continue to their end."""
        self._claiming.cancel()

    async def run(self) -> None:
        """Poll until `stop`, and until the requests under way have been recorded."""
        async with anyio.create_task_group() as requests:
            with self._claiming:
                turn = partial(self._turn, requests)
                await repeat(turn, name=_NAME, heartbeats=self._heartbeats)

    async def _turn(self, requests: TaskGroup) -> None:
        """Start one request, or wait for something to become due."""
        if self._store.is_shared and not await self._has_work():
            return
        await self._wait_for_permit()
        try:
            kinds = self._throttle.open_kinds(KINDS)
            if not self._has_others():  # else `_has_work` has done this already
                await self._sweeper.begin(kinds)
            sweep = self._sweeper.next_page(kinds)
            left = self._sweeper.busy_with | self._sweeper.left_to_others
            claim = Claim() if sweep else await self._claim(kinds - left)
        except BaseException:
            self._throttle.cancel()
            raise
        self._is_idle = sweep is None and not claim.watches
        if sweep is not None:
            self._start_page(requests, sweep)
        elif claim.watches:
            (watch,) = claim.watches
            await self._start_poll(requests, watch)
        else:
            self._throttle.cancel()
            await self.wakeup.wait(self._until(claim.next_due))

    async def _has_work(self) -> bool:
        """Check whether anything is due before taking a permit; wait where nothing is.

        Permits are shared by all daemons, so none is taken for nothing. Whether a list is cheaper
        is decided first, so that two daemons do not fetch one by one what one list shows.
        """
        now = anyio.current_time()
        if not self._is_idle and (not self._has_others() or now < self._next_shared_check):
            return True
        self._next_shared_check = now + _SHARED_CHECK_INTERVAL
        begun_at = self._now()
        self._heartbeats.beat(_NAME)
        kinds = self._throttle.open_kinds(KINDS)
        if not kinds:
            return True  # the throttle waits for the end of the pause
        await self._sweeper.read_other_sweeps(kinds)
        if self._has_others():
            await self._sweeper.begin(kinds)
        if self._sweeper.has_page(kinds) or self._sweeper.is_discovery_due(kinds):
            return True
        left = self._sweeper.busy_with | self._sweeper.left_to_others
        due = await self._store.shared.next_due(kinds=kinds - left, owner=self._owner)
        # what became due since then was not considered: check again whether a list covers it
        if due is not None and due <= begun_at:
            return True
        self._is_idle = True
        await self.wakeup.wait(self._until(due))
        return False

    async def _wait_for_permit(self) -> None:
        """Wait until a request may start, with heartbeats: a long pause is not a hang."""
        admitted, begun = False, anyio.current_time()
        while not admitted:
            with anyio.move_on_after(_QUERY_INTERVAL):
                await self._throttle.admit()
                admitted = True
            self._heartbeats.beat(_NAME)
        self._waited = anyio.current_time() - begun

    def _start_page(self, requests: TaskGroup, sweep: Sweep) -> None:
        if (ticket := self._throttle.begin(sweep.kind)) is not None:
            sweep.is_reading = True
            self._meter.waited(self._waited)
            requests.start_soon(self._read, sweep, ticket)

    async def _start_poll(self, requests: TaskGroup, watch: Watch) -> None:
        if (ticket := self._throttle.begin(watch.kind)) is None:
            await self._store.release([watch.id], self._owner)
        else:
            late = (ticket.begun_at - watch.next_poll.due_at).total_seconds()
            self._meter.waited(self._waited)
            if watch.next_request is not NextRequest.BREAKDOWN:
                self._meter.polled(kind=watch.kind, late=late)
            requests.start_soon(self._poll, watch, ticket)

    async def _claim(self, kinds: frozenset[str]) -> Claim:
        if not kinds:
            return Claim()
        seconds = self.configuration.request_timeout + _LEASE_MARGIN
        lease = Lease(owner=self._owner, seconds=seconds)
        return await self._store.claim_due(kinds=kinds, limit=1, lease=lease)

    def _until(self, due: datetime | None) -> float:
        if due is None:
            return _QUERY_INTERVAL
        return max(0.0, min((due - self._now()).total_seconds(), _QUERY_INTERVAL))

    async def _read(self, sweep: Sweep, ticket: Ticket) -> None:
        """Read one page of a list and record it, or handle the failure."""
        if not await attempt(
            partial(self._sweeper.read, sweep, ticket), name="sweep", troubles=self._troubles
        ):
            self._sweeper.give_up(sweep)
        self.wakeup.wake()

    async def _poll(self, watch: Watch, ticket: Ticket) -> None:
        """Request one operation or message and record the answer, or handle the failure."""
        guarded = partial(attempt, name="poll", troubles=self._troubles, operation=watch.id)
        if not await guarded(partial(self._observe, watch, ticket)):
            # where this fails as well, the lease expires and the poll is due again
            failed = FailedAnswer(begun_at=ticket.begun_at, arrived_at=self._now())
            await guarded(partial(self._record, watch, failed))
        # its next poll may be due before what the loop waits for
        self.wakeup.wake()

    async def _observe(self, watch: Watch, ticket: Ticket) -> None:
        answer = await self._request(watch, ticket)
        if answer is None:
            # let the next probe fetch another operation: this one may cause the refusal
            await self._store.release([watch.id], self._owner, requeue=True)
        else:
            await self._record(watch, answer)

    async def _request(self, watch: Watch, ticket: Ticket) -> Answer | None:
        try:
            reading = await self._caller.send(ticket, call_for(watch), name=request_of(watch))
        except CommsError as error:
            answer = refusal_of(watch, error, begun_at=ticket.begun_at, arrived_at=self._now())
            if isinstance(answer, ScheduleAnswer):
                log_unreadable_schedule(error, operation=watch.id)
            else:
                self._log.failure(error, operation=watch.id)
            return answer
        self._log.success()
        return reading(begun_at=ticket.begun_at, arrived_at=self._now())

    async def _record(self, watch: Watch, answer: Answer) -> None:
        observations = await self._store.record(
            [(watch.id, answer)],
            kind=watch.kind,
            policy=self.configuration.policy,
            lease_owner=self._owner,
        )
        self._meter.observed(observations, kind=watch.kind)
        if self._log.observations(observations):
            self._signals.notify_recorded()
