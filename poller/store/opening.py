"""Making a store ready for use: its lock, its schema, its scope, and its clock."""

from collections.abc import Callable
from datetime import datetime
from functools import partial

from sqlalchemy import Connection

from poller.store import deliveries as delivery_rows
from poller.store import scopes
from poller.store import watches as watch_rows
from poller.store.clock import clock_of
from poller.store.database import Call, Database
from poller.store.errors import StoreUnavailable
from poller.store.lock import FileLock
from poller.store.migrate import check_schema, migrate
from poller.store.migrations import HEAD
from poller.tracking.watch import AccountScope


def prepare(
    url: str, scope: AccountScope, call: Call, *, as_daemon: bool
) -> tuple[Database, AccountScope, FileLock | None, str | None, Callable[[], datetime]]:
    """Make a store ready for use, as a daemon under its lock and after a migration.

    Returns also the revision that was migrated from, None for no migration, and the store's clock.
    """
    database = Database(url)
    lock = None
    try:
        with database.calling(call):
            if as_daemon and database.path is not None:
                lock = FileLock(database.path).acquire()
                database.make_private()
            migrated_from = migrate(database) if as_daemon else None
            if not as_daemon:
                _require_current(database)
            known = database.write(partial(_take_over, scope=scope, void=lock is not None))
            clock = clock_of(database)
    except BaseException:
        database.close()
        if lock is not None:
            lock.release()
        raise
    return database, known, lock, migrated_from, clock


def _take_over(connection: Connection, *, scope: AccountScope, void: bool) -> AccountScope:
    """Find or create the scope. With `void`, void its leases: their owner has ended."""
    scope = scopes.find_or_create_scope(connection, scope)
    if void:
        void_leases(connection, scope)
    return scope


def void_leases(connection: Connection, scope: AccountScope, owner: str | None = None) -> None:
    """Void the leases of `owner`, or all."""
    watch_rows.void_leases(connection, scope, owner)
    delivery_rows.void_leases(connection, scope, owner)


def _require_current(database: Database) -> None:
    """Check that the store exists and is current: only the daemon may create or migrate it."""
    if database.path is not None and not database.path.exists():
        raise StoreUnavailable(
            f"store.url: there is no store at {database.path}; "
            "name the one of the running daemon, or start `poller run` once"
        )
    if check_schema(database) != HEAD:
        raise StoreUnavailable(
            "store.url: the store was made by an older program; "
            "start `poller run` once, which migrates it"
        )
