"""Transactions off the loop: each on a worker thread, in its turn, within its deadline, and timed.

A database that does not answer must not block the program: at the deadline the caller gets an
error and the connection is cut, so that its thread returns. Where even that does not help, the
thread is abandoned. The threads are daemon threads: none delays the end of the process.
"""

from asyncio import AbstractEventLoop, get_running_loop
from collections.abc import Callable, Iterator, Sized
from contextlib import contextmanager, suppress
from functools import partial
from queue import SimpleQueue
from threading import Thread
from time import perf_counter
from typing import Any, Concatenate, Final, Generic, ParamSpec, TypeVar

import anyio
from anyio import CancelScope, CapacityLimiter
from sqlalchemy import Connection

from poller.store.database import Call, Database
from poller.store.errors import StoreUnavailable
from poller.store.postgres import UNSYNCED
from poller.tracking.watch import AccountScope

P = ParamSpec("P")
T = TypeVar("T")

Timed = Callable[[str, float, bool], None]
"""Called after every transaction, in its worker thread: with its name (`watches.record`), its
seconds from begin to commit, waiting for the database's lock included, and whether it failed."""

# SQLite reads beside a writer; more than a few at once would only take CPU from the engine
_BROWSERS: Final = 2
# a call with thousands of items may take longer: a second for this number of items
_ITEMS_A_SECOND: Final = 500
# A pooled connection that has not answered its first statement by then is treated as dead. The
# thread continues with a new one.
_FIRST_ANSWER: Final = 3.0


