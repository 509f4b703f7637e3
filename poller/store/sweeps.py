"""Sweeps: counting the due operations of a kind, and recording a page of its list.

Most operations on a page are unchanged. These are found by comparing text, and their next polls are
postponed in one statement; only changed ones are locked, judged and written like any other answer.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from random import Random
from typing import Final

from sqlalchemy import (
    BigInteger,
    CompoundSelect,
    Connection,
    RowMapping,
    Text,
    and_,
    bindparam,
    case,
    cast,
    func,
    insert,
    literal,
    or_,
    select,
    type_coerce,
    union_all,
    update,
)

from poller.comms.models import Operation
from poller.store.clock import lease_clock, lease_clock_parameter, lease_clock_values, read_clock
from poller.store.columns import microseconds
from poller.store.daemons import LEASE
from poller.store.database import is_shared
from poller.store.registrations import Registered, register_all
from poller.store.schema import sweepers, watches
from poller.store.watches import Observation, record
from poller.text import dump_json
from poller.tracking.answer import FoundAnswer
from poller.tracking.pacing import RETENTION, Policy
from poller.tracking.registration import Registration
from poller.tracking.sweep_policy import Reach
from poller.tracking.watch import AccountScope, NextRequest, Phase

# counting stops here: more due operations do not change the choice between list and fetch
_COUNTED: Final = 20_000
_CHUNK: Final = 500
# the polls that a list of operations can answer
_LISTED: Final = watches.c.next_request == NextRequest.OPERATION.value
# how long before its registration an operation may have been created
_CREATED_BEFORE: Final = timedelta(minutes=10)
# so near to the end of the vendor's retention an operation is always judged in full
_LAST_HOURS: Final = timedelta(hours=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One page of the list of a kind, with the times of its request and of its arrival."""

    kind: str
    operations: Sequence[Operation]
    begun_at: datetime
    arrived_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """The effects of a page: `shown` counts tracked operations on it, `quiet` those unchanged."""

    shown: int
    quiet: int
    observations: Sequence[Observation]
    discovered: Sequence[Registered]


def due_by_kind(
    connection: Connection, scope: AccountScope, *, kinds: Collection[str], now: datetime
) -> dict[str, int]:
    """Count the due operations of each kind; kinds without any are left out."""
    return _count_due(connection, scope, kinds, now, now)


def tracked_of(connection: Connection, scope: AccountScope, *, kind: str) -> int:
    """Count the tracked operations of `kind`. Unlike `reach`, this does not read every row."""
    query = select(func.count()).where(
        watches.c.scope_id == scope.id,
        watches.c.due_at.is_not(None),
        watches.c.kind == kind,
        _LISTED,
    )
    return connection.execute(query).scalar_one()


def reach(connection: Connection, scope: AccountScope, *, kind: str) -> Reach:
    """Return how far back a list of `kind` must go to show all tracked operations."""
    never_seen = case((watches.c.created_at.is_(None), watches.c.registered_at), else_=None)
    query = select(
        func.count().label("tracked"),
        func.min(watches.c.created_at).label("created"),
        func.min(never_seen).label("registered"),
    ).where(
        watches.c.scope_id == scope.id,
        watches.c.due_at.is_not(None),
        watches.c.kind == kind,
        _LISTED,
    )
    row = connection.execute(query).one()
    moments = [row.created, None if row.registered is None else row.registered - _CREATED_BEFORE]
    known = [moment for moment in moments if moment is not None]
    return Reach(tracked=row.tracked, oldest=min(known, default=None))


def still_due(
    connection: Connection, scope: AccountScope, *, kind: str, since: datetime, now: datetime
) -> int:
    """Count what was due before `since` and still is: a sweep begun then did not show these."""
    return _count_due(connection, scope, [kind], min(since, now), now).get(kind, 0)


