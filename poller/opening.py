"""Opens a daemon: its store, its client, its sinks, and where it listens.

`poller run` and the Python API open theirs here. What only one of them has, such as signals or the
standard input, is an argument or is handled there.
"""

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Final

from anyio.abc import TaskGroup

from poller import __version__
from poller.build import hint_access, listening, make_budget, make_client, make_throttle
from poller.engine.configuration import Configuration
from poller.engine.daemon import Daemon
from poller.engine.meter import NO_METER, Meter
from poller.server.control import Metrics
from poller.server.exposition import Exposition
from poller.server.metrics import PrometheusMeter
from poller.server.serving import NOWHERE, Bound, serve
from poller.settings import Settings
from poller.store.store import Store
from poller.tracking.registration import Registration

STORE_GRACE: Final = 0.5
"""Seconds in which a daemon that stops still finishes store calls of its control API."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedDaemon:
    """A daemon with its store and sinks, ready to run; `metrics` makes the page of its meter."""

    daemon: Daemon
    store: Store
    meter: Meter
    metrics: Metrics | None


async def open_daemon(
    stack: AsyncExitStack,
    settings: Settings,
    configuration: Configuration,
    *,
    registrations: Sequence[Registration] = (),
    until_idle: bool = False,
    dropped_lines: Callable[[], int] = lambda: 0,
) -> OpenedDaemon:
    """Open a daemon, and register before its sinks are started; `stack` closes it.

    :raises SettingsError: where there are no credentials.
    :raises EgressError: where a proxy or certificate variable cannot be used.
    :raises StoreError: where the store cannot be used.
    :raises Conflict: where a registration contradicts what is known; none is registered.
    :raises SinkUnavailable: where a sink cannot be started.
    """
    # without a listener for the metrics nothing is measured
    instrument = PrometheusMeter() if listening(settings).serves_metrics else None
    meter = NO_METER if instrument is None else Meter(instrument)
    url = settings.store.url.get_secret_value()
    store = await Store.open(url, configuration.scope, timed=meter.transacted)
    stack.push_async_callback(store.aclose)
    client = await stack.enter_async_context(make_client(settings))
    budget = make_budget(settings, store)
    throttle = make_throttle(settings, await store.pause(), budget=budget, now=store.now)
    daemon = Daemon(
        store=store,
        client=client,
        throttle=throttle,
        configuration=configuration,
        budget=budget,
        now=store.now,
        until_idle=until_idle,
        meter=meter,
    )
    metrics = None
    if instrument is not None:
        metrics = Exposition(
            instrument,
            daemon=daemon,
            store=store,
            throttle=throttle,
            version=__version__,
            now=store.now,
            dropped_lines=dropped_lines,
        ).render
    await daemon.open(registrations)
    return OpenedDaemon(daemon=daemon, store=store, meter=meter, metrics=metrics)


async def open_listeners(tasks: TaskGroup, opened: OpenedDaemon, settings: Settings) -> Bound:
    """Serve the control API and the hints in `tasks`, where configured; return the addresses.

    :raises ListenError: where it cannot listen at an address.
    """
    places = listening(settings)
    if not places.is_anywhere:
        return NOWHERE
    serving = partial(
        serve,
        opened.daemon,
        opened.store,
        places,
        version=__version__,
        metrics=opened.metrics,
        hint_access=hint_access(settings),
        meter=opened.meter,
    )
    bound: Bound = await tasks.start(serving)
    return bound
