"""All sinks of a daemon: opened together, run side by side, swapped whole."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime

import anyio
import structlog
from anyio.abc import TaskGroup

from poller.engine.configuration import SinkPlan
from poller.engine.dispatcher import Dispatcher, Ended
from poller.engine.heartbeat import Heartbeats
from poller.engine.meter import NO_METER, Meter
from poller.sinks.base import Sink, SinkHeld, SinkUnavailable
from poller.store.store import Store

__all__ = ["SinkManager"]

log = structlog.get_logger()


@dataclass(slots=True, kw_only=True)
class _Outlet:
    """One running sink."""

    plan: SinkPlan
    sink: Sink
    dispatcher: Dispatcher
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    done: anyio.Event = field(default_factory=anyio.Event)
    ended: Ended | None = None
    is_retired: bool = False


class SinkManager:
    """The dispatchers of a daemon. `closed` is called when one ends by itself."""

    def __init__(
        self,
        *,
        store: Store,
        owner: str,
        now: Callable[[], datetime],
        settled: Callable[[], None],
        closed: Callable[[str, Ended], None],
        heartbeats: Heartbeats,
        meter: Meter = NO_METER,
    ) -> None:
        self._store = store
        self._owner = owner
        self._now = now
        self._settled = settled
        self._on_closed = closed
        self._heartbeats = heartbeats
        self._meter = meter
        self._outlets: dict[str, _Outlet] = {}
        self._tasks: TaskGroup | None = None
        self._swapping = anyio.Lock()

    @property
    def closed(self) -> frozenset[str]:
        """Name the sinks that are gone for the life of this process."""
        return frozenset(
            name for name, outlet in self._outlets.items() if outlet.ended is Ended.CLOSED
        )

    @property
    def all_closed(self) -> bool:
        """True where no sink is left."""
        return self.closed == frozenset(self._outlets)

    async def open(self, plans: Sequence[SinkPlan]) -> None:
        """Make and start every sink, or none.

        :raises SinkUnavailable: where one cannot be started.
        :raises StoreError: where the store refuses.
        """
        self._outlets = await self._prepare(plans)
        await self._configure(list(self._outlets))

    async def run(self) -> None:
        """Run the dispatchers until all are drained, and those that a swap adds."""
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            for outlet in self._outlets.values():
                tasks.start_soon(self._dispatch, outlet)
            await anyio.sleep_forever()

    async def swap(self, plans: Sequence[SinkPlan]) -> None:
        """Go on with these sinks: equal plans keep theirs, reopened; others are made afresh.

        :raises SinkUnavailable: where a new one cannot be started; all stays as it was.
        :raises StoreError: where the store refuses; all stays as it was.
        """
        async with self._swapping:
            kept = {
                plan.name: outlet
                for plan in plans
                if (outlet := self._outlets.get(plan.name)) and outlet.plan.key == plan.key
            }
            leaving = [outlet for name, outlet in self._outlets.items() if name not in kept]
            added = await self._replace(
                leaving, [plan for plan in plans if plan.name not in kept], kept=list(kept)
            )
            for plan in plans:
                if plan.name in kept:
                    kept[plan.name].plan = plan
                    await kept[plan.name].sink.reopen()
            self._outlets = kept | added
            for outlet in list(self._outlets.values()):
                if outlet.ended is not None or outlet in added.values():
                    self._revive(outlet)
            self.beat()

    def beat(self) -> None:
        """Tell every dispatcher that there may be something to deliver."""
        for outlet in self._outlets.values():
            outlet.dispatcher.pulse.beat()

    async def drain(self) -> None:
        """Wait until nothing is due any more anywhere."""
        for outlet in self._outlets.values():
            outlet.dispatcher.drain()
        for outlet in self._outlets.values():
            await outlet.done.wait()

    async def aclose(self) -> None:
        """Close every sink."""
        await _close(self._outlets.values())

    async def _prepare(self, plans: Sequence[SinkPlan]) -> dict[str, _Outlet]:
        async with AsyncExitStack() as on_failure:
            prepared: dict[str, _Outlet] = {}
            for plan in plans:
                sink = plan.make()
                on_failure.push_async_callback(sink.aclose)
                await _start(plan.name, sink)
                prepared[plan.name] = self._outlet(plan, sink)
            on_failure.pop_all()
        return prepared

    def _outlet(self, plan: SinkPlan, sink: Sink) -> _Outlet:
        dispatcher = Dispatcher(
            sink=sink,
            store=self._store,
            owner=self._owner,
            now=self._now,
            settled=self._settled,
            heartbeats=self._heartbeats,
            meter=self._meter,
        )
        return _Outlet(plan=plan, sink=sink, dispatcher=dispatcher)

    def _revive(self, outlet: _Outlet) -> None:
        if self._tasks is None:
            return
        if outlet.ended is not None:
            fresh = self._outlet(outlet.plan, outlet.sink)
            self._outlets[outlet.plan.name] = fresh
            outlet = fresh
        self._tasks.start_soon(self._dispatch, outlet)

    async def _configure(self, names: Sequence[str]) -> None:
        reports = await self._store.configure_sinks(names)
        for report in reports:
            if not report.is_configured and report.waiting:
                log.warning(
                    "sink.unconfigured",
                    sink=report.name,
                    waiting=report.waiting,
                    hint="its events wait three days for its return, then are dead letters",
                )

    async def _replace(
        self, leaving: Sequence[_Outlet], plans: Sequence[SinkPlan], *, kept: Sequence[str]
    ) -> dict[str, _Outlet]:
        """Start what comes and stop what goes, or nothing of it."""
        try:
            try:
                added = await self._prepare(plans)
            except SinkHeld:
                # perhaps by one that goes: a sink renamed, two that change places
                await self._retire(leaving)
                added = await self._prepare(plans)
            try:
                await self._configure([*kept, *added])
            except BaseException:
                await _close(added.values())
                raise
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._restore(leaving)
            raise
        await self._retire(leaving)
        return added

    async def _retire(self, outlets: Sequence[_Outlet]) -> None:
        for outlet in outlets:
            outlet.is_retired = True
            outlet.scope.cancel()
            if self._tasks is not None and outlet.ended is None:
                await outlet.done.wait()
        await _close(outlets)

    async def _restore(self, outlets: Sequence[_Outlet]) -> None:
        """Let those that were stopped already go on, with a sink made anew."""
        for outlet in outlets:
            if not outlet.is_retired:
                continue
            fresh = self._outlet(outlet.plan, outlet.plan.make())
            try:
                await _start(fresh.plan.name, fresh.sink)
            except SinkUnavailable as error:
                # it takes its place with the next attempt that can
                log.warning("sink.restart_failed", sink=fresh.plan.name, error=str(error))
            self._outlets[fresh.plan.name] = fresh
            self._revive(fresh)

    async def _dispatch(self, outlet: _Outlet) -> None:
        try:
            with outlet.scope:
                outlet.ended = await outlet.dispatcher.run()
        finally:
            outlet.done.set()
        if outlet.ended is not None:
            self._on_closed(outlet.plan.name, outlet.ended)


async def _start(name: str, sink: Sink) -> None:
    """Start a sink; what is wrong with its place is said of the setting that names the place."""
    try:
        await sink.start()
    except SinkUnavailable as error:
        raise type(error)(
            f"sinks.{name}: {error.message}", error.hint, needs_change=error.needs_change
        ) from error


async def _close(outlets: Iterable[_Outlet]) -> None:
    for outlet in outlets:
        await outlet.sink.aclose()
