"""How many operations are watched, by kind and status, and how late the latest of them is."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, case, func, select

from poller.store.schema import watches
from poller.store.tenancy import Tenant

__all__ = ["WatchCount", "watch_counts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchCount:
    """The watched operations of one kind and status; `status` is None where none was seen yet.

    `due` counts those whose next look is due, `oldest_due` is since when the first of them is.
    """

    kind: str
    status: str | None
    watched: int
    due: int
    oldest_due: datetime | None


def watch_counts(connection: Connection, tenant: Tenant, now: datetime) -> Sequence[WatchCount]:
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
        .where(watches.c.scope_id == tenant.id, watches.c.due_at.is_not(None))
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
