"""The first schema: scopes, pauses, watches, events, deliveries, sinks, counters."""

import sqlalchemy as sa
from alembic import op

revision = "0100_first"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables, and the counter of event positions."""
    op.create_table(
        "counters",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_counters")),
    )
    op.create_table(
        "scopes",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("account", sa.String(), nullable=False),
        sa.Column("base_url", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scopes")),
        sa.UniqueConstraint("account", "base_url", name=op.f("uq_scopes_account_base_url")),
    )
    op.create_table(
        "pauses",
        sa.Column("scope_id", sa.Integer(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("set_at", sa.BigInteger(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.Column("level", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["scope_id"], ["scopes.id"], name=op.f("fk_pauses_scope_id")),
        sa.PrimaryKeyConstraint("scope_id", name=op.f("pk_pauses")),
    )
    op.create_table(
        "sinks",
        sa.Column("scope_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("unanswered", sa.Integer(), nullable=False),
        sa.Column("unanswered_since", sa.BigInteger(), nullable=True),
        sa.Column("delivered", sa.Integer(), nullable=False),
        sa.Column("given_up", sa.Integer(), nullable=False),
        sa.Column("probes", sa.Integer(), nullable=False),
        sa.Column("next_at", sa.BigInteger(), nullable=True),
        sa.Column("set_at", sa.BigInteger(), nullable=True),
        sa.Column("tried_at", sa.BigInteger(), nullable=True),
        sa.Column("paused_until", sa.BigInteger(), nullable=True),
        sa.Column("paused_at", sa.BigInteger(), nullable=True),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("absent_since", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["scope_id"], ["scopes.id"], name=op.f("fk_sinks_scope_id")),
        sa.PrimaryKeyConstraint("scope_id", "name", name=op.f("pk_sinks")),
    )
    op.create_table(
        "watches",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("scope_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("labels", sa.Text(), nullable=False),
        sa.Column("registered_at", sa.BigInteger(), nullable=False),
        sa.Column("phase", sa.String(), nullable=False),
        sa.Column("outcome", sa.String(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("settle_until", sa.BigInteger(), nullable=True),
        sa.Column("snapshot", sa.Text(), nullable=True),
        sa.Column("counters", sa.Text(), nullable=False),
        sa.Column("observed_at", sa.BigInteger(), nullable=True),
        sa.Column("updated_at", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=True),
        sa.Column("left_scheduled_at", sa.BigInteger(), nullable=True),
        sa.Column("scheduled_for", sa.BigInteger(), nullable=True),
        sa.Column("schedule_read_at", sa.BigInteger(), nullable=True),
        sa.Column("looks", sa.Text(), nullable=False),
        sa.Column("emitted_status", sa.String(), nullable=True),
        sa.Column("emitted_counters", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("progress_at", sa.BigInteger(), nullable=True),
        sa.Column("emitted_attempts", sa.Text(), nullable=False),
        sa.Column("not_found", sa.Integer(), nullable=False),
        sa.Column("not_found_since", sa.BigInteger(), nullable=True),
        sa.Column("rejected", sa.Integer(), nullable=False),
        sa.Column("wants_breakdown", sa.Boolean(), nullable=True),
        sa.Column("breakdown", sa.Text(), nullable=True),
        sa.Column("next_request", sa.String(), nullable=False),
        sa.Column("wait", sa.Float(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=True),
        sa.Column("set_at", sa.BigInteger(), nullable=False),
        sa.Column("lease_owner", sa.String(), nullable=True),
        sa.Column("lease_until", sa.BigInteger(), nullable=True),
        sa.Column("is_stub", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["scope_id"], ["scopes.id"], name=op.f("fk_watches_scope_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_watches")),
    )
    op.create_index(
        "ix_watches_due",
        "watches",
        ["kind", "scope_id", "due_at", "lease_until", "next_request", "emitted_status"],
        unique=False,
        sqlite_where=sa.text("due_at IS NOT NULL"),
        postgresql_where=sa.text("due_at IS NOT NULL"),
    )
    op.create_index(
        op.f("ix_watches_phase_is_stub_ended_at"),
        "watches",
        ["phase", "is_stub", "ended_at"],
        unique=False,
    )
    op.create_index(
        op.f("ix_watches_registered_at_id"), "watches", ["registered_at", "id"], unique=False
    )
    op.create_table(
        "events",
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("scope_id", sa.Integer(), nullable=False),
        sa.Column("watch_id", sa.String(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("final", sa.Boolean(), nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["scope_id"], ["scopes.id"], name=op.f("fk_events_scope_id")),
        sa.ForeignKeyConstraint(["watch_id"], ["watches.id"], name=op.f("fk_events_watch_id")),
        sa.PrimaryKeyConstraint("position", name=op.f("pk_events")),
        sa.UniqueConstraint("id", name=op.f("uq_events_id")),
    )
    op.create_index(
        op.f("ix_events_watch_id_sequence"), "events", ["watch_id", "sequence"], unique=False
    )
    op.create_table(
        "deliveries",
        sa.Column("scope_id", sa.Integer(), nullable=False),
        sa.Column("sink", sa.String(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("watch_id", sa.String(), nullable=False),
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
        sa.ForeignKeyConstraint(["watch_id"], ["watches.id"], name=op.f("fk_deliveries_watch_id")),
        sa.PrimaryKeyConstraint("position", "sink", name=op.f("pk_deliveries")),
    )
    op.create_index(
        op.f("ix_deliveries_scope_id_state_sink_position"),
        "deliveries",
        ["scope_id", "state", "sink", "position"],
        unique=False,
    )
    op.create_index(
        "ix_deliveries_tried",
        "deliveries",
        ["scope_id", "sink", "due_at", "position"],
        unique=False,
        sqlite_where=sa.text("state = 'waiting' AND attempts > 0"),
        postgresql_where=sa.text("state = 'waiting' AND attempts > 0"),
    )
    op.create_index(
        "ix_deliveries_untried",
        "deliveries",
        ["scope_id", "sink", "due_at", "position"],
        unique=False,
        sqlite_where=sa.text("state = 'waiting' AND attempts = 0"),
        postgresql_where=sa.text("state = 'waiting' AND attempts = 0"),
    )
    op.create_index(
        op.f("ix_deliveries_watch_id_sink_state_position"),
        "deliveries",
        ["watch_id", "sink", "state", "position"],
        unique=False,
    )
    op.execute("INSERT INTO counters (name, value) VALUES ('event_position', 0)")
