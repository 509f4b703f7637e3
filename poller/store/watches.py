"""Watched operations: claim what is due, record answers.

Functions of a connection inside a transaction; the caller commits. Correctness rests on the
locked row, leases only save work.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import islice
from random import Random
from typing import Any, Final, TypeVar

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    bindparam,
    case,
    func,
    literal,
    or_,
    select,
    union_all,
    update,
)
from sqlalchemy.sql.dml import ReturningUpdate

from poller.store.clock import lease_clock, lease_clock_parameter, lease_clock_values
from poller.store.database import count_written, in_order, is_shared
from poller.store.events import StoredEvent, record_events
from poller.store.groups import GroupChanges
from poller.store.rows import difference, watch_of, watch_values
from poller.store.schema import sweepers, watches
from poller.tracking.answer import Answer, Decision, Verdict
from poller.tracking.group import changes_group
from poller.tracking.observe import observe
from poller.tracking.pacing import Policy
from poller.tracking.watch import AccountScope, NextRequest, Watch

T = TypeVar("T")

_CHUNK: Final = 500
# A breakdown waits while other polls are due, but not for longer than this.
_BREAKDOWN_DELAY: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The owner of a claim, and for how many seconds nobody else may claim the same."""

    owner: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The claimed watches; without any, when the next unclaimed one is due."""

    watches: Sequence[Watch] = ()
    next_due: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What one answer did: the state that was written and the events recorded with it.

    The last one of several has the events of groups after its own.
    """

    id: str
    verdict: Verdict
    watch: Watch | None
    events: Sequence[StoredEvent]


def claim_due(
    connection: Connection,
    scope: AccountScope,
    *,
    kinds: Collection[str],
    limit: int,
    lease: Lease,
    now: datetime,
) -> Claim:
    """Claim up to `limit` watches of these kinds that are due, the longest overdue first.

    Breakdowns, whose operations have ended already, come after all others or a minute late.
    """
    kinds = _not_being_read(connection, scope, kinds, lease.owner, now)
    if not kinds:
        return Claim()
    names, shared = tuple(sorted(kinds)), is_shared(connection)
    values = {"scope": scope.id, **lease_clock_values(connection, now)}
    leased = {**values, "owner": lease.owner, "seconds": int(lease.seconds * 1_000_000)}
    for statement, own in (
        (
            _claiming(names, limit, is_shared=shared, is_urgent=True),
            {"late": now - _BREAKDOWN_DELAY},
        ),
        (_claiming(names, limit, is_shared=shared, is_urgent=False), {}),
    ):
        rows = connection.execute(statement, {**leased, "now": now, **own}).mappings().all()
        if rows:
            found = (watch_of(row, scope) for row in rows)
            return Claim(watches=sorted(found, key=lambda watch: watch.next_poll.due_at))
    following = _following(names, is_shared=shared)
    return Claim(next_due=connection.execute(following, values).scalar_one_or_none())


def record(
    connection: Connection,
    scope: AccountScope,
    answers: Sequence[tuple[str, Answer]],
    *,
    kind: str,
    policy: Policy,
    lease_owner: str | None,
    now: datetime,
    random: Random,
) -> list[Observation]:
    """Judge each answer against the row found under lock; write states, events and deliveries.

    `kind` is the kind whose path was requested: a registration may have changed it meanwhile, and
    then the answer says nothing about what is watched now. A lease of `lease_owner` on these rows
    ends. Rows are locked in id order, so that two daemons cannot wait for each other.
    """
    by_id = dict(answers)
    rows = lock_watches(connection, sorted(by_id), scope)
    known = {operation_id: watch_of(row, scope) for operation_id, row in rows.items()}
    decisions: dict[str, Decision] = {}
    changes: dict[str, dict[str, Any]] = {}
    for operation_id, before in known.items():
        if before.kind == kind:
            answer = by_id[operation_id]
            decision = observe(before, answer, policy=policy, now=now, jitter=random.random())
        else:
            decision = Decision(watch=before, events=(), verdict=Verdict.LATE)
        decisions[operation_id] = decision
        changes[operation_id] = difference(watch_values(before), watch_values(decision.watch))
        if lease_owner is not None and rows[operation_id]["lease_owner"] == lease_owner:
            changes[operation_id] |= {"lease_owner": None, "lease_until": None}
    groups = _change_groups(connection, scope, known, decisions, now)
    _write_all(connection, changes)
    made = [event for decision in decisions.values() for event in decision.events]
    made += groups.finish(policy)
    recorded = record_events(connection, scope, made, now)
    return list(_observations(sorted(by_id), decisions, iter(recorded)))


