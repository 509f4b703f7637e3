"""The clock of a store that several daemons share: the database's, without a query each time.

What two daemons compare must not depend on the clocks of their machines. So the database's clock
is measured regularly, and this machine's monotonic clock continues it in between: a jump of the
wall clock changes nothing.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    bindparam,
    cast,
    func,
    literal,
    select,
)

from poller.clock import wall_clock
from poller.store.columns import instant, microseconds
from poller.store.database import Database, is_shared

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def monotonic() -> float:
    """Return monotonic seconds; where the system can, they include the time of a suspend."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if _COUNTS_SLEEP else time.monotonic()


_COUNTS_SLEEP: Final = hasattr(time, "CLOCK_BOOTTIME")


class DatabaseClock:
    """The time of the database in UTC; `measured` corrects it.

    The database read its time at an unknown moment between the begin and the end of a measurement.
    So a measurement corrects the clock only as far as it is outside of these bounds, and a slow
    answer does no harm.
    """

    def __init__(self, ticks: Callable[[], float] = monotonic) -> None:
        self._ticks = ticks
        self._offset: float | None = None

    @property
    def ticks(self) -> float:
        """The monotonic clock, to be read before and after a measurement."""
        return self._ticks()

    def measured(self, at: datetime, *, begun: float, ended: float) -> None:
        """Correct the clock: the database's time was `at` at a moment between these ticks."""
        seconds = (at - _EPOCH).total_seconds()
        least, most = seconds - ended, seconds - begun
        known = (least + most) / 2 if self._offset is None else self._offset
        self._offset = min(max(known, least), most)

    def __call__(self) -> datetime:
        """Return the time.

        :raises RuntimeError: before the first measurement.
        """
        if self._offset is None:
            raise RuntimeError("the database's clock was not measured yet")
        return _EPOCH + timedelta(seconds=self._ticks() + self._offset)


def read_clock(connection: Connection, now: datetime) -> datetime:
    """Return the time that leases are compared with: of a shared database, its own; else `now`."""
    if not is_shared(connection):
        return now
    return instant(connection.execute(select(lease_clock(connection, now))).scalar_one())


def lease_clock(connection: Connection, now: datetime) -> ColumnElement[int]:
    """Return the clock that leases are compared with, in microseconds since 1970 UTC.

    Daemons that share a PostgreSQL server use its clock; a SQLite file belongs to one daemon, which
    uses its own.
    """
    if is_shared(connection):
        return server_clock()
    return literal(microseconds(now), BigInteger)


def lease_clock_parameter(*, is_shared: bool) -> ColumnElement[int]:
    """Return `lease_clock` for a cached statement; for a file it is the parameter `clock`."""
    return server_clock() if is_shared else bindparam("clock", type_=BigInteger)


def lease_clock_values(connection: Connection, now: datetime) -> dict[str, int]:
    """Return the value of that parameter for an execution; empty on a server."""
    return {} if is_shared(connection) else {"clock": microseconds(now)}


def server_clock() -> ColumnElement[int]:
    """Return the clock of a PostgreSQL server, in microseconds since 1970 UTC."""
    seconds = func.extract("epoch", func.clock_timestamp())
    return cast(seconds * 1_000_000, BigInteger)


def clock_of(database: Database) -> Callable[[], datetime]:
    """Return the clock of the database where daemons may share it, else this machine's."""
    if database.is_sqlite:
        return wall_clock
    clock = DatabaseClock()
    with database.reading() as connection:
        read_clock(connection, wall_clock())  # the first answer of a connection is slow
        begun = monotonic()
        at = read_clock(connection, wall_clock())
        clock.measured(at, begun=begun, ended=monotonic())
    return clock
