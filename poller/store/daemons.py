"""The daemons that share a store: which are alive, the sinks of each, and when one leaves.

The daemon of a SQLite file is alone: it only declares its sinks. On a server each daemon writes a
heartbeat every second. All instants are of the database's clock.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    and_,
    bindparam,
    case,
    delete,
    insert,
    or_,
    select,
    update,
)

from poller.comms.gate import Pause
from poller.store.clock import lease_clock, read_clock
from poller.store.database import is_shared
from poller.store.schema import POSITION, budgets, counters, daemons, pauses, sweepers
from poller.store.scopes import pause_of
from poller.tracking.delivery import Subscription
from poller.tracking.watch import AccountScope

LEASE: Final = timedelta(seconds=5)
"""A daemon without a heartbeat for this long is dead: the others do not wait for it."""
_DEAD_RETURN: Final = timedelta(days=3)
_STOPPED_RETURN: Final = timedelta(minutes=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredSink:
    """A sink of a daemon. Equal fingerprints mean equal settings; they contain no secret."""

    subscription: Subscription
    fingerprint: str = ""

    @property
    def name(self) -> str:
        """The sink's identity."""
        return self.subscription.sink


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A daemon as the others see it. `name` is for messages; the limits are its settings."""

    owner: str
    name: str = ""
    sinks: Sequence[DeclaredSink] = ()
    max_concurrency: int = 4
    requests_per_second: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """The result of a heartbeat: the other daemons that are alive, and what they have changed."""

    at: datetime
    others: Sequence[Member]
    pause: Pause | None
    position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulse:
    """What other daemons may change between heartbeats: the pause, and the newest position."""

    pause: Pause | None
    position: int


def join(connection: Connection, scope: AccountScope, member: Member, now: datetime) -> None:
    """Insert or update the row of a daemon. One that is alone deletes the rows of earlier ones.

    A transaction that records events locks the position counter and then reads the sinks. This
    locks the same counter, so that all later ones know the sinks of this daemon.
    """
    connection.execute(
        update(counters).where(counters.c.name == POSITION).values(value=counters.c.value)
    )
    if not living_others(connection, scope, member.owner, now):
        connection.execute(
            delete(daemons).where(daemons.c.scope_id == scope.id, daemons.c.owner != member.owner)
        )
    values = {
        "name": member.name,
        "sinks": {sink.name: _document(sink) for sink in member.sinks},
        "max_concurrency": member.max_concurrency,
        "requests_per_second": member.requests_per_second,
        "seen_at": lease_clock(connection, now),
        "left_at": None,
    }
    known = connection.execute(update(daemons).where(_is(scope, member.owner)).values(values))
    if known.rowcount == 0:
        values |= {"scope_id": scope.id, "owner": member.owner, "slots": 0}
        connection.execute(insert(daemons).values(values))
    budget = select(budgets.c.scope_id).where(budgets.c.scope_id == scope.id)
    if connection.execute(budget).scalar_one_or_none() is None:
        connection.execute(insert(budgets).values(scope_id=scope.id))


def beat(
    connection: Connection, scope: AccountScope, owner: str, *, slots: int, now: datetime
) -> Beat | None:
    """Record the heartbeat of a daemon that needs at most `slots` slots; None if it has no row.

    This also renews its sweeps.
    """
    clock = lease_clock(connection, now)
    needed = case((daemons.c.slots > slots, slots), else_=daemons.c.slots)
    row = update(daemons).where(_is(scope, owner)).values(seen_at=clock, slots=needed, left_at=None)
    if connection.execute(row).rowcount == 0:
        return None
    connection.execute(
        update(sweepers)
        .where(sweepers.c.scope_id == scope.id, sweepers.c.owner == owner)
        .values(until=clock + _microseconds(LEASE))
    )
    at = read_clock(connection, now)
    others = [
        _member(row)
        for row in connection.execute(_rows(scope)).mappings()
        if row["owner"] != owner and is_alive(row, at)
    ]
    changed = pulse(connection, scope)
    return Beat(at=at, others=others, pause=changed.pause, position=changed.position)


def pulse(connection: Connection, scope: AccountScope) -> Pulse:
    """Read what other daemons may have changed since the last heartbeat."""
    row = connection.execute(_PULSE, {"scope": scope.id}).mappings().one()
    pause = None if row["reason"] is None else pause_of(row)
    return Pulse(pause=pause, position=int(row["position"]))


def leave(connection: Connection, scope: AccountScope, owner: str, now: datetime) -> None:
    """Record that a daemon has stopped in order, and release all that it holds."""
    clock = lease_clock(connection, now)
    connection.execute(
        update(daemons).where(_is(scope, owner)).values(seen_at=clock, left_at=clock, slots=0)
    )
    connection.execute(
        delete(sweepers).where(sweepers.c.scope_id == scope.id, sweepers.c.owner == owner)
    )
    connection.execute(
        update(pauses)
        .where(pauses.c.scope_id == scope.id, pauses.c.probe_owner == owner)
        .values(probe_owner=None, probe_until=None)
    )


def subscriptions(
    connection: Connection, scope: AccountScope, now: datetime
) -> Mapping[str, Sequence[Subscription]]:
    """Return, by the name of each sink, the subscriptions to which events are recorded now.

    Those of living daemons; of dead ones for three days, since they may come back; of those that
    stopped in order for ten minutes, since they may be restarted.
    """
    query = select(daemons.c.sinks).where(daemons.c.scope_id == scope.id)
    if is_shared(connection):
        clock = lease_clock(connection, now)
        query = query.where(
            or_(
                and_(daemons.c.left_at.is_(None), daemons.c.seen_at > _before(clock, _DEAD_RETURN)),
                daemons.c.left_at > _before(clock, _STOPPED_RETURN),
            )
        )
    found: dict[str, list[Subscription]] = {}
    for declared in connection.execute(query).scalars():
        for sink in _sinks(declared):
            found.setdefault(sink.name, []).append(sink.subscription)
    return found


def declared_by(connection: Connection, scope: AccountScope, owner: str) -> frozenset[str]:
    """Name the sinks that a daemon has declared."""
    query = select(daemons.c.sinks).where(_is(scope, owner))
    return frozenset(connection.execute(query).scalar_one_or_none() or ())


def declared_by_living(
    connection: Connection, scope: AccountScope, now: datetime, *, grace: timedelta
) -> frozenset[str]:
    """Name the sinks of the daemons that were seen within the last `grace`."""
    at = read_clock(connection, now) - grace
    rows = connection.execute(_rows(scope)).mappings()
    return frozenset(name for row in rows if row["seen_at"] > at for name in row["sinks"])


def living_others(
    connection: Connection, scope: AccountScope, owner: str, now: datetime
) -> list[Member]:
    """Return the other daemons that are alive."""
    if not is_shared(connection):
        return []
    at = read_clock(connection, now)
    rows = connection.execute(_rows(scope)).mappings()
    return [_member(row) for row in rows if row["owner"] != owner and is_alive(row, at)]


def is_alive(row: RowMapping, at: datetime) -> bool:
    """Return whether the daemon of this row is alive at that moment of the database's clock."""
    return row["left_at"] is None and row["seen_at"] > at - LEASE