class Transactions:
    """Runs functions of a connection and a scope, one transaction each.

    A cancelled caller waits for the end. Every method raises `StoreUnavailable` where the
    database refuses; nothing is then written. Where the database does not answer in time the same
    is raised, and the transaction may or may not be committed.
    """

    def __init__(
        self, database: Database, scope: AccountScope, *, threads: "Threads", timed: Timed | None
    ) -> None:
        self._database = database
        self._scope = scope
        self._timed = timed
        self._threads = threads
        # SQLite allows one writer at a time, and this keeps the order of calls
        self.turn = CapacityLimiter(1)
        one_connection = database.has_one_connection
        self._browsers = self.turn if one_connection else CapacityLimiter(_BROWSERS)
        self._scopes: set[CancelScope] = set()
        self._waiting: set[CancelScope] = set()
        self._last_moments: list[float] = []

    async def write(
        self,
        function: Callable[Concatenate[Connection, AccountScope, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Write, when it is its turn."""
        return await self._transaction(self._database.write, self.turn, function, *args, **kwargs)

    async def write_unsynced(
        self,
        function: Callable[Concatenate[Connection, AccountScope, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Write, when it is its turn, changes that a crash of the database may undo without harm.

        The commit does not wait for the disk.
        """
        write = partial(self._database.write, limits=UNSYNCED)
        return await self._transaction(write, self.turn, function, *args, **kwargs)

    async def read(
        self,
        function: Callable[Concatenate[Connection, AccountScope, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Read for the engine, when it is its turn."""
        return await self._transaction(self._database.read, self.turn, function, *args, **kwargs)

    async def browse(
        self,
        function: Callable[Concatenate[Connection, AccountScope, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Read for people and programs, beside the engine where the database allows it."""
        return await self._transaction(
            self._database.read, self._browsers, function, *args, **kwargs
        )

    async def call(self, function: Callable[[], T]) -> T:
        """Run a function that is not a transaction, when it is its turn."""
        return await self._run(function, limiter=self.turn, items=0)

    async def beside(self, function: Callable[[], T]) -> T:
        """Run a function that is not a transaction, beside the engine where possible."""
        return await self._run(function, limiter=self._browsers, items=0)

    @contextmanager
    def finishing(self, within: float) -> Iterator[None]:
        """End all calls within that many seconds from now, also those that begin in the block.

        For a process that must stop even if the database does not answer.
        """
        moment = anyio.current_time() + within
        self._last_moments.append(moment)
        for scope in self._scopes | self._waiting:
            scope.deadline = min(scope.deadline, moment)
        try:
            yield
        finally:
            self._last_moments.remove(moment)

    async def _transaction(
        self,
        transact: Callable[[Callable[[Connection], T]], T],
        limiter: CapacityLimiter,
        function: Callable[Concatenate[Connection, AccountScope, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run `function` in a transaction of the database."""

        def run() -> T:
            begun, refused = perf_counter(), False
            try:
                return transact(
                    lambda connection: function(connection, self._scope, *args, **kwargs)
                )
            except StoreUnavailable:
                refused = True
                raise
            finally:
                if self._timed is not None:
                    self._timed(_name(function), perf_counter() - begun, refused)

        return await self._run(run, limiter=limiter, items=_count(args))

    async def _run(self, function: Callable[[], T], *, limiter: CapacityLimiter, items: int) -> T:
        await self._take_turn(limiter)
        call = Call()
        seconds = self._database.call_timeout + items / _ITEMS_A_SECOND
        loop = get_running_loop()
        first = loop.call_later(_FIRST_ANSWER, self._cut_if_silent, call)
        scope = CancelScope(shield=True, deadline=self._deadline(seconds))
        self._scopes.add(scope)
        try:
            with scope:
                result = await self._threads.run(partial(self._calling, call, function))
                self._answered()
                return result
        finally:
            first.cancel()
            self._scopes.discard(scope)
            limiter.release()
        call.abandon()
        raise StoreUnavailable(
            f"store.url: {self._database.name}: no answer within {seconds:g} s; the transaction "
            "may or may not be done"
        )

    async def _take_turn(self, limiter: CapacityLimiter) -> None:
        """Wait for the turn, for as long as other calls are being answered."""
        with CancelScope(deadline=self._deadline(self._database.call_timeout)) as scope:
            self._waiting.add(scope)
            try:
                await limiter.acquire()
                return
            finally:
                self._waiting.discard(scope)
        raise StoreUnavailable(
            f"store.url: {self._database.name}: the database does not answer; nothing was done"
        )

    def _answered(self) -> None:
        """Extend the deadline of the callers that wait for their turn: the database answers."""
        deadline = self._deadline(self._database.call_timeout)
        for scope in self._waiting:
            scope.deadline = deadline

    def _deadline(self, seconds: float) -> float:
        return min([anyio.current_time() + seconds, *self._last_moments])

    def _cut_if_silent(self, call: Call) -> None:
        if not (self._database.is_sqlite or call.has_begun):
            call.cut()

    def _calling(self, call: Call, function: Callable[[], T]) -> T:
        with self._database.calling(call):
            return function()


class Threads:
    """Daemon threads that run one call at a time; as many as there are calls at once."""

    def __init__(self) -> None:
        self._idle: list[_Worker] = []
        self._is_closed = False

    async def run(self, function: Callable[[], T]) -> T:
        """Run `function` on a thread that is free, or on a new one; raises what it raises.

        Where the caller is cancelled, this ends at once, and the thread continues: a caller that
        waits for the end must shield itself.
        """
        job = _Job(function)
        worker = self._idle.pop() if self._idle else _Worker(self._free)
        worker.jobs.put(job)
        await job.done.wait()
        if job.error is not None:
            raise job.error
        result: T = job.result
        return result

    def close(self) -> None:
        """End the idle threads, and the others after their call."""
        self._is_closed = True
        while self._idle:
            self._idle.pop().jobs.put(None)

    def _free(self, worker: "_Worker") -> None:
        self._idle.append(worker)
        if self._is_closed:
            self.close()


class _Job(Generic[T]):
    """A function, the loop in which its caller waits, and its result."""

    def __init__(self, function: Callable[[], T]) -> None:
        self._function = function
        self._loop: AbstractEventLoop = get_running_loop()
        self.done = anyio.Event()
        self.result: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        """Run it, on this thread."""
        try:
            self.result = self._function()
        except BaseException as error:  # noqa: BLE001 - it is raised where the caller waits
            self.error = error

    def report(self) -> None:
        """Wake the caller."""
        with suppress(RuntimeError):  # the loop has ended meanwhile
            self._loop.call_soon_threadsafe(self.done.set)


class _Worker:
    """One thread."""

    def __init__(self, free: Callable[["_Worker"], None]) -> None:
        self.jobs: SimpleQueue[_Job[Any] | None] = SimpleQueue()
        self._free = free
        Thread(target=self._work, name="store worker", daemon=True).start()

    def _work(self) -> None:
        while (job := self.jobs.get()) is not None:
            job.run()
            self._free(self)
            job.report()
            del job


def _count(args: tuple[object, ...]) -> int:
    """Count the items that a call is about."""
    return max((len(arg) for arg in args if isinstance(arg, Sized)), default=0)


def _name(function: Callable[..., object]) -> str:
    """Name a transaction after its function and the module that it is in."""
    module = function.__module__.rpartition(".")[2]
    return f"{module}.{function.__name__.lstrip('_')}"