def record_page(
    connection: Connection,
    scope: AccountScope,
    page: Listed,
    *,
    policy: Policy,
    discover_since: datetime | None,
    now: datetime,
    random: Random,
) -> Swept:
    """Record every tracked operation on a page, due or not.

    With `discover_since`, unknown operations (not even a stub is stored) that were created since
    then are registered first.
    """
    by_id = {operation.id: operation for operation in page.operations}
    known = _known(connection, sorted(by_id))
    discovered: list[Registered] = []
    if discover_since is not None:
        unknown = [operation for name, operation in by_id.items() if name not in known]
        found = _discoveries(unknown, page.kind, since=discover_since)
        discovered = register_all(connection, scope, found, now, policy=policy)
    tracked = _tracked(known, scope, page.kind)
    is_quiet = _quiet(tracked, now)
    quiet = [name for name in tracked if is_quiet(by_id[name])]
    unchanged = _unchanged(connection, {name: tracked[name] for name in quiet})
    _postpone(connection, unchanged, policy, arrived_at=page.arrived_at, now=now)
    changed = (set(tracked) - set(quiet)) | {result.id for result in discovered if result.is_new}
    observations = record(
        connection,
        scope,
        [(name, _answer(page, by_id[name])) for name in sorted(changed)],
        kind=page.kind,
        policy=policy,
        lease_owner=None,
        now=now,
        random=random,
    )
    return Swept(
        shown=len(tracked), quiet=len(quiet), observations=observations, discovered=discovered
    )


def hold_sweep(
    connection: Connection,
    scope: AccountScope,
    kind: str,
    owner: str,
    *,
    is_reading: bool,
    now: datetime,
) -> bool:
    """Become the daemon that sweeps a kind; False where another living one does.

    While it reads the list, other daemons do not claim due operations of the kind: a page may show
    them.
    """
    clock, until = lease_clock(connection, now), LEASE // timedelta(microseconds=1)
    held = (sweepers.c.scope_id == scope.id) & (sweepers.c.kind == kind)
    row = connection.execute(select(sweepers).where(held).with_for_update()).mappings().first()
    if row is None:
        values = {"scope_id": scope.id, "kind": kind, "owner": owner, "is_reading": is_reading}
        connection.execute(insert(sweepers).values(**values, until=clock + until))
        return True
    if row["owner"] != owner and row["until"] > read_clock(connection, now):
        return False
    values = {"owner": owner, "is_reading": is_reading}
    connection.execute(update(sweepers).where(held).values(**values, until=clock + until))
    return True


def swept_elsewhere(
    connection: Connection, scope: AccountScope, owner: str, now: datetime
) -> dict[str, bool]:
    """Return the kinds that another daemon sweeps, and whether it reads the list now."""
    query = select(sweepers.c.kind, sweepers.c.is_reading).where(
        sweepers.c.scope_id == scope.id,
        sweepers.c.owner != owner,
        sweepers.c.until > lease_clock(connection, now),
    )
    return {row.kind: row.is_reading for row in connection.execute(query)}


def _known(connection: Connection, ids: Sequence[str]) -> dict[str, RowMapping]:
    """Read just enough to find what changed, documents as their stored text."""
    columns = (
        watches.c.id,
        watches.c.scope_id,
        watches.c.kind,
        watches.c.phase,
        watches.c.next_request,
        watches.c.due_at,
        watches.c.set_at,
        watches.c.created_at,
        watches.c.emitted_status,
        watches.c.not_found,
        watches.c.rejected,
        watches.c.failed,
        watches.c.hinted_by,
        type_coerce(watches.c.snapshot, Text).label("snapshot"),
        type_coerce(watches.c.counters, Text).label("counters"),
        type_coerce(watches.c.emitted_counters, Text).label("emitted_counters"),
    )
    found: dict[str, RowMapping] = {}
    for start in range(0, len(ids), _CHUNK):
        query = select(*columns).where(watches.c.id.in_(ids[start : start + _CHUNK]))
        found |= {row["id"]: row for row in connection.execute(query).mappings().all()}
    return found


def _discoveries(unknown: Iterable[Operation], kind: str, *, since: datetime) -> list[Registration]:
    """Make registrations of the operations that were created since then."""
    return [
        Registration(id=operation.id, kind=kind)
        for operation in unknown
        if operation.created_at is not None and operation.created_at >= since
    ]


def _tracked(
    known: Mapping[str, RowMapping], scope: AccountScope, kind: str
) -> dict[str, RowMapping]:
    """Choose the rows whose next poll a list of the kind answers."""
    return {
        name: row
        for name, row in known.items()
        if row["scope_id"] == scope.id
        and row["kind"] == kind
        and row["due_at"] is not None
        and row["next_request"] == NextRequest.OPERATION.value
    }


def _answer(page: Listed, operation: Operation) -> FoundAnswer:
    return FoundAnswer(
        found=operation, begun_at=page.begun_at, arrived_at=page.arrived_at, fetched=False
    )