def _change_groups(
    connection: Connection,
    scope: AccountScope,
    known: Mapping[str, Watch],
    decisions: Mapping[str, Decision],
    now: datetime,
) -> GroupChanges:
    """Apply the decisions to the groups of their watches; only groups that change are read."""
    counted = {
        name: decision
        for name, decision in decisions.items()
        if known[name].group is not None and changes_group(known[name], decision.watch)
    }
    names = {group for name in counted if (group := known[name].group) is not None}
    groups = GroupChanges(connection, scope, names, now)
    for name, decision in counted.items():
        groups.add_breakdowns(known[name], decision.events)
        groups.change_member(known[name], decision.watch)
    return groups


def release(
    connection: Connection,
    scope: AccountScope,
    ids: Collection[str],
    owner: str,
    *,
    due_at: datetime | None,
    now: datetime,
) -> None:
    """Release claims without an answer; with `due_at` they are due then, else as before."""
    waits = {} if due_at is None else {"due_at": due_at, "set_at": now}
    for chunk in chunks(sorted(ids)):
        held = [
            watches.c.scope_id == scope.id,
            watches.c.id.in_(chunk),
            watches.c.lease_owner == owner,
        ]
        connection.execute(
            update(watches)
            .where(in_order(watches.c.id, where=held))
            .values(lease_owner=None, lease_until=None, **waits)
        )


def void_leases(connection: Connection, scope: AccountScope, owner: str | None = None) -> None:
    """Void the leases of `owner`, or all: the process that held them has ended."""
    held = watches.c.lease_owner.is_not(None) if owner is None else watches.c.lease_owner == owner
    connection.execute(
        update(watches)
        .where(in_order(watches.c.id, where=[watches.c.scope_id == scope.id, held]))
        .values(lease_owner=None, lease_until=None)
    )


def void_future_waits(connection: Connection, scope: AccountScope, now: datetime) -> int:
    """Make due what was set to wait in the future: the clock went back. Returns how many.

    What moved or was observed in the future counts as moved or observed now.
    """
    watched = [watches.c.scope_id == scope.id, watches.c.due_at.is_not(None)]
    seen = (watches.c.moved_at, watches.c.observed_at)
    early = [*watched, or_(*(column > now for column in seen))]
    connection.execute(
        update(watches)
        .where(in_order(watches.c.id, where=early))
        .values(
            {
                column: case((column > now, literal(now, column.type)), else_=column)
                for column in seen
            }
        )
    )
    ahead = [*watched, watches.c.set_at > now]
    statement = (
        update(watches).where(in_order(watches.c.id, where=ahead)).values(due_at=now, set_at=now)
    )
    return count_written(connection, statement, watches.c.id)


def next_due(
    connection: Connection,
    scope: AccountScope,
    *,
    kinds: Collection[str],
    owner: str,
    now: datetime,
) -> datetime | None:
    """Return when the next operation that `owner` can claim is due."""
    kinds = _not_being_read(connection, scope, kinds, owner, now)
    if not kinds:
        return None
    following = _following(tuple(sorted(kinds)), is_shared=is_shared(connection))
    values = {"scope": scope.id, **lease_clock_values(connection, now)}
    return connection.execute(following, values).scalar_one_or_none()


def _not_being_read(
    connection: Connection, scope: AccountScope, kinds: Collection[str], owner: str, now: datetime
) -> Collection[str]:
    """Leave out the kinds whose lists another daemon is reading: a page may show what is due."""
    if not kinds or not is_shared(connection):
        return kinds
    query = select(sweepers.c.kind).where(
        sweepers.c.scope_id == scope.id,
        sweepers.c.is_reading.is_(True),
        sweepers.c.owner != owner,
        sweepers.c.until > lease_clock(connection, now),
    )
    return frozenset(kinds).difference(connection.execute(query).scalars())


