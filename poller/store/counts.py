"""Counts of operations and messages: the watched, the ended, and sums by group or label."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, Text, case, func, select, type_coerce

from poller.store.reports import OperationFilter, chosen
from poller.store.schema import OVER, watches
from poller.store.transactions import Transactions
from poller.tracking.progress import Recipients
from poller.tracking.watch import AccountScope, Outcome, Phase

_CHUNK: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchCount:
    """The watched operations of one kind and status; `status` is None where none was seen yet.

    `due` counts those whose next poll is due; `oldest_due` is when the first of them became due.
    """

    kind: str
    status: str | None
    watched: int
    due: int
    oldest_due: datetime | None


def count_watched(
    connection: Connection, scope: AccountScope, now: datetime
) -> Sequence[WatchCount]:
    """Count what is being watched at `now`."""
    # the last emitted status is the observed one: a change of status is never held back
    status = watches.c.emitted_status
    is_due = watches.c.due_at <= now
    query = (
        select(
            watches.c.kind,
            status.label("status"),
            func.count().label("watched"),
            func.sum(case((is_due, 1), else_=0)).label("due"),
            func.min(case((is_due, watches.c.due_at), else_=None)).label("oldest_due"),
        )
        .where(watches.c.scope_id == scope.id, watches.c.due_at.is_not(None))
        .group_by(watches.c.kind, status)
    )
    return [
        WatchCount(
            kind=row.kind,
            status=row.status,
            watched=row.watched,
            due=int(row.due),
            oldest_due=row.oldest_due,
        )
        for row in connection.execute(query)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class EndCounts:
    """How many operations and messages are watched, and how the others ended; without stubs."""

    running: int
    ended: Mapping[Outcome, int]


def count_ends(connection: Connection, scope: AccountScope) -> EndCounts:
    """Count the watched and the ended. Both queries read only an index, not the rows."""
    running = select(func.count()).where(
        watches.c.scope_id == scope.id, watches.c.due_at.is_not(None)
    )
    # sums, since GROUP BY would sort all rows
    ended = select(
        *(
            func.coalesce(func.sum(case((watches.c.outcome == one.value, 1), else_=0)), 0)
            for one in Outcome
        )
    ).where(
        watches.c.scope_id == scope.id,
        watches.c.is_stub.is_(False),
        watches.c.phase == Phase.ENDED.value,
        OVER,
    )
    numbers = connection.execute(ended).one()
    return EndCounts(
        running=connection.execute(running).scalar_one(),
        ended={outcome: int(number) for outcome, number in zip(Outcome, numbers, strict=True)},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueSums:
    """The sums over the operations and messages of one group, or with one value of a label.

    `value` is None for those without one. `watching` counts those that have not ended,
    `with_failures` those of all of them with a recipient that failed.
    """

    value: str | None
    operations: int
    watching: int
    with_failures: int
    recipients: Recipients


@dataclass(frozen=True, slots=True, kw_only=True)
class SumListing:
    """The sums by value, the most failed recipients first; `omitted` counts the values left out."""

    sums: Sequence[ValueSums]
    omitted: int


def sum_by(
    connection: Connection,
    scope: AccountScope,
    wanted: OperationFilter,
    *,
    label: str | None,
    limit: int,
) -> SumListing:
    """Sum up by the value of a label; by group where it is None. Reads every matching row."""
    # equal labels are always stored as the same text, so the database can group by it
    text = type_coerce(watches.c.labels, Text)
    group = watches.c.group_name
    # the condition of a label may match too much: the labels are read and compared again
    keys = (group, text) if label is not None or wanted.labels else (group,)
    query = (
        select(
            *keys,
            func.count().label("operations"),
            func.sum(case((watches.c.due_at.is_not(None), 1), else_=0)).label("watching"),
            func.sum(case((watches.c.recipients_failed > 0, 1), else_=0)).label("with_failures"),
            func.sum(watches.c.recipients).label("total"),
            func.sum(watches.c.recipients_done).label("done"),
            func.sum(watches.c.recipients_failed).label("failed"),
        )
        .where(*chosen(connection, scope, wanted))
        .group_by(*keys)
    )
    sums: dict[str | None, ValueSums] = {}
    for row in connection.execute(query).yield_per(_CHUNK):
        labels = json.loads(row.labels) if len(keys) > 1 else {}
        if not set(wanted.labels) <= labels.items():
            continue
        value = row.group_name if label is None else labels.get(label)
        own = ValueSums(
            value=value,
            operations=row.operations,
            watching=int(row.watching),
            with_failures=int(row.with_failures),
            recipients=Recipients(total=int(row.total), done=int(row.done), failed=int(row.failed)),
        )
        sums[value] = _add(sums[value], own) if value in sums else own
    found = sorted(sums.values(), key=lambda one: (-one.recipients.failed, one.value or ""))
    return SumListing(sums=found[:limit], omitted=max(0, len(found) - limit))


def _add(one: ValueSums, other: ValueSums) -> ValueSums:
    return replace(
        one,
        operations=one.operations + other.operations,
        watching=one.watching + other.watching,
        with_failures=one.with_failures + other.with_failures,
        recipients=Recipients(
            total=one.recipients.total + other.recipients.total,
            done=one.recipients.done + other.recipients.done,
            failed=one.recipients.failed + other.recipients.failed,
        ),
    )


class CountStore:
    """The counts of one scope: `Store.counts`.

    Every method raises `StoreUnavailable` where the database refuses.
    """

    def __init__(self, transactions: Transactions, now: Callable[[], datetime]) -> None:
        self._browse = transactions.browse
        self._now = now

    async def watched(self) -> Sequence[WatchCount]:
        """Count what is watched, by kind and status."""
        return await self._browse(count_watched, self._now())

    async def ends(self) -> EndCounts:
        """Count what is watched, and how the others ended."""
        return await self._browse(count_ends)

    async def by_group(self, wanted: OperationFilter, *, limit: int) -> SumListing:
        """Sum up by group."""
        return await self._browse(sum_by, wanted, label=None, limit=limit)

    async def by_label(self, wanted: OperationFilter, label: str, *, limit: int) -> SumListing:
        """Sum up by the value of a label."""
        return await self._browse(sum_by, wanted, label=label, limit=limit)
