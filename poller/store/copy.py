"""Copying a store into an empty one of the same schema: between SQLite and PostgreSQL, either way.

The target is written in one transaction. A copy that ends early leaves it empty, and no daemon can
start on half of a store.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from itertools import groupby
from typing import Any, Final

from sqlalchemy import Column as SqlColumn
from sqlalchemy import (
    Connection,
    MetaData,
    RowMapping,
    Table,
    TypeDecorator,
    delete,
    func,
    insert,
    literal_column,
    select,
    text,
)
from sqlalchemy.exc import DBAPIError

from poller.clock import wall_clock
from poller.store.clock import read_clock
from poller.store.daemons import is_alive
from poller.store.database import Database, is_shared
from poller.store.errors import StoreError, StoreInUse, StoreUnavailable
from poller.store.lock import FileLock
from poller.store.migrate import Condition, create, hold_schema, inspect_store
from poller.store.migrations import HEAD
from poller.store.postgres import COPY
from poller.store.schema import counters, daemons, metadata

# rows in memory at a time
_BATCH: Final = 500
# each table after those that it refers to
_TABLES: Final[Sequence[Table]] = metadata.sorted_tables


class StoreNotEmpty(StoreError):
    """The target of a copy is not empty."""

    def __init__(self, message: str) -> None:
        super().__init__(message, needs_change=True)


def copy_store(source: str, target: str, on_table: Callable[[str, int], None]) -> Mapping[str, int]:
    """Copy every row of the store at `source` into the empty one at `target`; blocks.

    Creates the target if it does not exist. Calls `on_table` with the name of each table and the
    number of its rows once these are written, before they are committed. Returns these numbers.

    :raises StoreInUse: where a daemon runs on one of them.
    :raises StoreNotEmpty: where the target holds anything.
    :raises StoreUnavailable: where one of them cannot be used, has another schema than this
        program, or the target did not take every row.
    """
    with closing(Database(source)) as reading, closing(Database(target)) as writing:
        if _is_same_file(reading, writing):
            raise StoreNotEmpty(f"{reading.name} is source and target of the copy")
        found = inspect_store(source)
        if not found.revision:
            raise StoreUnavailable(
                f"there is no store at {reading.name}; set store.url to the one to copy",
                needs_change=True,
            )
        _require_current(reading.name, found.revision)
        _refuse_holder(reading.name, found)
        _refuse_holder(writing.name, inspect_store(target))
        with _locked(reading), _locked(writing):
            writing.make_private()
            with writing.writing(COPY) as connection:
                _make_ready(connection, writing.name)
                written = _write(connection, _read(reading), on_table)
                _set_sequences(connection)
                _check(connection, writing.name, written)
    return written


def _is_same_file(one: Database, other: Database) -> bool:
    if one.path is None or other.path is None:
        return False
    return one.path.exists() and other.path.exists() and one.path.samefile(other.path)


def _require_current(name: str, revision: str) -> None:
    if revision != HEAD:
        raise StoreUnavailable(
            f"{name} has schema {revision}, this program has {HEAD}; "
            "start `poller run` on it once, which migrates it",
            needs_change=True,
        )


def _refuse_holder(name: str, found: Condition) -> None:
    if found.holder is not None:
        raise StoreInUse(f"{name} is in use by a daemon (pid {found.holder}); stop it first")


@contextmanager
def _locked(database: Database) -> Iterator[None]:
    """Prevent daemons from starting on a SQLite file."""
    if database.path is None:
        yield
        return
    lock = FileLock(database.path).acquire()
    try:
        yield
    finally:
        lock.release()


def _make_ready(connection: Connection, name: str) -> None:
    """Make the tables where there are none; check that they are empty, counters included."""
    if revision := hold_schema(connection):
        _require_current(name, revision)
    else:
        create(connection, HEAD)
    _lock_tables(connection)
    full = {
        table.name: rows
        for table in _TABLES
        if table is not counters and (rows := _count(connection, table))
    }
    used = connection.execute(select(counters.c.value).where(counters.c.value != 0)).first()
    if full or used:
        held = ", ".join(f"{rows} {table}" for table, rows in full.items()) or "counted events"
        raise StoreNotEmpty(f"{name} is not empty ({held}); name an empty store")
    connection.execute(delete(counters))


def _lock_tables(connection: Connection) -> None:
    """Lock out writers until the end of the transaction; a SQLite file is locked already.

    Fails at once where another transaction writes: source and target may be the same database
    under two names.
    """
    if is_shared(connection):
        names = ", ".join(table.name for table in _TABLES)
        connection.execute(text(f"LOCK TABLE {names} IN SHARE ROW EXCLUSIVE MODE NOWAIT"))


def _read(database: Database) -> Iterator[tuple[Table, Sequence[RowMapping]]]:
    """Read each table in the order of its key, in one transaction in which nobody else writes."""
    with database.writing(COPY) as connection:
        _refuse_daemons(connection, database.name)
        _lock_tables(connection)
        _refuse_daemons(connection, database.name)
        for table in map(_stored, _TABLES):
            query = select(table).order_by(*table.primary_key)
            rows = connection.execute(query.execution_options(yield_per=_BATCH)).mappings()
            number = 0
            for batch in rows.partitions():
                number += len(batch)
                yield table, batch
            if number == 0:
                yield table, ()
            _check(connection, database.name, {table.name: number})


def _refuse_daemons(connection: Connection, name: str) -> None:
    """Check that no daemon is alive: on a server each writes a heartbeat every second."""
    if not is_shared(connection):
        return
    at = read_clock(connection, wall_clock())
    living = [
        row["name"] for row in connection.execute(select(daemons)).mappings() if is_alive(row, at)
    ]
    if living:
        raise StoreInUse(
            f"{name} is in use by daemons ({', '.join(living)}); stop them, and wait 5 seconds "
            "after one was killed"
        )


def _write(
    connection: Connection,
    batches: Iterator[tuple[Table, Sequence[RowMapping]]],
    on_table: Callable[[str, int], None],
) -> dict[str, int]:
    written: dict[str, int] = {}
    for name, of_table in groupby(batches, key=lambda batch: batch[0].name):
        written[name] = 0
        for table, rows in of_table:
            if rows:
                _insert(connection, table, rows)
            written[name] += len(rows)
        on_table(name, written[name])
    return written


def _insert(connection: Connection, table: Table, rows: Sequence[RowMapping]) -> None:
    if not is_shared(connection):
        connection.execute(insert(table), [dict(row) for row in rows])
        return
    # takes a third of the time of INSERT
    quote = connection.dialect.identifier_preparer.quote
    names = ", ".join(quote(column.name) for column in table.columns)
    statement = f"COPY {quote(table.name)} ({names}) FROM STDIN"
    driver: Any = connection.connection.driver_connection
    try:
        with driver.cursor() as cursor, cursor.copy(statement) as lines:
            for row in rows:
                lines.write_row(tuple(row.values()))
    except connection.dialect.loaded_dbapi.Error as error:
        raise DBAPIError(statement, None, error) from error


def _stored(table: Table) -> Table:
    """Return the table with the types of the database, so that values are copied as stored.

    Documents are not parsed.
    """
    columns: list[SqlColumn[Any]] = [
        SqlColumn(
            column.name,
            column.type.impl_instance if isinstance(column.type, TypeDecorator) else column.type,
            primary_key=column.primary_key,
        )
        for column in table.columns
    ]
    return Table(table.name, MetaData(), *columns)


def _set_sequences(connection: Connection) -> None:
    """Let PostgreSQL give the next row an id after those that were copied, as SQLite does."""
    if not is_shared(connection):
        return
    for table in _TABLES:
        column = table.autoincrement_column
        if column is not None:
            newest = func.max(column)
            sequence = func.pg_get_serial_sequence(table.name, column.name)
            connection.execute(
                select(func.setval(sequence, func.coalesce(newest, 1), newest.is_not(None)))
            )
    # a planner without statistics reads a whole account to find a few rows
    connection.execute(text(f"ANALYZE {', '.join(table.name for table in _TABLES)}"))


def _check(connection: Connection, name: str, expected: Mapping[str, int]) -> None:
    """Check that each table has that many rows.

    :raises StoreUnavailable: where one has not.
    """
    for table in _TABLES:
        found = _count(connection, table) if table.name in expected else None
        if found is not None and found != expected[table.name]:
            raise StoreUnavailable(
                f"{name}: {table.name} has {found} rows, {expected[table.name]} were copied; "
                "the copy was undone; repeat it"
            )


def _count(connection: Connection, table: Table) -> int:
    query = select(func.count(literal_column("*"))).select_from(table)
    return connection.execute(query).scalar_one()