def _quiet(rows: Mapping[str, RowMapping], now: datetime) -> Callable[[Operation], bool]:
    """Return a test for operations that only need a longer wait: nothing new, nothing pending."""

    def is_quiet(operation: Operation) -> bool:
        row = rows[operation.id]
        created_at = row["created_at"]
        return (
            row["phase"] == Phase.ACTIVE.value
            and row["snapshot"] == dump_json(operation.raw)
            and row["emitted_status"] == operation.status
            and row["counters"] == row["emitted_counters"]
            and not row["not_found"]
            and not row["rejected"]
            and not row["failed"]
            and row["hinted_by"] is None
            and created_at is not None
            and now < created_at + RETENTION - _LAST_HOURS
        )

    return is_quiet


def _unchanged(connection: Connection, rows: Mapping[str, RowMapping]) -> list[str]:
    """Lock the rows that have not changed since they were read, and return their ids.

    Another daemon may have recorded an answer, or taken a hint, meanwhile: the next poll that it
    set is kept. A row that is being written at this moment is skipped.
    """
    unchanged: list[str] = []
    ids = sorted(rows)
    for start in range(0, len(ids), _CHUNK):
        query = (
            select(watches.c.id, watches.c.set_at, watches.c.due_at, watches.c.hinted_by)
            .where(watches.c.id.in_(ids[start : start + _CHUNK]))
            .order_by(watches.c.id)
            .with_for_update(skip_locked=True)
        )
        unchanged += [
            row.id
            for row in connection.execute(query).all()
            if row.hinted_by is None
            and (row.set_at, row.due_at) == (rows[row.id]["set_at"], rows[row.id]["due_at"])
        ]
    return unchanged


def _postpone(
    connection: Connection,
    ids: Sequence[str],
    policy: Policy,
    *,
    arrived_at: datetime,
    now: datetime,
) -> None:
    """Double the waits of unchanged operations, without jitter: the next sweep polls them all.

    A poll that was to come later keeps its time, and the backoff begins then: an unchanged answer
    is no reason to poll earlier, and an operation that sleeps until its send time starts with a
    short wait.
    """
    doubled = watches.c.wait * 2
    wait = case(
        (doubled < policy.min_interval, literal(policy.min_interval)),
        (doubled > policy.max_interval, literal(policy.max_interval)),
        else_=doubled,
    )
    sooner = literal(microseconds(now), BigInteger) + cast(wait * 1_000_000, BigInteger)
    # a wait that was set in the future means that the clock went back: it is not kept
    holds = and_(type_coerce(watches.c.due_at, BigInteger) > sooner, watches.c.set_at <= now)
    due_at = case((holds, watches.c.due_at), else_=sooner)
    for start in range(0, len(ids), _CHUNK):
        connection.execute(
            update(watches)
            .where(
                watches.c.id.in_(ids[start : start + _CHUNK]),
                watches.c.due_at.is_not(None),
                _LISTED,
            )
            .values(
                wait=case((holds, watches.c.wait), else_=wait),
                due_at=due_at,
                set_at=now,
                observed_at=arrived_at,
            )
        )


def _count_due(
    connection: Connection,
    scope: AccountScope,
    kinds: Collection[str],
    since: datetime,
    now: datetime,
) -> dict[str, int]:
    """Count what was due at `since` and is not leased, of each kind that has any."""
    if not kinds:
        return {}
    values = {"scope": scope.id, "since": since, **lease_clock_values(connection, now)}
    statement = _counting_due(tuple(sorted(kinds)), is_shared=is_shared(connection))
    rows = connection.execute(statement, values).all()
    return {row.kind: row.number for row in rows if row.number}


# Cached: building it takes longer than running it, and it runs at each turn.
@lru_cache(maxsize=64)
def _counting_due(kinds: tuple[str, ...], *, is_shared: bool) -> CompoundSelect[tuple[str, int]]:
    """Count in an index only: one kind at a time, and no column that the index does not have."""
    clock = lease_clock_parameter(is_shared=is_shared)
    arms = []
    for kind in kinds:
        due = (
            select(watches.c.kind)
            .where(
                watches.c.kind == kind,
                watches.c.scope_id == bindparam("scope"),
                watches.c.due_at <= bindparam("since", type_=watches.c.due_at.type),
                _LISTED,
                or_(watches.c.lease_until.is_(None), watches.c.lease_until <= clock),
            )
            .limit(_COUNTED)
            .subquery()
        )
        number = func.count().label("number")
        arms.append(select(literal(kind).label("kind"), number).select_from(due))
    return union_all(*arms)
