"""Transactions off the loop: each on a worker thread, in its turn, and timed."""

from collections.abc import Callable
from time import perf_counter
from typing import Concatenate, Final, ParamSpec, TypeVar

from anyio import CapacityLimiter, to_thread
from sqlalchemy import Connection

from poller.store.database import Database
from poller.store.errors import StoreUnavailable
from poller.tracking.watch import AccountScope

P = ParamSpec("P")
T = TypeVar("T")

Timed = Callable[[str, float, bool], None]
"""Called after every transaction, in its worker thread: with its name (`watches.record`), its
seconds from begin to commit, waiting for the database's lock included, and whether it failed."""

# SQLite reads beside a writer; more than a few at once would only take CPU from the engine
_BROWSERS: Final = 2


class Transactions:
    """Runs functions of a connection and a scope, one transaction each.

    A cancelled caller waits for the end. Every method raises `StoreUnavailable` where the
    database refuses; nothing is then written.
    """

    def __init__(self, database: Database, scope: AccountScope, *, timed: Timed | None) -> None:
        self._database = database
        self._scope = scope
        self._timed = timed
        # one writer at a time is all that SQLite allows, and order is kept for free
        self.turn = CapacityLimiter(1)
        one_connection = database.has_one_connection
        self._browsers = self.turn if one_connection else CapacityLimiter(_BROWSERS)

    async def write(
        self,
        function: Callable[Concatenate[Connection, AccountScope, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Write, when it is its turn."""

        def work(connection: Connection) -> T:
            return function(connection, self._scope, *args, **kwargs)

        def run() -> T:
            return self._clocked(function, lambda: self._database.write(work))

        return await to_thread.run_sync(run, limiter=self.turn)

    async def read(
        self,
        function: Callable[Concatenate[Connection, AccountScope, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Read for the engine, when it is its turn."""

        def work(connection: Connection) -> T:
            return function(connection, self._scope, *args, **kwargs)

        return await to_thread.run_sync(
            lambda: self._clocked(function, lambda: self._reading(work)), limiter=self.turn
        )

    async def browse(
        self,
        function: Callable[Concatenate[Connection, AccountScope, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Read for people and programs, beside the engine where the database allows it."""

        def work(connection: Connection) -> T:
            return function(connection, self._scope, *args, **kwargs)

        return await to_thread.run_sync(
            lambda: self._clocked(function, lambda: self._reading(work)), limiter=self._browsers
        )

    def _reading(self, work: Callable[[Connection], T]) -> T:
        with self._database.reading() as connection:
            return work(connection)

    def _clocked(self, function: Callable[..., object], run: Callable[[], T]) -> T:
        begun, refused = perf_counter(), False
        try:
            return run()
        except StoreUnavailable:
            refused = True
            raise
        finally:
            if self._timed is not None:
                self._timed(_name(function), perf_counter() - begun, refused)


def _name(function: Callable[..., object]) -> str:
    """Name a transaction after its function and the module that it is in."""
    module = function.__module__.rpartition(".")[2]
    return f"{module}.{function.__name__.lstrip('_')}"
