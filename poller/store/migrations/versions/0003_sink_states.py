"""What a sink's state needs: silence, pauses and counts; first attempts before repeated ones."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns, and the indexes in whose order deliveries are claimed."""
    op.execute("ALTER TABLE sinks RENAME COLUMN probe_at TO next_at")
    for count in ("unanswered", "delivered", "given_up"):
        op.add_column("sinks", sa.Column(count, sa.Integer(), nullable=False, server_default="0"))
    for moment in ("unanswered_since", "tried_at", "paused_until", "paused_at"):
        op.add_column("sinks", sa.Column(moment, sa.BigInteger()))
    op.drop_index(
        op.f("ix_deliveries_scope_id_state_sink_due_at_position"), table_name="deliveries"
    )
    for name, attempts in (("untried", "attempts = 0"), ("tried", "attempts > 0")):
        condition = sa.text(f"state = 'waiting' AND {attempts}")
        op.create_index(
            f"ix_deliveries_{name}",
            "deliveries",
            ["scope_id", "sink", "due_at", "position"],
            unique=False,
            sqlite_where=condition,
            postgresql_where=condition,
        )
