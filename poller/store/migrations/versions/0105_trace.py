"""The trace that a registration named, which events carry on."""

import sqlalchemy as sa
from alembic import op

revision = "0105_trace"
down_revision = "0104_recipients"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; what is watched already belongs to no trace."""
    op.add_column("watches", sa.Column("traceparent", sa.String(), nullable=True))
    op.add_column("watches", sa.Column("tracestate", sa.String(), nullable=True))
