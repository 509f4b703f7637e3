"""The port: everything that the engine and the commands ask of the store.

A thin asynchronous shell. Each method runs one transaction of the synchronous functions beside
this file on a worker thread, so database work never blocks the loop; a cancelled caller waits
for its transaction, which is committed or not at all.
"""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from functools import partial
from random import Random
from typing import Self

from anyio import to_thread
from sqlalchemy import Connection

from poller.comms.gate import Pause
from poller.store import census as census_rows
from poller.store import dead_letters as dead_letter_rows
from poller.store import deliveries as delivery_rows
from poller.store import feed as feed_rows
from poller.store import pauses as pause_rows
from poller.store import queries as query_rows
from poller.store import retention as retention_rows
from poller.store import sinks as sink_rows
from poller.store import standing as standing_rows
from poller.store import sweeps as sweep_rows
from poller.store import tenancy
from poller.store import watches as watch_rows
from poller.store.census import WatchCount
from poller.store.database import Database
from poller.store.dead_letters import DeadLetter, Selection
from poller.store.deliveries import ClaimRequest, Exchange
from poller.store.errors import StoreUnavailable
from poller.store.feed import Cursor, Page
from poller.store.lock import FileLock
from poller.store.migrate import check_schema, migrate
from poller.store.migrations import HEAD
from poller.store.queries import Listing, OperationDetail, OperationFilter
from poller.store.retention import Pruned
from poller.store.sinks import SinkReport
from poller.store.standing import Summary
from poller.store.sweeps import Listed, Swept
from poller.store.tenancy import Tenant
from poller.store.transactions import Timed, Transactions
from poller.store.watches import Claim, Lease, Observation, Registered
from poller.tracking.answer import Answer
from poller.tracking.delivery import DeliveryAttempt, Subscription
from poller.tracking.pacing import Policy
from poller.tracking.registration import Registration
from poller.tracking.sweep_policy import Reach
from poller.tracking.watch import AccountScope, Watch

__all__ = ["Store"]


