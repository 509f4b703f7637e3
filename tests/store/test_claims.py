"""Claiming operations: who is due, in what order, and for how long they are somebody's."""

from datetime import timedelta

import anyio
import pytest

from poller.store.store import Store
from poller.tracking.answer import FailedAnswer
from poller.tracking.watch import NotFoundStreak, Phase
from tests.store.cluster import Cluster
from tests.store.conftest import SLOW_ON_POSTGRESQL
from tests.store.scenes import HOME, LEASE, NOW, Clock, Daemon, declare, op, registration, seen

pytestmark = pytest.mark.anyio


async def test_the_longest_overdue_comes_first(daemon: Daemon) -> None:
    """Whatever their ids; those that are not due do not come at all."""
    for number in (3, 1, 2):
        await daemon.register(op(number))
        daemon.clock.advance(1)
    await daemon.observe(op(1), "PROCESSING")
    assert await daemon.claim(limit=1) == [op(3)]
    assert await daemon.claim() == [op(2)]
    assert await daemon.claim() == []


@pytest.mark.parametrize("limit", [1, 7, 40])
async def test_no_more_than_asked_for_are_claimed(daemon: Daemon, limit: int) -> None:
    """However the database goes about it."""
    await daemon.register(*(op(number) for number in range(30)))
    assert len(await daemon.claim(limit=limit)) == min(limit, 30)


async def test_no_more_than_asked_for_by_whatever_plan(cluster: Cluster, clock: Clock) -> None:
    """PostgreSQL may choose to run a subquery again for each row: it must not lock more."""
    name = cluster.create()
    for way in "hashagg sort hashjoin mergejoin material memoize".split():
        cluster.execute(f"ALTER DATABASE {name} SET enable_{way} = off")
    store = await Store.open(cluster.url(name), HOME, now=clock)
    daemon = Daemon(store, clock, "first")
    await store.configure_sinks(declare("app"))
    await daemon.register(*(op(number) for number in range(20)))
    await daemon.record(*((op(number), seen(op(number))) for number in range(10)))
    assert len(await daemon.claim(limit=1)) == 1
    assert len(await daemon.deliveries(limit=1)) == 1
    assert len(await daemon.deliveries(limit=2, in_order=True)) == 2
    await store.aclose()
    cluster.drop(name)


@SLOW_ON_POSTGRESQL
async def test_only_the_kinds_that_may_be_asked_for(daemon: Daemon) -> None:
    """A kind that is paused stays due."""
    await daemon.store.register([registration(op(1), "emails"), registration(op(2), "messages")])
    assert await daemon.claim(kinds=["emails"]) == [op(1)]
    assert await daemon.claim(kinds=[]) == []
    assert await daemon.claim(kinds=["messages"]) == [op(2)]


async def test_what_is_leased_is_nobody_elses(daemon: Daemon, another: Daemon) -> None:
    """Neither the owner nor another daemon gets it twice."""
    await daemon.register(op(1), op(2))
    [mine] = await daemon.claim(limit=1)
    [theirs] = await another.claim()
    assert {mine, theirs} == {op(1), op(2)}
    assert await daemon.claim() == []
    assert await another.claim() == []


async def test_daemons_that_claim_at_once_share_what_is_due(
    daemon: Daemon, another: Daemon
) -> None:
    """Each operation is claimed by one of them."""
    await daemon.register(*(op(number) for number in range(200)))
    claimed: list[str] = []

    async def claim(who: Daemon) -> None:
        while got := await who.claim(limit=9):
            claimed.extend(got)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(claim, daemon)
        tasks.start_soon(claim, another)
    # one that the other has locked is skipped, and may be left for the next round
    claimed += await daemon.claim(limit=200)
    assert sorted(claimed) == [op(number) for number in range(200)]


async def test_a_lease_runs_out(daemon: Daemon, another: Daemon) -> None:
    """What its holder never answered for is claimed by the next."""
    await daemon.register(op(1))
    await daemon.claim()
    if not daemon.on_postgresql:
        daemon.clock.advance(LEASE - 1)
        assert await another.claim() == []
    await daemon.expire_leases()
    assert await another.claim() == [op(1)]


async def test_a_recorded_answer_ends_the_lease(daemon: Daemon) -> None:
    """The next look is due by the pacing, not by the lease."""
    await daemon.register(op(1))
    await daemon.claim()
    await daemon.observe(op(1), "PROCESSING")
    assert await daemon.claim() == []
    daemon.clock.advance(1)
    assert await daemon.claim() == [op(1)]


