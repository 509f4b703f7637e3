"""How a store is, told without making, migrating or changing anything."""

import os
import sqlite3
import stat
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from urllib.parse import quote

from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from poller.os_errors import needs_change
from poller.store.database import Database, sqlite_needs_change, sqlite_path
from poller.store.errors import StoreUnavailable
from poller.store.lock import lock_holder
from poller.store.migrate import check_schema, known_revision
from poller.store.migrations import HEAD
from poller.store.sinks import SinkReport, report
from poller.store.tenancy import find_tenant
from poller.tracking.watch import AccountScope

__all__ = ["Condition", "inspect_sinks", "inspect_store"]

_WRITABLE = "the file and its directory must be writable for this user"
_NOT_OURS = "name another file, or restore a copy of the store"


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """A store that a daemon could use.

    `revision` is that of its schema, "" where there is none yet. `is_file` says that it belongs to
    one daemon at a time; `holder` is the pid of the one that has it now, if any.
    """

    is_file: bool
    exists: bool
    revision: str
    holder: str | None = None

    @property
    def is_current(self) -> bool:
        """Whether there is nothing to make or to migrate."""
        return self.revision == HEAD


def inspect_store(url: str) -> Condition:
    """Look at a store the way a daemon would use it; blocks.

    :raises StoreUnavailable: where it could not be opened or written.
    :raises StoreTooNew: where a newer program migrated it.
    """
    path = sqlite_path(url)
    return _inspect_server(url) if path is None else _inspect_file(path)


def inspect_sinks(url: str, scope: AccountScope) -> list[SinkReport]:
    """Return how each sink of an account is in a store of the current schema; blocks.

    :raises StoreUnavailable: where the store could not be read.
    """
    path = sqlite_path(url)
    if path is None:
        database = Database(url)
        try:
            with database.reading() as connection:
                return _sinks_of(connection, scope)
        finally:
            database.close()
    engine = create_engine(
        "sqlite://",
        creator=partial(sqlite3.connect, _read_only(path), uri=True),
        poolclass=NullPool,
    )
    try:
        with engine.connect() as connection:
            return _sinks_of(connection, scope)
    except SQLAlchemyError as error:
        raise StoreUnavailable(f"store.url: {path}: {error}; {_NOT_OURS}") from error


def _sinks_of(connection: Connection, scope: AccountScope) -> list[SinkReport]:
    tenant = find_tenant(connection, scope)
    return [] if tenant is None else report(connection, tenant)


def _inspect_server(url: str) -> Condition:
    database = Database(url)
    try:
        revision = check_schema(database)
        with database.reading() as connection:
            if connection.execute(text("SHOW transaction_read_only")).scalar_one() == "on":
                where = database.url.render_as_string(hide_password=True)
                raise StoreUnavailable(
                    f"store.url: {where} takes no writes; name the primary server, "
                    "and a user that may write"
                )
    finally:
        database.close()
    return Condition(is_file=False, exists=True, revision=revision)


def _inspect_file(path: Path) -> Condition:
    try:
        exists = _exists(path)
        with TemporaryFile(dir=Path(os.path.realpath(path)).parent):
            pass  # the lock, the write-ahead log and the copies go there
    except OSError as error:
        raise StoreUnavailable(
            f"store.url: {path}: {error.strerror}; {_WRITABLE}", needs_change=needs_change(error)
        ) from error
    revision = known_revision(_revision(path)) if exists else ""
    return Condition(is_file=True, exists=exists, revision=revision, holder=lock_holder(path))


def _exists(path: Path) -> bool:
    """Tell whether there is a file, and see that it can be written."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK)
    except FileNotFoundError:
        return False
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise StoreUnavailable(
                f"store.url: {path} is not a regular file; {_NOT_OURS}", needs_change=True
            )
    finally:
        os.close(fd)
    return True


def _revision(path: Path) -> str:
    try:
        with closing(sqlite3.connect(_read_only(path), uri=True)) as connection:
            if not connection.execute(
                "SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'"
            ).fetchone():
                return ""
            found = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.Error as error:
        raise StoreUnavailable(
            f"store.url: {path}: {error}; {_NOT_OURS}", needs_change=sqlite_needs_change(error)
        ) from error
    return str(found[0]) if found else ""


def _read_only(path: Path) -> str:
    # Reading through a write-ahead log wants files beside the database. Where there are none,
    # the database is looked at as if on a read-only disk, so that none are made.
    mode = "mode=ro" if path.with_name(f"{path.name}-wal").exists() else "immutable=1"
    return f"file:{quote(str(path.absolute()))}?{mode}"
