"""The schema of a store: create it, migrate it under a lock after a copy, or inspect it.

A new store is made from the tables in the code, without Alembic, whose import and run would be a
fifth of a start. A test checks on both databases that the revisions make the same schema.
"""

import os
import sqlite3
import stat
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import Final
from urllib.parse import quote

from sqlalchemy import (
    Column,
    Connection,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    create_engine,
    insert,
    inspect,
    text,
)
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from poller import __version__
from poller.os_errors import needs_change
from poller.store import sqlite
from poller.store.database import Database
from poller.store.errors import StoreTooNew, StoreTooOld, StoreUnavailable
from poller.store.lock import lock_holder
from poller.store.migrations import FIRST, HEAD
from poller.store.postgres import MIGRATION
from poller.store.schema import POSITION, counters, metadata
from poller.store.scopes import find_scope
from poller.store.sinks import SinkReport, report
from poller.store.sqlite import sqlite_path
from poller.tracking.watch import AccountScope

_LOCK: Final = 0x636F_6D6D  # "comm": the advisory lock of PostgreSQL that migrations take
_SCRIPTS: Final = Path(__file__).with_name("migrations")
_WRITABLE: Final = "the file and its directory must be writable for this user"
_NOT_OURS: Final = "name another file, or restore a copy of the store"
# as Alembic makes it: alembic.runtime.migration, MigrationContext
_REVISIONS: Final = Table(
    "alembic_version",
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)


def migrate(database: Database) -> str | None:
    """Create or migrate where it is needed; the caller holds the lock of a SQLite file.

    All of it is one transaction. Daemons that start on one PostgreSQL database at the same moment
    do it one after the other, and the second finds nothing left to do.

    Returns the revision that was migrated from: "" for a new store, None where nothing was done.

    :raises StoreTooOld: where a program before the first release made it.
    :raises StoreTooNew: where a newer program migrated it.
    :raises StoreUnavailable: where the database refuses.
    """
    found = check_schema(database)
    if found == HEAD:
        return None
    if found and database.path is not None:
        _copy(database.path, HEAD)
    with database.writing(MIGRATION) as connection:
        # read again: while this one waited for the lock, another may have done it
        found = hold_schema(connection)
        if found == HEAD:
            return None
        if found:
            _upgrade(connection)
        else:
            create(connection, HEAD)
    return found


def check_schema(database: Database) -> str:
    """Return the revision of the store, "" where it is new.

    :raises StoreTooOld: where a program before the first release made it.
    :raises StoreTooNew: where a newer program migrated it.
    """
    with database.reading() as connection:
        return known_revision(_revision(connection))


def hold_schema(connection: Connection) -> str:
    """Lock the schema until the transaction ends: no other daemon makes or migrates the tables.

    Returns the revision, read under the lock; "" where the store is new.

    :raises StoreTooOld: where a program before the first release made it.
    :raises StoreTooNew: where a newer program migrated it.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    return known_revision(_revision(connection))


def known_revision(found: str) -> str:
    """Return the revision, "" for none.

    :raises StoreTooOld: where a program before the first release made it.
    :raises StoreTooNew: where this program does not know it yet.
    """
    if found and found < FIRST:
        raise StoreTooOld(
            f"store.url: the store has schema {found}, of a program before the first release; this "
            f"program (comms-poller {__version__}) cannot read it: name a new store, or move this "
            "one away",
            needs_change=True,
        )
    if found > HEAD:
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
    from alembic import command  # noqa: PLC0415 - few starts migrate, and the import is slow
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
            needs_change=sqlite.needs_change(error),
        ) from error


def create(connection: Connection, revision: str) -> None:
    """Make the tables and their first rows, of that revision, in the caller's transaction.

    Where a table of the same name exists already, the database raises an error, as in a migration.
    """
    metadata.create_all(connection, checkfirst=False)
    connection.execute(insert(counters).values(name=POSITION, value=0))
    # this table may exist already, without a row
    _REVISIONS.create(connection, checkfirst=True)
    connection.execute(insert(_REVISIONS).values(version_num=revision))


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """The condition of a store that a daemon could use.

    `revision` is that of its schema, "" where it has none yet. A store that `is_file` belongs to
    one daemon at a time; `holder` is the pid of the daemon that uses it now, if any.
    """

    is_file: bool
    exists: bool
    revision: str
    holder: str | None = None

    @property
    def is_current(self) -> bool:
        """Whether its schema needs no creation and no migration."""
        return self.revision == HEAD


def inspect_store(url: str) -> Condition:
    """Inspect a store the way a daemon would use it, without changing it; blocks.

    :raises StoreUnavailable: where it could not be opened or written.
    :raises StoreTooOld: where a program before the first release made it.
    :raises StoreTooNew: where a newer program migrated it.
    """
    path = sqlite_path(url)
    return _inspect_server(url) if path is None else _inspect_file(path)


def inspect_sinks(url: str, scope: AccountScope) -> list[SinkReport]:
    """Return a report on each sink of an account in a store of the current schema; blocks.

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
    known = find_scope(connection, scope)
    return [] if known is None else report(connection, known)


def _inspect_server(url: str) -> Condition:
    database = Database(url)
    try:
        revision = check_schema(database)
    finally:
        database.close()
    return Condition(is_file=False, exists=True, revision=revision)


def _inspect_file(path: Path) -> Condition:
    try:
        exists = _exists(path)
        with TemporaryFile(dir=Path(os.path.realpath(path)).parent):
            pass  # the lock, the write-ahead log and the copies are made there
    except OSError as error:
        raise StoreUnavailable(
            f"store.url: {path}: {error.strerror}; {_WRITABLE}", needs_change=needs_change(error)
        ) from error
    revision = known_revision(_revision_in_file(path)) if exists else ""
    return Condition(is_file=True, exists=exists, revision=revision, holder=lock_holder(path))


def _exists(path: Path) -> bool:
    """Return whether there is a file; check that it can be written."""
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


def _revision_in_file(path: Path) -> str:
    try:
        with closing(sqlite3.connect(_read_only(path), uri=True)) as connection:
            if not connection.execute(
                "SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'"
            ).fetchone():
                return ""
            found = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.Error as error:
        raise StoreUnavailable(
            f"store.url: {path}: {error}; {_NOT_OURS}", needs_change=sqlite.needs_change(error)
        ) from error
    return str(found[0]) if found else ""


def _read_only(path: Path) -> str:
    # Reading with a write-ahead log needs files beside the database. Where there are none, the
    # database is opened as if it were on a read-only disk, so that none are made.
    mode = "mode=ro" if path.with_name(f"{path.name}-wal").exists() else "immutable=1"
    return f"file:{quote(str(path.absolute()))}?{mode}"