async def test_an_answer_by_another_leaves_the_lease_alone(daemon: Daemon, another: Daemon) -> None:
    """A sweep saw it while a fetch is under way: nobody starts a second fetch."""
    await daemon.register(op(1))
    await daemon.claim()
    await another.observe(op(1), "PROCESSING")
    daemon.clock.advance(LEASE / 2)
    assert await another.claim() == []
    await daemon.observe(op(1), "PROCESSING")
    daemon.clock.advance(LEASE)
    assert await another.claim() == [op(1)]


async def test_a_released_claim_is_as_due_as_it_was(daemon: Daemon, another: Daemon) -> None:
    """Only its owner can release it."""
    await daemon.register(op(1), op(2))
    daemon.clock.advance(1)
    await daemon.register(op(3))
    assert set(await daemon.claim(limit=2)) == {op(1), op(2)}
    await another.store.release([op(1), op(2)], another.owner)
    assert await another.claim() == [op(3)]
    await another.store.release([op(3)], another.owner)
    await daemon.store.release([op(1)], daemon.owner)
    assert await another.claim() == [op(1), op(3)]


async def test_a_released_claim_can_go_behind_what_else_is_due(daemon: Daemon) -> None:
    """One that cannot be asked now must not keep the others from their turn."""
    await daemon.register(op(1))
    daemon.clock.advance(1)
    await daemon.register(op(2))
    daemon.clock.advance(1)
    assert await daemon.claim(limit=1) == [op(1)]
    await daemon.store.release([op(1)], daemon.owner, requeue=True)
    assert await daemon.claim() == [op(2), op(1)]


@SLOW_ON_POSTGRESQL
async def test_an_empty_claim_tells_when_to_come_back(daemon: Daemon, another: Daemon) -> None:
    """The next one that is due and not leased, of these kinds; None if nothing is."""
    lease = daemon.lease()
    empty = await daemon.store.claim_due(kinds=["messages"], limit=5, lease=lease)
    assert (list(empty.watches), empty.next_due) == ([], None)
    await daemon.store.register(
        [registration(op(1)), registration(op(2)), registration(op(3), "emails")]
    )
    assert await another.claim(limit=1, kinds=["messages"]) != []
    [mine] = await daemon.claim(kinds=["messages"])
    await daemon.observe(mine, "PROCESSING")
    later = await daemon.store.claim_due(kinds=["messages"], limit=5, lease=lease)
    assert later.next_due == (await daemon.watch(mine)).next_poll.due_at
    assert later.next_due == NOW + timedelta(seconds=1)


async def test_a_failure_makes_it_wait_and_nothing_else(daemon: Daemon) -> None:
    """It backs off; its state is what it was."""
    await daemon.register(op(1))
    before = await daemon.watch(op(1))
    failed = FailedAnswer(begun_at=NOW, arrived_at=NOW)
    [observation] = await daemon.record((op(1), failed))
    after = await daemon.watch(op(1))
    assert observation.events == []
    assert after.next_poll.due_at > before.next_poll.due_at
    streak = NotFoundStreak(failed=1)
    assert after == before.evolve(next_poll=after.next_poll, not_found_streak=streak)


@SLOW_ON_POSTGRESQL
async def test_what_has_ended_is_never_due(daemon: Daemon) -> None:
    """Nor is what was forgotten, however late."""
    await daemon.run_through(op(1))
    await daemon.register(op(2))
    await daemon.store.forget(op(2))
    daemon.clock.advance(days=30)
    assert await daemon.claim() == []
    assert (await daemon.watch(op(1))).phase is Phase.ENDED


async def test_a_clock_that_went_back_keeps_nobody_waiting(daemon: Daemon) -> None:
    """What waits since a moment in the future is due now: operations and deliveries."""
    await daemon.register(op(1), op(2))
    daemon.clock.advance(hours=5)
    await daemon.observe(op(1), "PROCESSING")
    await daemon.expire_leases()
    back = NOW + timedelta(seconds=10)
    daemon.clock.time = back
    assert await daemon.claim() == [op(2)]
    assert await daemon.deliveries() == []
    assert await daemon.store.void_future_waits() == 2
    assert await daemon.claim() == [op(1)]
    assert len(await daemon.deliveries()) == 1
    assert await daemon.store.void_future_waits() == 0
    assert (await daemon.watch(op(1))).next_poll.due_at == back
