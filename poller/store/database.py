"""The connection: how a transaction runs on SQLite and on PostgreSQL, and what an error means.

Synchronous, used from worker threads. Writers lock from the first statement on (SQLite
`BEGIN IMMEDIATE`), so a transaction that has read can always write. A transaction that failed
before its commit changed nothing: it runs again where the next try may succeed.
"""

import json
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from functools import partial
from time import monotonic
from typing import Any, Final, NoReturn, TypeVar

from sqlalchemy import (
    ARRAY,
    URL,
    ColumnElement,
    Connection,
    String,
    TextClause,
    Update,
    any_,
    bindparam,
    event,
    func,
    select,
    tuple_,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, OperationalError

from poller.addresses import safe_url
from poller.store import postgres, sqlite
from poller.store.errors import Retryable, StoreUnavailable
from poller.store.postgres import ORDINARY, Limits
from poller.store.sqlite import sqlite_path

T = TypeVar("T")

# seconds for which a write that found the disk full counts against readiness
_REFUSAL_COUNTS: Final = 5.0
_TRIES: Final = 3
# a transaction that failed later than this is not tried again: its caller waits
_RETRY_WITHIN: Final = 4.0
# Seconds within which a call must end. Of a SQLite file they include the wait for its lock.
_SERVER_TIMEOUT: Final = 10.0
_FILE_TIMEOUT: Final = 15.0


class Call:
    """One call on a worker thread, which another thread may cut short.

    `has_begun` is true once the database has answered; `is_abandoned` once nobody waits for the
    result any more.
    """

    def __init__(self) -> None:
        self.has_begun = False
        self.is_abandoned = False
        self._connection: Any = None

    def connected(self, connection: Any) -> None:  # noqa: ANN401 - a connection of either driver
        """Set the connection that the call uses, None for none."""
        self._connection = connection

    def cut(self) -> None:
        """Make the connection fail, so that the thread that waits for its answer returns."""
        connection = self._connection
        if isinstance(connection, sqlite3.Connection):
            with suppress(sqlite3.Error):
                connection.interrupt()
        elif connection is not None:
            postgres.cut(connection)

    def abandon(self) -> None:
        """Cut the call short: nobody waits for it any more, and it must not begin anything."""
        self.is_abandoned = True
        self.cut()


class Database:
    """An engine and its transactions.

    A SQLite database in memory lives in one connection, which only one transaction can use at a
    time: `has_one_connection`. `call_timeout` is how many seconds an ordinary call may take.

    :raises StoreUnavailable: where the driver of the database is not installed, or its URL sets
        something that it does not know.
    """

    def __init__(self, url: str) -> None:
        parsed = make_url(url)
        if parsed.drivername == "postgresql":
            parsed = parsed.set(drivername="postgresql+psycopg")
        self.url: URL = parsed
        self.path = sqlite_path(url)
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        self.has_one_connection = self.is_sqlite and self.path is None
        self._checkpoints = None if self.path is None else sqlite.Checkpoints(self.path)
        self.call_timeout = _FILE_TIMEOUT if self.is_sqlite else _SERVER_TIMEOUT
        self._local = threading.local()
        self._identity: tuple[int, int] | None = None
        self._last_refusal = (-_REFUSAL_COUNTS, "")
        if self.is_sqlite:
            self.engine = sqlite.make_engine(parsed, has_one_connection=self.has_one_connection)
        else:
            self.engine = postgres.make_engine(parsed)
            event.listen(self.engine, "do_connect", self._connect)

    @property
    def name(self) -> str:
        """How messages name it: its file, or its URL without password and query."""
        return str(self.path or safe_url(self.url.render_as_string(hide_password=False)))

    @property
    def is_copying_log(self) -> bool:
        """Whether the write-ahead log of a SQLite file is being copied into it."""
        return self._checkpoints is not None and self._checkpoints.is_running

    @contextmanager
    def calling(self, call: Call) -> Iterator[None]:
        """Let `call` cut short what this thread does in the block."""
        self._local.call = call
        try:
            yield
        finally:
            self._local.call = None
            call.connected(None)

    def write(self, work: Callable[[Connection], T], limits: Limits = ORDINARY) -> T:
        """Run `work` in a transaction that writes; again where the next try may succeed.

        :raises StoreUnavailable: where the database refuses.
        """
        return self._run(partial(self.writing, limits), work)

    def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a transaction that only reads; again where the next try may succeed.

        :raises StoreUnavailable: where the database refuses.
        """
        return self._run(self.reading, work)

    @contextmanager
    def writing(self, limits: Limits = ORDINARY) -> Iterator[Connection]:
        """Run a transaction that writes; commits at the end, rolls back on an exception.

        :raises Retryable: where nothing was done, and the next try may succeed.
        :raises StoreUnavailable: where the database refuses.
        """
        with _releasing(self._begin(limits, reads=False)) as connection:
            with self._translating_errors():
                yield connection
            self._check_not_abandoned()
            self._check_file()
            with self._translating_errors(commits=True):
                connection.commit()
        if self._checkpoints is not None:
            self._checkpoints.begin_if_due()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Run a transaction that only reads, beside a writer.

        :raises Retryable: where the next try may succeed.
        :raises StoreUnavailable: where the database refuses.
        """
        with (
            _releasing(self._begin(ORDINARY, reads=True)) as connection,
            self._translating_errors(),
        ):
            yield connection

    def make_private(self) -> None:
        """Make a SQLite file that only its owner can read: labels and counters are private.

        Does nothing where the file exists. Where it cannot be made, opening it reports the reason.
        """
        if self.path is not None:
            with suppress(OSError):
                os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))

    def prove_room(self) -> None:
        """Check that a SQLite file could grow now.

        Rewriting a row in place does not prove it: that works on a full disk too.

        :raises StoreUnavailable: where the disk is full, or a write has failed just now.
        """
        if self.path is None:
            return
        moment, refusal = self._last_refusal
        if monotonic() - moment < _REFUSAL_COUNTS:
            raise StoreUnavailable(refusal)
        try:
            sqlite.prove_room(self.path)
        except OSError as error:
            raise StoreUnavailable(
                f"store.url: {self.name}: the file cannot grow: {error.strerror}; free some space"
            ) from error

    def shrink(self) -> bool:
        """Return some unused pages of a SQLite file to the system; True where more should follow.

        A tenth of the file stays unused, so that new rows do not make it grow again at once.

        :raises StoreUnavailable: where the database refuses.
        """
        if self._checkpoints is None:
            return False
        with self._translating_errors(), closing(self.engine.raw_connection()) as connection:
            has_more = sqlite.shrink(connection)
        self._checkpoints.begin_if_due()
        return has_more

    def close(self) -> None:
        """Release every connection."""
        self.engine.dispose()

    def _run(
        self,
        transaction: Callable[[], AbstractContextManager[Connection]],
        work: Callable[[Connection], T],
    ) -> T:
        begun = monotonic()
        for _ in range(_TRIES - 1):
            try:
                with transaction() as connection:
                    return work(connection)
            except Retryable:
                # the next try finds what another daemon wrote, or gets a new connection
                self._check_not_abandoned()
                if monotonic() - begun > _RETRY_WITHIN:
                    raise
        with transaction() as connection:
            return work(connection)

    def _begin(self, limits: Limits, *, reads: bool) -> Connection:
        """Return a connection in a transaction that has had its first answer.

        A dead connection of the pool fails at its first statement: nothing was done, and a new one
        takes its place.
        """
        try:
            with self._translating_errors():
                return self._begin_once(limits, reads=reads)
        except Retryable:
            self._check_not_abandoned()
        with self._translating_errors():
            return self._begin_once(limits, reads=reads)

    def _begin_once(self, limits: Limits, *, reads: bool) -> Connection:
        connection = self.engine.connect()
        try:
            self._set_connection(connection.connection.driver_connection)
            if self.is_sqlite:
                self._check_file()
                return connection.execution_options(
                    **{sqlite.READING: reads, sqlite.SYNCED: limits.is_synced}
                )
            answer = connection.exec_driver_sql(limits.first_statement).one()
            if answer[0] == "on":
                self._drop_standby(connection)
            if (call := self._call) is not None:
                call.has_begun = True
        except BaseException:
            connection.close()
            raise
        return connection

    def _drop_standby(self, connection: Connection) -> NoReturn:
        """Drop a connection that refuses writes and all others: their server is a standby now."""
        connection.invalidate()
        self.engine.dispose()
        raise Retryable(f"store.url: {self.name}: {postgres.TAKES_NO_WRITES}")

    def _check_file(self) -> None:
        """Refuse to work in a file that was deleted or replaced.

        SQLite would continue in the old file, and what it acknowledges would be lost when the
        process ends.
        """
        if self.path is None:
            return
        found = sqlite.identity(self.path)
        if self._identity is None:
            self._identity = found
        elif found != self._identity:
            happened = "deleted" if found is None else "replaced"
            raise StoreUnavailable(
                f"store.url: {self.name}: the file was {happened} while this daemon used it; stop "
                "the daemon, put the file back, and start again",
                needs_change=True,
            )

    def _connect(self, dialect: Any, _record: Any, args: Any, options: Any) -> Any:  # noqa: ANN401 - SQLAlchemy's
        """Connect to a server, so that the setup before the first transaction can be cut short."""
        connection = dialect.connect(*args, **options)
        self._set_connection(connection)
        return connection

    @property
    def _call(self) -> Call | None:
        call: Call | None = getattr(self._local, "call", None)
        return call

    def _set_connection(self, connection: Any) -> None:  # noqa: ANN401 - a connection of either driver
        if (call := self._call) is not None:
            call.connected(connection)
            self._check_not_abandoned()

    def _check_not_abandoned(self) -> None:
        """End a call whose caller no longer waits, before it does anything."""
        if (call := self._call) is not None and call.is_abandoned:
            raise StoreUnavailable(f"store.url: {self.name}: the caller no longer waits for this")

    @contextmanager
    def _translating_errors(self, *, commits: bool = False) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise self._store_error(error.orig, error, commits=commits) from error
        except sqlite3.Error as error:
            raise self._store_error(error, None, commits=commits) from error

    def _store_error(
        self, cause: BaseException | None, error: DBAPIError | None, *, commits: bool
    ) -> StoreUnavailable:
        text = str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
        prefix = f"store.url: {self.name}: {text}"
        if isinstance(cause, sqlite3.Error):
            hint = sqlite.hint_for(cause)
            message = prefix if hint is None else f"{prefix}; {hint}"
            if sqlite.is_out_of_room(cause):
                self._last_refusal = (monotonic(), message)
            return StoreUnavailable(message, needs_change=sqlite.needs_change(cause))
        state = getattr(cause, "sqlstate", None) or ""
        is_lost = error is not None and error.connection_invalidated
        if postgres.is_cut(state):
            # the other connections to a server that stops or refuses writes are useless too
            self.engine.dispose()
            is_lost = True
        if commits and is_lost:
            return StoreUnavailable(
                f"{prefix}; the connection ended at the commit, which may or may not be done"
            )
        kind = Retryable if is_lost or postgres.is_contention(state) else StoreUnavailable
        hint = postgres.hint_for(
            state, text, may_be_unreachable=isinstance(error, OperationalError)
        )
        return kind(
            prefix if hint is None else f"{prefix}; {hint}",
            needs_change=postgres.needs_change(state),
        )


