"""The daemon: starts the loops, keeps them running, and stops them in order.

    poll loop ──▶ store ◀── dispatchers (one a sink)      housekeeping · idle watch

They share only the store. To stop, the daemon starts no new polls, records the answers under way,
gives due deliveries the grace time, and ends. What is cancelled then is due at the next start.
"""

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from enum import StrEnum
from functools import partial
from typing import Final, Self

import anyio
from anyio.abc import TaskGroup

from poller.comms.client import CommsClient
from poller.comms.errors import CommsError
from poller.comms.throttle import Throttle
from poller.engine.configuration import Configuration
from poller.engine.dispatcher import Ended
from poller.engine.hints import HintInbox
from poller.engine.housekeeping import Housekeeping
from poller.engine.log_events import RegistrationLog, log_recorded
from poller.engine.membership import NAME as MEMBERSHIP
from poller.engine.membership import Membership
from poller.engine.meter import NO_METER, Meter
from poller.engine.poll_loop import PollLoop
from poller.engine.requests import make_caller
from poller.engine.signals import Signals
from poller.engine.sink_manager import SinkManager
from poller.engine.status import (
    UNSEALED_FOR,
    Degraded,
    Loops,
    api_trouble,
    foreign_trouble,
    group_trouble,
    pause_trouble,
    sink_trouble,
)
from poller.engine.stored_budget import StoredBudget
from poller.engine.supervision import Heartbeats, attempt, repeat
from poller.log import get_logger
from poller.store.dead_letters import DeadLetterCursor, ReplayedPage, Selection
from poller.store.events import StoredEvent
from poller.store.registrations import Registered
from poller.store.reports import Summary
from poller.store.store import Store
from poller.tracking.group import Group
from poller.tracking.registration import Registration
from poller.tracking.watch import Watch

log = get_logger()

_QUERY_INTERVAL: Final = 1.0
# seconds after the grace in which the store may still record results and release leases
_FINISH_TIMEOUT: Final = 1.0
# seconds: counting the operations of other accounts reads every watched row
_COUNT_INTERVAL: Final = 60.0
_MOST_GROUPS: Final = 20
_LOOPS: Final = ("poll", "housekeeping")


class Stop(StrEnum):
    """Why a daemon stopped."""

    ASKED = "asked"
    IDLE = "idle"
    REFUSED = "refused"
    """Credentials were refused before any good answer, and the daemon runs until it is idle."""
    NO_SINK = "no_sink"
    """The only sink is closed for good."""
    TIMEOUT = "timeout"
    """The time limit of the daemon is over."""


