"""The page of metrics: what was counted, how it stands, in the format that was asked for."""

from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from typing import Final

import anyio
from anyio.to_thread import run_sync
from prometheus_client import ProcessCollector
from prometheus_client.core import Metric
from prometheus_client.exposition import generate_latest as write_text
from prometheus_client.openmetrics.exposition import generate_latest as write_openmetrics

from poller.comms.throttle import Throttle
from poller.engine.daemon import Daemon
from poller.server.gauges import Moment, Stock, families
from poller.server.metrics import PrometheusMeter
from poller.store.errors import StoreError
from poller.store.store import Store

_KEPT: Final = 5.0
"""Seconds for which what was counted in the store is good enough: it costs a scan."""
_OPENMETRICS: Final = "application/openmetrics-text"
_TYPES: Final = {
    True: f"{_OPENMETRICS}; version=1.0.0; charset=utf-8",
    False: "text/plain; version=0.0.4; charset=utf-8",
}


class Exposition:
    """Renders `/metrics` for one daemon. `seconds` is for how long a look at the store serves."""

    def __init__(
        self,
        meter: PrometheusMeter,
        *,
        daemon: Daemon,
        store: Store,
        throttle: Throttle,
        version: str,
        now: Callable[[], datetime],
        dropped_lines: Callable[[], int] = lambda: 0,
        seconds: float = _KEPT,
    ) -> None:
        self._meter = meter
        self._daemon = daemon
        self._store = store
        self._throttle = throttle
        self._version = version
        self._now = now
        self._dropped_lines = dropped_lines
        self._seconds = seconds
        self._looking = anyio.Lock()
        self._stock: Stock | None = None
        self._looked_at: float | None = None
        ProcessCollector(registry=meter.registry)

    async def render(self, accept: str | None = None) -> tuple[bytes, str]:
        """Return the page and its media type; `accept` is the header of the request.

        Never raises for what is wrong with the store: its gauges are then missing.
        """
        stock = await self._look()
        if stock is not None:
            self._meter.expect([sink.name for sink in stock.sinks if sink.is_configured])
        openmetrics = wants_openmetrics(accept)
        page = _Page(self._meter, self._moment(), stock, created=openmetrics)
        write = write_openmetrics if openmetrics else write_text
        # reads /proc, and takes a while
        return await run_sync(partial(write, page)), _TYPES[openmetrics]

    def _moment(self) -> Moment:
        """Note, in the loop that changes it, what the process knows."""
        return Moment(
            version=self._version,
            account=self._throttle.account_pause,
            kinds=frozenset(self._throttle.kind_pauses),
            in_flight=self._throttle.in_flight,
            loops=dict(self._daemon.loops().ages),
            closed=self._daemon.closed_sinks,
            dropped_lines=self._dropped_lines(),
        )

    async def _look(self) -> Stock | None:
        async with self._looking:
            now = anyio.current_time()
            if self._looked_at is None or now - self._looked_at >= self._seconds:
                self._stock = await self._count()
                self._looked_at = anyio.current_time()
            return self._stock

    async def _count(self) -> Stock | None:
        try:
            return Stock(
                at=self._now(),
                tallies=await self._store.watch_counts(),
                sinks=await self._store.sinks(),
                foreign=await self._store.foreign_operations(),
            )
        except StoreError:
            return None


class _Page:
    """Everything on one page, as the writers of both formats want it.

    `created` keeps the moments at which series began, which only OpenMetrics has a place for.
    """

    def __init__(
        self, meter: PrometheusMeter, moment: Moment, stock: Stock | None, *, created: bool
    ) -> None:
        self._meter = meter
        self._moment = moment
        self._stock = stock
        self._created = created

    def collect(self) -> Iterator[Metric]:
        for metric in self._meter.registry.collect():
            if not self._created:
                metric.samples = [
                    sample for sample in metric.samples if not sample.name.endswith("_created")
                ]
            yield metric
        yield from families(self._moment, self._stock)


def wants_openmetrics(accept: str | None) -> bool:
    """Tell whether a request names OpenMetrics among what it accepts (RFC 9110, section 12.5.1)."""
    for wish in (accept or "").lower().split(","):
        name, *parameters = (part.strip() for part in wish.split(";"))
        refused = any(
            part.replace(" ", "") in {"q=0", "q=0.0", "q=0.00", "q=0.000"} for part in parameters
        )
        if name == _OPENMETRICS and not refused:
            return True
    return False
