"""Dead letters: deliveries that were given up, listed and sent again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, Connection, insert, select, tuple_, update

from poller.store.database import in_order
from poller.store.schema import deliveries, events
from poller.store.sinks import enable
from poller.tracking.delivery import DeliveryState
from poller.tracking.watch import AccountScope

REPLAYED_AT_ONCE: Final = 1000
"""The most dead letters that one transaction makes due again."""

_DEAD = DeliveryState.DEAD.value
_FRESH = {
    "state": DeliveryState.WAITING.value,
    "attempts": 0,
    "refused_at": None,
    "done_at": None,
    "lease_owner": None,
    "lease_until": None,
}
_PLACE = tuple_(deliveries.c.position, deliveries.c.sink)
_PLACE_BY_SINK = tuple_(deliveries.c.sink, deliveries.c.position)


class UnknownEvent(LookupError):
    """No event of that id is kept: there never was one, or retention has deleted it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterCursor:
    """The position after one dead letter, where the next page of a list or of a replay begins."""

    position: int
    sink: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """One event that one sink did not take. `died_at` is when it was given up."""

    event_id: str
    position: int
    operation_id: str
    type: str
    sequence: int
    sink: str
    recorded_at: datetime
    died_at: datetime
    attempts: int
    status: int | None
    error: str | None

    @property
    def cursor(self) -> DeadLetterCursor:
        """The cursor after this one."""
        return DeadLetterCursor(position=self.position, sink=self.sink)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which dead letters: those that pass every filter that is set; without any, all of them.

    Recorded in [since, until).
    """

    sink: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    operation_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayedPage:
    """How many dead letters each sink gets again; `next` is None where no more are selected."""

    replayed: Mapping[str, int]
    next: DeadLetterCursor | None


def dead_letters(
    connection: Connection,
    scope: AccountScope,
    selection: Selection,
    *,
    limit: int,
    after: DeadLetterCursor | None = None,
) -> list[DeadLetter]:
    """List up to `limit` of them after a cursor, in commit order, and by sink for one event."""
    conditions = _chosen(scope, selection)
    if after is not None:
        conditions.append((after.position, after.sink) < _PLACE)
    query = (
        select(
            events.c.id.label("event_id"),
            events.c.position,
            events.c.subject.label("operation_id"),
            events.c.type,
            events.c.sequence,
            deliveries.c.sink,
            events.c.recorded_at,
            deliveries.c.done_at.label("died_at"),
            deliveries.c.attempts,
            deliveries.c.status,
            deliveries.c.error,
        )
        .join(events, events.c.position == deliveries.c.position)
        .where(*conditions)
        .order_by(deliveries.c.position, deliveries.c.sink)
        .limit(limit)
    )
    return [DeadLetter(**row) for row in connection.execute(query).mappings()]


def replay(
    connection: Connection,
    scope: AccountScope,
    selection: Selection,
    *,
    now: datetime,
    limit: int,
    after: DeadLetterCursor | None = None,
) -> ReplayedPage:
    """Make up to `limit` of them after a cursor due, each with new three days of attempts.

    They are taken sink by sink, each in commit order. That is the order of an index, so that no
    page is sorted.
    """
    conditions = _chosen(scope, selection)
    if after is not None:
        conditions.append((after.sink, after.position) < _PLACE_BY_SINK)
    query = (
        select(deliveries.c.position, deliveries.c.sink)
        .join(events, events.c.position == deliveries.c.position)
        .where(*conditions)
        .order_by(deliveries.c.sink, deliveries.c.position)
        .limit(limit + 1)
    )
    found = connection.execute(query).all()
    by_sink: dict[str, list[int]] = {}
    for row in found[:limit]:
        by_sink.setdefault(row.sink, []).append(row.position)
    for sink, chosen in sorted(by_sink.items()):
        _refresh(connection, scope, sink, chosen, now)
    last = found[limit - 1] if len(found) > limit else None
    return ReplayedPage(
        replayed={sink: len(chosen) for sink, chosen in sorted(by_sink.items())},
        next=None if last is None else DeadLetterCursor(position=last.position, sink=last.sink),
    )


def replay_event(
    connection: Connection,
    scope: AccountScope,
    event_id: str,
    sinks: Sequence[str] | None,
    *,
    now: datetime,
) -> list[str]:
    """Send one kept event again, to these sinks or to every sink that it was recorded for.

    A named sink that it was not recorded for gets it too. Returns the sinks.

    :raises UnknownEvent: where it is not kept.
    """
    query = select(events).where(events.c.id == event_id, events.c.scope_id == scope.id)
    event = connection.execute(query).mappings().one_or_none()
    if event is None:
        raise UnknownEvent(f"no event {event_id!r} is kept; `store.retention` says for how long")
    held = select(deliveries.c.sink).where(deliveries.c.position == event["position"])
    known = set(connection.execute(held).scalars())
    wanted = sorted(known if sinks is None else set(sinks))
    for sink in wanted:
        if sink not in known:
            connection.execute(
                insert(deliveries).values(
                    **_FRESH,
                    scope_id=scope.id,
                    sink=sink,
                    position=event["position"],
                    subject=event["subject"],
                    fresh_at=now,
                    due_at=now,
                    set_at=now,
                )
            )
        _refresh(connection, scope, sink, [event["position"]], now)
    return wanted


def _refresh(
    connection: Connection, scope: AccountScope, sink: str, positions: Sequence[int], now: datetime
) -> None:
    # the row of the sink first, then deliveries by position, as when attempts are written
    enable(connection, scope, sink, now)
    positions = sorted(positions)
    for start in range(0, len(positions), 500):
        chosen = [
            deliveries.c.sink == sink,
            deliveries.c.position.in_(positions[start : start + 500]),
        ]
        connection.execute(
            update(deliveries)
            .where(deliveries.c.sink == sink, in_order(deliveries.c.position, where=chosen))
            .values(**_FRESH, fresh_at=now, due_at=now, set_at=now)
        )


def _chosen(scope: AccountScope, selection: Selection) -> list[ColumnElement[bool]]:
    conditions = [deliveries.c.scope_id == scope.id, deliveries.c.state == _DEAD]
    if selection.sink is not None:
        conditions.append(deliveries.c.sink == selection.sink)
    if selection.operation_id is not None:
        conditions.append(deliveries.c.subject == selection.operation_id)
    if selection.since is not None:
        conditions.append(events.c.recorded_at >= selection.since)
    if selection.until is not None:
        conditions.append(events.c.recorded_at < selection.until)
    return conditions
