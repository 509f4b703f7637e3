"""What the tests of the store share: a clock set by hand, answers, and a daemon that asks a store.

A `Daemon` is a store and the name under which it claims, with the arguments that rarely matter
filled in, so that a test shows only what it is about.
"""

import random
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from anyio import to_thread
from sqlalchemy import Table, func, select, update

from poller.comms.kinds import kind_named
from poller.comms.models import Operation, decode_operation
from poller.store import sinks as sink_rows
from poller.store.claims import ClaimRequest
from poller.store.daemons import DeclaredSink, Member, join
from poller.store.deliveries import ClaimResult
from poller.store.events import StoredEvent
from poller.store.groups import GroupChange
from poller.store.registrations import Forgotten, Registered
from poller.store.schema import deliveries, events, watches
from poller.store.store import Store
from poller.store.watches import Lease, Observation
from poller.tracking.answer import Answer, FoundAnswer
from poller.tracking.delivery import AttemptResult, DeliveryAttempt, Subscription
from poller.tracking.group import Group
from poller.tracking.pacing import Policy
from poller.tracking.registration import Registration
from poller.tracking.watch import AccountScope, Watch

__all__ = [
    "APP",
    "HOME",
    "LEASE",
    "NOW",
    "POLICY",
    "Clock",
    "Daemon",
    "attempt",
    "configure",
    "entropy",
    "op",
    "registration",
    "seen",
]

NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
HOME = AccountScope(account="AC1", base_url="https://comms.example.com/v1")
POLICY = Policy(progress_interval=0)
APP = Subscription(sink="app")
LEASE = 30.0
KINDS = ("messages", "emails")


class Clock:
    """A wall clock that is set by hand."""

    def __init__(self) -> None:
        self.time = NOW

    def __call__(self) -> datetime:
        """Tell the time."""
        return self.time

    def advance(self, seconds: float = 0, *, hours: float = 0, days: float = 0) -> None:
        """Let time pass; backwards where it is negative."""
        self.time += timedelta(seconds=seconds, hours=hours, days=days)


def declare(*sinks: str | Subscription, owner: str = "first") -> Member:
    """Return a daemon with these sinks; those named by their names want everything."""
    wanted = [Subscription(sink=sink) if isinstance(sink, str) else sink for sink in sinks]
    return Member(
        owner=owner, name=owner, sinks=[DeclaredSink(subscription=each) for each in wanted]
    )


async def configure(store: Store, *sinks: str | Subscription) -> None:
    """Configure the sinks of a daemon as it does at its start, without the report that it gets."""
    await store._write(sink_rows.configure, declare(*sinks), store.now())


def op(number: int) -> str:
    """Return an operation id; a larger number sorts later."""
    return f"comms_operation_0{number:025d}"


def registration(operation: str, kind: str = "messages", **labels: str) -> Registration:
    """Build the registration of an operation."""
    return Registration(id=operation, kind=kind, labels=labels)


def seen(
    operation: str,
    status: str = "PROCESSING",
    *,
    at: datetime = NOW,
    stats: Mapping[str, int] | None = None,
    **members: object,
) -> FoundAnswer:
    """Make the answer to a fetch; `members` are further members of the document."""
    found = snapshot(operation, status, stats=stats, **members)
    return FoundAnswer(found=found, begun_at=at, arrived_at=at)


def snapshot(
    operation: str,
    status: str = "PROCESSING",
    *,
    stats: Mapping[str, int] | None = None,
    **members: object,
) -> Operation:
    """Decode a document with these members, as the client does."""
    document = {"id": operation, "status": status, "stats": stats or {}, **members}
    return decode_operation(document, kind=kind_named("messages"), expected_id=operation)


def attempt(
    result: AttemptResult, at: datetime, *, status: int | None = None, error: str | None = None
) -> DeliveryAttempt:
    """Say how an attempt that was begun at `at` ended."""
    return DeliveryAttempt(result=result, begun_at=at, status=status, error=error)


