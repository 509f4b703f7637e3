"""A daemon for one command: the engine of `poller run` on a store in memory, without sinks.

Nothing outlives the process. What the daemon observes is sent to the view. While the view is
behind, no request is started, so memory stays bounded.
"""

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

import anyio
import structlog
from anyio.abc import ObjectSendStream

from poller.cli.watch.news import News, Trouble, Update, trouble_after
from poller.comms.caller import Request
from poller.comms.client import CommsClient
from poller.comms.errors import CommsError
from poller.comms.throttle import Throttle
from poller.engine.configuration import Configuration
from poller.engine.daemon import Daemon
from poller.engine.meter import Meter
from poller.engine.supervision import attempt
from poller.store.store import Store
from poller.store.watches import Observation
from poller.tracking.pacing import Policy
from poller.tracking.watch import Watch

log = structlog.get_logger()

_IN_MEMORY: Final = "sqlite://"
_MAX_QUEUED: Final = 64
"""While more items than this are queued for the view, no request is started."""
_DROP_EVERY: Final = 5.0


class ScratchDaemon:
    """Polls the watches that it takes, until `finish` was called and all of them have ended.

    The caller closes `client`. `now` returns the time in UTC. `policy` replaces the one of the
    configuration, except for the interval of probes after a refusal.
    """

    def __init__(
        self,
        *,
        client: CommsClient,
        configuration: Configuration,
        policy: Policy | None = None,
        now: Callable[[], datetime],
    ) -> None:
        self._client = client
        # no discovery and no sinks: events go to the view only
        self._configuration = replace(
            configuration, sinks=(), discover_age=None, policy=policy or configuration.policy
        )
        self._now = now
        self._seen = _Observations()
        self._throttle = _BackpressureThrottle(
            self._seen,
            max_concurrency=configuration.max_concurrency,
            requests_per_second=configuration.requests_per_second,
            probe_interval=configuration.policy.max_interval,
            now=now,
        )
        self._to_add: list[Watch] = []
        self._is_finished = False
        self._taken = anyio.Event()
        self._trouble: Trouble | None = None

    def take(self, watches: Sequence[Watch]) -> None:
        """Poll these from now on, each from its present state."""
        self._to_add.extend(watches)
        self._wake()

    def finish(self) -> None:
        """Declare that no more watches will be taken."""
        self._is_finished = True
        self._wake()

    async def run(self, news: ObjectSendStream[News]) -> None:
        """Send what is observed until all have ended; close the stream.

        Ends early after a fatal trouble, and when the receiver has gone.

        :raises StoreError: where the store fails.
        """
        async with news:
            await self._wait_for_watches()
            if not self._to_add:
                return
            async with AsyncExitStack() as stack:
                store = await Store.open(_IN_MEMORY, self._configuration.scope, now=self._now)
                stack.push_async_callback(store.aclose)
                await self._poll(store, news)

    def _wake(self) -> None:
        self._taken.set()
        self._taken = anyio.Event()

    async def _wait_for_watches(self) -> None:
        while not self._to_add and not self._is_finished:
            await self._taken.wait()

    async def _poll(self, store: Store, news: ObjectSendStream[News]) -> None:
        daemon = Daemon(
            store=store,
            client=self._client,
            throttle=self._throttle,
            configuration=self._configuration,
            now=self._now,
            until_idle=True,
            meter=self._seen,
        )
        await daemon.open()

        async def run() -> None:
            await daemon.run()
            self._seen.close()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            tasks.start_soon(self._add, store, daemon)
            tasks.start_soon(_drop_events, store)
            await self._send_all(news)
            tasks.cancel_scope.cancel()

    async def _add(self, store: Store, daemon: Daemon) -> None:
        while self._to_add or not self._is_finished:
            watches, self._to_add = self._to_add, []
            await store.add_watches(watches)
            await self._wait_for_watches()
        daemon.registered_all()

    async def _send_all(self, news: ObjectSendStream[News]) -> None:
        with suppress(anyio.BrokenResourceError):
            while (item := await self._seen.first()) is not None:
                if isinstance(item, Observation):
                    await _send_observation(news, item)
                elif await self._send_trouble(news, item):
                    return
                self._seen.drop_first()

    async def _send_trouble(self, news: ObjectSendStream[News], ended: "_Ended") -> bool:
        """Send a trouble when it begins, changes and ends; True where it is fatal."""
        before = self._trouble
        pauses = self._throttle.kind_pauses
        self._trouble = trouble = trouble_after(
            before,
            ended.error,
            pause=self._throttle.account_pause or pauses.get(ended.kind),
            fatal=ended.is_fatal,
        )
        if trouble == before:
            return False
        if trouble is None:
            log.info("watch.recovered")
        elif not trouble.fatal and (before is None or before.what != trouble.what):
            log.warning("watch.trouble", error=str(ended.error), fault=trouble.fault.value)
        await news.send(trouble)
        return trouble is not None and trouble.fatal


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ended:
    """A request that ended; fatal if credentials were refused before any good answer."""

    kind: str
    error: CommsError | None
    is_fatal: bool


