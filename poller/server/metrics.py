"""The engine's meter: Prometheus counters and histograms since the start.

The number of series is bounded: label values are kinds from the table, sinks from the settings,
and constants. No operation can add a series.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram

from poller.comms.caller import Request
from poller.comms.errors import CommsError
from poller.comms.kinds import KINDS
from poller.sinks.base import SinkOutcome, SinkVerdict
from poller.store.events import StoredEvent
from poller.store.watches import Observation
from poller.tracking.answer import Verdict
from poller.tracking.delivery import Delivery, DeliveryState
from poller.tracking.event import Event
from poller.tracking.hint import HintEffect
from poller.tracking.lifecycle import GROUP, EventType
from poller.tracking.watch import ResourceType

PREFIX: Final = "comms_poller"
OTHER: Final = "other"

_OK: Final = "ok"

_REQUEST: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_TRANSACTION: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 10)
_LAG: Final = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 3600)


_OUTCOMES: Final[Mapping[str, tuple[str, ...]]] = {
    kind.name: (*(name for name in kind.stages if name not in kind.waiting), *kind.stopped)
    for kind in KINDS.values()
}
"""By kind: the counters of recipients that are no longer queued."""


class PrometheusMeter:
    """Counts in a registry of its own. Thread-safe, since worker threads of the store call it."""

    def __init__(self) -> None:
        self.registry: Final = CollectorRegistry()
        self._polls = self._counter(
            "polls",
            "Requests to the API by result: ok, or the failure.",
            "kind request outcome",
        )
        self._request_seconds = self._histogram(
            "request_duration_seconds",
            "Time from sending a request to the API to the last byte of its answer.",
            "kind request",
            _REQUEST,
        )
        self._waits = self._histogram(
            "throttle_wait_seconds",
            "How long a request waited for a slot, the rate and the account's pause.",
            "",
            _LAG,
        )
        self._schedule_lag = self._histogram(
            "schedule_lag_seconds",
            "Time from the moment when an operation was due to its fetch.",
            "kind",
            _LAG,
        )
        self._pages = self._counter("sweep_pages", "Pages of lists that were recorded.", "kind")
        self._answers = self._counter(
            "answers",
            "Answers about operations by verdict; stale, nonsense and late answers are dropped.",
            "kind verdict",
        )
        self._events = self._counter("events", "Events recorded, by type.", "kind type")
        self._recipients = self._counter(
            "recipients",
            "Recipients of operations that reached an outcome, from the deltas of events; one that "
            "moves on, as from delivered to read, counts in both.",
            "kind outcome",
        )
        self._detection_lag = self._histogram(
            "detection_lag_seconds",
            "Time from the API's updatedAt to the answer that showed the change. An operation that "
            "is registered long after its change counts in full.",
            "kind",
            _LAG,
        )
        self._attempts = self._counter(
            "delivery_attempts", "Attempts to deliver an event, by result.", "sink outcome"
        )
        self._attempt_seconds = self._histogram(
            "delivery_attempt_duration_seconds",
            "How long one call of a sink took, successful or not; a call may contain many events.",
            "sink",
            _REQUEST,
        )
        self._delivery_lag = self._histogram(
            "delivery_lag_seconds",
            "Time from recording an event, or from its last replay, to its delivery.",
            "sink",
            _LAG,
        )
        self._dead = self._counter(
            "deliveries_dead", "Deliveries that were given up and became dead letters.", "sink"
        )
        self._transaction_seconds = self._histogram(
            "store_transaction_duration_seconds",
            "Time from begin to commit, including the wait for the database's lock.",
            "transaction",
            _TRANSACTION,
        )
        self._refusals = self._counter(
            "store_refusals", "Transactions that the database refused.", "transaction"
        )
        self._pushes = self._counter("hint_pushes", "Pushes of hints by answer.", "outcome")
        self._hints = self._counter("hints", "Hints of the vendor by effect.", "effect")
        for effect in HintEffect:
            self._hints.labels(effect.value)
        for kind in KINDS:
            for request in Request:
                self._polls.labels(kind, request.value, _OK)
            # start at 0, so that the first one is an increase
            self._events.labels(kind, EventType.OPERATION_LOST.value)
            for outcome in _OUTCOMES[kind]:
                self._recipients.labels(kind, outcome)

    def expect(self, sinks: Sequence[str]) -> None:
        """Start the counters of these sinks at 0, so that the first increment is visible."""
        for sink in sinks:
            self._dead.labels(sink)
            for verdict in (SinkVerdict.DELIVERED, SinkVerdict.FAILED):
                self._attempts.labels(sink, verdict.value)

    def requested(
        self, request: Request, *, kind: str, error: CommsError | None, seconds: float
    ) -> None:
        """Count a request and how it ended."""
        outcome = _OK if error is None else error.label
        kind = bounded_kind(kind)
        self._polls.labels(kind, request.value, outcome).inc()
        self._request_seconds.labels(kind, request.value).observe(seconds)

    def waited(self, seconds: float) -> None:
        """Count a wait for the throttle."""
        self._waits.observe(seconds)

    def polled(self, *, kind: str, late: float) -> None:
        """Count how late a fetch was."""
        self._schedule_lag.labels(bounded_kind(kind)).observe(max(0.0, late))

    def paged(self, *, kind: str, unchanged: int, nonsense: int) -> None:
        """Count a page of a list."""
        kind = bounded_kind(kind)
        self._pages.labels(kind).inc()
        self._answers.labels(kind, Verdict.UNCHANGED.value).inc(unchanged)
        self._answers.labels(kind, Verdict.NONSENSE.value).inc(nonsense)

    def observed(self, observations: Sequence[Observation], *, kind: str) -> None:
        """Count verdicts and events, and how late the changes were seen."""
        kind = bounded_kind(kind)
        for observation in observations:
            self._answers.labels(kind, observation.verdict.value).inc()
            for stored in observation.events:
                self._events.labels(GROUP if stored.is_of_group else kind, stored.type).inc()
                self._count_recipients(kind, stored.event)
            if (lag := _detection_lag(observation)) is not None:
                self._detection_lag.labels(kind).observe(lag)

    def _count_recipients(self, kind: str, event: Event) -> None:
        if event.type.resource_type is ResourceType.OPERATION:
            for outcome in _OUTCOMES.get(kind, ()):
                self._recipients.labels(kind, outcome).inc(max(0, event.delta.get(outcome, 0)))

    def recorded(self, events: Sequence[StoredEvent]) -> None:
        """Count events that no answer caused; those of groups have a kind of their own."""
        for stored in events:
            kind = stored.event.kind
            self._events.labels(GROUP if kind is None else bounded_kind(kind), stored.type).inc()

    def pushed(self, outcome: str) -> None:
        """Count a push of hints."""
        self._pushes.labels(outcome).inc()

    def hinted(self, effects: Mapping[HintEffect, int]) -> None:
        """Count what hints did."""
        for effect, count in effects.items():
            self._hints.labels(effect.value).inc(count)

    def attempted(self, outcomes: Sequence[SinkOutcome], *, sink: str, seconds: float) -> None:
        """Count each outcome, and the call once."""
        for outcome in outcomes:
            self._attempts.labels(sink, outcome.verdict.value).inc()
        self._attempt_seconds.labels(sink).observe(seconds)

    def settled(self, delivery: Delivery, *, sink: str) -> None:
        """Count a delivery that succeeded or was given up."""
        if delivery.state is DeliveryState.DEAD:
            self._dead.labels(sink).inc()
        elif delivery.state is DeliveryState.DELIVERED and delivery.done_at is not None:
            lag = delivery.done_at - delivery.fresh_at
            self._delivery_lag.labels(sink).observe(_seconds(lag))

    def transacted(self, name: str, seconds: float, refused: bool) -> None:  # noqa: FBT001 - the store's callback
        """Count a transaction of the store."""
        self._transaction_seconds.labels(name).observe(seconds)
        if refused:
            self._refusals.labels(name).inc()

    def _counter(self, name: str, text: str, labels: str) -> Counter:
        return Counter(f"{PREFIX}_{name}", text, labels.split(), registry=self.registry)

    def _histogram(self, name: str, text: str, labels: str, buckets: Sequence[float]) -> Histogram:
        return Histogram(
            f"{PREFIX}_{name}", text, labels.split(), registry=self.registry, buckets=buckets
        )


def bounded_kind(kind: str) -> str:
    """Return the kind if the table has it, else `other`: a newer version may have stored it."""
    return kind if kind in KINDS else OTHER


def _detection_lag(observation: Observation) -> float | None:
    """Return the age of the change in this answer; None without a change."""
    events = (stored.event for stored in observation.events)
    first = next((event for event in events if event.reports_change), None)
    if first is None:
        return None
    updated_at, observed_at = first.updated_at, first.observed_at
    if updated_at is None or observed_at is None:
        return None
    return _seconds(observed_at - updated_at)


def _seconds(span: timedelta) -> float:
    """Return the seconds of a span; negative ones, after the clock was set back, count as 0."""
    return max(0.0, span.total_seconds())
