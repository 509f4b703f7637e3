"""A group: many operations and messages that are counted as one, with one end. Pure.

A transaction first applies all changes, member by member (`change_member`, `seal`), and then makes
the events of all of them at once (`advance`, and `explain` for the breakdown). So a group has at
most one `group.progress` in a transaction, and every event carries all that is not yet emitted.

    open ──seal, or `expected` members are there──▶ sealed ──every member has ended──▶ ended

Members join while the group is open. `group.completed` ends it: its numbers are frozen from then
on, and later changes of a member concern that member only.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final, Self

from poller.text import counted, format_instant
from poller.tracking.alert import Alert, AlertRule, AlertSubject, is_open, judge_counters
from poller.tracking.breakdown.state import Breakdown
from poller.tracking.breakdown.steps import add_report, report
from poller.tracking.event import Event
from poller.tracking.forecast import Look, finished_per_second
from poller.tracking.lifecycle import EventType
from poller.tracking.member_sums import (
    MemberCounts,
    add_look,
    common_labels,
    count_members,
    look_at_sums,
    sum_counters,
    sum_recipients,
)
from poller.tracking.pacing import Policy
from poller.tracking.progress import Progress, Recipients, delta_between, read_group_progress
from poller.tracking.registration import Conflict
from poller.tracking.watch import AccountScope, Phase, Watch

STUB_FOR: Final = timedelta(days=14)
"""How long an ended group, or the stub of a watch, is remembered so that its name is not reused."""


Advanced = tuple["Group", tuple[Event, ...]]
"""A group, and the events that led to it, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmittedGroup:
    """What the events of a group have reported: the next change is measured against this."""

    members: MemberCounts = field(default_factory=MemberCounts)
    stats: Mapping[str, int] = field(default_factory=dict)
    sequence: int = 0
    progress_at: datetime | None = None
    """When the last progress was recorded."""
    alerts: tuple[str, ...] = ()
    """The names of the alert rules that fired."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The state of one group.

    `stats` sums the members' observed counters. `expected` is the number of members at which it
    is sealed, or was. `labels` are those that all members share, None where they must be compared
    again (`share_labels`). `explaining` counts the members whose breakdown is being read,
    `explained` those that have emitted theirs.
    """

    name: str
    scope: AccountScope
    created_at: datetime
    expected: int | None = None
    sealed_at: datetime | None = None
    ended_at: datetime | None = None
    members: MemberCounts = field(default_factory=MemberCounts)
    stats: Mapping[str, int] = field(default_factory=dict)
    recipients: Recipients = field(default_factory=Recipients)
    """The sums of the members' recipients, each member's counters read as its own."""
    looks: tuple[Look, ...] = ()
    """A few earlier values of these sums, the oldest first, for the rate."""
    moved_at: datetime | None = None
    """When these sums or the members last changed."""
    labels: Mapping[str, str] | None = field(default_factory=dict)
    members_ended_at: datetime | None = None
    """Since when no member is watched, also if the group has no member; None while one is."""
    explaining: int = 0
    explained: int = 0
    breakdown_at: datetime | None = None
    """When the breakdown was recorded."""
    emitted: EmittedGroup = field(default_factory=EmittedGroup)
    due_at: datetime | None = None
    """When progress that is held back is to be emitted; None where none is held back."""

    @property
    def source(self) -> str:
        """The CloudEvents source."""
        return f"urn:comms-poller:{self.scope.account}:groups:{self.name}"

    @property
    def progress(self) -> Progress:
        """The progress of the recipients of all members."""
        sums = self.recipients
        total = max(sums.total, sums.done)
        return replace(
            read_group_progress(self.stats),
            total=total or None,
            done=sums.done,
            open=total - sums.done,
            failed=sums.failed,
        )

    def finished_per_second(self, now: datetime) -> float | None:
        """Return the recipients done per second lately; None where that is unknown."""
        if not self.looks or not self.members.watching or self.ended_at is not None:
            return None
        return finished_per_second((self.looks[0], look_at_sums(self.recipients, at=now)))

    @property
    def unemitted(self) -> dict[str, int]:
        """The signed changes of the sums that no event carries yet."""
        return delta_between(self.emitted.stats, self.stats)

    @property
    def has_changed(self) -> bool:
        """Whether there are changes that no event carries yet."""
        return self.members != self.emitted.members or bool(self.unemitted)

    @property
    def wants_breakdown(self) -> bool:
        """Whether the breakdowns of all members are read, and the group's is to be emitted."""
        has_all = self.ended_at is not None and not self.explaining
        return has_all and self.explained > 0 and self.breakdown_at is None

    def evolve(self, **changes: Any) -> Self:  # noqa: ANN401 - `replace` checks the names at run time
        """Return a copy with these fields changed."""
        return replace(self, **changes)


