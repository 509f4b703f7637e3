"""Makes the documents of the control API from values of the store. Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from poller.engine import status
from poller.server.documents import (
    BulkItemDocument,
    DeadLetterDocument,
    DegradedDocument,
    DeliveryDocument,
    GroupDocument,
    GroupStoryDocument,
    LoopDocument,
    MemberCountsDocument,
    OperationDocument,
    OperationStoryDocument,
    ProgressDocument,
    SinkDocument,
    SummaryDocument,
    TimelineDocument,
    TimelineEventDocument,
    TotalsDocument,
)
from poller.store import dead_letters, reports, sinks
from poller.store.counts import EndCounts, SumListing
from poller.store.events import StoredEvent, read_subject
from poller.store.group_reports import GroupDetail, state_of
from poller.store.registrations import Registered
from poller.text import format_instant
from poller.tracking.forecast import finished_per_second
from poller.tracking.group import Group
from poller.tracking.progress import Progress
from poller.tracking.sink_health import SinkHealth, SinkState
from poller.tracking.watch import Outcome, Watch


def show_operation(watch: Watch) -> OperationDocument:
    """Show an operation or a message."""
    return {
        "id": watch.id,
        "kind": watch.kind,
        "labels": dict(watch.labels),
        "group": watch.group,
        "traceparent": None if watch.trace is None else watch.trace.traceparent,
        "tracestate": None if watch.trace is None else watch.trace.tracestate,
        "account": watch.scope.account,
        "source": watch.source,
        "phase": watch.phase.value,
        "outcome": None if watch.outcome is None else watch.outcome.value,
        "status": watch.status,
        "snapshot": None if watch.snapshot is None else dict(watch.snapshot),
        "counters": dict(watch.known_counters),
        "progress": show_progress(
            watch.progress, finished_per_second(watch.looks) if watch.is_watched else None
        ),
        "sequence": watch.emitted.sequence,
        "registeredAt": format_instant(watch.registered_at),
        "observedAt": _instant(watch.observed_at),
        "endedAt": _instant(watch.ended_at),
        "nextLookAt": _instant(watch.next_poll.due_at) if watch.is_watched else None,
    }


def show_registered(registered: Registered, watch: Watch) -> BulkItemDocument:
    """Show the result of one of many registrations."""
    return {
        "id": registered.id,
        "status": 201 if registered.is_new else 200,
        "phase": watch.phase.value,
        "outcome": None if watch.outcome is None else watch.outcome.value,
    }


def show_detail(detail: reports.OperationDetail) -> OperationStoryDocument:
    """Show an operation or a message with its timeline."""
    return {
        **show_operation(detail.watch),
        **_timeline(detail.timeline, is_stub=detail.is_stub),
        "breakdown": _breakdown(detail.timeline.events),
    }


def show_group(group: Group, now: datetime) -> GroupDocument:
    """Show a group, with its rate as of `now`."""
    return {
        "name": group.name,
        "state": state_of(group).value,
        "labels": dict(group.labels or {}),
        "account": group.scope.account,
        "source": group.source,
        "operations": _show_members(asdict(group.members)),
        "expected": group.expected,
        "counters": dict(group.stats),
        "progress": show_progress(group.progress, group.finished_per_second(now)),
        "sequence": group.emitted.sequence,
        "createdAt": format_instant(group.created_at),
        "sealedAt": _instant(group.sealed_at),
        "endedAt": _instant(group.ended_at),
    }


def show_group_detail(detail: GroupDetail, now: datetime) -> GroupStoryDocument:
    """Show a group with its timeline."""
    return {
        **show_group(detail.group, now),
        **_timeline(detail.timeline, is_stub=detail.is_stub),
        "breakdown": _breakdown(detail.timeline.events),
    }


def _timeline(timeline: reports.EventTimeline, *, is_stub: bool) -> TimelineDocument:
    return {
        "events": [
            _show_event(event, timeline.deliveries.get(event.position, ()))
            for event in timeline.events
        ],
        "earlierEvents": timeline.omitted,
        "pruned": is_stub,
    }


def _breakdown(events: Sequence[StoredEvent]) -> dict[str, Any] | None:
    found = [event.event.breakdown for event in events if event.event.breakdown is not None]
    return dict(found[-1]) if found else None


def show_summary(counts: EndCounts) -> SummaryDocument:
    """Show how many operations and messages there are."""
    return {
        "running": counts.running,
        "ended": sum(counts.ended.values()),
        "completed": counts.ended[Outcome.COMPLETED],
        "failed": counts.ended[Outcome.FAILED],
        "canceled": counts.ended[Outcome.CANCELED],
        "lost": counts.ended[Outcome.LOST],
    }


def show_totals(listing: SumListing) -> TotalsDocument:
    """Show the sums by group, or by the value of a label."""
    return {
        "totals": [
            {
                "value": one.value,
                "operations": one.operations,
                "watching": one.watching,
                "withFailures": one.with_failures,
                "recipients": one.recipients.total,
                "done": one.recipients.done,
                "failed": one.recipients.failed,
            }
            for one in listing.sums
        ],
        "omitted": listing.omitted,
    }


def show_sink(report: sinks.SinkReport, *, closed: Collection[str]) -> SinkDocument:
    """Show a sink; those that are `closed` are disabled for the life of this process."""
    health = report.health
    is_closed = report.name in closed
    return {
        "name": report.name,
        "state": SinkState.DISABLED.value if is_closed else health.state.value,
        "configured": report.is_configured,
        "since": format_instant(health.since),
        "failures": health.failures,
        "lastStatus": health.status,
        "lastError": _last_error(health, is_closed=is_closed),
        "nextAttempt": None if is_closed else _instant(report.next_attempt),
        "refused": report.refused,
        "answered": report.answered,
        "waiting": report.waiting,
        "dead": report.dead,
        "oldest": _instant(report.oldest),
    }


def _last_error(health: SinkHealth, *, is_closed: bool) -> str | None:
    if is_closed:
        return "the reader of this sink has closed the pipe"
    if health.error is None and health.state is not SinkState.OK:
        return "the receiver gave no reason"
    return health.error


def show_dead_letter(letter: dead_letters.DeadLetter) -> DeadLetterDocument:
    """Show a dead letter."""
    return {
        "eventId": letter.event_id,
        "operationId": read_subject(letter.operation_id),
        "type": letter.type,
        "sequence": letter.sequence,
        "sink": letter.sink,
        "recordedAt": format_instant(letter.recorded_at),
        "diedAt": format_instant(letter.died_at),
        "attempts": letter.attempts,
        "lastStatus": letter.status,
        "lastError": letter.error,
    }


def show_loops(loops: status.Loops) -> list[LoopDocument]:
    """Show the loops, and which of them run."""
    return [
        {
            "name": name,
            "turning": name not in loops.silent,
            "secondsSinceTurn": None if age is None else round(age, 3),
        }
        for name, age in sorted(loops.ages.items())
    ]


def show_degraded(found: status.Degraded) -> DegradedDocument:
    """Show trouble."""
    return {"what": found.what, "since": format_instant(found.since), "hint": found.hint}


def show_progress(progress: Progress, rate: float | None) -> ProgressDocument:
    """Show the progress of messages; `rate` is how many are done per second."""
    left = None if rate is None or progress.total is None else progress.open / rate
    return {
        "total": progress.total,
        "done": progress.done,
        "failed": progress.failed,
        "stages": {name: number for name, number in progress.stages.items() if number},
        "perSecond": None if rate is None else round(rate, 3),
        "secondsLeft": None if left is None else round(left, 1),
    }


def _show_members(members: Mapping[str, int]) -> MemberCountsDocument:
    return {
        "total": members["total"],
        "completed": members["completed"],
        "canceled": members["canceled"],
        "lost": members["lost"],
        "watching": members["watching"],
    }


def _show_event(
    stored: StoredEvent, deliveries: Sequence[reports.DeliveryStatus]
) -> TimelineEventDocument:
    event = stored.event
    return {
        "id": stored.id,
        "type": stored.type,
        "sequence": stored.sequence,
        "time": format_instant(stored.recorded_at),
        "final": stored.final,
        "status": event.status,
        "delta": dict(event.delta),
        "operations": None if event.members is None else _show_members(event.members),
        "reason": event.reason,
        "deliveries": [_show_delivery(one) for one in deliveries],
    }


def _show_delivery(status: reports.DeliveryStatus) -> DeliveryDocument:
    delivery = status.delivery
    return {
        "sink": status.sink,
        "state": "blocked" if status.blocked_by else delivery.state.value,
        "blockedBy": status.blocked_by,
        "sinkState": None if status.sink_state is None else status.sink_state.value,
        "sinkError": status.sink_error,
        "attempts": delivery.attempts,
        "lastStatus": delivery.status,
        "lastError": delivery.error,
        "nextAttemptAt": _instant(status.next_attempt),
        "doneAt": _instant(delivery.done_at),
    }


def _instant(instant: datetime | None) -> str | None:
    return None if instant is None else format_instant(instant)
