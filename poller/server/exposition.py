"""The metrics page: counters, and gauges of the present state, in the requested format."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final

from anyio.to_thread import run_sync
from prometheus_client import ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import generate_latest as write_text
from prometheus_client.openmetrics.exposition import generate_latest as write_openmetrics

from poller.comms.gate import Pause, Reason
from poller.comms.kinds import KINDS
from poller.comms.throttle import Throttle
from poller.engine.daemon import Daemon
from poller.server.metrics import OTHER, PREFIX, PrometheusMeter, bounded_kind
from poller.server.refresh import Refreshed
from poller.store.counts import WatchCount
from poller.store.errors import StoreError
from poller.store.group_reports import GroupState
from poller.store.sinks import SinkReport
from poller.store.store import Store
from poller.tracking.lifecycle import LIFECYCLES
from poller.tracking.sink_health import SinkState

_KEPT: Final = 5.0
"""Seconds for which counts from the store are reused: counting scans a table."""
_OPENMETRICS: Final = "application/openmetrics-text"
_TYPES: Final = {
    True: f"{_OPENMETRICS}; version=1.0.0; charset=utf-8",
    False: "text/plain; version=0.0.4; charset=utf-8",
}
Values = dict[tuple[str, ...], float]
"""The value of a gauge for each tuple of label values."""

_UNSEEN: Final = "unseen"
_STATUSES: Final = tuple(
    dict.fromkeys(status for lifecycle in LIFECYCLES.values() for status in lifecycle.events)
)
_ACCOUNT_REASONS: Final = (Reason.THROTTLED, Reason.UNAUTHORIZED)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSnapshot:
    """Counts from the store, at the time `at`."""

    at: datetime
    tallies: Sequence[WatchCount]
    sinks: Sequence[SinkReport]
    foreign: int
    groups: Mapping[GroupState, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSnapshot:
    """State of the process, without the store; `loops` are seconds since each loop last ran."""

    version: str
    account: Pause | None
    kinds: Collection[str]
    in_flight: int
    loops: Mapping[str, float | None]
    closed: Collection[str]
    dropped_lines: int = 0


# after this many seconds without an answer the store counts as unreadable
_SILENT_SECONDS: Final = 3.0


class Exposition:
    """Renders `/metrics` for one daemon; it reads the store at most once in `seconds`."""

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
        self._stored = Refreshed(self._count, seconds=seconds)
        ProcessCollector(registry=meter.registry)

    async def render(self, accept: str | None = None) -> tuple[bytes, str]:
        """Return the page and its media type; `accept` is the header of the request.

        If the store cannot be read, its gauges are missing. A slow database delays no page.
        """
        stored = await self._stored.get()
        if self._stored.overdue > _SILENT_SECONDS:
            stored = None
        if stored is not None:
            self._meter.expect([sink.name for sink in stored.sinks if sink.is_configured])
        openmetrics = wants_openmetrics(accept)
        page = _Page(self._meter, self._process_snapshot(), stored, created=openmetrics)
        write = write_openmetrics if openmetrics else write_text
        # in a thread: it reads /proc and takes a while
        return await run_sync(partial(write, page)), _TYPES[openmetrics]

    def _process_snapshot(self) -> ProcessSnapshot:
        """Copy the state of the process, on the event loop that changes it."""
        return ProcessSnapshot(
            version=self._version,
            account=self._throttle.account_pause,
            kinds=frozenset(self._throttle.kind_pauses),
            in_flight=self._throttle.in_flight,
            loops=dict(self._daemon.loops().ages),
            closed=self._daemon.closed_sinks,
            dropped_lines=self._dropped_lines(),
        )

    async def _count(self) -> StoreSnapshot | None:
        try:
            return StoreSnapshot(
                at=self._now(),
                tallies=await self._store.counts.watched(),
                sinks=await self._store.sinks(),
                foreign=await self._daemon.foreign_operations(),
                groups=await self._store.groups.count(),
            )
        except StoreError:
            return None


class _Page:
    """All metrics of one page, in the interface that the writers of both formats expect.

    `created` includes the times at which series began; only OpenMetrics has a place for them.
    """

    def __init__(
        self,
        meter: PrometheusMeter,
        process: ProcessSnapshot,
        stored: StoreSnapshot | None,
        *,
        created: bool,
    ) -> None:
        self._meter = meter
        self._process = process
        self._stored = stored
        self._created = created

    def collect(self) -> Iterator[Metric]:
        for metric in self._meter.registry.collect():
            if not self._created:
                metric.samples = [
                    sample for sample in metric.samples if not sample.name.endswith("_created")
                ]
            yield metric
        yield from families(self._process, self._stored)


def wants_openmetrics(accept: str | None) -> bool:
    """Return whether a request accepts OpenMetrics by name (RFC 9110, section 12.5.1)."""
    for accepted in (accept or "").lower().split(","):
        name, *parameters = (part.strip() for part in accepted.split(";"))
        refused = any(
            part.replace(" ", "") in {"q=0", "q=0.0", "q=0.00", "q=0.000"} for part in parameters
        )
        if name == _OPENMETRICS and not refused:
            return True
    return False


def families(process: ProcessSnapshot, stored: StoreSnapshot | None) -> Iterator[Metric]:
    """Make the gauges; those of the store only if it could be read."""
    yield InfoMetricFamily(
        f"{PREFIX}_build", "The version that is running.", value={"version": process.version}
    )
    yield CounterMetricFamily(
        f"{PREFIX}_log_lines_dropped",
        "Log lines that could not be written: no reader, a slow reader, or a full disk.",
        value=process.dropped_lines,
    )
    yield from _pauses(process)
    yield _gauge("requests_in_flight", "Requests to the API in progress.", {(): process.in_flight})
    yield _gauge(
        "loop_silence_seconds",
        "Seconds since a loop of the daemon last ran; it grows while the loop hangs.",
        {(loop,): age for loop, age in process.loops.items() if age is not None},
        "loop",
    )
    yield _gauge(
        "store_readable",
        "1 if the store could be read for this page, else 0.",
        {(): stored is not None},
    )
    if stored is not None:
        yield from _operations(stored)
        yield from _sinks(stored, process.closed)


def _pauses(process: ProcessSnapshot) -> Iterator[Metric]:
    reason = None if process.account is None else process.account.reason
    yield _gauge(
        "account_paused",
        "1 while only probes are sent, by reason: throttled (429 or 503) or unauthorized (401).",
        {(one.value,): reason is one for one in _ACCOUNT_REASONS},
        "reason",
    )
    yield _gauge(
        "kind_paused",
        "1 while the API refuses this kind (403) and only probes are sent.",
        {(kind,): kind in process.kinds for kind in KINDS},
        "kind",
    )


def _operations(stored: StoreSnapshot) -> Iterator[Metric]:
    statuses = (_UNSEEN, *_STATUSES, OTHER)
    watched: Values = {(kind, status): 0 for kind in KINDS for status in statuses}
    due: Values = {(kind,): 0 for kind in KINDS}
    overdue: Values = {(kind,): 0 for kind in KINDS}
    for tally in stored.tallies:
        kind = bounded_kind(tally.kind)
        cell = (kind, _bounded_status(tally.status))
        watched[cell] = watched.get(cell, 0) + tally.watched
        due[kind,] = due.get((kind,), 0) + tally.due
        overdue[kind,] = max(overdue.get((kind,), 0), _age(stored.at, tally.oldest_due))
    yield _gauge(
        "operations",
        "Operations and messages that are being watched, by the last observed status.",
        watched,
        "kind status",
    )
    yield _gauge("operations_due", "Watched operations whose next poll is due.", due, "kind")
    yield _gauge(
        "operations_overdue_seconds",
        "How long the longest due operation has been due; 0 if none is.",
        overdue,
        "kind",
    )
    yield _gauge(
        "foreign_operations",
        "Operations in the store that wait for the daemon of another account or base URL.",
        {(): stored.foreign},
    )
    yield _gauge(
        "groups",
        "Groups by state: open, sealed, or ended and not yet removed by retention.",
        {(state.value,): stored.groups.get(state, 0) for state in GroupState},
        "state",
    )


def _sinks(stored: StoreSnapshot, closed: Collection[str]) -> Iterator[Metric]:
    states = {
        report.name: SinkState.DISABLED if report.name in closed else report.health.state
        for report in stored.sinks
    }
    yield _gauge(
        "sink_state",
        "1 for the present state of a sink: ok, rejecting, failing, down or disabled.",
        {(name, one.value): state is one for name, state in states.items() for one in SinkState},
        "sink state",
    )
    yield _gauge(
        "sink_configured",
        "0 if events wait for a sink that is no longer configured, else 1.",
        {(report.name,): report.is_configured for report in stored.sinks},
        "sink",
    )
    yield _gauge(
        "outbox_events",
        "Events that wait for delivery.",
        {(report.name,): report.waiting for report in stored.sinks},
        "sink",
    )
    yield _gauge(
        "outbox_oldest_age_seconds",
        "How long the oldest waiting event has been waiting; 0 if none is.",
        {(report.name,): _age(stored.at, report.oldest) for report in stored.sinks},
        "sink",
    )
    yield _gauge(
        "dead_letters",
        "Events that were given up, kept until retention removes them.",
        {(report.name,): report.dead for report in stored.sinks},
        "sink",
    )


def _gauge(name: str, text: str, values: Values, labels: str = "") -> Metric:
    family = GaugeMetricFamily(f"{PREFIX}_{name}", text, labels=labels.split())
    for key, value in values.items():
        family.add_metric(key, float(value))
    return family


def _bounded_status(status: str | None) -> str:
    if status is None:
        return _UNSEEN
    return status if status in _STATUSES else OTHER


def _age(now: datetime, since: datetime | None) -> float:
    return 0.0 if since is None else max(0.0, (now - since).total_seconds())
