"""Bring a store to the schema of this program: under a lock, after a copy, or not at all.

A new store is created, an older one migrated; only the latter takes Alembic.
"""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, inspect, text

from poller import __version__
from poller.store.creation import create
from poller.store.database import Database, sqlite_needs_change
from poller.store.errors import StoreTooNew, StoreUnavailable
from poller.store.migrations import HEAD

__all__ = ["check_schema", "known_revision", "migrate"]

_LOCK: Final = 0x636F_6D6D  # "comm": the advisory lock of PostgreSQL that migrations take
_SCRIPTS: Final = Path(__file__).with_name("migrations")


def migrate(database: Database) -> str | None:
    """Create or migrate where it is needed; the caller holds the lock of a SQLite file.

    All of it is one transaction. Daemons that start on one PostgreSQL database at the same moment
    do it one after the other, and the second finds nothing left to do.

    Returns the revision that was migrated from: "" for a new store, None where nothing was done.

    :raises StoreTooNew: where a newer program has migrated the store.
    :raises StoreUnavailable: where the database refuses.
    """
    found = check_schema(database)
    if found == HEAD:
        return None
    if found and database.path is not None:
        _copy(database.path, HEAD)
    with database.writing() as connection:
        if not database.is_sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        # read again: while this one waited for the lock, another may have done it
        found = known_revision(_revision(connection))
        if found == HEAD:
            return None
        if found:
            _upgrade(connection)
        else:
            create(connection, HEAD)
    return found


def check_schema(database: Database) -> str:
    """Return the revision of the store, "" where it is new.

    :raises StoreTooNew: where this program does not know the revision.
    """
    with database.reading() as connection:
        return known_revision(_revision(connection))


def known_revision(found: str) -> str:
    """Return the revision.

    :raises StoreTooNew: where this program does not know it.
    """
    if found and found > HEAD:
        raise StoreTooNew(
            f"store.url: the store has schema {found}, this program (comms-poller {__version__}) "
            f"knows up to {HEAD}; run the newer program, or restore the copy that it made "
            "beside the file",
            needs_change=True,
        )
    return found


def _revision(connection: Connection) -> str:
    if not inspect(connection).has_table("alembic_version"):
        return ""
    return str(connection.execute(text("SELECT version_num FROM alembic_version")).scalar() or "")


def _upgrade(connection: Connection) -> None:
    from alembic import command  # noqa: PLC0415 - few starts migrate, and it takes its time
    from alembic.config import Config  # noqa: PLC0415 - as above

    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _copy(path: Path, target: str) -> None:
    """Copy the database beside itself, write-ahead log included."""
    beside = path.with_name(f"{path.name}.before-{target}")
    try:
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(beside)) as copy:
            source.backup(copy)
    except sqlite3.Error as error:
        raise StoreUnavailable(
            f"store.url: cannot copy {path} to {beside} before migrating: {error}; "
            "free some space or make the directory writable",
            needs_change=sqlite_needs_change(error),
        ) from error
