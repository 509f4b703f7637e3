"""PostgreSQL: how a connection is made, how a transaction begins, what an error means.

No call may wait for long on a daemon or a server that is dead. A connection attempt ends after
seconds, and the kernel gives up a peer that is silent. In each transaction the server itself limits
statements, waits for locks and idle time, so a daemon that is frozen in the middle of one blocks
the others for seconds only. The first statement of each transaction sets these limits, not the
session, so they also hold behind a pooler that assigns connections by transaction.
"""

import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import URL, Engine, create_engine
from sqlalchemy.exc import ArgumentError

from poller.store.errors import StoreUnavailable

# libpq's names; each only where the URL does not set it
_DEFAULTS: Final = {
    "connect_timeout": "5",
    "keepalives": "1",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "2",
    "tcp_user_timeout": "8000",
    # after a failover, the old primary must not be mistaken for the new one
    "target_session_attrs": "read-write",
}
_PREPARE: Final = "prepare_threshold"
# PostgreSQL, appendix A: foreign_key_violation, unique_violation, serialization_failure,
# deadlock_detected, lock_not_available
_CONTENTION: Final = frozenset({"23503", "23505", "40001", "40P01", "55P03"})
# read_only_sql_transaction: this server has become a standby
_READ_ONLY: Final = "25006"
# idle_in_transaction_session_timeout, admin_shutdown, crash_shutdown, cannot_connect_now
_CUT: Final = frozenset({"25P03", "57P01", "57P02", "57P03"})
# the class of errors for missing rights and for tables that exist already
_WRONG_DATABASE: Final = "42"
TAKES_NO_WRITES: Final = (
    "this server takes no writes; name the primary server, and a user that may write"
)
_HINTS: Final = {
    "55P03": "another transaction locks the rows for too long; see pg_stat_activity",
    "57014": "the server is overloaded, or another transaction locks the rows",
    "25P03": "this process was suspended or starved of CPU in the middle of a transaction",
    _READ_ONLY: TAKES_NO_WRITES,
}
# the errors of libpq where `target_session_attrs` excludes the server
_REFUSED_BY_CLIENT: Final = ("session is read-only", "server is in hot standby mode")
_CHECK: Final = "check store.url, and that the server runs and lets this user in"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long the server lets a transaction take, in seconds.

    `idle` is how long it waits for the next statement. `lock` is longer, so that the server has
    ended an idle transaction that holds the lock before others give up. Without `is_synced`
    a commit does not wait for the disk: a crash of the database may undo it.
    """

    statement: int = 8
    lock: int = 6
    idle: int = 5
    is_synced: bool = True

    @property
    def first_statement(self) -> str:
        """Return the first statement of a transaction; its answer says whether it is read-only."""
        settings = {
            "statement_timeout": self.statement,
            "lock_timeout": self.lock,
            "idle_in_transaction_session_timeout": self.idle,
        }
        calls = [f"set_config('{name}', '{value}s', true)" for name, value in settings.items()]
        if not self.is_synced:
            calls.append("set_config('synchronous_commit', 'off', true)")
        return f"SELECT current_setting('transaction_read_only'), {', '.join(calls)}"


ORDINARY: Final = Limits()
UNSYNCED: Final = Limits(is_synced=False)
# a daemon that starts meanwhile waits for the end, unless the migrating process is frozen
MIGRATION: Final = Limits(statement=3600, lock=3600, idle=8)
# each of the two stores idles while the other one reads or writes a batch
COPY: Final = Limits(statement=3600, lock=3600, idle=60)


def make_engine(url: URL) -> Engine:
    """Make the engine of a PostgreSQL database; it connects to nothing yet.

    :raises StoreUnavailable: where the driver is missing, or the URL sets an unknown option.
    """
    try:
        from psycopg import pq  # noqa: PLC0415 - an optional dependency, for servers only
    except ImportError as error:
        raise StoreUnavailable(
            "store.url: there is no driver for PostgreSQL; pip install 'comms-poller[postgres]'",
            needs_change=True,
        ) from error
    options: dict[str, Any] = {_PREPARE: _threshold(url)}
    known = {option.keyword.decode() for option in pq.Conninfo.get_defaults()}
    for name in url.query:
        if name not in known and name != _PREPARE:
            raise _bad(f"unknown option {name!r}", "name one that libpq knows")
    for name, value in _DEFAULTS.items():
        if name not in url.query:
            options[name] = value
        elif value.isdecimal():
            _whole_number(url, name)
    try:
        return create_engine(
            url.difference_update_query([_PREPARE]),
            connect_args=options,
            use_native_hstore=False,
            # there are few callers, and the connection of an abandoned call must not block another
            max_overflow=-1,
        )
    except ArgumentError as error:
        raise _bad(str(error), "correct it") from error


def _threshold(url: URL) -> int | None:
    """Return after how many runs a statement is prepared; None for never.

    By default never: behind a pooler the next transaction may be on a connection that does not
    know the statement.
    """
    value = url.query.get(_PREPARE)
    return None if value in {None, "", "none", "None"} else _whole_number(url, _PREPARE)


def _whole_number(url: URL, name: str) -> int:
    value = url.query[name]
    if isinstance(value, str) and value.isascii() and value.isdecimal():
        return int(value)
    none = ' or "none"' if name == _PREPARE else ""
    raise _bad(f"option {name} is {value!r}", f"set a whole number{none}")


def _bad(fault: str, fix: str) -> StoreUnavailable:
    return StoreUnavailable(f"store.url: {fault}; {fix}", needs_change=True)


def is_contention(sqlstate: str) -> bool:
    """Whether this transaction conflicted with another one, and is rolled back."""
    return sqlstate in _CONTENTION


def is_cut(sqlstate: str) -> bool:
    """Whether this connection, or its server, accepts no writes any more."""
    return sqlstate in _CUT or sqlstate == _READ_ONLY


def needs_change(sqlstate: str) -> bool:
    """Whether the error stays until the rights or the database are changed."""
    return sqlstate.startswith(_WRONG_DATABASE)


def hint_for(sqlstate: str, message: str, *, may_be_unreachable: bool) -> str | None:
    """Return what to do about an error, None where that is unknown."""
    if message.endswith(_REFUSED_BY_CLIENT):
        return TAKES_NO_WRITES
    return _HINTS.get(sqlstate, _CHECK if may_be_unreachable else None)


def cut(connection: Any) -> None:  # noqa: ANN401 - the driver's type, which may not be installed
    """End a connection from another thread: the thread that waits for an answer gets an error."""
    # it may be closed at this moment
    with suppress(Exception), socket.socket(fileno=os.dup(connection.pgconn.socket)) as line:
        line.shutdown(socket.SHUT_RDWR)
