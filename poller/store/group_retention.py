"""Retention of groups: in small steps as for operations, and nothing that still waits is deleted.

The events of a group that has ended are deleted after `retention`; its name is reserved for 14
days. A group without members that none joins in the time of `retention` ends, without an event.
"""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, Connection, delete, exists, or_, select, update

from poller.store.database import in_order
from poller.store.events import group_subject, remove_events
from poller.store.schema import deliveries, group_breakdowns, groups, watches
from poller.store.time_slice import TimeSlice
from poller.tracking.delivery import DeliveryState
from poller.tracking.group import STUB_FOR
from poller.tracking.member_sums import MemberCounts
from poller.tracking.watch import AccountScope

# groups that one statement finds and locks
_STEP: Final = 100
_DETACHED: Final = 500


def is_needed_by_group() -> ColumnElement[bool]:
    """Match members of groups that have not ended: their counters may still be subtracted."""
    return exists().where(
        groups.c.scope_id == watches.c.scope_id,
        groups.c.name == watches.c.group_name,
        groups.c.ended_at.is_(None),
    )


def prune_groups(
    connection: Connection, scope: AccountScope, *, before: datetime, now: datetime, after: str = ""
) -> str | None:
    """Delete the records of groups that ended until `before`, for one time slice.

    It reads the groups behind the name `after`. Returns the name behind which the next call
    continues; None at the end, where abandoned groups and old stubs go too.
    """
    time_slice = TimeSlice()
    names = _old_groups(connection, scope, before, now, after)
    for done, name in enumerate(names):
        if done and time_slice.is_over:
            return names[done - 1]
        if not _waits(connection, scope, name, before):
            _remove_history(connection, scope, name)
    if len(names) == _STEP:
        return names[-1]
    _end_abandoned(connection, scope, before, now)
    _remove_stubs(connection, scope, now)
    return None


def _remove_history(connection: Connection, scope: AccountScope, name: str) -> None:
    subject = group_subject(scope, name)
    connection.execute(delete(deliveries).where(deliveries.c.subject == subject))
    remove_events(connection, scope, [subject])
    connection.execute(
        delete(group_breakdowns).where(
            group_breakdowns.c.scope_id == scope.id, group_breakdowns.c.name == name
        )
    )
    connection.execute(update(groups).where(*_named(scope, [name])).values(is_stub=True))


def _end_abandoned(
    connection: Connection, scope: AccountScope, before: datetime, now: datetime
) -> None:
    empty = [
        groups.c.scope_id == scope.id,
        groups.c.ended_at.is_(None),
        groups.c.members_ended_at <= before,
        groups.c.members == asdict(MemberCounts()),
    ]
    connection.execute(
        update(groups)
        .where(in_order(groups.c.scope_id, groups.c.name, where=empty))
        .values(ended_at=now, due_at=None)
    )


def _old_groups(
    connection: Connection, scope: AccountScope, before: datetime, now: datetime, after: str
) -> Sequence[str]:
    query = (
        select(groups.c.name)
        .where(
            groups.c.scope_id == scope.id,
            groups.c.name > after,
            groups.c.is_stub.is_(False),
            groups.c.ended_at <= before,
            # breakdowns of members may still be read
            or_(groups.c.explaining == 0, groups.c.ended_at <= now - STUB_FOR),
        )
        .order_by(groups.c.name)
        .limit(_STEP)
        .with_for_update(skip_locked=True)
    )
    return connection.execute(query).scalars().all()


def _waits(connection: Connection, scope: AccountScope, name: str, before: datetime) -> bool:
    is_kept = or_(deliveries.c.state == DeliveryState.WAITING.value, deliveries.c.done_at > before)
    query = select(exists().where(deliveries.c.subject == group_subject(scope, name), is_kept))
    return bool(connection.execute(query).scalar_one())


def _remove_stubs(connection: Connection, scope: AccountScope, now: datetime) -> None:
    """Free the names that were reserved long enough; the stubs of their members leave first."""
    query = (
        select(groups.c.name)
        .where(
            groups.c.scope_id == scope.id,
            groups.c.is_stub.is_(True),
            groups.c.ended_at <= now - STUB_FOR,
        )
        .limit(_STEP)
    )
    if not (names := connection.execute(query).scalars().all()):
        return
    left = (
        select(watches.c.id)
        .where(watches.c.scope_id == scope.id, watches.c.group_name.in_(names))
        .order_by(watches.c.id)
        .limit(_DETACHED)
        .with_for_update()
    )
    ids = connection.execute(left).scalars().all()
    connection.execute(update(watches).where(watches.c.id.in_(ids)).values(group_name=None))
    is_left = exists().where(
        watches.c.scope_id == groups.c.scope_id, watches.c.group_name == groups.c.name
    )
    connection.execute(delete(groups).where(*_named(scope, names), ~is_left))


def _named(scope: AccountScope, names: Sequence[str]) -> tuple[ColumnElement[bool], ...]:
    return (groups.c.scope_id == scope.id, groups.c.name.in_(names))