def new_group(name: str, *, scope: AccountScope, now: datetime) -> Group:
    """Return a group without members."""
    return Group(name=name, scope=scope, created_at=now, members_ended_at=now)


def change_member(
    group: Group, before: Watch | None, after: Watch | None, *, now: datetime
) -> Group:
    """Apply a change of a watch from `before` to `after`, by which it may join or leave.

    A watch is a member where it names the group.

    :raises Conflict: where it cannot join any more; the message says what to do.
    """
    was, member = _in(group, before), _in(group, after)
    if was is None and member is not None:
        _check_open(group, member)
    if group.ended_at is not None:
        return _change_after_end(group, was, member)
    counts = count_members(group.members, was, member)
    is_full = was is None and member is not None and counts.total == group.expected
    stats = sum_counters(group.stats, was, member)
    recipients = sum_recipients(group.recipients, was, member)
    has_moved = stats != group.stats or counts != group.members
    return group.evolve(
        members=counts,
        stats=stats,
        recipients=recipients,
        looks=add_look(
            group.looks, was, member, before=group.recipients, after=recipients, now=now
        ),
        moved_at=now if has_moved else group.moved_at,
        labels=_labels(group, was, member),
        explaining=group.explaining + _is_explaining(member) - _is_explaining(was),
        members_ended_at=None if counts.watching else group.members_ended_at or now,
        sealed_at=now if is_full else group.sealed_at,
    )


def changes_group(before: Watch, after: Watch) -> bool:
    """Return whether a watch that stays in its group changed in anything that the group counts."""
    return (
        before.phase is not after.phase
        or before.outcome is not after.outcome
        or bool(delta_between(before.known_counters, after.known_counters))
    )


def seal(group: Group, expected: int | None, *, now: datetime) -> Group:
    """Seal the group now, or when it has `expected` members; a sealed one stays as it is.

    :raises Conflict: where it has more members already, has none, or is sealed with another number.
    """
    total = group.members.total
    if group.sealed_at is not None:
        if expected not in {None, group.expected}:
            raise Conflict(
                f"group {group.name} is sealed with {counted(group.expected or 0, 'member')}, "
                f"not {expected}; a sealed group stays as it is"
            )
        return group
    if expected is None and total == 0:
        raise Conflict(
            f"group {group.name} has no member; register its operations first, or give the number "
            "of members that it will have (`expected`, --expected)"
        )
    if expected is not None and total > expected:
        raise Conflict(
            f"group {group.name} has {counted(total, 'member')}, more than {expected}; "
            "seal it without a number, or with the right one"
        )
    if expected in {None, total}:
        return group.evolve(expected=total, sealed_at=now)
    return group.evolve(expected=expected)


def add_breakdown(
    group: Group, total: Breakdown, watch: Watch, part: Mapping[str, Any]
) -> tuple[Group, Breakdown]:
    """Add the failures of one member to `total`: `part` is `data.breakdown` of its event."""
    if group.breakdown_at is not None or not _is_counted(group, watch):
        return group, total
    return group.evolve(explained=group.explained + 1), add_report(total, part)


def advance(group: Group, *, policy: Policy, now: datetime) -> Advanced:
    """Make the events that are due after the changes: alerts, then at most one other.

    A change that comes too soon after the last progress is held back until `due_at`.
    """
    if group.ended_at is not None:
        return group, ()
    made: list[Event] = []
    for rule in policy.alerts:
        alert = judge_counters(rule, group.stats, finished=group.recipients.done)
        if alert is not None and may_fire_for(rule, group):
            group, events = emit_group_alert(group, alert, now=now)
            made += events
    group, events = _advance(group, policy=policy, now=now)
    return group, (*made, *events)


def may_fire_for(rule: AlertRule, group: Group) -> bool:
    """Return whether the rule is for this group and has not fired for it."""
    fired = group.emitted.alerts
    return is_open(rule, AlertSubject.GROUP, labels=group.labels or {}, fired=fired)


