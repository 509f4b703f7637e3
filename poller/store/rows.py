"""Conversion between rows of the tables and values of `tracking`, in this place only."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import RowMapping

from poller.store.columns import instant, microseconds
from poller.tracking.breakdown.state import Breakdown
from poller.tracking.delivery import Delivery, DeliveryState
from poller.tracking.forecast import Look
from poller.tracking.group import EmittedGroup, Group
from poller.tracking.member_sums import MemberCounts
from poller.tracking.progress import Recipients
from poller.tracking.sink_health import SinkHealth, SinkState
from poller.tracking.trace import Trace
from poller.tracking.watch import (
    AccountScope,
    EmittedState,
    Hint,
    HintStrength,
    NextPoll,
    NotFoundStreak,
    Outcome,
    Phase,
    Watch,
)

_HEALTH = (
    "since",
    "failures",
    "unanswered",
    "unanswered_since",
    "delivered",
    "given_up",
    "probes",
    "next_at",
    "set_at",
    "tried_at",
    "paused_until",
    "paused_at",
    "status",
    "error",
)
_DELIVERY = (
    "attempts",
    "fresh_at",
    "due_at",
    "set_at",
    "refused_at",
    "status",
    "error",
    "done_at",
)
_GROUP = (
    "name",
    "created_at",
    "expected",
    "sealed_at",
    "ended_at",
    "stats",
    "moved_at",
    "labels",
    "members_ended_at",
    "explaining",
    "explained",
    "breakdown_at",
    "due_at",
)
_PLAIN = (
    "id",
    "kind",
    "labels",
    "registered_at",
    "ended_at",
    "settle_until",
    "snapshot",
    "counters",
    "observed_at",
    "moved_at",
    "updated_at",
    "created_at",
    "left_scheduled_at",
    "scheduled_for",
    "schedule_read_at",
    "wants_breakdown",
)


def watch_of(row: RowMapping, scope: AccountScope) -> Watch:
    """Read a row of `watches` that belongs to `scope`."""
    return Watch(
        **{name: row[name] for name in _PLAIN},
        scope=scope,
        group=row["group_name"],
        trace=_trace_of(row),
        looks=_read_looks(row["looks"]),
        phase=Phase(row["phase"]),
        outcome=None if row["outcome"] is None else Outcome(row["outcome"]),
        next_poll=NextPoll(
            wait=row["wait"], due_at=row["due_at"] or row["set_at"], set_at=row["set_at"]
        ),
        emitted=EmittedState(
            status=row["emitted_status"],
            counters=row["emitted_counters"],
            sequence=row["sequence"],
            progress_at=row["progress_at"],
            attempts=tuple(row["emitted_attempts"]),
            alerts=tuple(row["emitted_alerts"]),
        ),
        not_found_streak=NotFoundStreak(
            not_found=row["not_found"],
            not_found_since=row["not_found_since"],
            rejected=row["rejected"],
            failed=row["failed"],
        ),
        hint=None
        if row["hinted_at"] is None
        else Hint(at=row["hinted_at"], strength=HintStrength(row["hinted_by"])),
        breakdown=_breakdown_of(row["breakdown"]),
    )


def _trace_of(row: RowMapping) -> Trace | None:
    if row["traceparent"] is None:
        return None
    return Trace(traceparent=row["traceparent"], tracestate=row["tracestate"])


def _breakdown_of(text: str | None) -> Breakdown | None:
    """Read the progress of a breakdown; one that cannot be parsed begins again."""
    if text is None:
        return None
    try:
        return Breakdown.from_json(text)
    except ValueError:
        return None


def _recipient_values(recipients: Recipients) -> dict[str, int]:
    return {
        "recipients": recipients.total,
        "recipients_done": recipients.done,
        "recipients_failed": recipients.failed,
    }


def watch_values(watch: Watch) -> dict[str, Any]:
    """Write a row of `watches`, all columns but the scope, the lease and the stub mark."""
    return {
        **{name: getattr(watch, name) for name in _PLAIN},
        **_recipient_values(watch.recipients),
        "group_name": watch.group,
        "traceparent": None if watch.trace is None else watch.trace.traceparent,
        "tracestate": None if watch.trace is None else watch.trace.tracestate,
        "looks": _look_values(watch.looks),
        "phase": watch.phase.value,
        "outcome": None if watch.outcome is None else watch.outcome.value,
        "wait": watch.next_poll.wait,
        "due_at": watch.next_poll.due_at if watch.is_watched else None,
        "set_at": watch.next_poll.set_at,
        "emitted_status": watch.emitted.status,
        "emitted_counters": watch.emitted.counters,
        "sequence": watch.emitted.sequence,
        "progress_at": watch.emitted.progress_at,
        "emitted_attempts": list(watch.emitted.attempts),
        "emitted_alerts": list(watch.emitted.alerts),
        "not_found": watch.not_found_streak.not_found,
        "not_found_since": watch.not_found_streak.not_found_since,
        "rejected": watch.not_found_streak.rejected,
        "failed": watch.not_found_streak.failed,
        "hinted_at": None if watch.hint is None else watch.hint.at,
        "hinted_by": None if watch.hint is None else watch.hint.strength.value,
        "breakdown": None if watch.breakdown is None else watch.breakdown.to_json(),
        "next_request": watch.next_request.value,
    }


def _look_values(looks: Sequence[Look]) -> list[list[int]]:
    return [[microseconds(look.at), look.done, look.passed, look.total] for look in looks]


def _read_looks(stored: Sequence[Sequence[int]]) -> tuple[Look, ...]:
    return tuple(
        Look(at=instant(at), done=done, passed=passed, total=total)
        for at, done, passed, total in stored
    )


def group_of(row: RowMapping, scope: AccountScope) -> Group:
    """Read a row of `groups` that belongs to `scope`."""
    return Group(
        **{name: row[name] for name in _GROUP},
        scope=scope,
        members=MemberCounts(**row["members"]),
        recipients=Recipients(
            total=row["recipients"], done=row["recipients_done"], failed=row["recipients_failed"]
        ),
        looks=_read_looks(row["looks"]),
        emitted=EmittedGroup(
            members=MemberCounts(**row["emitted_members"]),
            stats=row["emitted_stats"],
            sequence=row["sequence"],
            progress_at=row["progress_at"],
            alerts=tuple(row["emitted_alerts"]),
        ),
    )


def group_values(group: Group) -> dict[str, Any]:
    """Write a row of `groups`, all columns but the scope and the stub mark."""
    return {
        **{name: getattr(group, name) for name in _GROUP},
        **_recipient_values(group.recipients),
        "looks": _look_values(group.looks),
        "members": asdict(group.members),
        "emitted_members": asdict(group.emitted.members),
        "emitted_stats": group.emitted.stats,
        "emitted_alerts": list(group.emitted.alerts),
        "sequence": group.emitted.sequence,
        "progress_at": group.emitted.progress_at,
    }


def delivery_of(row: RowMapping) -> Delivery:
    """Read a row of `deliveries`."""
    return Delivery(state=DeliveryState(row["state"]), **{name: row[name] for name in _DELIVERY})


def delivery_values(delivery: Delivery) -> dict[str, Any]:
    """Write a row of `deliveries`, all columns but the key and the lease."""
    return {
        "state": delivery.state.value,
        **{name: getattr(delivery, name) for name in _DELIVERY},
    }


def health_of(row: RowMapping) -> SinkHealth:
    """Read a row of `sinks`."""
    return SinkHealth(state=SinkState(row["state"]), **{name: row[name] for name in _HEALTH})


def health_values(health: SinkHealth) -> dict[str, Any]:
    """Write a row of `sinks`, all columns but the key and `absent_since`."""
    return {"state": health.state.value, **{name: getattr(health, name) for name in _HEALTH}}


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns that changed, with their new values: only these are written."""
    return {name: value for name, value in after.items() if before.get(name) != value}
