"""All sinks of a daemon: opened together, run side by side, replaced together."""

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime

import anyio
from anyio.abc import TaskGroup

from poller.engine.configuration import SinkPlan
from poller.engine.dispatcher import Dispatcher, Ended
from poller.engine.meter import NO_METER, Meter
from poller.engine.signals import Signals
from poller.engine.supervision import Heartbeats
from poller.log import get_logger
from poller.sinks.base import Sink, SinkHeld, SinkUnavailable
from poller.store.sinks import SinkReport
from poller.store.store import Store

log = get_logger()


@dataclass(slots=True, kw_only=True)
class _RunningSink:
    """One sink with its dispatcher, and the state of that dispatcher."""

    plan: SinkPlan
    sink: Sink
    dispatcher: Dispatcher
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    done: anyio.Event = field(default_factory=anyio.Event)
    ended: Ended | None = None
    is_retired: bool = False


class SinkManager:
    """The dispatchers of a daemon. `closed` is called when one ends by itself.

    `declare` writes the configured sinks to the store, and returns reports on all sinks.
    """

    def __init__(
        self,
        *,
        store: Store,
        owner: str,
        now: Callable[[], datetime],
        declare: Callable[[Sequence[SinkPlan]], Awaitable[Sequence[SinkReport]]],
        signals: Signals,
        closed: Callable[[str, Ended], None],
        heartbeats: Heartbeats,
        meter: Meter = NO_METER,
    ) -> None:
        self._store = store
        self._owner = owner
        self._now = now
        self._declare = declare
        self.signals = signals
        self._on_closed = closed
        self._heartbeats = heartbeats
        self._meter = meter
        self._running: dict[str, _RunningSink] = {}
        self._tasks: TaskGroup | None = None
        self._swapping = anyio.Lock()

    @property
    def closed(self) -> frozenset[str]:
        """The sinks that are closed for the life of this process."""
        return frozenset(
            name for name, running in self._running.items() if running.ended is Ended.CLOSED
        )

    @property
    def all_closed(self) -> bool:
        """Whether no sink is open."""
        return self.closed == frozenset(self._running)

    async def declare(self, plans: Sequence[SinkPlan]) -> None:
        """Write the sinks to the store: what is recorded from now on is delivered to them.

        :raises StoreError: where the store refuses.
        """
        for report in await self._declare(plans):
            if not report.is_configured and report.waiting:
                log.warning(
                    "sink.unconfigured",
                    sink=report.name,
                    waiting=report.waiting,
                    hint="its events are kept three days in case it is configured again, then they "
                    "become dead letters",
                )

    async def start(self, plans: Sequence[SinkPlan]) -> None:
        """Make and start every sink, or none. `declare` comes first.

        :raises SinkUnavailable: where one cannot be started.
        """
        self._running = await self._prepare(plans)

    async def run(self) -> None:
        """Run the dispatchers, and those that a swap adds, until all are drained."""
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            for running in self._running.values():
                tasks.start_soon(self._dispatch, running)
            await anyio.sleep_forever()

    async def swap(self, plans: Sequence[SinkPlan]) -> None:
        """Continue with these sinks: one with an equal plan is kept and reopened, others are new.

        :raises SinkUnavailable: where a new one cannot be started; all stays as it was.
        :raises StoreError: where the store refuses; all stays as it was.
        """
        async with self._swapping:
            kept = {
                plan.name: running
                for plan in plans
                if (running := self._running.get(plan.name)) and running.plan.key == plan.key
            }
            leaving = [running for name, running in self._running.items() if name not in kept]
            added = await self._replace(leaving, plans, kept=kept)
            for plan in plans:
                if plan.name in kept:
                    kept[plan.name].plan = plan
                    await kept[plan.name].sink.reopen()
            self._running = kept | added
            for running in list(self._running.values()):
                if running.ended is not None or running in added.values():
                    self._revive(running)
            self.signals.deliveries.notify()

    async def drain(self) -> None:
        """Wait until no sink has a due delivery."""
        for running in self._running.values():
            running.dispatcher.drain()
        for running in self._running.values():
            await running.done.wait()

    async def aclose(self) -> None:
        """Close every sink."""
        await _close(self._running.values())

    async def _prepare(self, plans: Sequence[SinkPlan]) -> dict[str, _RunningSink]:
        async with AsyncExitStack() as on_failure:
            prepared: dict[str, _RunningSink] = {}
            for plan in plans:
                sink = plan.make()
                on_failure.push_async_callback(sink.aclose)
                await _start(plan.name, sink)
                prepared[plan.name] = self._with_dispatcher(plan, sink)
            on_failure.pop_all()
        return prepared

    def _with_dispatcher(self, plan: SinkPlan, sink: Sink) -> _RunningSink:
        dispatcher = Dispatcher(
            sink=sink,
            store=self._store,
            owner=self._owner,
            now=self._now,
            signals=self.signals,
            heartbeats=self._heartbeats,
            meter=self._meter,
        )
        return _RunningSink(plan=plan, sink=sink, dispatcher=dispatcher)

    def _revive(self, running: _RunningSink) -> None:
        if self._tasks is None:
            return
        if running.ended is not None:
            fresh = self._with_dispatcher(running.plan, running.sink)
            self._running[running.plan.name] = fresh
            running = fresh
        self._tasks.start_soon(self._dispatch, running)

    async def _replace(
        self, leaving: Sequence[_RunningSink], plans: Sequence[SinkPlan], *, kept: Collection[str]
    ) -> dict[str, _RunningSink]:
        """Start the new sinks and stop the removed ones, or change nothing."""
        fresh = [plan for plan in plans if plan.name not in kept]
        try:
            try:
                added = await self._prepare(fresh)
            except SinkHeld:
                # perhaps a sink that is being removed holds the file: it was renamed, for example
                await self._retire(leaving)
                added = await self._prepare(fresh)
            try:
                await self.declare(plans)
            except BaseException:
                await _close(added.values())
                raise
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._restore(leaving)
            raise
        await self._retire(leaving)
        return added

    async def _retire(self, sinks: Sequence[_RunningSink]) -> None:
        for running in sinks:
            running.is_retired = True
            running.scope.cancel()
            if self._tasks is not None and running.ended is None:
                await running.done.wait()
        await _close(sinks)

    async def _restore(self, sinks: Sequence[_RunningSink]) -> None:
        """Restart the sinks that were stopped already."""
        for running in sinks:
            if not running.is_retired:
                continue
            fresh = self._with_dispatcher(running.plan, running.plan.make())
            try:
                await _start(fresh.plan.name, fresh.sink)
            except SinkUnavailable as error:
                # a later delivery attempt opens it
                log.warning("sink.restart_failed", sink=fresh.plan.name, error=str(error))
            self._running[fresh.plan.name] = fresh
            self._revive(fresh)

    async def _dispatch(self, running: _RunningSink) -> None:
        try:
            with running.scope:
                running.ended = await running.dispatcher.run()
        finally:
            running.done.set()
        if running.ended is not None:
            self._on_closed(running.plan.name, running.ended)


async def _start(name: str, sink: Sink) -> None:
    """Start a sink; put the name of its setting before an error."""
    try:
        await sink.start()
    except SinkUnavailable as error:
        raise type(error)(
            f"sinks.{name}: {error.message}", error.hint, needs_change=error.needs_change
        ) from error


async def _close(sinks: Iterable[_RunningSink]) -> None:
    for running in sinks:
        await running.sink.aclose()
