"""SQLite's write-ahead log is copied into the file beside who writes, not in their commits."""

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Connection

from poller.store.database import Database
from poller.store.sqlite import Checkpoints

LIMIT = 4 * 1024 * 1024


def fill(connection: Connection) -> None:
    """Write half a megabyte."""
    connection.exec_driver_sql("INSERT INTO filling VALUES (randomblob(500000))")


def log_size(path: Path) -> int:
    """Return the bytes of the log."""
    return path.with_name(f"{path.name}-wal").stat().st_size


def wait_for_checkpoints() -> None:
    """Wait until no checkpoint is under way."""
    for thread in threading.enumerate():
        if thread.name == "store checkpoint":
            thread.join(10)


def test_a_long_log_is_copied_on_another_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No commit copies 1,000 pages, as SQLite would by itself; the log begins again."""
    path = tmp_path / "poller.db"
    database = Database(f"sqlite:///{path}")
    with database.writing() as connection:
        connection.exec_driver_sql("CREATE TABLE filling (content)")
    with monkeypatch.context() as context:
        context.setattr(Checkpoints, "begin_if_due", lambda _: None)
        for _ in range(20):
            database.write(fill)
    assert log_size(path) > 2 * LIMIT
    assert path.stat().st_size < LIMIT
    for _ in range(20):
        database.write(fill)
        wait_for_checkpoints()
    assert log_size(path) < 2 * LIMIT
    assert path.stat().st_size > 3 * LIMIT
    database.close()


def test_a_file_that_is_gone_is_not_made_again(tmp_path: Path) -> None:
    """A checkpoint of a path without a file does nothing, and nobody hears of it."""
    database = Database(f"sqlite:///{tmp_path / 'poller.db'}")
    with database.writing() as connection:
        connection.exec_driver_sql("CREATE TABLE filling (content BLOB)")
    (tmp_path / "poller.db").rename(tmp_path / "kept.db")
    (tmp_path / "poller.db-wal").write_bytes(bytes(LIMIT + 1))
    assert database._checkpoints is not None
    database._checkpoints.begin_if_due()
    wait_for_checkpoints()
    assert not (tmp_path / "poller.db").exists()
    database.close()


def test_deleted_pages_are_not_written_again(tmp_path: Path) -> None:
    """Debian's SQLite overwrites each page that becomes unused, and so writes twice as much."""
    database = Database(f"sqlite:///{tmp_path / 'poller.db'}")
    with database.writing() as connection:
        connection.exec_driver_sql("CREATE TABLE filling (content BLOB)")
    for _ in range(4):
        database.write(fill)
    with closing(sqlite3.connect(tmp_path / "poller.db")) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with database.writing() as connection:
        connection.exec_driver_sql("DELETE FROM filling")
    assert log_size(tmp_path / "poller.db") < 100_000
    database.close()