class Daemon:
    """One poller: watches the operations of one scope until `stop`.

    `until_idle` makes it end by itself once `registered_all` was called and nothing more can
    happen. The caller closes the store and the client, and runs `hints` where the vendor pushes.
    `signals` wakes the tasks that wait for a change; `heartbeats` shows which loops run.
    """

    def __init__(
        self,
        *,
        store: Store,
        client: CommsClient,
        throttle: Throttle,
        configuration: Configuration,
        now: Callable[[], datetime],
        budget: StoredBudget | None = None,
        until_idle: bool = False,
        meter: Meter = NO_METER,
    ) -> None:
        self.started_at = now()
        self.reason = Stop.ASKED
        self._store = store
        self._meter = meter
        self._now = now
        self._until_idle = until_idle
        self._owner = store.owner
        self.signals = Signals()
        self._progress = self.signals.progress.listen()
        self._input_ended = False
        self._foreign: tuple[float, int] | None = None
        self._registrations = RegistrationLog(now)
        self._configuration = configuration
        self._throttle = throttle
        self.heartbeats = Heartbeats(_LOOPS if budget is None else (*_LOOPS, MEMBERSHIP))
        self.membership = Membership(
            store=store,
            throttle=throttle,
            budget=budget,
            configuration=configuration,
            now=now,
            signals=self.signals,
            heartbeats=self.heartbeats,
        )
        self._caller = make_caller(
            client=client,
            throttle=throttle,
            store=store,
            credentials=configuration.credentials,
            refused=self._refused,
            now=now,
            meter=meter,
        )
        self._poll = PollLoop(
            store=store,
            caller=self._caller,
            throttle=throttle,
            configuration=configuration,
            has_others=lambda: self.membership.has_others,
            now=now,
            signals=self.signals,
            heartbeats=self.heartbeats,
            meter=meter,
        )
        self.hints = self._make_hints()
        self._sinks = self._make_sinks()
        self._housekeeping = self._make_housekeeping()

    async def register(
        self, registrations: Sequence[Registration], *, all_or_none: bool = False
    ) -> list[Registered]:
        """Register operations; durable when this returns. One result for each registration.

        :raises Conflict: with `all_or_none`, where one contradicts what is known; none is then
            registered.
        :raises StoreError: where the store refuses; none is registered.
        """
        results = await self._store.register(
            registrations, policy=self._configuration.policy, all_or_none=all_or_none
        )
        self._registrations.results(results)
        self._meter.recorded([event for result in results for event in result.events])
        self.signals.polls.notify()
        self.signals.notify_recorded()
        return results

    async def forget(self, operation_id: str) -> Watch | None:
        """Stop watching; None where the id is unknown. Its recorded deliveries still go out.

        :raises StoreError: where the store refuses; it remains watched.
        """
        forgotten = await self._store.forget(operation_id, policy=self._configuration.policy)
        if forgotten.watch is not None:
            log.info("operation.forgotten", operation=operation_id)
        self._recorded(forgotten.events)
        return forgotten.watch

    async def seal(self, group: str, expected: int | None) -> Group:
        """Seal a group now; with `expected`, which may create it, when it has that many members.

        :raises UnknownGroup: without `expected`, where there is no such group.
        :raises Conflict: where it has no member, or `expected` contradicts these or an old seal.
        :raises StoreError: where the store refuses; it is not sealed.
        """
        change = await self._store.groups.seal(group, expected, policy=self._configuration.policy)
        log.info(
            "group.sealed" if change.group.sealed_at else "group.expected",
            group=group,
            members=change.group.members.total,
            expected=change.group.expected,
        )
        self._recorded(change.events)
        return change.group

    async def replay_event(self, event_id: str, to: Sequence[str] | None) -> list[str]:
        """Send one kept event again, to the sinks `to`, else to all that it was for.

        Returns the names of the sinks.

        :raises UnknownEvent: where it is not kept.
        :raises StoreError: where the store refuses; nothing is sent.
        """
        sinks = await self._store.replay_event(event_id, to)
        log.info("event.replayed", event_id=event_id, sinks=sinks)
        self.signals.deliveries.notify()
        return sinks

    async def replay_dead_letters(
        self, selection: Selection, *, after: DeadLetterCursor | None = None
    ) -> ReplayedPage:
        """Send one page of dead letters again, in one transaction, beginning after a cursor.

        :raises StoreError: where the store refuses; nothing is sent.
        """
        page = await self._store.replay_dead_letters(selection, after=after)
        if page.replayed:
            log.info("dead_letters.replayed", sinks=dict(page.replayed))
            self.signals.deliveries.notify()
        return page

    def loops(self) -> Loops:
        """Return which loops run. It does not use the store, so it works during an outage."""
        return Loops(
            ages=self.heartbeats.ages,
            silent=self.heartbeats.silent(),
            stopping=self.signals.stopping.is_set(),
        )

    async def degraded(self) -> list[Degraded]:
        """Return troubles that do not stop the daemon: credentials, the API, sinks, the store.

        :raises StoreError: where the store refuses.
        """
        return [
            *pause_trouble(self._throttle.account_pause, self._throttle.kind_pauses),
            *api_trouble(self._caller.failing),
            *self.membership.troubles(),
            *self._housekeeping.troubles,
            *sink_trouble(
                await self._store.sinks(), closed=self.closed_sinks, started_at=self.started_at
            ),
            *foreign_trouble(await self.foreign_operations(), started_at=self.started_at),
            *group_trouble(
                await self._store.groups.unsealed(self._now() - UNSEALED_FOR, limit=_MOST_GROUPS)
            ),
        ]

    async def foreign_operations(self) -> int:
        """Count the stored operations of other accounts or base URLs, at most once a minute.

        :raises StoreError: where the store refuses.
        """
        now = anyio.current_time()
        if self._foreign is None or now - self._foreign[0] >= _COUNT_INTERVAL:
            self._foreign = (now, await self._store.foreign_operations())
        return self._foreign[1]

    async def prove_writable(self) -> None:
        """Check that a registration could be committed now.

        :raises StoreError: where the store refuses, or has confirmed no write for seconds.
        """
        await self.membership.prove_writable()

    @property
    def closed_sinks(self) -> frozenset[str]:
        """The sinks that are closed for the life of this process."""
        return self._sinks.closed

    def registered_all(self) -> None:
        """Report that there will be no further registration: the daemon ends when it is idle."""
        self._input_ended = True
        self.signals.progress.notify()

    def stop(self, reason: Stop = Stop.ASKED) -> None:
        """Begin to stop; `run` returns when all is done. The first of several reasons counts."""
        if not self.signals.stopping.is_set():
            self.reason = reason
            self.signals.stopping.set()

    async def reload(self, configuration: Configuration) -> None:
        """Replace policy, request limits, credentials and sinks, or nothing at all.

        Uses new connections afterwards. An exception from reading the credentials is raised, and
        nothing changes.

        :raises SinkUnavailable: where a new sink cannot be started; all stays as it was.
        :raises StoreError: where the store refuses; all stays as it was.
        """
        # all steps that can fail come first
        credentials = await anyio.to_thread.run_sync(configuration.credentials)
        self.membership.configuration = configuration
        try:
            await self._sinks.swap(configuration.sinks)
        except BaseException:
            self.membership.configuration = self._configuration
            raise
        self._configuration = configuration
        self._poll.configuration = configuration
        self._caller.credentials = configuration.credentials
        self._caller.client.use(credentials)
        self._caller.client.timeout = configuration.request_timeout
        await self._caller.client.renew_connections()
        self._throttle.configure(
            max_concurrency=configuration.max_concurrency,
            requests_per_second=configuration.requests_per_second,
            probe_interval=configuration.policy.max_interval,
        )
        self._throttle.retry_now()
        self.signals.polls.notify()

    async def open(self, registrations: Sequence[Registration] = ()) -> Self:
        """Register, and start the sinks, so that faults are found before anything runs.

        The sinks are declared first: a registration may record events, of a group, and those are
        delivered to the sinks that the store knows.

        :raises Conflict: where a registration contradicts what is known; none is registered.
        :raises SinkUnavailable: where a sink cannot be started.
        :raises StoreError: where the store refuses.
        """
        await self._sinks.declare(self._configuration.sinks)
        if registrations:
            await self.register(registrations, all_or_none=True)
        await self._sinks.start(self._configuration.sinks)
        return self

    async def run(self) -> None:
        """Run until stopped. `open` comes first."""
        async with AsyncExitStack() as ending, AsyncExitStack() as stack:
            stack.push_async_callback(self._release)
            async with anyio.create_task_group() as loops:
                await self._start(loops)
                try:
                    await self.signals.stopping.wait()
                    await self._drain()
                finally:
                    # a transaction under way may finish, but a database that does not answer
                    # must not delay the stop
                    ending.enter_context(self._store.finishing(_FINISH_TIMEOUT))
                loops.cancel_scope.cancel()
        log.info("daemon.stopped", reason=self.reason.value)

    async def _drain(self) -> None:
        """Finish the requests and deliveries under way, within the grace time."""
        log.info("daemon.stopping", reason=self.reason.value)
        with anyio.move_on_after(self._configuration.shutdown_grace) as grace:
            self._poll.stop()
            await self._polled.wait()
            await self._sinks.drain()
        if grace.cancelled_caught:
            log.warning(
                "daemon.grace_over", hint="work that was cancelled is due at the next start"
            )

    async def summary(self) -> Summary:
        """Count what is watched and what waits; `lost` and `dead` count from this start on."""
        return await self._store.summary(since=self.started_at, closed=self.closed_sinks)

    def _make_hints(self) -> HintInbox:
        return HintInbox(
            store=self._store,
            configuration=lambda: self._configuration,
            signals=self.signals,
            heartbeats=self.heartbeats,
            meter=self._meter,
        )

    def _make_sinks(self) -> SinkManager:
        return SinkManager(
            store=self._store,
            owner=self._owner,
            now=self._now,
            declare=self.membership.declare,
            signals=self.signals,
            closed=self._closed,
            heartbeats=self.heartbeats,
            meter=self._meter,
        )

    def _make_housekeeping(self) -> Housekeeping:
        return Housekeeping(
            store=self._store,
            retention=lambda: self._configuration.retention,
            record_due_groups=self._record_due_groups,
            record_standstill=self._record_standstill,
            now=self._now,
            signals=self.signals,
            heartbeats=self.heartbeats,
        )

    def _recorded(self, events: Sequence[StoredEvent]) -> None:
        log_recorded(events)
        self._meter.recorded(events)
        self.signals.notify_recorded()

    async def _record_due_groups(self) -> None:
        changes = await self._store.groups.record_due(policy=self._configuration.policy)
        if events := [event for change in changes for event in change.events]:
            self._recorded(events)

    async def _record_standstill(self) -> None:
        """Fire due `stalled` alerts, but not in a pause of the account: no answers arrive then."""
        policy = self._configuration.policy
        if self._throttle.account_pause is not None or not any(
            rule.stalled for rule in policy.alerts
        ):
            return
        if events := await self._store.record_standstill(policy):
            self._recorded(events)

    async def _start(self, loops: TaskGroup) -> None:
        self._polled = anyio.Event()
        loops.start_soon(self._run_poll)
        loops.start_soon(self._sinks.run)
        loops.start_soon(self._housekeeping.run)
        loops.start_soon(self.membership.run)
        if self._until_idle:
            loops.start_soon(partial(repeat, self._watch_idle, name="idle"))

    async def _run_poll(self) -> None:
        await self._poll.run()
        self._polled.set()

    async def _watch_idle(self) -> bool:
        if self._input_ended and (await self.summary()).is_idle:
            self.stop(Stop.IDLE)
            return True
        await self._progress.wait(_QUERY_INTERVAL)
        return False

    async def _release(self) -> None:
        with anyio.CancelScope(shield=True):
            await self._sinks.aclose()
            await attempt(partial(self._store.release_all, self._owner), name="stop")
            await attempt(self.membership.leave, name="stop")

    def _refused(self, error: CommsError) -> None:
        if self._until_idle and self._caller.good_answers == 0:
            log.error("credentials.refused", error=str(error))
            self.stop(Stop.REFUSED)

    def _closed(self, sink: str, ended: Ended) -> None:
        if ended is Ended.CLOSED:
            log.error("sink.closed", sink=sink, hint="its events wait for the next start")
            if self._sinks.all_closed:
                self.stop(Stop.NO_SINK)
        self.signals.progress.notify()
