"""Groups: their tables, and a subject of events and deliveries, which is a watch or a group."""

import sqlalchemy as sa
from alembic import op

revision = "0102_groups"
down_revision = "0101_shared"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables of groups, and let the subject of an event be something else."""
    _create_groups()
    if op.get_context().dialect.name == "sqlite":
        _copy_events()
    else:
        _alter_events()
    op.add_column("watches", sa.Column("moved_at", sa.BigInteger(), nullable=True))
    op.add_column(
        "watches", sa.Column("emitted_alerts", sa.Text(), nullable=False, server_default="[]")
    )


def _alter_events() -> None:
    for table in ("events", "deliveries"):
        op.drop_constraint(f"fk_{table}_watch_id", table)
        op.alter_column(table, "watch_id", new_column_name="subject")
    op.execute("ALTER INDEX ix_events_watch_id_sequence RENAME TO ix_events_subject_sequence")
    op.execute(
        "ALTER INDEX ix_deliveries_watch_id_sink_state_position "
        "RENAME TO ix_deliveries_subject_sink_state_position"
    )


def _copy_events() -> None:
    """Make both tables new: SQLite cannot drop a foreign key.

    The rows wait in tables without one. A table that another refers to cannot be dropped while
    foreign keys are checked, and that cannot be switched off within a transaction.
    """
    for table in ("deliveries", "events"):
        op.execute(f"CREATE TABLE old_{table} AS SELECT * FROM {table}")  # noqa: S608 - constants
        op.drop_table(table)
    _create_events()
    _create_deliveries()
    op.execute(
        "INSERT INTO events (position, id, scope_id, subject, sequence, type, final, recorded_at,"
        " body) SELECT position, id, scope_id, watch_id, sequence, type, final, recorded_at, body"
        " FROM old_events"
    )
    op.execute(
        "INSERT INTO deliveries (scope_id, sink, position, subject, state, attempts, fresh_at,"
        " due_at, set_at, refused_at, status, error, done_at, lease_owner, lease_until)"
        " SELECT scope_id, sink, position, watch_id, state, attempts, fresh_at, due_at, set_at,"
        " refused_at, status, error, done_at, lease_owner, lease_until FROM old_deliveries"
    )
    for table in ("deliveries", "events"):
        op.drop_table(f"old_{table}")


def _create_events() -> None:
    op.create_table(
        "events",
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("scope_id", sa.Integer(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("final", sa.Boolean(), nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["scope_id"], ["scopes.id"], name=op.f("fk_events_scope_id")),
        sa.PrimaryKeyConstraint("position", name=op.f("pk_events")),
        sa.UniqueConstraint("id", name=op.f("uq_events_id")),
    )
    op.create_index(op.f("ix_events_subject_sequence"), "events", ["subject", "sequence"])


def _create_deliveries() -> None:
    op.create_table(
        "deliveries",
        sa.Column("scope_id", sa.Integer(), nullable=False),
        sa.Column("sink", sa.String(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("fresh_at", sa.BigInteger(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("set_at", sa.BigInteger(), nullable=False),
        sa.Column("refused_at", sa.BigInteger(), nullable=True),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("done_at", sa.BigInteger(), nullable=True),
        sa.Column("lease_owner", sa.String(), nullable=True),
        sa.Column("lease_until", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["position"], ["events.position"], name=op.f("fk_deliveries_position")
        ),
        sa.ForeignKeyConstraint(["scope_id"], ["scopes.id"], name=op.f("fk_deliveries_scope_id")),
        sa.PrimaryKeyConstraint("position", "sink", name=op.f("pk_deliveries")),
    )
    op.create_index(
        op.f("ix_deliveries_scope_id_state_sink_position"),
        "deliveries",
        ["scope_id", "state", "sink", "position"],
    )
    for name, condition in (("untried", "attempts = 0"), ("tried", "attempts > 0")):
        op.create_index(
            f"ix_deliveries_{name}",
            "deliveries",
            ["scope_id", "sink", "due_at", "position"],
            sqlite_where=sa.text(f"state = 'waiting' AND {condition}"),
        )
    op.create_index(
        op.f("ix_deliveries_subject_sink_state_position"),
        "deliveries",
        ["subject", "sink", "state", "position"],
    )


def _create_groups() -> None:
    op.create_table(
        "groups",
        sa.Column("scope_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expected", sa.Integer(), nullable=True),
        sa.Column("sealed_at", sa.BigInteger(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("members", sa.Text(), nullable=False),
        sa.Column("stats", sa.Text(), nullable=False),
        sa.Column("labels", sa.Text(), nullable=False),
        sa.Column("finished", sa.BigInteger(), nullable=False),
        sa.Column("moved_at", sa.BigInteger(), nullable=True),
        sa.Column("members_ended_at", sa.BigInteger(), nullable=True),
        sa.Column("explaining", sa.Integer(), nullable=False),
        sa.Column("explained", sa.Integer(), nullable=False),
        sa.Column("breakdown_at", sa.BigInteger(), nullable=True),
        sa.Column("emitted_members", sa.Text(), nullable=False),
        sa.Column("emitted_stats", sa.Text(), nullable=False),
        sa.Column("emitted_alerts", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("progress_at", sa.BigInteger(), nullable=True),
        sa.Column("due_at", sa.BigInteger(), nullable=True),
        sa.Column("is_stub", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["scope_id"], ["scopes.id"], name=op.f("fk_groups_scope_id")),
        sa.PrimaryKeyConstraint("scope_id", "name", name=op.f("pk_groups")),
    )
    op.create_index(
        "ix_groups_due",
        "groups",
        ["scope_id", "due_at"],
        sqlite_where=sa.text("due_at IS NOT NULL"),
        postgresql_where=sa.text("due_at IS NOT NULL"),
    )
    op.create_index(
        "ix_groups_open",
        "groups",
        ["scope_id", "members_ended_at"],
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_index(op.f("ix_groups_is_stub_ended_at"), "groups", ["is_stub", "ended_at"])
    op.create_index(op.f("ix_groups_created_at_name"), "groups", ["created_at", "name"])
    op.create_table(
        "group_breakdowns",
        sa.Column("scope_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("breakdown", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["scope_id"], ["scopes.id"], name=op.f("fk_group_breakdowns_scope_id")
        ),
        sa.PrimaryKeyConstraint("scope_id", "name", name=op.f("pk_group_breakdowns")),
    )
    op.add_column("watches", sa.Column("group_name", sa.String(), nullable=True))
    op.create_index(
        "ix_watches_group",
        "watches",
        ["scope_id", "group_name", "registered_at", "id"],
        sqlite_where=sa.text("group_name IS NOT NULL"),
        postgresql_where=sa.text("group_name IS NOT NULL"),
    )
