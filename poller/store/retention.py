"""Retention: what is done and old goes, in small steps; what still waits never does.

An ended operation is kept for `retention` after its end and the last of its deliveries; then its
events and deliveries go, and a stub stays: id, sequence, and the last emitted status and
counters, so that a late registration neither repeats an end nor a sequence number.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, delete, exists, func, or_, select, update

from poller.store.events import note_pruned
from poller.store.group_retention import is_needed_by_group
from poller.store.schema import deliveries, events, watches
from poller.tracking.delivery import DeliveryState
from poller.tracking.group import STUB_FOR
from poller.tracking.watch import AccountScope, Phase

_STEP: Final = 100
_OVER: Final = (Phase.ENDED.value, Phase.FORGOTTEN.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What one step removed. `more` is true where another step would find something."""

    operations: int = 0
    events: int = 0
    dead_letters: int = 0
    stubs: int = 0

    @property
    def more(self) -> bool:
        """True where a step came to its limit."""
        return _STEP in {self.operations, self.stubs}


def prune(
    connection: Connection, scope: AccountScope, *, retention: float, now: datetime
) -> Pruned:
    """Remove one step's worth. `retention` is in seconds."""
    before = now - timedelta(seconds=retention)
    old = _old_watches(connection, scope, before)
    dead = removed = 0
    if old:
        in_old = deliveries.c.subject.in_(old)
        is_dead = deliveries.c.state == DeliveryState.DEAD.value
        dead = connection.execute(select(func.count()).where(in_old, is_dead)).scalar_one()
        note_pruned(connection, scope, old)
        connection.execute(delete(deliveries).where(in_old))
        removed = connection.execute(delete(events).where(events.c.subject.in_(old))).rowcount
        connection.execute(
            update(watches)
            .where(watches.c.id.in_(old))
            .values(
                is_stub=True,
                snapshot=None,
                counters={},
                labels={},
                looks=[],
                observed_at=None,
                breakdown=None,
            )
        )
    stubs = _remove_stubs(connection, scope, now)
    return Pruned(operations=len(old), events=removed, dead_letters=dead, stubs=stubs)


def drop_delivered(connection: Connection, scope: AccountScope) -> None:
    """Remove every event that waits for no sink, also of what is still watched.

    For a store that serves no reader of events: a watch continues from its own row.
    """
    connection.execute(
        delete(deliveries).where(
            deliveries.c.scope_id == scope.id,
            deliveries.c.state == DeliveryState.DELIVERED.value,
        )
    )
    is_needed = exists().where(deliveries.c.position == events.c.position)
    connection.execute(delete(events).where(events.c.scope_id == scope.id, ~is_needed))


def _old_watches(connection: Connection, scope: AccountScope, before: datetime) -> list[str]:
    still_needed = exists().where(
        deliveries.c.subject == watches.c.id,
        or_(
            deliveries.c.state == DeliveryState.WAITING.value,
            deliveries.c.done_at > before,
        ),
    )
    query = (
        select(watches.c.id)
        .where(
            watches.c.phase.in_(_OVER),
            watches.c.is_stub.is_(False),
            watches.c.ended_at <= before,
            watches.c.scope_id == scope.id,
            ~still_needed,
            ~is_needed_by_group(),
        )
        .order_by(watches.c.id)
        .limit(_STEP)
        .with_for_update(skip_locked=True)
    )
    return list(connection.execute(query).scalars())


def _remove_stubs(connection: Connection, scope: AccountScope, now: datetime) -> int:
    is_old_stub = (
        watches.c.phase.in_(_OVER),
        watches.c.is_stub.is_(True),
        watches.c.ended_at <= now - STUB_FOR,
        watches.c.scope_id == scope.id,
    )
    old = select(watches.c.id).where(*is_old_stub).limit(_STEP)
    # said again of the row itself: another daemon may be registering it at this moment
    return connection.execute(
        delete(watches).where(watches.c.id.in_(old.scalar_subquery()), *is_old_stub)
    ).rowcount
