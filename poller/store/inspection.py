"""How a store is, told without making, migrating or changing anything."""

import os
import sqlite3
import stat
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from urllib.parse import quote

from sqlalchemy import text

from poller.store.database import Database, sqlite_path
from poller.store.errors import StoreUnavailable
from poller.store.lock import lock_holder
from poller.store.migrate import check_schema, known_revision
from poller.store.migrations import HEAD

__all__ = ["Condition", "inspect_store"]

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
        raise StoreUnavailable(f"store.url: {path}: {error.strerror}; {_WRITABLE}") from error
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
            raise StoreUnavailable(f"store.url: {path} is not a regular file; {_NOT_OURS}")
    finally:
        os.close(fd)
    return True


def _revision(path: Path) -> str:
    # Reading through a write-ahead log wants files beside the database. Where there are none,
    # the database is looked at as if on a read-only disk, so that none are made.
    mode = "mode=ro" if path.with_name(f"{path.name}-wal").exists() else "immutable=1"
    uri = f"file:{quote(str(path.absolute()))}?{mode}"
    try:
        with closing(sqlite3.connect(uri, uri=True)) as connection:
            if not connection.execute(
                "SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'"
            ).fetchone():
                return ""
            found = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.Error as error:
        raise StoreUnavailable(f"store.url: {path}: {error}; {_NOT_OURS}") from error
    return str(found[0]) if found else ""
