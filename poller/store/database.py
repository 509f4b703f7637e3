"""The connection: how a transaction begins on SQLite and on PostgreSQL.

Synchronous, used from one worker thread. Writers lock from the first statement on (SQLite
`BEGIN IMMEDIATE`), so a transaction that has read can always write.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Final, TypeVar

from sqlalchemy import (
    URL,
    BigInteger,
    ColumnElement,
    Connection,
    Engine,
    cast,
    create_engine,
    event,
    func,
    literal,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import StaticPool

from poller.store.errors import Contended, StoreUnavailable
from poller.store.schema import microseconds

T = TypeVar("T")

_BUSY: Final = 10.0
_VACUUM_PAGES: Final = 1000
_LOG_LIMIT: Final = 4 * 1024 * 1024
_READING: Final = "poller_reading"
_TRIES: Final = 3
# PostgreSQL, appendix A: foreign_key_violation, unique_violation, serialization_failure,
# deadlock_detected; a SQLite file has one writer at a time
_CONTENTION: Final = frozenset({"23503", "23505", "40001", "40P01"})
# SQLite's errors of the path, the permissions or the file's content
_NEED_CHANGE: Final = (
    "SQLITE_AUTH",
    "SQLITE_CANTOPEN",
    "SQLITE_CORRUPT",
    "SQLITE_ERROR",
    "SQLITE_NOTADB",
    "SQLITE_PERM",
    "SQLITE_READONLY",
)
# PostgreSQL's class of missing rights and of tables that are in the way
_WRONG_DATABASE: Final = "42"
_CONNECT_SECONDS: Final = 10


def sqlite_path(url: str) -> Path | None:
    """Return the file of a SQLite URL; None for a server or a database in memory."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite" or parsed.database in {None, "", ":memory:"}:
        return None
    return Path(str(parsed.database))


