"""Hints: which were taken and not answered yet, and failures in a row, which no hint shortens."""

import sqlalchemy as sa
from alembic import op

revision = "0103_hints"
down_revision = "0102_groups"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns, and the index that counts the hints without an answer."""
    op.add_column("watches", sa.Column("failed", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("watches", sa.Column("hinted_at", sa.BigInteger(), nullable=True))
    op.add_column("watches", sa.Column("hinted_by", sa.String(), nullable=True))
    op.create_index(
        "ix_watches_hinted",
        "watches",
        ["scope_id", "hinted_by"],
        sqlite_where=sa.text("hinted_by IS NOT NULL"),
        postgresql_where=sa.text("hinted_by IS NOT NULL"),
    )
