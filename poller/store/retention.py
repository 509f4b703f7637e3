"""Retention: what is done and old goes, in small steps; what still waits never does.

An ended operation is kept for `retention` after its end and the last of its deliveries; then its
events and deliveries go, and a stub stays: id, sequence, and the last emitted status and
counters, so that a late registration neither repeats an end nor a sequence number.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    delete,
    exists,
    false,
    literal,
    or_,
    select,
    true,
    tuple_,
    update,
)

from poller.store.events import note_pruned
from poller.store.group_retention import is_needed_by_group
from poller.store.schema import OVER, deliveries, events, watches
from poller.tracking.delivery import DeliveryState
from poller.tracking.group import STUB_FOR
from poller.tracking.watch import AccountScope

_STEP: Final = 100
# Ended operations that one step reads. Many may still be needed, because a sink has been down for
# days, and reading all of them again in each step would take the turn of those who record.
_READ: Final = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class PrunePlace:
    """An operation in the order of retention: by its end, then by its id."""

    ended_at: datetime
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What one step removed. The next step goes on behind `place`; None for from the start."""

    operations: int = 0
    events: int = 0
    dead_letters: int = 0
    stubs: int = 0
    place: PrunePlace | None = field(default=None, compare=False)

    @property
    def more(self) -> bool:
        """True where another step may find something."""
        return self.place is not None or _STEP in {self.operations, self.stubs}


def prune(
    connection: Connection,
    scope: AccountScope,
    *,
    retention: float,
    now: datetime,
    behind: PrunePlace | None = None,
) -> Pruned:
    """Remove one step's worth of what comes behind a place. `retention` is in seconds."""
    before = now - timedelta(seconds=retention)
    old, place = _old_watches(connection, scope, before, behind)
    dead = removed = 0
    if old:
        dead, removed = _remove_history(connection, scope, old)
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
    return Pruned(operations=len(old), events=removed, dead_letters=dead, stubs=stubs, place=place)


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


def _old_watches(
    connection: Connection, scope: AccountScope, before: datetime, behind: PrunePlace | None
) -> tuple[list[str], PrunePlace | None]:
    """Lock the next operations that nobody needs any more; with where the next step begins."""
    next_ones = [] if behind is None else [_by_end() > _of(behind)]
    query = (
        select(watches.c.id, watches.c.ended_at)
        .where(*_over(scope, is_stub=False), watches.c.ended_at <= before, *next_ones)
        .order_by(watches.c.ended_at, watches.c.id)
        .limit(_READ)
    )
    rows = connection.execute(query).all()
    needed = _needed(connection, [row.id for row in rows], before)
    chosen = [row for row in rows if row.id not in needed][:_STEP]
    last = chosen[-1] if len(chosen) == _STEP else rows[-1] if len(rows) == _READ else None
    place = None if last is None else PrunePlace(ended_at=last.ended_at, id=last.id)
    # by id alone: a planner would read all of a scope by another condition
    lock = (
        select(watches.c.id, watches.c.due_at, watches.c.is_stub)
        .where(watches.c.id.in_([row.id for row in chosen]))
        .order_by(watches.c.id)
        .with_for_update(skip_locked=True)
    )
    locked = connection.execute(lock).all() if chosen else []
    return [row.id for row in locked if row.due_at is None and not row.is_stub], place


def _needed(connection: Connection, ids: Sequence[str], before: datetime) -> set[str]:
    """Return those of which something still waits or was delivered lately, and open groups'."""
    query = select(deliveries.c.subject).where(
        deliveries.c.subject.in_(ids),
        or_(
            deliveries.c.state == DeliveryState.WAITING.value,
            deliveries.c.done_at > before,
        ),
    )
    in_group = select(watches.c.id).where(watches.c.id.in_(ids), is_needed_by_group())
    return {
        *connection.execute(query).scalars(),
        *connection.execute(in_group).scalars(),
    }


def _remove_history(
    connection: Connection, scope: AccountScope, ids: Sequence[str]
) -> tuple[int, int]:
    """Remove events and deliveries. Returns how many dead letters and events these were.

    What is replayed at this moment stays, and its event, which cannot go then, begins this step
    again.
    """
    removed = note_pruned(connection, scope, ids)
    over = [deliveries.c.subject.in_(ids), deliveries.c.state != DeliveryState.WAITING.value]
    states = connection.execute(delete(deliveries).where(*over).returning(deliveries.c.state))
    dead = sum(state == DeliveryState.DEAD.value for state in states.scalars())
    connection.execute(delete(events).where(events.c.subject.in_(ids)))
    return dead, removed


def _over(scope: AccountScope, *, is_stub: bool) -> Sequence[ColumnElement[bool]]:
    # a comparison, for which the index serves; `IS` is none
    return [
        watches.c.scope_id == scope.id,
        watches.c.is_stub == (true() if is_stub else false()),
        OVER,  # type: ignore[list-item]  # text, as the index states it
    ]


def _by_end() -> ColumnElement[bool]:
    return tuple_(watches.c.ended_at, watches.c.id)  # type: ignore[return-value]  # compared only


def _of(place: PrunePlace) -> ColumnElement[bool]:
    ended_at = literal(place.ended_at, watches.c.ended_at.type)
    return tuple_(ended_at, literal(place.id))  # type: ignore[return-value]  # compared only


def _remove_stubs(connection: Connection, scope: AccountScope, now: datetime) -> int:
    is_old_stub = [*_over(scope, is_stub=True), watches.c.ended_at <= now - STUB_FOR]
    # locked: another daemon may be registering it at this moment
    old = (
        select(watches.c.id)
        .where(*is_old_stub)
        .order_by(watches.c.ended_at)
        .limit(_STEP)
        .with_for_update(skip_locked=True)
    )
    ids = list(connection.execute(old).scalars())
    if ids:
        connection.execute(delete(watches).where(watches.c.id.in_(ids)))
    return len(ids)
