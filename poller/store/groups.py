"""Groups: their rows change in the transactions that change their members, or that seal them.

Rows are locked in the order of their names, after those of the members. The pure functions of
`tracking.group` decide. The sums are kept in the row and adjusted, never recounted.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from poller.store.database import count_written, in_order
from poller.store.events import StoredEvent, record_events
from poller.store.rows import difference, group_of, group_values
from poller.store.schema import events, group_breakdowns, groups, watches
from poller.tracking.breakdown.state import Breakdown
from poller.tracking.event import Event, read_event
from poller.tracking.group import (
    Group,
    add_breakdown,
    advance,
    change_member,
    explain,
    new_group,
    seal,
)
from poller.tracking.lifecycle import EventType
from poller.tracking.member_sums import share_labels
from poller.tracking.pacing import Policy
from poller.tracking.watch import AccountScope, Phase, Watch

_CHUNK: Final = 500
_STEP: Final = 100
_KEY: Final = (groups.c.scope_id, groups.c.name)
_NOTHING: Final = Breakdown(sources=())
# Built once: every answer about a member runs them, and building one takes longer than running it.
_LOCK: Final = (
    select(groups)
    .where(
        groups.c.scope_id == bindparam("own_scope"),
        groups.c.name.in_(bindparam("own_names", expanding=True)),
    )
    .order_by(groups.c.name)
    .with_for_update()
)
_WRITE: Final = update(groups).where(
    groups.c.scope_id == bindparam("own_scope"), groups.c.name == bindparam("own_name")
)


class UnknownGroup(LookupError):
    """No group of that name is known; the message says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupChange:
    """A group as one transaction left it, and the events recorded for it."""

    group: Group
    events: Sequence[StoredEvent] = ()


class GroupChanges:
    """The groups that one transaction changes; their rows stay locked until it ends.

    The order of calls: each change of a member, then write the rows of the members, then `finish`.
    """

    def __init__(
        self,
        connection: Connection,
        scope: AccountScope,
        names: Collection[str],
        now: datetime,
    ) -> None:
        self._connection = connection
        self._scope = scope
        self._now = now
        self._known = _locked(connection, scope, names)
        self._groups = dict(self._known)
        self._breakdowns: dict[str, Breakdown] = {}

    def change_member(self, before: Watch | None, after: Watch) -> None:
        """Apply a change of a watch to its group, which it may join or leave by it.

        :raises Conflict: where it cannot join; nothing has changed then.
        """
        name = after.group or (None if before is None else before.group)
        if name is not None:
            group = self._groups.get(name)
            if group is None:
                group = new_group(name, scope=self._scope, now=self._now)
            self._groups[name] = change_member(group, before, after, now=self._now)

    def seal(self, name: str, expected: int | None) -> None:
        """Seal a group; with `expected` it need not exist yet.

        :raises UnknownGroup: without `expected`, where there is no such group.
        :raises Conflict: where it has no member, or `expected` contradicts these or an old seal.
        """
        group = self._groups.get(name)
        if group is None:
            if expected is None:
                raise UnknownGroup(
                    f"no group {name} is known; register its operations first, or give the number "
                    "of members that it will have (`expected`, --expected)"
                )
            group = new_group(name, scope=self._scope, now=self._now)
        self._groups[name] = seal(group, expected, now=self._now)

    def add_breakdowns(self, watch: Watch, made: Sequence[Event]) -> None:
        """Add the breakdown of a member to its group's, where these events contain it."""
        for event in made:
            if watch.group is not None and event.breakdown is not None:
                group = self._groups[watch.group]
                total = self._breakdowns.get(group.name) or self._read_breakdown(group.name)
                changed, total = add_breakdown(group, total, watch, event.breakdown)
                if changed is not group:
                    self._groups[group.name], self._breakdowns[group.name] = changed, total

    def add_past_breakdowns(self, joined: Sequence[Watch]) -> None:
        """Add the breakdowns that these watches had emitted before they joined."""
        ended = {watch.id: watch for watch in joined if watch.phase is Phase.ENDED}
        for start in range(0, len(ended), _CHUNK):
            query = select(events.c.subject, events.c.body).where(
                events.c.subject.in_(sorted(ended)[start : start + _CHUNK]),
                events.c.type == EventType.OPERATION_BREAKDOWN.value,
            )
            for row in self._connection.execute(query).all():
                self.add_breakdowns(ended[row.subject], [read_event(json.loads(row.body))])

    def finish(self, policy: Policy) -> list[Event]:
        """Write the groups. Returns their events, which are recorded after those of the members.

        The rows of the members must be written before.
        """
        made: list[Event] = []
        for name in sorted(self._groups):
            group = self._groups[name]
            if group.labels is None:
                group = group.evolve(labels=self._shared_labels(name))
            group, own = advance(group, policy=policy, now=self._now)
            if group.wants_breakdown:
                total = self._breakdowns.pop(name, None) or self._read_breakdown(name)
                group, explained = explain(group, total, now=self._now)
                own += explained
                self._connection.execute(delete(group_breakdowns).where(*self._breakdown_of(name)))
            made += own
            self._groups[name] = group
            self._write(group)
        for name, total in self._breakdowns.items():
            self._write_breakdown(name, total)
        return made

    def results(self, recorded: Sequence[StoredEvent]) -> list[GroupChange]:
        """Return each group as it is now, with its events among those recorded."""
        return [
            GroupChange(
                group=self._groups[name],
                events=[one for one in recorded if one.is_of_group and one.subject == name],
            )
            for name in sorted(self._groups)
        ]

    def _write(self, group: Group) -> None:
        known = self._known.get(group.name)
        if known is None:
            values = {**group_values(group), "scope_id": self._scope.id}
            self._connection.execute(insert(groups).values(values))
        elif changes := difference(group_values(known), group_values(group)):
            own = {"own_scope": self._scope.id, "own_name": group.name}
            self._connection.execute(_WRITE, changes | own)

    def _shared_labels(self, name: str) -> Mapping[str, str]:
        query = (
            select(watches.c.labels)
            .where(watches.c.scope_id == self._scope.id, watches.c.group_name == name)
            .distinct()
        )
        return share_labels(self._connection.execute(query).scalars())

    def _read_breakdown(self, name: str) -> Breakdown:
        query = select(group_breakdowns.c.breakdown).where(*self._breakdown_of(name))
        found = self._connection.execute(query).scalar_one_or_none()
        return _NOTHING if found is None else Breakdown.from_json(found)

    def _write_breakdown(self, name: str, total: Breakdown) -> None:
        values: dict[str, Any] = {"breakdown": total.to_json()}
        own = update(group_breakdowns).where(*self._breakdown_of(name)).values(values)
        if self._connection.execute(own).rowcount == 0:
            values |= {"scope_id": self._scope.id, "name": name}
            self._connection.execute(insert(group_breakdowns).values(values))

    def _breakdown_of(self, name: str) -> tuple[Any, ...]:
        return (group_breakdowns.c.scope_id == self._scope.id, group_breakdowns.c.name == name)