class Daemon:
    """A store, its owner's name, and its clock."""

    def __init__(self, store: Store, clock: Clock, owner: str) -> None:
        self.store = store
        self.clock = clock
        self.owner = owner
        self.wanting: Sequence[Subscription] | None = None
        """The sinks that were declared last, for what is recorded next."""
        self.begun: dict[tuple[str, int], datetime] = {}
        """When each delivery was claimed last, and so its attempt begun."""

    @property
    def on_postgresql(self) -> bool:
        """Say whether leases are read against the server's clock, not ours."""
        return not self.store._database.is_sqlite

    def lease(self, seconds: float = LEASE) -> Lease:
        """Return a lease of this daemon."""
        return Lease(owner=self.owner, seconds=seconds)

    async def register(self, *ids: str) -> list[Registered]:
        """Register operations of the usual kind, without labels."""
        return await self.store.register([registration(one) for one in ids])

    async def join(self, group: str, *ids: str, **labels: str) -> list[Registered]:
        """Register operations as members of a group."""
        wanted = [Registration(id=one, kind="messages", labels=labels, group=group) for one in ids]
        return await self.store.register(wanted, policy=POLICY)

    async def seal(self, group: str, expected: int | None = None) -> GroupChange:
        """Seal a group."""
        return await self.store.groups.seal(group, expected, policy=POLICY)

    async def forget(self, operation: str) -> Forgotten:
        """Stop watching."""
        return await self.store.forget(operation, policy=POLICY)

    async def group(self, name: str) -> Group:
        """Return what is stored of a group."""
        found = await self.store.groups.find(name, latest=0)
        assert found is not None
        return found.group

    async def claim(self, limit: int = 10, kinds: Sequence[str] = KINDS) -> list[str]:
        """Claim what is due; the ids, the longest overdue first."""
        claim = await self.store.claim_due(kinds=kinds, limit=limit, lease=self.lease())
        return [watch.id for watch in claim.watches]

    async def record(
        self,
        *answers: tuple[str, Answer],
        kind: str = "messages",
        policy: Policy = POLICY,
        to: Sequence[Subscription] = (APP,),
    ) -> list[Observation]:
        """Record answers for a sink that wants everything."""
        if self.wanting != to:
            self.wanting = to
            await self.store._write(join, declare(*to), self.clock())
        return await self.store.record(answers, kind=kind, policy=policy, lease_owner=self.owner)

    async def observe(self, operation: str, status: str, **counters: int) -> Observation:
        """Record one snapshot that arrives now."""
        answer = seen(operation, status, at=self.clock(), stats=counters)
        [observation] = await self.record((operation, answer))
        return observation

    async def run_through(self, operation: str) -> list[str]:
        """Register an operation, see three changes of it, its end the last; the event ids."""
        await self.register(operation)
        observations = [
            await self.observe(operation, "PROCESSING", total=3, queued=3),
            await self.observe(operation, "PROCESSING", total=3, queued=1, delivered=2),
            await self.observe(operation, "COMPLETED", total=3, delivered=3),
        ]
        return [event.id for observation in observations for event in observation.events]

    async def exchange(
        self,
        *attempts: tuple[int, DeliveryAttempt],
        sink: str = "app",
        limit: int = 10,
        in_order: bool = False,
        in_flight: int = 0,
    ) -> ClaimResult:
        """Hand in finished attempts and claim deliveries."""
        request = ClaimRequest(
            sink=sink, limit=limit, in_order=in_order, in_flight=in_flight, lease=self.lease()
        )
        exchange = await self.store.complete_and_claim(attempts, request)
        for claim in exchange.claimed:
            self.begun[sink, claim.position] = self.clock()
        return exchange

    async def deliveries(
        self, sink: str = "app", *, limit: int = 10, in_order: bool = False
    ) -> list[StoredEvent]:
        """Claim deliveries, handing in nothing."""
        return list((await self.exchange(sink=sink, limit=limit, in_order=in_order)).claimed)

    async def settle(
        self,
        claimed: Sequence[StoredEvent],
        result: AttemptResult,
        *,
        sink: str = "app",
        status: int | None = None,
        error: str | None = None,
    ) -> ClaimResult:
        """Hand in the same result for several attempts, and claim nothing."""
        ended = [
            (
                claim.position,
                attempt(result, self.begun[sink, claim.position], status=status, error=error),
            )
            for claim in claimed
        ]
        return await self.exchange(*ended, sink=sink, limit=0)

    async def drain(self, sink: str = "app", *, in_order: bool = False) -> list[StoredEvent]:
        """Deliver everything that can go; the events in the order in which they went."""
        gone: list[StoredEvent] = []
        while claimed := await self.deliveries(sink, limit=500, in_order=in_order):
            await self.settle(claimed, AttemptResult.DELIVERED, sink=sink)
            gone += claimed
        return gone

    async def expire_leases(self) -> None:
        """Let all leases run out; the server's clock cannot be set, so the leases are."""
        if not self.on_postgresql:
            self.clock.advance(LEASE + 1)
            return
        long_ago = NOW - timedelta(days=365 * 50)

        def expire() -> None:
            with self.store._database.writing() as connection:
                for table in (watches, deliveries):
                    connection.execute(
                        update(table)
                        .where(table.c.lease_until.is_not(None))
                        .values(lease_until=long_ago)
                    )

        await to_thread.run_sync(expire)

    async def rows(self, table: Table) -> list[dict[str, Any]]:
        """Read a table, by its primary key."""

        def read() -> list[dict[str, Any]]:
            with self.store._database.reading() as connection:
                query = select(table).order_by(*table.primary_key)
                return [dict(row) for row in connection.execute(query).mappings()]

        return await to_thread.run_sync(read)

    async def positions(self) -> list[int]:
        """Read the positions of all events, in order."""

        def read() -> list[int]:
            with self.store._database.reading() as connection:
                query = select(events.c.position).order_by(events.c.position)
                return list(connection.execute(query).scalars())

        return await to_thread.run_sync(read)

    async def count(self, table: Table) -> int:
        """Count the rows of a table."""

        def read() -> int:
            with self.store._database.reading() as connection:
                query = select(func.count()).select_from(table)
                return connection.execute(query).scalar_one()

        return await to_thread.run_sync(read)

    async def watch(self, operation: str) -> Watch:
        """Return what is stored of an operation."""
        [known] = await self.store.register([registration(operation)])
        assert known.watch is not None
        return known.watch


def entropy() -> random.Random:
    """Return randomness that is the same in every run."""
    return random.Random(0)  # noqa: S311 - jitter, not secrets