class Store:
    """The durable state of one scope. Make one with `open`; close it with `aclose`.

    Every method raises `StoreUnavailable` where the database refuses; nothing of its transaction
    is then written.
    """

    def __init__(
        self,
        database: Database,
        tenant: Tenant,
        *,
        lock: FileLock | None,
        now: Callable[[], datetime],
        random: Random,
        timed: Timed | None = None,
    ) -> None:
        self.tenant = tenant
        self.migrated_from: str | None = None
        self._database = database
        self._lock = lock
        self._now = now
        self._random = random
        transactions = Transactions(database, tenant, timed=timed)
        self._limiter = transactions.turn
        self._write = transactions.write
        self._read = transactions.read
        self._browse = transactions.browse

    @classmethod
    async def open(
        cls,
        url: str,
        scope: AccountScope,
        *,
        now: Callable[[], datetime],
        random: Random | None = None,
        as_daemon: bool = True,
        timed: Timed | None = None,
    ) -> Self:
        """Open the store of `scope`; `timed` is told of every transaction.

        As a daemon: take the lock of a SQLite file, migrate, void the leases of a process that is
        gone. Otherwise beside a running daemon: the store must be there and current.

        :raises StoreInUse: where another daemon has the file.
        :raises StoreTooNew: where a newer program migrated it.
        :raises StoreUnavailable: where it cannot be opened or written.
        """
        # it spreads looks and retries: what the system offers costs a call, and the turn, for each
        chance = random or Random()  # noqa: S311 - nothing secret
        opening = partial(cls._open, url, scope, now, chance, as_daemon=as_daemon, timed=timed)
        return await to_thread.run_sync(opening)

    @classmethod
    def _open(
        cls,
        url: str,
        scope: AccountScope,
        now: Callable[[], datetime],
        random: Random,
        *,
        as_daemon: bool,
        timed: Timed | None,
    ) -> Self:
        database = Database(url)
        lock = None
        try:
            if as_daemon and database.path is not None:
                lock = FileLock(database.path).acquire()
                database.make_private()
            migrated_from = migrate(database) if as_daemon else None
            if not as_daemon:
                _require_current(database)
            tenant = database.write(partial(_move_in, scope=scope, void=lock is not None))
        except BaseException:
            database.close()
            if lock is not None:
                lock.release()
            raise
        store = cls(database, tenant, lock=lock, now=now, random=random, timed=timed)
        store.migrated_from = migrated_from
        return store

    async def aclose(self) -> None:
        """Let go of the database and of its lock."""
        await to_thread.run_sync(self._database.close, limiter=self._limiter)
        if self._lock is not None:
            self._lock.release()

    async def register(
        self, wishes: Sequence[Registration], *, all_or_none: bool = False
    ) -> list[Registered]:
        """Register in one transaction; durable when this returns. One result for each wish.

        :raises Conflict: with `all_or_none`, where one contradicts what is known; none is then
            registered.
        """
        return await self._write(
            watch_rows.register_all, wishes, self._now(), all_or_none=all_or_none
        )

    async def forget(self, operation_id: str) -> Watch | None:
        """Stop watching; None where nothing is known of that id."""
        return await self._write(watch_rows.forget_watch, operation_id, self._now())

    async def add_watches(self, watches: Sequence[Watch]) -> None:
        """Insert watches as they are; none of them is known yet."""
        await self._write(watch_rows.add_watches, watches)

    async def claim_due(self, *, kinds: Collection[str], limit: int, lease: Lease) -> Claim:
        """Claim up to `limit` operations that are due, the longest overdue first."""
        return await self._write(
            watch_rows.claim_due, kinds=kinds, limit=limit, lease=lease, now=self._now()
        )

    async def record(
        self,
        answers: Sequence[tuple[str, Answer]],
        *,
        policy: Policy,
        subscriptions: Sequence[Subscription],
        lease_owner: str | None,
    ) -> list[Observation]:
        """Judge answers against the stored state; state, events and deliveries in one commit."""
        return await self._write(
            watch_rows.record,
            answers,
            policy=policy,
            subscriptions=subscriptions,
            lease_owner=lease_owner,
            now=self._now(),
            random=self._random,
        )

    async def due_by_kind(self, *, kinds: Collection[str]) -> dict[str, int]:
        """Count what is due of each kind; kinds with nothing due are left out."""
        return await self._read(sweep_rows.due_by_kind, kinds=kinds, now=self._now())

    async def tracked_of(self, *, kind: str) -> int:
        """Count what is tracked of `kind`, which costs less than its `reach`."""
        return await self._read(sweep_rows.tracked_of, kind=kind)

    async def reach(self, *, kind: str) -> Reach:
        """Tell how far a list of `kind` would have to go to show all that is tracked."""
        return await self._read(sweep_rows.reach, kind=kind)

    async def still_due(self, *, kind: str, since: datetime) -> int:
        """Count what was due before `since` and still is."""
        return await self._read(sweep_rows.still_due, kind=kind, since=since, now=self._now())

    async def record_page(
        self,
        page: Listed,
        *,
        policy: Policy,
        subscriptions: Sequence[Subscription],
        discover_since: datetime | None,
    ) -> Swept:
        """Record every tracked operation on a page of a list, due or not, in one commit."""
        return await self._write(
            sweep_rows.record_page,
            page,
            policy=policy,
            subscriptions=subscriptions,
            discover_since=discover_since,
            now=self._now(),
            random=self._random,
        )

    async def release(self, ids: Collection[str], owner: str, *, requeue: bool = False) -> None:
        """Give up claims without an answer; with `requeue` they go behind what else is due."""
        due_at = self._now() if requeue else None
        await self._write(watch_rows.release, ids, owner, due_at=due_at, now=self._now())

    async def release_all(self, owner: str) -> None:
        """Give up every claim of an owner that stops."""
        await self._write(_release_all, owner)

    async def complete_and_claim(
        self, attempts: Sequence[tuple[int, DeliveryAttempt]], demand: ClaimRequest
    ) -> Exchange:
        """Write what became of finished attempts and claim what may go next."""
        return await self._write(
            delivery_rows.complete_and_claim, attempts, demand, now=self._now(), random=self._random
        )

    async def release_deliveries(self, sink: str, positions: Sequence[int]) -> None:
        """Give up claims without an attempt."""
        await self._write(delivery_rows.release_deliveries, sink, positions)

    async def waiting_ids(self, sink: str, limit: int, *, skip: int = 0) -> list[str]:
        """List the ids of events that wait for a sink, the oldest first, from `skip` on."""
        return await self._read(delivery_rows.waiting_ids, sink, limit, skip)

    async def recall(self, sink: str, delivered: Collection[str]) -> int:
        """Count as delivered what the sink says it holds. Returns how many."""
        return await self._write(delivery_rows.recall, sink, sorted(delivered), self._now())

    async def configure_sinks(self, names: Collection[str]) -> list[SinkReport]:
        """Take note of the configured sinks, enable them, and report on all."""
        await self._write(sink_rows.configure, names, self._now())
        return await self.sinks()

    async def sinks(self) -> list[SinkReport]:
        """Report on every sink that is configured or still waited for."""
        return await self._browse(sink_rows.report)

    async def dead_letters(
        self, selection: Selection, *, limit: int, after: int = 0, after_sink: str | None = None
    ) -> list[DeadLetter]:
        """List dead letters in commit order, behind the position `after` and that sink there."""
        return await self._browse(
            dead_letter_rows.dead_letters,
            selection,
            limit=limit,
            after=after,
            after_sink=after_sink,
        )

    async def replay(self, selection: Selection) -> dict[str, int]:
        """Make the chosen dead letters due again. Returns how many for each sink."""
        return await self._write(dead_letter_rows.replay, selection, now=self._now())

    async def replay_event(self, event_id: str, to: Sequence[str] | None) -> list[str]:
        """Send one kept event again. Returns the sinks.

        :raises UnknownEvent: where it is not kept.
        """
        return await self._write(dead_letter_rows.replay_event, event_id, to, now=self._now())

    async def pause(self) -> Pause | None:
        """Read the stored pause of the account."""
        return await self._read(pause_rows.read_pause)

    async def write_pause(self, pause: Pause | None) -> None:
        """Store or remove the pause of the account."""
        await self._write(pause_rows.write_pause, pause)

    async def void_future_waits(self) -> int:
        """Make due what waits since the future: the clock went back. Returns how many."""
        return await self._write(_void_future_waits, self._now())

    async def standing(self, *, since: datetime, closed: Collection[str] = ()) -> Summary:
        """Count what is watched and what waits."""
        return await self._read(standing_rows.summary, since=since, closed=closed)

    async def census(self) -> Sequence[WatchCount]:
        """Count what is watched, by kind and status."""
        return await self._browse(census_rows.watch_counts, self._now())

    async def foreign_operations(self) -> int:
        """Count the operations of other scopes that wait here for their daemon."""
        return await self._browse(tenancy.foreign_operations)

    async def list_operations(
        self, wanted: OperationFilter, *, limit: int, before: str | None = None
    ) -> Listing:
        """List operations, the latest registration first; `before` is the cursor of a page."""
        return await self._browse(query_rows.list_operations, wanted, limit=limit, before=before)

    async def seen_statuses(self, wanted: Collection[str]) -> frozenset[str]:
        """Return those of `wanted` that the last seen status of something known is."""
        return await self._browse(query_rows.seen_statuses, wanted)

    async def find_operation(self, operation_id: str, *, latest: int) -> OperationDetail | None:
        """Find one operation and the `latest` of its events; None where it is not known."""
        return await self._browse(query_rows.find_operation, operation_id, latest=latest)

    async def feed_page(
        self, *, after: Cursor, limit: int, operations: Collection[str] = ()
    ) -> Page:
        """Read up to `limit` events that come after a mark, in commit order."""
        return await self._browse(feed_rows.page, after=after, limit=limit, operations=operations)

    async def last_mark(self) -> Cursor:
        """Return the mark behind everything recorded so far."""
        return await self._browse(feed_rows.last_mark)

    async def find_mark(self, event_id: str) -> Cursor | None:
        """Return the mark behind an event; None where it or one after it is no longer kept."""
        return await self._browse(feed_rows.find_mark, event_id)

    async def prove_writable(self) -> None:
        """Return where a registration could be acknowledged now."""
        await self._write(query_rows.prove_writable)

    async def drop_delivered(self) -> None:
        """Remove every event that waits for no sink, for a store that serves no reader of them."""
        await self._write(retention_rows.drop_delivered)

    async def tidy(self, *, retention_seconds: float) -> Pruned:
        """Run one small step of retention, and give up for sinks that never came back."""
        await self._write(sink_rows.bury_absent, self._now())
        pruned = await self._write(
            retention_rows.prune, retention=retention_seconds, now=self._now()
        )
        if pruned.operations or pruned.stubs:
            await to_thread.run_sync(self._database.vacuum, limiter=self._limiter)
        return pruned


def _move_in(connection: Connection, *, scope: AccountScope, void: bool) -> Tenant:
    """Find the scope. `void` says that whoever held leases in it is gone."""
    tenant = tenancy.move_in(connection, scope)
    if void:
        watch_rows.void_leases(connection, tenant)
        delivery_rows.void_leases(connection, tenant)
    return tenant


def _void_future_waits(connection: Connection, tenant: Tenant, now: datetime) -> int:
    return watch_rows.void_future_waits(connection, tenant, now) + delivery_rows.void_future_waits(
        connection, tenant, now
    )


def _release_all(connection: Connection, tenant: Tenant, owner: str) -> None:
    watch_rows.void_leases(connection, tenant, owner)
    delivery_rows.void_leases(connection, tenant, owner)


def _require_current(database: Database) -> None:
    """Check, where only the daemon may migrate, that there is nothing to migrate."""
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