@contextmanager
def _releasing(connection: Connection) -> Iterator[Connection]:
    """Return a connection to the pool at the end, and roll back what was not committed.

    If the rollback fails, the connection is lost and its server rolls back by itself. So the
    result of the work stands, and only the connection is dropped.
    """
    try:
        yield connection
    finally:
        try:
            connection.close()
        except DBAPIError:
            if not connection.closed:
                connection.invalidate()
                connection.close()


def is_shared(connection: Connection) -> bool:
    """Whether several daemons may use this store at once: a SQLite file belongs to one."""
    return connection.dialect.name == "postgresql"


def among(key: ColumnElement[str], name: str, *, is_shared: bool) -> ColumnElement[bool]:
    """Match the rows that have one of the values of the parameter `name`, made by `listed`.

    Many parameters cost more time than the rows: each is checked, rendered and bound by itself.
    """
    if is_shared:
        return key == any_(bindparam(name, type_=ARRAY(String)))
    values = func.json_each(bindparam(name, type_=String)).table_valued("value")
    return key.in_(select(values.c.value))


def listed(connection: Connection, values: Sequence[str]) -> object:
    """Return these values as `among` takes them."""
    return list(values) if is_shared(connection) else json.dumps(list(values))


def in_order(
    *key: ColumnElement[Any],
    where: Sequence[ColumnElement[bool] | TextClause],
    limit: int | None = None,
) -> ColumnElement[bool]:
    """Match the rows of these conditions, locked one after the other in the order of their key.

    With `limit` at most that many, the first ones.

    Without this, an update of many rows locks them in any order, and two daemons that write the
    same rows could deadlock. A CTE runs once, before the update. `count_written` counts the rows
    of such an update.
    """
    rows = select(*key).where(*where).order_by(*key).limit(limit).with_for_update().cte("locked")
    found = tuple_(*key) if len(key) > 1 else key[0]
    return found.in_(select(*rows.c))


def count_written(connection: Connection, statement: Update, key: ColumnElement[Any]) -> int:
    """Run an update and count its rows: SQLite's driver counts none for an update with a CTE."""
    return len(connection.execute(statement.returning(key)).all())