def seal_group(
    connection: Connection,
    scope: AccountScope,
    name: str,
    expected: int | None,
    *,
    policy: Policy,
    now: datetime,
) -> GroupChange:
    """Seal a group now; with `expected`, which may create it, when it has that many members.

    :raises UnknownGroup: without `expected`, where there is no such group.
    :raises Conflict: where it has no member, or `expected` contradicts these or an earlier seal.
    """
    changes = GroupChanges(connection, scope, [name], now)
    changes.seal(name, expected)
    (change,) = _record(connection, scope, changes, policy, now=now)
    return change


def due_groups(connection: Connection, scope: AccountScope, now: datetime) -> Sequence[str]:
    """Name the groups whose held-back progress is due, at most 100."""
    query = (
        select(groups.c.name)
        .where(groups.c.scope_id == scope.id, groups.c.due_at <= now)
        .order_by(groups.c.due_at)
        .limit(_STEP)
    )
    return connection.execute(query).scalars().all()


def record_groups(
    connection: Connection,
    scope: AccountScope,
    names: Collection[str],
    *,
    policy: Policy,
    now: datetime,
) -> list[GroupChange]:
    """Record the due progress of these groups."""
    changes = GroupChanges(connection, scope, names, now)
    return _record(connection, scope, changes, policy, now=now)


def void_future_waits(connection: Connection, scope: AccountScope, now: datetime) -> int:
    """Make held-back progress due where the last progress is in the future: the clock went back.

    Returns how many groups that were. What moved in the future counts as moved now.
    """
    early = [groups.c.scope_id == scope.id, groups.c.ended_at.is_(None), groups.c.moved_at > now]
    connection.execute(update(groups).where(in_order(*_KEY, where=early)).values(moved_at=now))
    ahead = [
        groups.c.scope_id == scope.id,
        groups.c.due_at.is_not(None),
        groups.c.progress_at > now,
    ]
    statement = update(groups).where(in_order(*_KEY, where=ahead)).values(due_at=now)
    return count_written(connection, statement, groups.c.name)


def _record(
    connection: Connection,
    scope: AccountScope,
    changes: GroupChanges,
    policy: Policy,
    *,
    now: datetime,
) -> list[GroupChange]:
    made = changes.finish(policy)
    return changes.results(record_events(connection, scope, made, now))


def _locked(
    connection: Connection, scope: AccountScope, names: Collection[str]
) -> dict[str, Group]:
    found: dict[str, Group] = {}
    ordered = sorted(names)
    for start in range(0, len(ordered), _CHUNK):
        own = {"own_scope": scope.id, "own_names": ordered[start : start + _CHUNK]}
        rows = connection.execute(_LOCK, own).mappings().all()
        found |= {row["name"]: group_of(row, scope) for row in rows}
    return found