# Building these takes longer than running them, and a daemon runs them at each of its turns.
@lru_cache(maxsize=64)
def _claiming(
    kinds: tuple[str, ...], limit: int, *, is_shared: bool, is_urgent: bool
) -> ReturningUpdate[Any]:
    """Claim what is due first; with `is_urgent`, no breakdown that is not late."""
    wanted = [watches.c.due_at <= bindparam("now")]
    if is_urgent:
        wanted.append(
            or_(
                watches.c.next_request != NextRequest.BREAKDOWN.value,
                watches.c.due_at <= bindparam("late"),
            )
        )
    # a CTE runs once: PostgreSQL may run a subquery for each row, and each time lock others
    due = _first(kinds, *wanted, limit=limit, is_shared=is_shared, lock=True).cte("due")
    until = lease_clock_parameter(is_shared=is_shared) + bindparam("seconds", type_=BigInteger)
    return (
        update(watches)
        .where(watches.c.id.in_(select(due.c.id)))
        .values(lease_owner=bindparam("owner"), lease_until=until)
        .returning(watches)
    )


@lru_cache(maxsize=64)
def _following(kinds: tuple[str, ...], *, is_shared: bool) -> Select[datetime]:
    """Select when the next one is due that can be claimed."""
    first = _first(kinds, limit=1, is_shared=is_shared, lock=False).subquery()
    return select(first.c.due_at)


def _first(
    kinds: tuple[str, ...],
    *wanted: ColumnElement[bool],
    limit: int,
    is_shared: bool,
    lock: bool,
) -> Select[tuple[str, datetime]]:
    """Select what is due first: each kind in the order of its index, so that few rows are read.

    One query for several kinds would read and sort all due rows.
    """
    clock = lease_clock_parameter(is_shared=is_shared)
    arms = [
        select(watches.c.id, watches.c.due_at)
        .where(
            watches.c.scope_id == bindparam("scope"),
            watches.c.due_at.is_not(None),
            watches.c.kind == kind,
            or_(watches.c.lease_until.is_(None), watches.c.lease_until <= clock),
            *wanted,
        )
        .order_by(watches.c.due_at)
        .limit(limit)
        for kind in kinds
    ]
    if lock:
        arms = [arm.with_for_update(skip_locked=True) for arm in arms]
    each = union_all(*(select(arm.subquery()) for arm in arms)).subquery()
    return select(each.c.id, each.c.due_at).order_by(each.c.due_at).limit(limit)


def lock_watches(
    connection: Connection, ids: Sequence[str], scope: AccountScope | None = None
) -> dict[str, Any]:
    """Lock and read the rows of `ids`, which the caller has sorted."""
    own = [] if scope is None else [watches.c.scope_id == scope.id]
    rows: dict[str, Any] = {}
    for chunk in chunks(ids):
        query = (
            select(watches)
            .where(watches.c.id.in_(chunk), *own)
            .order_by(watches.c.id)
            .with_for_update()
        )
        rows |= {row["id"]: row for row in connection.execute(query).mappings().all()}
    return rows


def write_watch(connection: Connection, operation_id: str, changes: dict[str, Any]) -> None:
    """Write the columns that changed."""
    if changes:
        connection.execute(update(watches).where(watches.c.id == operation_id).values(changes))


def _write_all(connection: Connection, changes: Mapping[str, Mapping[str, Any]]) -> None:
    """Write many rows, those that changed in the same columns with one statement.

    It is compiled once for all of them: compiling costs more than writing a row.
    """
    alike: dict[frozenset[str], list[dict[str, Any]]] = {}
    for operation_id, values in changes.items():
        alike.setdefault(frozenset(values), []).append({"own_id": operation_id, **values})
    for columns, rows in alike.items():
        if columns:
            connection.execute(update(watches).where(watches.c.id == bindparam("own_id")), rows)


def _observations(
    ids: Sequence[str], decisions: Mapping[str, Decision], recorded: Iterator[StoredEvent]
) -> Iterator[Observation]:
    """Pair each answer with its outcome; events were recorded in the order of the decisions.

    The rest of the events, after all of these, are those of groups.
    """
    for operation_id in ids:
        decision = decisions.get(operation_id)
        own = 0 if decision is None else len(decision.events)
        number = None if operation_id == ids[-1] else own
        yield Observation(
            id=operation_id,
            verdict=Verdict.LATE if decision is None else decision.verdict,
            watch=None if decision is None else decision.watch,
            events=list(islice(recorded, number)),
        )


def chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Split items so that each part fits into one statement, whose parameters are limited."""
    for start in range(0, len(items), _CHUNK):
        yield items[start : start + _CHUNK]


def count_watched(connection: Connection, scope: AccountScope) -> int:
    """Count the operations that are being watched."""
    query = select(func.count()).where(
        watches.c.scope_id == scope.id, watches.c.due_at.is_not(None)
    )
    return connection.execute(query).scalar_one()
