"""Standstill: operations of which answers show, for too long, that nothing moves.

A function of a connection inside a transaction; the caller commits.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import BigInteger, Connection, Text, select, type_coerce, update

from poller.comms.kinds import KINDS
from poller.store.events import StoredEvent, record_events
from poller.store.rows import difference, watch_of, watch_values
from poller.store.schema import watches
from poller.tracking.alert import AlertRule, AlertSubject, emit_alert, judge_standstill, may_fire
from poller.tracking.event import Event
from poller.tracking.pacing import Policy
from poller.tracking.watch import AccountScope, Phase, Watch

_STEP: Final = 500


def record_standstill(
    connection: Connection,
    scope: AccountScope,
    policy: Policy,
    now: datetime,
) -> list[StoredEvent]:
    """Fire the rules for what stands still. Returns the events.

    It takes one step's worth; what is left is found again.
    """
    rules = [
        rule
        for rule in policy.alerts
        if rule.stalled is not None and rule.of is AlertSubject.OPERATION
    ]
    found = {one for rule in rules for one in _standing_still(connection, scope, rule, now)}
    made: list[Event] = []
    for watch in _locked(connection, scope, sorted(found)[:_STEP]):
        after, fired = _fire(watch, rules, now=now)
        if fired:
            changes = difference(watch_values(watch), watch_values(after))
            connection.execute(update(watches).where(watches.c.id == watch.id).values(changes))
            made += fired
    return record_events(connection, scope, made, now)


def _standing_still(
    connection: Connection, scope: AccountScope, rule: AlertRule, now: datetime
) -> list[str]:
    """Choose candidates by time alone; by kind, so that the index of what is polled serves."""
    stalled = timedelta(seconds=rule.stalled or 0)
    fired = type_coerce(watches.c.emitted_alerts, Text).contains(f'"{rule.name}"', autoescape=True)
    observed_for = type_coerce(watches.c.observed_at, BigInteger) - type_coerce(
        watches.c.moved_at, BigInteger
    )
    query = select(watches.c.id, watches.c.labels).where(
        watches.c.kind.in_(sorted(KINDS)),
        watches.c.scope_id == scope.id,
        watches.c.due_at.is_not(None),
        watches.c.phase == Phase.ACTIVE.value,
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
