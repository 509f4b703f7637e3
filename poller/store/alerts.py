"""Standstill: alerts for operations and groups whose counters have not changed for too long.

A function of a connection inside a transaction; the caller commits.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import BigInteger, Connection, Text, func, select, type_coerce, update

from poller.comms.kinds import KINDS
from poller.store.columns import instant
from poller.store.events import StoredEvent, record_events
from poller.store.rows import difference, group_of, group_values, watch_of, watch_values
from poller.store.schema import groups, watches
from poller.tracking.alert import (
    AlertRule,
    AlertSubject,
    emit_alert,
    judge_since,
    judge_standstill,
    may_fire,
)
from poller.tracking.event import Event
from poller.tracking.group import emit_group_alert, may_fire_for
from poller.tracking.pacing import Policy
from poller.tracking.watch import AccountScope, Phase, Watch

_STEP: Final = 500
# the others are not judged: were they among the candidates, they could fill each step
_MAY_MOVE: Final = (
    watches.c.phase == Phase.ACTIVE.value,
    func.coalesce(watches.c.emitted_status, "") != "SCHEDULED",
)


def record_standstill(
    connection: Connection,
    scope: AccountScope,
    policy: Policy,
    now: datetime,
) -> list[StoredEvent]:
    """Fire the `stalled` rules that are due. Returns the events.

    One call judges a limited number of operations; the next call finds the rest.
    """
    made = [
        *_of_operations(connection, scope, policy, now),
        *_of_groups(connection, scope, policy, now),
    ]
    return record_events(connection, scope, made, now)


def _of_operations(
    connection: Connection, scope: AccountScope, policy: Policy, now: datetime
) -> list[Event]:
    rules = _rules(policy, AlertSubject.OPERATION)
    found = {one for rule in rules for one in _stalled_candidates(connection, scope, rule, now)}
    made: list[Event] = []
    for watch in _locked(connection, scope, sorted(found)[:_STEP]):
        after, fired = _fire(watch, rules, now=now)
        if fired:
            changes = difference(watch_values(watch), watch_values(after))
            connection.execute(update(watches).where(watches.c.id == watch.id).values(changes))
            made += fired
    return made


def _of_groups(
    connection: Connection, scope: AccountScope, policy: Policy, now: datetime
) -> list[Event]:
    """Judge the groups; operations come first, since the rows of groups are locked last."""
    rules = _rules(policy, AlertSubject.GROUP)
    made: list[Event] = []
    if not rules:
        return made
    query = (
        select(groups)
        .where(
            groups.c.scope_id == scope.id,
            groups.c.ended_at.is_(None),
            groups.c.members_ended_at.is_(None),
            groups.c.moved_at <= now - timedelta(seconds=min(rule.stalled or 0 for rule in rules)),
        )
        .order_by(groups.c.name)
        .with_for_update()
    )
    for row in connection.execute(query).mappings().all():
        before = group = group_of(row, scope)
        open_rules = [rule for rule in rules if may_fire_for(rule, group)]
        observed_at = _observed_since(connection, scope, group.name) if open_rules else None
        for rule in open_rules:
            alert = judge_since(rule, moved_at=group.moved_at, observed_at=observed_at, now=now)
            if alert is not None:
                group, events = emit_group_alert(group, alert, now=now)
                made += events
        if changes := difference(group_values(before), group_values(group)):
            own = (groups.c.scope_id == scope.id, groups.c.name == group.name)
            connection.execute(update(groups).where(*own).values(changes))
    return made


def _observed_since(connection: Connection, scope: AccountScope, name: str) -> datetime | None:
    """Return when the member that was observed least recently was; None without such a member.

    Only active members count, not `SCHEDULED` ones. One that was never observed counts as observed
    in 1970.
    """
    is_active = (
        watches.c.scope_id == scope.id,
        watches.c.group_name == name,
        *_MAY_MOVE,
    )
    observed_at = type_coerce(watches.c.observed_at, BigInteger)
    query = select(func.min(func.coalesce(observed_at, 0))).where(*is_active)
    found: int | None = connection.execute(query).scalar_one()
    return None if found is None else instant(found)


def _rules(policy: Policy, subject: AlertSubject) -> list[AlertRule]:
    return [rule for rule in policy.alerts if rule.stalled is not None and rule.of is subject]


def _stalled_candidates(
    connection: Connection, scope: AccountScope, rule: AlertRule, now: datetime
) -> list[str]:
    """Select candidates by time alone; the condition on the kind makes the index usable."""
    stalled = timedelta(seconds=rule.stalled or 0)
    fired = type_coerce(watches.c.emitted_alerts, Text).contains(f'"{rule.name}"', autoescape=True)
    observed_for = type_coerce(watches.c.observed_at, BigInteger) - type_coerce(
        watches.c.moved_at, BigInteger
    )
    query = select(watches.c.id, watches.c.labels).where(
        watches.c.kind.in_(sorted(KINDS)),
        watches.c.scope_id == scope.id,
        watches.c.due_at.is_not(None),
        *_MAY_MOVE,
        watches.c.moved_at <= now - stalled,
        observed_for >= stalled // timedelta(microseconds=1),
        ~fired,
    )
    return [row.id for row in connection.execute(query) if rule.is_for(row.labels)]


def _locked(connection: Connection, scope: AccountScope, ids: Sequence[str]) -> list[Watch]:
    query = (
        select(watches)
        .where(watches.c.id.in_(ids), watches.c.scope_id == scope.id)
        .order_by(watches.c.id)
        .with_for_update()
    )
    rows = connection.execute(query).mappings().all() if ids else ()
    return [watch_of(row, scope) for row in rows]


def _fire(
    watch: Watch, rules: Sequence[AlertRule], *, now: datetime
) -> tuple[Watch, Sequence[Event]]:
    events = []
    for rule in rules:
        alert = judge_standstill(rule, watch, now=now) if may_fire(rule, watch) else None
        if alert is not None:
            watch, event = emit_alert(watch, alert, now=now)
            events.append(event)
    return watch, events
