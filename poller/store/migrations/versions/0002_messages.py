"""Messages beside operations: schedules, attempts, breakdowns, and what the next look asks for.

And indexes by which what is due is counted and claimed without reading the rows.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; what is watched so far are operations of which no schedule was read."""
    op.add_column("watches", sa.Column("scheduled_for", sa.BigInteger()))
    op.add_column("watches", sa.Column("schedule_read_at", sa.BigInteger()))
    op.add_column(
        "watches", sa.Column("emitted_attempts", sa.Text(), nullable=False, server_default="[]")
    )
    op.add_column("watches", sa.Column("wants_breakdown", sa.Boolean()))
    op.add_column("watches", sa.Column("breakdown", sa.Text()))
    op.add_column(
        "watches",
        sa.Column("next_request", sa.String(), nullable=False, server_default="operation"),
    )
    op.drop_index(op.f("ix_watches_scope_id_due_at"), table_name="watches")
    is_due = sa.text("due_at IS NOT NULL")
    op.create_index(
        op.f("ix_watches_due"),
        "watches",
        ["kind", "scope_id", "due_at", "lease_until", "next_request", "emitted_status"],
        unique=False,
        sqlite_where=is_due,
        postgresql_where=is_due,
    )
    op.create_index(
        op.f("ix_watches_registered_at_id"),
        "watches",
        ["registered_at", "id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_deliveries_scope_id_state_sink_position"),
        "deliveries",
        ["scope_id", "state", "sink", "position"],
        unique=False,
    )
