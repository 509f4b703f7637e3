"""Reports on groups for people and programs: lists, one in detail, counts, unsealed groups."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from sqlalchemy import ColumnElement, Connection, and_, case, func, literal, or_, select, tuple_

from poller.store.columns import Instant, instant, microseconds
from poller.store.events import group_subject
from poller.store.reports import EventTimeline, contains, read_timeline
from poller.store.rows import group_of
from poller.store.schema import groups
from poller.tracking.group import Group
from poller.tracking.member_sums import MemberCounts
from poller.tracking.watch import AccountScope


class GroupState(StrEnum):
    """The state of a group, as reports show it."""

    OPEN = "open"
    SEALED = "sealed"
    """No operation can join any more, and some members are still watched."""
    ENDED = "ended"


_IS_IN: Final[Mapping[GroupState, ColumnElement[bool]]] = {
    GroupState.OPEN: and_(groups.c.sealed_at.is_(None), groups.c.ended_at.is_(None)),
    GroupState.SEALED: and_(groups.c.sealed_at.is_not(None), groups.c.ended_at.is_(None)),
    GroupState.ENDED: groups.c.ended_at.is_not(None),
}


def state_of(group: Group) -> GroupState:
    """Return the state of a group."""
    if group.ended_at is not None:
        return GroupState.ENDED
    return GroupState.OPEN if group.sealed_at is None else GroupState.SEALED


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupFilter:
    """A filter of groups: those in any of the states; in all where none are given.

    `search` is a part of the name, or of the name or value of a label; case does not matter.
    """

    states: Collection[GroupState] = ()
    search: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupListing:
    """One page; `next_before` begins the next one, if any."""

    groups: Sequence[Group]
    next_before: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupDetail:
    """A group with its latest events. `is_stub` means that retention has deleted the events."""

    group: Group
    is_stub: bool
    timeline: EventTimeline


def list_groups(
    connection: Connection,
    scope: AccountScope,
    wanted: GroupFilter,
    *,
    limit: int,
    before: str | None = None,
) -> GroupListing:
    """List the groups without stubs, the newest first; `before` is a cursor."""
    query = (
        select(groups)
        .where(groups.c.scope_id == scope.id, groups.c.is_stub.is_(False))
        .order_by(groups.c.created_at.desc(), groups.c.name.desc())
        .limit(limit + 1)
    )
    if wanted.states:
        query = query.where(or_(*(_IS_IN[state] for state in wanted.states)))
    if wanted.search:
        query = query.where(contains(wanted.search, groups.c.name, groups.c.labels))
    if before is not None:
        at, _, name = before.partition("/")
        place = tuple_(literal(instant(int(at)), Instant), name)
        query = query.where(tuple_(groups.c.created_at, groups.c.name) < place)
    rows = connection.execute(query).mappings().all()
    found = [group_of(row, scope) for row in rows[:limit]]
    return GroupListing(
        groups=found,
        next_before=_cursor(found[-1]) if len(rows) > limit else None,
    )


def find_group(
    connection: Connection, scope: AccountScope, name: str, *, latest: int
) -> GroupDetail | None:
    """Find one group and the `latest` of its events; None where it is not known."""
    query = select(groups).where(groups.c.scope_id == scope.id, groups.c.name == name)
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        return None
    return GroupDetail(
        group=group_of(row, scope),
        is_stub=row["is_stub"],
        timeline=read_timeline(connection, scope, group_subject(scope, name), latest=latest),
    )


def count_groups(connection: Connection, scope: AccountScope) -> Mapping[GroupState, int]:
    """Count the groups in each state, stubs left out."""
    state = case(*((condition, state.value) for state, condition in _IS_IN.items()))
    query = (
        select(state.label("state"), func.count().label("number"))
        .where(groups.c.scope_id == scope.id, groups.c.is_stub.is_(False))
        .group_by(state)
    )
    found = {row.state: row.number for row in connection.execute(query)}
    return {state: found.get(state.value, 0) for state in GroupState}


def unsealed_groups(
    connection: Connection, scope: AccountScope, before: datetime, *, limit: int
) -> Sequence[Group]:
    """List the groups that are not sealed though all their members ended before that moment."""
    query = (
        select(groups)
        .where(
            groups.c.scope_id == scope.id,
            groups.c.ended_at.is_(None),
            groups.c.sealed_at.is_(None),
            groups.c.members_ended_at <= before,
            # here, not afterwards: groups that all members have left could fill the list
            groups.c.members != asdict(MemberCounts()),
        )
        .order_by(groups.c.members_ended_at)
        .limit(limit)
    )
    return [group_of(row, scope) for row in connection.execute(query).mappings()]


def _cursor(group: Group) -> str:
    return f"{microseconds(group.created_at)}/{group.name}"
