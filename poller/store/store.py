"""The store as the engine, the control API and the commands use it.

A thin asynchronous shell: each method runs one transaction of the synchronous functions beside
this file on a worker thread, so database work never blocks the loop; a cancelled caller waits
for its transaction, which is committed or not at all.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from datetime import datetime
from functools import partial
from random import Random
from typing import Self
from uuid import uuid4

from anyio import CancelScope
from sqlalchemy import Connection

from poller.comms.gate import Pause
from poller.store import alerts as alert_rows
from poller.store import dead_letters as dead_letter_rows
from poller.store import deliveries as delivery_rows
from poller.store import events as event_rows
from poller.store import groups as group_rows
from poller.store import hints as hint_rows
from poller.store import registrations as registration_rows
from poller.store import reports, scopes
from poller.store import retention as retention_rows
from poller.store import sinks as sink_rows
from poller.store import sweeps as sweep_rows
from poller.store import watches as watch_rows
from poller.store.claims import ClaimRequest
from poller.store.counts import CountStore
from poller.store.daemons import Member
from poller.store.database import Call, Database
from poller.store.dead_letters import DeadLetter, DeadLetterCursor, ReplayedPage, Selection
from poller.store.deliveries import ClaimResult
from poller.store.errors import StoreUnavailable
from poller.store.events import Cursor, Page, StoredEvent
from poller.store.group_store import GroupStore
from poller.store.hints import Hinted
from poller.store.lock import FileLock
from poller.store.opening import prepare, void_leases
from poller.store.registrations import Forgotten, Registered
from poller.store.retention_store import RetentionStore
from poller.store.schema import metadata
from poller.store.shared import SharedStore
from poller.store.sinks import SinkReport
from poller.store.sqlite import FileCheck, check_file
from poller.store.sweeps import Listed, Swept
from poller.store.transactions import Threads, Timed, Transactions
from poller.store.watches import Claim, Lease, Observation
from poller.tracking.answer import Answer
from poller.tracking.delivery import DeliveryAttempt
from poller.tracking.pacing import DEFAULT_POLICY, Policy
from poller.tracking.registration import Registration
from poller.tracking.sweep_policy import Reach
from poller.tracking.watch import AccountScope, HintStrength, SortOrder, Watch


class Store:
    """The durable state of one scope. Make one with `open`; close it with `aclose`.

    `owner` names this process in leases. `now` is the clock that all daemons of a shared store use;
    `shared` coordinates them.

    Every method raises `StoreUnavailable` where the database refuses; nothing of its transaction
    is then written.
    """

    def __init__(
        self,
        database: Database,
        scope: AccountScope,
        *,
        lock: FileLock | None,
        threads: Threads,
        now: Callable[[], datetime],
        random: Random,
        timed: Timed | None = None,
    ) -> None:
        self.scope = scope
        self.owner = uuid4().hex
        self.now = now
        self.is_shared = not database.is_sqlite
        self.migrated_from: str | None = None
        self._database = database
        self._lock = lock
        self._threads = threads
        self._random = random
        self._transactions = Transactions(database, scope, threads=threads, timed=timed)
        self._write = self._transactions.write
        self._read = self._transactions.read
        self._browse = self._transactions.browse
        self.groups = GroupStore(self._transactions, now)
        self.counts = CountStore(self._transactions, now)
        self.shared = SharedStore(self._transactions, now)
        self.retention = RetentionStore(database, self._transactions, now)

    @classmethod
    async def open(
        cls,
        url: str,
        scope: AccountScope,
        *,
        now: Callable[[], datetime] | None = None,
        random: Random | None = None,
        as_daemon: bool = True,
        timed: Timed | None = None,
    ) -> Self:
        """Open the store of `scope`; `timed` is called after every transaction.

        `now` replaces its clock, in tests.

        As a daemon: take the lock of a SQLite file, migrate, void the leases of the process
        before it. Otherwise beside a running daemon: the store must exist and be current.

        :raises StoreInUse: where another daemon uses the file.
        :raises StoreTooNew: where a newer program migrated it.
        :raises StoreUnavailable: where it cannot be opened or written.
        """
        # it only spreads polls and retries; the system's generator costs a system call each time
        chance = random or Random()  # noqa: S311 - nothing secret
        threads, call = Threads(), Call()
        preparing = partial(prepare, url, scope, call, as_daemon=as_daemon)
        try:
            database, known, lock, migrated_from, clock = await threads.run(preparing)
        except BaseException:
            # also when cancelled: do not wait for a database that may not answer
            call.abandon()
            threads.close()
            raise
        store = cls(
            database,
            known,
            lock=lock,
            threads=threads,
            now=now or clock,
            random=chance,
            timed=timed,
        )
        store.migrated_from = migrated_from
        return store

    async def aclose(self) -> None:
        """Close the database and release its lock, after the transaction that is under way.

        A cancelled caller waits for this too: the lock must be released.
        """
        with CancelScope(shield=True), suppress(StoreUnavailable):
            await self._transactions.call(self._database.close)
        self._threads.close()
        if self._lock is not None:
            self._lock.release()

    def finishing(self, within: float) -> AbstractContextManager[None]:
        """End all calls within that many seconds from now, also those that begin in the block.

        For a process that must stop even if the database does not answer. A call that is ended
        raises `StoreUnavailable`.
        """
        return self._transactions.finishing(within)

    async def register(
        self,
        registrations: Sequence[Registration],
        *,
        policy: Policy = DEFAULT_POLICY,
        all_or_none: bool = False,
    ) -> list[Registered]:
        """Register in one transaction; durable when this returns. One result for each.

        `policy` says how often the groups that they join emit progress.

        :raises Conflict: with `all_or_none`, where one contradicts what is stored; nothing is
            registered then.
        """
        return await self._write(
            registration_rows.register_all,
            registrations,
            self.now(),
            policy=policy,
            all_or_none=all_or_none,
        )

    async def forget(self, operation_id: str, *, policy: Policy = DEFAULT_POLICY) -> Forgotten:
        """Stop watching; the result has no watch where the id is unknown."""
        return await self._write(
            registration_rows.forget_watch, operation_id, self.now(), policy=policy
        )

    async def add_watches(self, watches: Sequence[Watch]) -> None:
        """Insert watches as they are; none of them is known yet."""
        await self._write(registration_rows.add_watches, watches)

    async def claim_due(self, *, kinds: Collection[str], limit: int, lease: Lease) -> Claim:
        """Claim up to `limit` operations that are due, the longest overdue first.

        A claim does not wait for the disk: leases only save work.
        """
        return await self._transactions.write_unsynced(
            watch_rows.claim_due, kinds=kinds, limit=limit, lease=lease, now=self.now()
        )

    async def record(
        self,
        answers: Sequence[tuple[str, Answer]],
        *,
        kind: str,
        policy: Policy,
        lease_owner: str | None,
    ) -> list[Observation]:
        """Apply answers to the stored state; write state, events and deliveries in one commit.

        They are answers to requests for `kind`; what is watched as another kind now ignores them.
        """
        return await self._write(
            watch_rows.record,
            answers,
            kind=kind,
            policy=policy,
            lease_owner=lease_owner,
            now=self.now(),
            random=self._random,
        )

    async def record_hints(
        self, hints: Mapping[str, HintStrength], *, policy: Policy, most: int, discovers: bool
    ) -> Hinted:
        """Bring the polls of these ids forward, in one commit."""
        return await self._write(
            hint_rows.record_hints,
            hints,
            policy=policy,
            most=most,
            discovers=discovers,
            now=self.now(),
        )

    async def record_standstill(self, policy: Policy) -> list[StoredEvent]:
        """Fire the `stalled` alerts that are due, in one commit. Returns their events."""
        return await self._write(alert_rows.record_standstill, policy, self.now())

    async def due_by_kind(self, *, kinds: Collection[str]) -> dict[str, int]:
        """Count the due operations of each kind; kinds without any are left out."""
        return await self._read(sweep_rows.due_by_kind, kinds=kinds, now=self.now())

    async def tracked_of(self, *, kind: str) -> int:
        """Count the tracked operations of `kind`, which costs less than its `reach`."""
        return await self._read(sweep_rows.tracked_of, kind=kind)

    async def reach(self, *, kind: str) -> Reach:
        """Return how far back a list of `kind` must go to show all tracked operations."""
        return await self._read(sweep_rows.reach, kind=kind)

    async def still_due(self, *, kind: str, since: datetime) -> int:
        """Count the operations that were due before `since` and still are."""
        return await self._read(sweep_rows.still_due, kind=kind, since=since, now=self.now())

    async def record_page(
        self,
        page: Listed,
        *,
        policy: Policy,
        discover_since: datetime | None,
    ) -> Swept:
        """Record every tracked operation on a page of a list, due or not, in one commit."""
        return await self._write(
            sweep_rows.record_page,
            page,
            policy=policy,
            discover_since=discover_since,
            now=self.now(),
            random=self._random,
        )

    async def release(self, ids: Collection[str], owner: str, *, requeue: bool = False) -> None:
        """Release claims without an answer; with `requeue` what else is due comes first."""
        due_at = self.now() if requeue else None
        await self._write(watch_rows.release, ids, owner, due_at=due_at, now=self.now())

    async def release_all(self, owner: str) -> None:
        """Release all claims of an owner that stops."""
        await self._write(void_leases, owner)

    async def complete_and_claim(
        self, attempts: Sequence[tuple[int, DeliveryAttempt]], request: ClaimRequest
    ) -> ClaimResult:
        """Write the results of finished attempts and claim the next deliveries."""
        return await self._write(
            delivery_rows.complete_and_claim,
            attempts,
            request,
            now=self.now(),
            random=self._random,
        )

    async def release_deliveries(self, sink: str, positions: Sequence[int], owner: str) -> None:
        """Release claims of `owner` without an attempt."""
        await self._write(delivery_rows.release_deliveries, sink, positions, owner)

    async def waiting_ids(self, sink: str, limit: int, *, skip: int = 0) -> list[str]:
        """List the ids of events that wait for a sink, the oldest first, from `skip` on."""
        return await self._read(delivery_rows.waiting_ids, sink, limit, skip)

    async def recall(self, sink: str, delivered: Collection[str]) -> int:
        """Record as delivered the events that the sink already holds. Returns how many."""
        return await self._write(delivery_rows.recall, sink, sorted(delivered), self.now())

    async def configure_sinks(self, member: Member) -> list[SinkReport]:
        """Store the sinks and limits of a daemon, enable the sinks, and report on all sinks."""
        await self._write(sink_rows.configure, member, self.now())
        return await self.sinks()

    async def sinks(self) -> list[SinkReport]:
        """Report on every sink that is configured, or for which events are kept."""
        return await self._browse(sink_rows.report)

    async def dead_letters(
        self, selection: Selection, *, limit: int, after: DeadLetterCursor | None = None
    ) -> list[DeadLetter]:
        """List dead letters after a cursor, in commit order."""
        return await self._browse(
            dead_letter_rows.dead_letters, selection, limit=limit, after=after
        )

    async def replay_dead_letters(
        self,
        selection: Selection,
        *,
        limit: int = dead_letter_rows.REPLAYED_AT_ONCE,
        after: DeadLetterCursor | None = None,
    ) -> ReplayedPage:
        """Make up to `limit` dead letters after a cursor due again."""
        return await self._write(
            dead_letter_rows.replay, selection, now=self.now(), limit=limit, after=after
        )

    async def replay_event(self, event_id: str, to: Sequence[str] | None) -> list[str]:
        """Make one kept event due again, for the sinks `to`, else for all that it was for.

        Returns the names of the sinks.

        :raises UnknownEvent: where it is not kept.
        """
        return await self._write(dead_letter_rows.replay_event, event_id, to, now=self.now())

    async def pause(self) -> Pause | None:
        """Read the stored pause of the account."""
        return await self._read(scopes.read_pause)

    async def void_future_waits(self) -> int:
        """Make due what was set to wait in the future: the clock went back. Returns how many."""
        return await self._write(_void_future_waits, self.now())

    async def summary(self, *, since: datetime, closed: Collection[str] = ()) -> reports.Summary:
        """Count operations, deliveries and groups; `lost` and `dead` count from `since` on."""
        return await self._read(reports.summary, since=since, closed=closed)

    async def foreign_operations(self) -> int:
        """Count the watched operations of other scopes, which this daemon does not poll."""
        return await self._browse(scopes.foreign_operations)

    async def list_operations(
        self,
        wanted: reports.OperationFilter,
        *,
        limit: int,
        before: str | None = None,
        order: SortOrder = SortOrder.REGISTERED,
    ) -> reports.Listing:
        """List operations; `before` is the cursor of a page in the same order.

        :raises ValueError: where the cursor is of another order.
        """
        return await self._browse(
            reports.list_operations, wanted, limit=limit, before=before, order=order
        )

    async def seen_statuses(self, wanted: Collection[str]) -> frozenset[str]:
        """Return those of `wanted` that are the last seen status of any operation."""
        return await self._browse(reports.seen_statuses, wanted)

    async def find_operation(
        self, operation_id: str, *, latest: int
    ) -> reports.OperationDetail | None:
        """Find one operation and the `latest` of its events; None where it is not known."""
        return await self._browse(reports.find_operation, operation_id, latest=latest)

    async def event_page(
        self,
        *,
        after: Cursor,
        limit: int,
        operations: Collection[str] = (),
        groups: Collection[str] = (),
    ) -> Page:
        """Read up to `limit` events that come after a cursor, in commit order.

        Those of these operations, and of these groups and their members, or all.
        """
        return await self._browse(
            event_rows.page, after=after, limit=limit, operations=operations, groups=groups
        )

    async def last_cursor(self) -> Cursor:
        """Return the cursor after everything recorded so far."""
        return await self._browse(event_rows.last_cursor)

    async def find_cursor(self, event_id: str) -> Cursor | None:
        """Return the cursor after an event; None where it or a later one is no longer kept."""
        return await self._browse(event_rows.find_cursor, event_id)

    async def prove_writable(self) -> None:
        """Check that a registration could be committed now."""
        await self._transactions.beside(self._database.prove_room)
        await self._write(event_rows.prove_writable)

    async def check_file(self, turn: int) -> FileCheck | None:
        """Check a SQLite file, one table in each turn; None for other databases."""
        if self._database.path is None:
            return None
        tables = sorted(metadata.tables)
        table = tables[turn % len(tables)]
        return await self._transactions.beside(partial(check_file, self._database.path, table))

    async def drop_delivered(self) -> None:
        """Delete the events that wait for no sink, in a store without readers of events."""
        await self._write(retention_rows.drop_delivered)


def _void_future_waits(connection: Connection, scope: AccountScope, now: datetime) -> int:
    return (
        watch_rows.void_future_waits(connection, scope, now)
        + delivery_rows.void_future_waits(connection, scope, now)
        + group_rows.void_future_waits(connection, scope, now)
    )
