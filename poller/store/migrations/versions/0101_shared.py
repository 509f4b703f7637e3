"""How daemons coordinate through a shared store: heartbeats, budget, probe of a pause, sweeps.

And an index in the order of retention.
"""

import sqlalchemy as sa
from alembic import op

revision = "0101_shared"
down_revision = "0100_first"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables of the daemons, the owner of a probe, the index of retention."""
    op.create_table(
        "daemons",
        sa.Column("scope_id", sa.Integer(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("sinks", sa.Text(), nullable=False),
        sa.Column("max_concurrency", sa.Integer(), nullable=False),
        sa.Column("requests_per_second", sa.Float(), nullable=False),
        sa.Column("slots", sa.Integer(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.Column("left_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["scope_id"], ["scopes.id"], name=op.f("fk_daemons_scope_id")),
        sa.PrimaryKeyConstraint("scope_id", "owner", name=op.f("pk_daemons")),
    )
    op.create_table(
        "budgets",
        sa.Column("scope_id", sa.Integer(), nullable=False),
        sa.Column("next_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["scope_id"], ["scopes.id"], name=op.f("fk_budgets_scope_id")),
        sa.PrimaryKeyConstraint("scope_id", name=op.f("pk_budgets")),
    )
    op.create_table(
        "sweepers",
        sa.Column("scope_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.Column("is_reading", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["scope_id"], ["scopes.id"], name=op.f("fk_sweepers_scope_id")),
        sa.PrimaryKeyConstraint("scope_id", "kind", name=op.f("pk_sweepers")),
    )
    op.add_column("pauses", sa.Column("probe_owner", sa.String(), nullable=True))
    op.add_column("pauses", sa.Column("probe_until", sa.BigInteger(), nullable=True))
    # retention reads what is over by its end: the index of before was sorted for each step
    op.drop_index(op.f("ix_watches_phase_is_stub_ended_at"), table_name="watches")
    op.create_index(
        "ix_watches_over",
        "watches",
        ["scope_id", "is_stub", "ended_at", "id"],
        unique=False,
        sqlite_where=sa.text("due_at IS NULL"),
        postgresql_where=sa.text("due_at IS NULL"),
    )