class Database:
    """An engine and its transactions.

    A SQLite database in memory lives in one connection, which only one transaction can use at a
    time: `has_one_connection`.

    :raises StoreUnavailable: where the driver of the database is not installed.
    """

    def __init__(self, url: str) -> None:
        parsed = make_url(url)
        if parsed.drivername == "postgresql":
            parsed = parsed.set(drivername="postgresql+psycopg")
        self.url: URL = parsed
        self.path = sqlite_path(url)
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        self.has_one_connection = self.is_sqlite and self.path is None
        if self.is_sqlite:
            self.engine = create_engine(
                parsed,
                connect_args={"timeout": _BUSY, "check_same_thread": False},
                poolclass=StaticPool if self.has_one_connection else None,
            )
            event.listen(self.engine, "connect", _prepare_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)
        else:
            self.engine = _server_engine(parsed)

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Run a transaction that writes; commits at the end, rolls back on an exception.

        :raises Contended: where another daemon wrote the same rows at the same moment.
        :raises StoreUnavailable: where the database refuses.
        """
        with self._said_clearly(), self.engine.begin() as connection:
            yield connection

    def write(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a transaction that writes; again where another daemon was in its way.

        :raises StoreUnavailable: where the database refuses.
        """
        for _ in range(_TRIES - 1):
            try:
                with self.writing() as connection:
                    return work(connection)
            except Contended:
                # what the other one wrote is found by the next try
                continue
        with self.writing() as connection:
            return work(connection)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Run a transaction that only reads, beside a writer.

        :raises StoreUnavailable: where the database refuses.
        """
        with self._said_clearly(), self.engine.connect() as connection:
            yield connection.execution_options(**{_READING: True})

    def make_private(self) -> None:
        """Make a SQLite file that only its owner can read: labels and counters are nobody else's.

        Does nothing where the file is there, or cannot be made: opening it says why.
        """
        if self.path is not None:
            with suppress(OSError):
                os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))

    def vacuum(self) -> None:
        """Give pages that retention freed back to the file system, a few at a time.

        :raises StoreUnavailable: where the database refuses.
        """
        if self.path is None:
            return
        with self._said_clearly(), closing(self.engine.raw_connection()) as connection:
            # a script: the statement stops after each page, and any other way runs it only once
            connection.cursor().executescript(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})")

    def close(self) -> None:
        """Release every connection."""
        self.engine.dispose()

    @contextmanager
    def _said_clearly(self) -> Iterator[None]:
        try:
            yield
        except (DBAPIError, sqlite3.Error) as error:
            where = self.path or self.url.render_as_string(hide_password=True)
            kind = Contended if _is_contention(error) else StoreUnavailable
            raise kind(
                f"store.url: {where}: {_cause(error)}", needs_change=_needs_change(error)
            ) from error


def _server_engine(url: URL) -> Engine:
    try:
        # a server that does not answer must not hold up the start, nor the end, for minutes
        seconds = {} if "connect_timeout" in url.query else {"connect_timeout": _CONNECT_SECONDS}
        return create_engine(url, pool_pre_ping=True, connect_args=seconds)
    except ImportError as error:
        raise StoreUnavailable(
            "store.url: there is no driver for PostgreSQL; pip install 'comms-poller[postgres]'",
            needs_change=True,
        ) from error


def lease_clock(connection: Connection, now: datetime) -> ColumnElement[int]:
    """Give the clock that leases are read against, in microseconds since 1970 UTC.

    Daemons that share a PostgreSQL server share its clock; a SQLite file belongs to one daemon,
    whose own clock serves.
    """
    if connection.dialect.name == "postgresql":
        seconds = func.extract("epoch", func.clock_timestamp())
        return cast(seconds * 1_000_000, BigInteger)
    return literal(microseconds(now), BigInteger)


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None
    cursor = connection.cursor()
    try:
        # before the first table, or never: lets retention shrink the file
        cursor.execute("PRAGMA auto_vacuum = INCREMENTAL")
        cursor.execute("PRAGMA journal_mode = WAL")
        # a log that one long reader made large is cut back at the next checkpoint
        cursor.execute(f"PRAGMA journal_size_limit = {_LOG_LIMIT}")
        # FULL: an acknowledged registration survives a power cut, not only a crash
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA foreign_keys = ON")
    finally:
        cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    reading = connection.get_execution_options().get(_READING, False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def _is_contention(error: Exception) -> bool:
    return getattr(_driver_error(error), "sqlstate", None) in _CONTENTION


def sqlite_needs_change(error: sqlite3.Error) -> bool:
    """Whether SQLite answers so until somebody changes the path, its permissions or the file."""
    return getattr(error, "sqlite_errorname", "").startswith(_NEED_CHANGE)


def _needs_change(error: Exception) -> bool:
    cause = _driver_error(error)
    if isinstance(cause, sqlite3.Error):
        return sqlite_needs_change(cause)
    return (getattr(cause, "sqlstate", None) or "").startswith(_WRONG_DATABASE)


def _driver_error(error: Exception) -> BaseException | None:
    return error.orig if isinstance(error, DBAPIError) else error


def _cause(error: Exception) -> str:
    cause = _driver_error(error)
    name = getattr(cause, "sqlite_errorname", "")
    said = str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
    hints = {
        "SQLITE_CANTOPEN": "the directory must exist and be writable for this user",
        "SQLITE_READONLY": "the file and its directory must be writable for this user",
        "SQLITE_FULL": "the disk is full; free some space",
        "SQLITE_NOTADB": "name another file, or one that is not there yet",
        "SQLITE_CORRUPT": "the file is damaged; restore the copy beside it",
        "SQLITE_BUSY": "another process holds it; end that process",
    }
    hint = next((hint for prefix, hint in hints.items() if name.startswith(prefix)), None)
    if not name and isinstance(error, OperationalError):
        hint = "check store.url, and that the server runs and lets this user in"
    return said if hint is None else f"{said}; {hint}"
