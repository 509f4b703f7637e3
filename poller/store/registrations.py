"""Registrations: watching begins, goes on or stops, and groups get and lose members.

Functions of a connection inside a transaction; the caller commits. All watches are locked before
the first group, both in order, so that two daemons cannot wait for each other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection, insert

from poller.store.events import StoredEvent, record_events
from poller.store.groups import GroupChanges
from poller.store.rows import difference, watch_of, watch_values
from poller.store.schema import watches
from poller.store.scopes import read_scope
from poller.store.watches import chunks, lock_watches, write_watch
from poller.tracking.pacing import Policy
from poller.tracking.registration import Conflict, Registration, forget, register
from poller.tracking.watch import AccountScope, Watch


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """The result of one registration: `conflict` is the reason for a refusal.

    Events of groups are on the last result of a call only.
    """

    id: str
    watch: Watch | None = None
    is_new: bool = False
    conflict: str | None = None
    events: Sequence[StoredEvent] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    """A watch that was stopped, and the event of the group that it left; both may be missing."""

    watch: Watch | None = None
    events: Sequence[StoredEvent] = ()


def register_all(
    connection: Connection,
    scope: AccountScope,
    registrations: Sequence[Registration],
    now: datetime,
    *,
    policy: Policy,
    all_or_none: bool = False,
) -> list[Registered]:
    """Register in the order given; one result for each.

    :raises Conflict: with `all_or_none`, where one contradicts what is stored.
    """
    if not registrations:
        return []
    before = _known(connection, scope, registrations)
    named = {one.group for one in registrations} | {one.group for one in before.values()}
    groups = GroupChanges(connection, scope, [name for name in named if name is not None], now)
    after = dict(before)
    results: list[Registered] = []
    for registration in registrations:
        known = after.get(registration.id)
        try:
            watch, is_new = register(known, registration, scope=scope, now=now)
            groups.change_member(known, watch)
        except Conflict as conflict:
            if all_or_none:
                raise
            results.append(Registered(id=registration.id, conflict=str(conflict)))
            continue
        after[registration.id] = watch
        results.append(Registered(id=registration.id, watch=watch, is_new=is_new))
    _write(connection, scope, before, after)
    groups.add_past_breakdowns(
        [watch for watch in after.values() if _has_joined(before.get(watch.id), watch)]
    )
    recorded = record_events(connection, scope, groups.finish(policy), now)
    return [*results[:-1], replace(results[-1], events=recorded)]


def forget_watch(
    connection: Connection,
    scope: AccountScope,
    operation_id: str,
    now: datetime,
    *,
    policy: Policy,
) -> Forgotten:
    """Stop watching; the result has no watch where the scope does not have the id."""
    row = lock_watches(connection, [operation_id], scope).get(operation_id)
    if row is None:
        return Forgotten()
    before = watch_of(row, scope)
    after = forget(before, now=now)
    groups = GroupChanges(connection, scope, [before.group] if before.group else [], now)
    groups.change_member(before, after)
    write_watch(connection, operation_id, difference(watch_values(before), watch_values(after)))
    events = record_events(connection, scope, groups.finish(policy), now)
    return Forgotten(watch=after, events=events)


def add_watches(connection: Connection, scope: AccountScope, found: Sequence[Watch]) -> None:
    """Insert watches in the state in which another store, or a registration, left them.

    None of them may be in the store already.
    """
    for chunk in chunks(found):
        rows = [{**watch_values(watch), "scope_id": scope.id} for watch in chunk]
        connection.execute(insert(watches), rows)


def _known(
    connection: Connection, scope: AccountScope, registrations: Sequence[Registration]
) -> dict[str, Watch]:
    """Lock and read the known watches, of any scope: ids are unique in a store."""
    found = {}
    for operation_id, row in lock_watches(
        connection, sorted({r.id for r in registrations})
    ).items():
        own = row["scope_id"] == scope.id
        owner = scope if own else read_scope(connection, row["scope_id"])
        found[operation_id] = watch_of(row, owner)
    return found


def _has_joined(before: Watch | None, after: Watch) -> bool:
    return after.group is not None and (before is None or before.group is None)


def _write(
    connection: Connection,
    scope: AccountScope,
    before: Mapping[str, Watch],
    after: Mapping[str, Watch],
) -> None:
    # in id order, like locks: two daemons that insert the same must not wait for each other
    add_watches(connection, scope, [after[name] for name in sorted(after.keys() - before.keys())])
    for operation_id, watch in before.items():
        changes = difference(watch_values(watch), watch_values(after[operation_id]))
        if changes:
            write_watch(connection, operation_id, {**changes, "is_stub": False})
