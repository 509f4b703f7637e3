"""A page of metrics on which every family has a sample for every value of its labels."""

from collections.abc import Iterator
from datetime import timedelta

from prometheus_client import ProcessCollector
from prometheus_client.core import Metric

from poller.comms import errors
from poller.comms.caller import Request
from poller.comms.errors import CommsError
from poller.comms.gate import Pause, Reason
from poller.comms.kinds import KINDS
from poller.server.exposition import ProcessSnapshot, StoreSnapshot, families
from poller.server.hints import PUSH_OUTCOMES
from poller.server.metrics import PrometheusMeter
from poller.sinks.base import SinkOutcome, SinkVerdict
from poller.store.counts import WatchCount
from poller.store.events import StoredEvent
from poller.store.group_reports import GroupState
from poller.store.sinks import SinkReport
from poller.store.watches import Observation
from poller.tracking.answer import Verdict
from poller.tracking.delivery import Delivery, DeliveryState
from poller.tracking.event import Event
from poller.tracking.hint import HintEffect
from poller.tracking.lifecycle import EventType
from poller.tracking.sink_health import SinkHealth, SinkState
from tests.store.scenes import NOW, op

__all__ = ["ERRORS", "FullPage", "delivery", "observation"]

ERRORS = [
    error
    for error in vars(errors).values()
    if isinstance(error, type) and issubclass(error, CommsError) and error is not CommsError
]


def observation(
    verdict: Verdict = Verdict.CHANGED,
    event_type: EventType = EventType.OPERATION_PROGRESS,
    **data: object,
) -> Observation:
    """Make an observation with one event; `data` are members of it."""
    about = {"id": op(1), "status": "PROCESSING", "updatedAt": "2026-11-22T10:00:00Z"}
    resource = event_type.resource_type
    members = {
        **({"stats": {}, "operations": {}} if resource is None else {resource.value: about}),
        "previousStatus": "PROCESSING",
        "delta": {"delivered": 1},
        "observedAt": "2026-11-22T10:00:20Z",
        "kind": "messages",
        "final": False,
        "labels": {},
        "reason": None,
        **data,
    }
    event = Event(
        type=event_type,
        subject=op(1),
        source="https://comms.example.com",
        sequence=1,
        time=NOW,
        labels={},
        final=False,
        data=members,
    )
    recorded = StoredEvent(
        id="an-event",
        position=1,
        subject=event.subject,
        type=event.type.value,
        sequence=event.sequence,
        final=event.final,
        recorded_at=NOW,
        body=event.render("an-event"),
    )
    return Observation(id=op(1), verdict=verdict, watch=None, events=[recorded])


def delivery(state: DeliveryState, *, seconds: float = 4) -> Delivery:
    """Make a delivery that ended `seconds` after its event was recorded."""
    done_at = None if state is DeliveryState.WAITING else NOW + timedelta(seconds=seconds)
    return Delivery(state=state, fresh_at=NOW, due_at=NOW, set_at=NOW, done_at=done_at)


class FullPage:
    """A registry with every family and every value that its labels can take."""

    def __init__(self) -> None:
        self.meter = PrometheusMeter()
        ProcessCollector(registry=self.meter.registry)
        _record_everything(self.meter)

    def collect(self) -> Iterator[Metric]:
        """Yield all families."""
        yield from self.meter.registry.collect()
        yield from families(_process_snapshot(), _store_snapshot())


def _record_everything(meter: PrometheusMeter) -> None:
    for kind in (*KINDS, "from-the-future"):
        for request in Request:
            for error in (None, CommsError("a", "b"), *(kind("a", "b") for kind in ERRORS)):
                meter.requested(request, kind=kind, error=error, seconds=0.1)
        meter.polled(kind=kind, late=0.1)
        meter.paged(kind=kind, unchanged=1, nonsense=1)
        meter.observed([observation(verdict) for verdict in Verdict], kind=kind)
        meter.observed([observation(event_type=each) for each in EventType], kind=kind)
    meter.waited(0.1)
    meter.attempted(
        [SinkOutcome(verdict=verdict) for verdict in SinkVerdict], sink="app", seconds=1
    )
    for state in DeliveryState:
        meter.settled(delivery(state), sink="app")
    for outcome in PUSH_OUTCOMES:
        meter.pushed(outcome)
    meter.hinted(dict.fromkeys(HintEffect, 1))
    meter.transacted("watches.record", 0.1, refused=True)


def _process_snapshot() -> ProcessSnapshot:
    pause = Pause(reason=Reason.UNAUTHORIZED, since=NOW, set_at=NOW, until=NOW, level=1)
    return ProcessSnapshot(
        version="1.2.3",
        account=pause,
        kinds=["emails"],
        in_flight=3,
        loops={"poll": 0.5, "housekeeping": None, "sink app": 1.5},
        closed=["pipe"],
    )


def _store_snapshot() -> StoreSnapshot:
    def tally(kind: str, status: str | None, watched: int) -> WatchCount:
        since = NOW - timedelta(seconds=watched)
        return WatchCount(kind=kind, status=status, watched=watched, due=1, oldest_due=since)

    def report(name: str, state: SinkState, *, is_configured: bool = True) -> SinkReport:
        return SinkReport(
            name=name,
            health=SinkHealth(state=state, since=NOW),
            is_configured=is_configured,
            waiting=7,
            refused=0,
            answered=0,
            next_attempt=None,
            dead=2,
            oldest=NOW - timedelta(minutes=2),
        )

    return StoreSnapshot(
        at=NOW,
        tallies=[
            tally("messages", None, 3),
            tally("messages", "PROCESSING", 40),
            tally("messages", "PONDERING", 5),
            tally("messages", "MUSING", 6),
            tally("from-the-future", "PROCESSING", 2),
        ],
        sinks=[
            report("app", SinkState.DOWN),
            report("pipe", SinkState.OK),
            report("gone", SinkState.OK, is_configured=False),
        ],
        foreign=9,
        groups={GroupState.OPEN: 2},
    )