def names_of(members: Iterable[Member]) -> frozenset[str]:
    """Name the sinks of these daemons."""
    return frozenset(sink.name for member in members for sink in member.sinks)


# one statement, built once: each daemon runs it several times a second
_PULSE: Final = (
    select(counters.c.value.label("position"), pauses)
    .select_from(counters.outerjoin(pauses, pauses.c.scope_id == bindparam("scope")))
    .where(counters.c.name == POSITION)
)


def _rows(scope: AccountScope) -> Select[Any]:
    return select(daemons).where(daemons.c.scope_id == scope.id).order_by(daemons.c.owner)


def _is(scope: AccountScope, owner: str) -> ColumnElement[bool]:
    return (daemons.c.scope_id == scope.id) & (daemons.c.owner == owner)


def _before(clock: ColumnElement[int], span: timedelta) -> ColumnElement[int]:
    return clock - _microseconds(span)


def _microseconds(span: timedelta) -> int:
    return span // timedelta(microseconds=1)


def _document(sink: DeclaredSink) -> dict[str, object]:
    wanted = sink.subscription
    return {
        "events": list(wanted.events),
        "labels": dict(wanted.labels),
        "fingerprint": sink.fingerprint,
    }


def _sinks(declared: Mapping[str, Mapping[str, Any]]) -> list[DeclaredSink]:
    return [
        DeclaredSink(
            subscription=Subscription(
                sink=name, events=tuple(found["events"]), labels=found["labels"]
            ),
            fingerprint=found["fingerprint"],
        )
        for name, found in sorted(declared.items())
    ]


def _member(row: RowMapping) -> Member:
    return Member(
        owner=row["owner"],
        name=row["name"],
        sinks=_sinks(row["sinks"]),
        max_concurrency=row["max_concurrency"],
        requests_per_second=row["requests_per_second"],
    )
