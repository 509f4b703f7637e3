"""How it stands at this moment, as families of Prometheus. Pure: from values to values."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric

from poller.comms.gate import Pause, Reason
from poller.comms.kinds import KINDS
from poller.server.metrics import OTHER, PREFIX, bounded_kind
from poller.store.reports import WatchCount
from poller.store.sinks import SinkReport
from poller.tracking.lifecycle import LIFECYCLES
from poller.tracking.sink_health import SinkState

Values = dict[tuple[str, ...], float]
"""The value of a gauge for each tuple of label values."""

_UNSEEN: Final = "unseen"
_STATUSES: Final = tuple(
    dict.fromkeys(status for lifecycle in LIFECYCLES.values() for status in lifecycle.events)
)
_ACCOUNT_REASONS: Final = (Reason.THROTTLED, Reason.UNAUTHORIZED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stock:
    """What the store holds, counted `at` a moment."""

    at: datetime
    tallies: Sequence[WatchCount]
    sinks: Sequence[SinkReport]
    foreign: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What the process knows without the store; `loops` are seconds since each loop turned."""

    version: str
    account: Pause | None
    kinds: Collection[str]
    in_flight: int
    loops: Mapping[str, float | None]
    closed: Collection[str]
    dropped_lines: int = 0


def families(moment: Moment, stock: Stock | None) -> Iterator[Metric]:
    """Make the gauges; those of the store are left out where `stock` is None: it cannot be read."""
    yield InfoMetricFamily(
        f"{PREFIX}_build", "Which version is running.", value={"version": moment.version}
    )
    yield CounterMetricFamily(
        f"{PREFIX}_log_lines_dropped",
        "Lines of the log that could not be written: no reader, a slow one, or a full disk.",
        value=moment.dropped_lines,
    )
    yield from _pauses(moment)
    yield _gauge("requests_in_flight", "Requests to the API under way.", {(): moment.in_flight})
    yield _gauge(
        "loop_silence_seconds",
        "Seconds since a loop of the daemon turned; one that hangs is silent for long.",
        {(loop,): age for loop, age in moment.loops.items() if age is not None},
        "loop",
    )
    yield _gauge(
        "store_readable",
        "1 where the store could be read for this page, else 0.",
        {(): stock is not None},
    )
    if stock is not None:
        yield from _operations(stock)
        yield from _sinks(stock, moment.closed)


def _pauses(moment: Moment) -> Iterator[Metric]:
    reason = None if moment.account is None else moment.account.reason
    yield _gauge(
        "account_paused",
        "1 while no request goes out but a probe, by reason: 429 or 503, 401.",
        {(one.value,): reason is one for one in _ACCOUNT_REASONS},
        "reason",
    )
    yield _gauge(
        "kind_paused",
        "1 while the API refuses this kind (403) and only a probe goes out.",
        {(kind,): kind in moment.kinds for kind in KINDS},
        "kind",
    )


def _operations(stock: Stock) -> Iterator[Metric]:
    statuses = (_UNSEEN, *_STATUSES, OTHER)
    watched: Values = {(kind, status): 0 for kind in KINDS for status in statuses}
    due: Values = {(kind,): 0 for kind in KINDS}
    overdue: Values = {(kind,): 0 for kind in KINDS}
    for tally in stock.tallies:
        kind = bounded_kind(tally.kind)
        cell = (kind, _bounded_status(tally.status))
        watched[cell] = watched.get(cell, 0) + tally.watched
        due[kind,] = due.get((kind,), 0) + tally.due
        overdue[kind,] = max(overdue.get((kind,), 0), _age(stock.at, tally.oldest_due))
    yield _gauge(
        "operations",
        "Operations and messages that are being watched, by the status last seen.",
        watched,
        "kind status",
    )
    yield _gauge("operations_due", "Watched operations whose next look is due.", due, "kind")
    yield _gauge(
        "operations_overdue_seconds",
        "For how long the first of the due operations has been due; 0 where none is.",
        overdue,
        "kind",
    )
    yield _gauge(
        "foreign_operations",
        "Operations in the store that wait for the daemon of another account or base URL.",
        {(): stock.foreign},
    )


def _sinks(stock: Stock, closed: Collection[str]) -> Iterator[Metric]:
    states = {
        report.name: SinkState.DISABLED if report.name in closed else report.health.state
        for report in stock.sinks
    }
    yield _gauge(
        "sink_state",
        "1 for the state that a sink is in: ok, rejecting, failing, down or disabled.",
        {(name, one.value): state is one for name, state in states.items() for one in SinkState},
        "sink state",
    )
    yield _gauge(
        "sink_configured",
        "0 where events wait for a sink that no settings name any more, else 1.",
        {(report.name,): report.is_configured for report in stock.sinks},
        "sink",
    )
    yield _gauge(
        "outbox_events",
        "Events that wait for their delivery.",
        {(report.name,): report.waiting for report in stock.sinks},
        "sink",
    )
    yield _gauge(
        "outbox_oldest_age_seconds",
        "For how long the first of the waiting events has been waiting; 0 where none is.",
        {(report.name,): _age(stock.at, report.oldest) for report in stock.sinks},
        "sink",
    )
    yield _gauge(
        "dead_letters",
        "Events that were given up and are kept until retention takes them.",
        {(report.name,): report.dead for report in stock.sinks},
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
