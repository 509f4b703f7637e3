"""Recipients: how many there are, are done and failed, stored so that lists and sums are cheap."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

from poller.comms.ids import is_message_id
from poller.comms.kinds import kind_named
from poller.tracking.progress import read_group_progress, read_progress, read_receipts

revision = "0104_recipients"
down_revision = "0103_hints"
branch_labels = None
depends_on = None

_STEP = 1000
_WATCHES = sa.table(
    "watches",
    *map(
        sa.column,
        (
            "id",
            "kind",
            "scope_id",
            "group_name",
            "outcome",
            "snapshot",
            "counters",
            "emitted_counters",
            "emitted_status",
            "recipients",
            "recipients_done",
            "recipients_failed",
        ),
    ),
)
_GROUPS = sa.table(
    "groups",
    *map(
        sa.column,
        (
            "scope_id",
            "name",
            "ended_at",
            "stats",
            "recipients",
            "recipients_done",
            "recipients_failed",
        ),
    ),
)


def upgrade() -> None:
    """Add the columns with their numbers, and the indexes that lists and counts read."""
    op.execute("ALTER TABLE groups RENAME COLUMN finished TO recipients_done")
    for table, names in (
        ("watches", ("recipients", "recipients_done", "recipients_failed")),
        ("groups", ("recipients", "recipients_failed")),
    ):
        for name in names:
            column = sa.Column(name, sa.BigInteger(), nullable=False, server_default="0")
            op.add_column(table, column)
    op.add_column("groups", sa.Column("looks", sa.Text(), nullable=False, server_default="[]"))
    _count_watches()
    _count_groups()
    _create_indexes()


def _create_indexes() -> None:
    for name, columns, sign in (
        ("ix_watches_failures", ["scope_id", "recipients_failed", "registered_at", "id"], ">"),
        ("ix_watches_newest_failures", ["scope_id", "registered_at", "id"], "<>"),
    ):
        has_failures = sa.text(f"recipients_failed {sign} 0")
        op.create_index(
            name, "watches", columns, sqlite_where=has_failures, postgresql_where=has_failures
        )
    op.drop_index("ix_watches_over", "watches")
    op.create_index(
        "ix_watches_over",
        "watches",
        ["scope_id", "is_stub", "ended_at", "id", "phase", "outcome", "due_at"],
        sqlite_where=sa.text("due_at IS NULL"),
        postgresql_where=sa.text("due_at IS NULL"),
    )


def _count_watches() -> None:
    bind = op.get_bind()
    statement = (
        sa.update(_WATCHES)
        .where(_WATCHES.c.id == sa.bindparam("own_id"))
        .values(
            recipients=sa.bindparam("total"),
            recipients_done=sa.bindparam("done"),
            recipients_failed=sa.bindparam("failed"),
        )
    )
    for rows in _pages():
        counted = [_count_watch(row) for row in rows]
        bind.execute(statement, counted)


def _pages() -> Iterator[Sequence[Any]]:
    last = ""
    while True:
        query = sa.select(_WATCHES).where(_WATCHES.c.id > last).order_by(_WATCHES.c.id).limit(_STEP)
        rows = op.get_bind().execute(query).all()
        if not rows:
            return
        yield rows
        last = rows[-1].id


def _count_watch(row: Any) -> dict[str, Any]:  # noqa: ANN401 - a row
    is_pruned = row.snapshot is None
    counters = json.loads(row.emitted_counters if is_pruned else row.counters)
    status = row.emitted_status if is_pruned else json.loads(row.snapshot).get("status")
    if is_message_id(row.id) and status != "GROUP":
        done, failed = row.outcome not in {None, "lost"}, row.outcome == "failed"
        return {"own_id": row.id, "total": 1, "done": int(done), "failed": int(failed)}
    is_group = is_message_id(row.id)
    found = read_receipts(counters) if is_group else read_progress(kind_named(row.kind), counters)
    return {
        "own_id": row.id,
        "total": found.total or 0,
        "done": found.done,
        "failed": found.failed,
    }


def _count_groups() -> None:
    bind = op.get_bind()
    for group in bind.execute(sa.select(_GROUPS)).all():
        own = (_GROUPS.c.scope_id == group.scope_id, _GROUPS.c.name == group.name)
        if group.ended_at is None:
            values = _sum_members(group)
        else:
            # its members may be gone
            found = read_group_progress(json.loads(group.stats))
            values = {"recipients": found.total or 0, "recipients_failed": found.failed}
        bind.execute(sa.update(_GROUPS).where(*own).values(values))


def _sum_members(group: Any) -> dict[str, int]:  # noqa: ANN401 - a row
    names = ("recipients", "recipients_done", "recipients_failed")
    query = sa.select(
        *(sa.func.coalesce(sa.func.sum(_WATCHES.c[name]), 0).label(name) for name in names)
    ).where(_WATCHES.c.scope_id == group.scope_id, _WATCHES.c.group_name == group.name)
    row = op.get_bind().execute(query).one()
    return {name: int(getattr(row, name)) for name in names}