def emit_group_alert(group: Group, alert: Alert, *, now: datetime) -> Advanced:
    """Make the event of an alert, which carries everything that is not yet emitted."""
    more = {"alert": alert.report()}
    after, events = _emit(group, EventType.GROUP_ALERT, now=now, more=more)
    fired = (*group.emitted.alerts, alert.name)
    return after.evolve(emitted=replace(after.emitted, alerts=fired)), events


def _advance(group: Group, *, policy: Policy, now: datetime) -> Advanced:
    members = group.members
    if group.sealed_at is not None and members.total and not members.watching:
        ended = group.evolve(ended_at=now, due_at=None)
        return _emit(ended, EventType.GROUP_COMPLETED, now=now, final=True)
    if not group.has_changed:
        return group.evolve(due_at=None), ()
    last = group.emitted.progress_at
    if last is not None:
        held_until = last + timedelta(seconds=policy.progress_interval)
        # a last progress in the future means that the clock went back: it is ignored
        if last <= now < held_until:
            return group.evolve(due_at=held_until), ()
    return _emit(group.evolve(due_at=None), EventType.GROUP_PROGRESS, now=now)


def explain(group: Group, breakdown: Breakdown, *, now: datetime) -> Advanced:
    """Make the breakdown of all members' failures; no event where it is not due."""
    if not group.wants_breakdown:
        return group, ()
    explained = group.evolve(breakdown_at=now)
    more = {"breakdown": report(breakdown)}
    return _emit(explained, EventType.GROUP_BREAKDOWN, now=now, more=more)


def _in(group: Group, watch: Watch | None) -> Watch | None:
    return watch if watch is not None and watch.group == group.name else None


def _check_open(group: Group, watch: Watch) -> None:
    if group.ended_at is not None:
        free_at = format_instant(group.ended_at + STUB_FOR)
        raise Conflict(
            f"group {group.name} ended at {format_instant(group.ended_at)}, {watch.id} cannot join "
            f"it; use another name, this one is free again after {free_at}, "
            "and not before store.retention is over"
        )
    if group.sealed_at is not None:
        raise Conflict(
            f"group {group.name} was sealed at {format_instant(group.sealed_at)} with "
            f"{counted(group.expected or 0, 'member')}, {watch.id} cannot join it; use another "
            "group, and seal a group only when all of it is registered"
        )


def _change_after_end(group: Group, was: Watch | None, member: Watch | None) -> Group:
    """Count the ends of breakdowns that were being read when the group ended, and nothing else."""
    is_read = _is_explaining(was) and not _is_explaining(member)
    if was is None or not is_read or not _is_counted(group, was):
        return group
    return group.evolve(explaining=group.explaining - 1)


def _is_counted(group: Group, watch: Watch) -> bool:
    """Return False where a lost member is watched again after the end: it is outside the group."""
    if watch.group != group.name:
        return False
    return group.ended_at is None or watch.registered_at <= group.ended_at


def _labels(group: Group, was: Watch | None, member: Watch | None) -> Mapping[str, str] | None:
    if group.labels is None:
        return None
    if was is None:
        if member is None:
            return group.labels
        return (
            common_labels(group.labels, member.labels)
            if group.members.total
            else dict(member.labels)
        )
    is_same = member is not None and member.labels == was.labels
    return group.labels if is_same else None


def _is_explaining(member: Watch | None) -> bool:
    return member is not None and member.phase is Phase.EXPLAINING


def _emit(
    group: Group,
    event_type: EventType,
    *,
    now: datetime,
    final: bool = False,
    more: Mapping[str, Any] | None = None,
) -> Advanced:
    labels = dict(group.labels or {})
    is_breakdown = event_type is EventType.GROUP_BREAKDOWN
    event = Event(
        type=event_type,
        subject=group.name,
        source=group.source,
        sequence=group.emitted.sequence + 1,
        time=now,
        labels=labels,
        final=final,
        data={
            "group": group.name,
            "operations": asdict(group.members),
            "stats": dict(group.stats),
            "delta": {} if is_breakdown else group.unemitted,
            "createdAt": format_instant(group.created_at),
            "sealedAt": None if group.sealed_at is None else format_instant(group.sealed_at),
            "labels": labels,
            "final": final,
            **(more or {}),
        },
    )
    is_progress = event_type is EventType.GROUP_PROGRESS
    emitted = replace(
        group.emitted,
        members=group.members,
        stats=group.stats,
        sequence=event.sequence,
        progress_at=now if is_progress else group.emitted.progress_at,
    )
    return group.evolve(emitted=emitted), (event,)
