"""The clock of a store that several daemons share: the database's, read without asking it.

What two daemons compare must not depend on the clocks of their machines. So the database's clock
is measured now and then, and goes on by this machine's monotonic clock in between: a jump of the
wall clock changes nothing.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import Connection, select

from poller.clock import wall_clock
from poller.store.columns import instant
from poller.store.database import Database, is_shared, lease_clock

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def monotonic() -> float:
    """Return seconds that go on while this machine is suspended, where the system counts those."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if _COUNTS_SLEEP else time.monotonic()


_COUNTS_SLEEP: Final = hasattr(time, "CLOCK_BOOTTIME")


class DatabaseClock:
    """The time of the database in UTC; `measured` keeps it right.

    A measurement says no more than that the database's time lay between its begin and its end. So
    it only moves a clock that is outside of these: a slow answer does no harm.
    """

    def __init__(self, ticks: Callable[[], float] = monotonic) -> None:
        self._ticks = ticks
        self._offset: float | None = None

    @property
    def ticks(self) -> float:
        """The monotonic clock, to be read before and after a measurement."""
        return self._ticks()

    def measured(self, at: datetime, *, begun: float, ended: float) -> None:
        """Note that the database said `at` between these ticks."""
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
    """Return the time that leases are read against: the database's where it is shared, else now."""
    if not is_shared(connection):
        return now
    return instant(connection.execute(select(lease_clock(connection, now))).scalar_one())


def clock_of(database: Database) -> Callable[[], datetime]:
    """Return the clock of the database where daemons may share it, else this machine's."""
    if database.is_sqlite:
        return wall_clock
    clock = DatabaseClock()
    with database.reading() as connection:
        read_clock(connection, wall_clock())  # the first answer of a connection takes its time
        begun = monotonic()
        at = read_clock(connection, wall_clock())
        clock.measured(at, begun=begun, ended=monotonic())
    return clock
