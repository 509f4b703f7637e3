"""SQLite: how a file is opened, how a transaction begins, what an error means."""

import os
import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from threading import Lock, Thread
from time import monotonic
from typing import Any, Final
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, PoolProxiedConnection, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.pool import StaticPool

READING: Final = "poller_reading"
SYNCED: Final = "poller_synced"
# seconds that a statement waits for another process's transaction
_BUSY: Final = 10.0
_CHECK_SECONDS: Final = 2.0
_CHECK_STEPS: Final = 10_000
# bytes: many pages, and more than a large registration takes
_ROOM: Final = 1024 * 1024
# bytes of the write-ahead log: a longer one is copied into the file in the background
_LOG_LIMIT: Final = 4 * 1024 * 1024
# pages of the log: where writers outrun the background copy, a commit copies a longer one itself
_LONG_LOG: Final = 4_000
_SHRINK_PAGES: Final = 200
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
_HINTS: Final = {
    "SQLITE_CANTOPEN": "the directory must exist and be writable for this user",
    "SQLITE_READONLY": "the file and its directory must be writable for this user",
    "SQLITE_FULL": "the disk is full; free some space",
    "SQLITE_NOTADB": "name another file, or one that is not there yet",
    "SQLITE_CORRUPT": "the file is damaged; restore the copy beside it",
    "SQLITE_BUSY": "another process holds it; end that process",
}


def sqlite_path(url: str) -> Path | None:
    """Return the file of a SQLite URL; None for a server or a database in memory."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite" or parsed.database in {None, "", ":memory:"}:
        return None
    return Path(str(parsed.database))


def make_engine(url: URL, *, has_one_connection: bool) -> Engine:
    """Make the engine of a SQLite database; it opens nothing yet."""
    engine = create_engine(
        url,
        connect_args={"timeout": _BUSY, "check_same_thread": False},
        poolclass=StaticPool if has_one_connection else None,
    )
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return engine


def needs_change(error: sqlite3.Error) -> bool:
    """Whether the error stays until the path, its permissions or the file are changed."""
    return getattr(error, "sqlite_errorname", "").startswith(_NEED_CHANGE)


def hint_for(error: sqlite3.Error) -> str | None:
    """Return what to do about an error, None where that is unknown."""
    name = getattr(error, "sqlite_errorname", "")
    return next((hint for prefix, hint in _HINTS.items() if name.startswith(prefix)), None)


def is_out_of_room(error: sqlite3.Error) -> bool:
    """Whether the file could not grow, or the disk failed."""
    return getattr(error, "sqlite_errorname", "").startswith(("SQLITE_FULL", "SQLITE_IOERR"))


def identity(path: Path) -> tuple[int, int] | None:
    """Return the device and the inode of a file; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def prove_room(path: Path) -> None:
    """Allocate some space beside a file, and free it again.

    :raises OSError: where the file system has no space.
    """
    with TemporaryFile(dir=path.parent, buffering=0) as file:
        os.posix_fallocate(file.fileno(), 0, _ROOM)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileCheck:
    """The size of the write-ahead log in bytes, and what is wrong with a page that was read."""

    log_bytes: int
    damage: str | None


def check_file(path: Path, table: str) -> FileCheck:
    """Check a table for damaged pages, for two seconds at most, without blocking writers."""
    log = path.with_name(f"{path.name}-wal")
    log_bytes = _size(log)
    deadline = monotonic() + _CHECK_SECONDS
    source = f"file:{quote(str(path.absolute()))}?mode=ro"
    try:
        with closing(sqlite3.connect(source, uri=True, timeout=1)) as connection:
            connection.set_progress_handler(lambda: monotonic() > deadline, _CHECK_STEPS)
            row = connection.execute(f"PRAGMA quick_check('{table}')").fetchone()
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", "")
        is_damaged = name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB"))
        return FileCheck(log_bytes=log_bytes, damage=str(error) if is_damaged else None)
    found = str(row[0]) if row else "ok"
    return FileCheck(log_bytes=log_bytes, damage=None if found == "ok" else found)


class Checkpoints:
    """Copies the write-ahead log into its file, on a thread of its own.

    In a commit this can take half a second, for which all writers would wait.
    """

    def __init__(self, path: Path) -> None:
        self._source = f"file:{quote(str(path.absolute()))}?mode=rw"
        self._log = path.with_name(f"{path.name}-wal")
        self._running = Lock()

    @property
    def is_running(self) -> bool:
        """Whether a checkpoint is under way."""
        return self._running.locked()

    def begin_if_due(self) -> None:
        """Begin a checkpoint where the log is long and no other one is under way."""
        if _size(self._log) <= _LOG_LIMIT or not self._running.acquire(blocking=False):
            return
        try:
            Thread(target=self._run, name="store checkpoint", daemon=True).start()
        except RuntimeError:  # the system has no thread left, and the next commit tries again
            self._running.release()

    def _run(self) -> None:
        # what cannot be copied stays in the log; a commit that fails reports the reason
        try:
            with suppress(sqlite3.Error), closing(self._connect()) as connection:
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        finally:
            self._running.release()

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._source, uri=True, timeout=0, isolation_level=None)


def shrink(pooled: PoolProxiedConnection) -> bool:
    """Return some unused pages to the system; True where more should follow.

    A tenth of the file stays unused. False also for a file that cannot shrink, because another
    program has made it.
    """
    connection: Any = pooled.driver_connection
    if (before := _too_many(connection)) == 0:
        return False
    # a script runs the statement to its end; `execute` would free a single page
    connection.executescript(f"PRAGMA incremental_vacuum({min(before, _SHRINK_PAGES)})")
    return 0 < _too_many(connection) < before


def _too_many(connection: sqlite3.Connection) -> int:
    """Count the unused pages beyond a tenth of the file, which is kept for new rows."""
    [unused] = connection.execute("PRAGMA freelist_count").fetchone()
    [pages] = connection.execute("PRAGMA page_count").fetchone()
    return max(0, int(unused) - int(pages) // 10)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _prepare(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None
    cursor = connection.cursor()
    try:
        # lets retention shrink the file; has an effect only before the first table is made
        cursor.execute("PRAGMA auto_vacuum = INCREMENTAL")
        cursor.execute("PRAGMA journal_mode = WAL")
        # a log that grew because of a long read is truncated when it starts over
        cursor.execute(f"PRAGMA journal_size_limit = {_LOG_LIMIT}")
        cursor.execute(f"PRAGMA wal_autocheckpoint = {_LONG_LOG}")
        # do not write a page that is freed as a whole only to overwrite it with zeros
        cursor.execute("PRAGMA secure_delete = FAST")
        # FULL: an acknowledged registration survives a power cut, not only a crash
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA foreign_keys = ON")
    finally:
        cursor.close()


def _begin(connection: Connection) -> None:
    options = connection.get_execution_options()
    is_reading, is_synced = options.get(READING, False), options.get(SYNCED, True)
    if not is_reading and connection.info.get(SYNCED, True) != is_synced:
        connection.exec_driver_sql(f"PRAGMA synchronous = {'FULL' if is_synced else 'NORMAL'}")
        connection.info[SYNCED] = is_synced
    connection.exec_driver_sql("BEGIN" if is_reading else "BEGIN IMMEDIATE")