class _Observations(Meter):
    """A queue of the daemon's ended requests and observations, in order."""

    def __init__(self) -> None:
        super().__init__()
        self._items: deque[_Ended | Observation] = deque()
        self._has_answered = False
        self._is_closed = False
        self._changed = anyio.Event()

    def requested(
        self,
        request: Request,  # noqa: ARG002 - as a meter has it
        *,
        kind: str,
        error: CommsError | None,
        seconds: float,  # noqa: ARG002 - as above
    ) -> None:
        """Queue how a request ended: that may begin or end a trouble."""
        is_refused = error is not None and error.scope.is_refusal
        is_fatal = is_refused and not self._has_answered
        self._has_answered = self._has_answered or error is None
        self._items.append(_Ended(kind=kind, error=error, is_fatal=is_fatal))
        self._change()

    def observed(self, observations: Sequence[Observation], *, kind: str) -> None:  # noqa: ARG002
        """Queue what answers changed."""
        self._items.extend(observations)
        self._change()

    async def first(self) -> _Ended | Observation | None:
        """Wait for the next item and return it without removing it; None after `close`."""
        while not self._items and not self._is_closed:
            await self._changed.wait()
        return self._items[0] if self._items else None

    def drop_first(self) -> None:
        """Remove the first item."""
        self._items.popleft()
        self._change()

    async def wait_for_room(self) -> None:
        """Wait until few items are left."""
        while len(self._items) > _MAX_QUEUED:
            await self._changed.wait()

    def close(self) -> None:
        """Declare that no more items will come."""
        self._is_closed = True
        self._change()

    def _change(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()


class _BackpressureThrottle(Throttle):
    """A throttle that also waits while the view is behind."""

    def __init__(
        self,
        seen: _Observations,
        *,
        max_concurrency: int,
        requests_per_second: float,
        probe_interval: float,
        now: Callable[[], datetime],
    ) -> None:
        super().__init__(
            max_concurrency=max_concurrency,
            requests_per_second=requests_per_second,
            probe_interval=probe_interval,
            now=now,
        )
        self._seen = seen

    async def admit(self) -> None:
        """Wait until a request may start."""
        await self._seen.wait_for_room()
        await super().admit()


async def _send_observation(news: ObjectSendStream[News], observation: Observation) -> None:
    if observation.watch is None:
        return  # an answer that came too late
    events = [stored.emitted for stored in observation.events]
    await news.send(Update(watch=observation.watch, events=events))


async def _drop_events(store: Store) -> None:
    """Keep the store small: no sink waits for its events, and nothing reads them there."""
    while True:
        await anyio.sleep(_DROP_EVERY)
        await attempt(store.drop_delivered, name="watch")
