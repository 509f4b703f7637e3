"""A new store, made of the tables in the code instead of by running the whole history.

It is what the migrations would have made, which a test holds them to on both databases, without
Alembic: its import and its run are a fifth of a start.
"""

from typing import Final

from sqlalchemy import Column, Connection, MetaData, PrimaryKeyConstraint, String, Table, insert

from poller.store.events import POSITION
from poller.store.schema import counters, metadata

__all__ = ["create"]

# as Alembic makes it: alembic.runtime.migration, MigrationContext
_REVISIONS: Final = Table(
    "alembic_version",
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)


def create(connection: Connection, revision: str) -> None:
    """Make the tables and their first rows, of that revision, in the caller's transaction.

    A table of somebody else that is in the way is an error of the database, as in a migration:
    none is taken over.
    """
    metadata.create_all(connection, checkfirst=False)
    connection.execute(insert(counters).values(name=POSITION, value=0))
    # this one may be there, and empty
    _REVISIONS.create(connection, checkfirst=True)
    connection.execute(insert(_REVISIONS).values(version_num=revision))
