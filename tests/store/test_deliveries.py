"""Deliveries: what may go to a sink now, in what order, and what an attempt makes of it."""

from datetime import timedelta

import anyio
import pytest

from poller.store.events import StoredEvent
from poller.store.schema import deliveries
from poller.tracking.delivery import AttemptResult, DeliveryState, Subscription
from tests.store.conftest import SLOW_ON_POSTGRESQL
from tests.store.scenes import APP, LEASE, NOW, Daemon, attempt, op, seen

pytestmark = pytest.mark.anyio

MODES = pytest.mark.parametrize("in_order", [True, False], ids=["in_order", "parallel"])


def places(claimed: list[StoredEvent]) -> list[tuple[str, int]]:
    """Return operation and position of each."""
    return [(claim.subject, claim.position) for claim in claimed]


async def three_of_two(daemon: Daemon) -> None:
    """Record three events of each of two operations, in turns: 1 and 2 begin, 2 ends."""
    await daemon.register(op(1), op(2))
    for step in (1, 2, 3):
        await daemon.observe(op(1), "PROCESSING", sent=step)
        await daemon.observe(op(2), "PROCESSING", sent=step)


@SLOW_ON_POSTGRESQL
async def test_in_order_takes_several_of_one_operation(daemon: Daemon) -> None:
    """A batch in commit order: its sink writes it from top to bottom."""
    await three_of_two(daemon)
    claimed = await daemon.deliveries(limit=5, in_order=True)
    assert [claim.position for claim in claimed] == [1, 2, 3, 4, 5]


@SLOW_ON_POSTGRESQL
async def test_parallel_takes_one_of_each_operation(daemon: Daemon) -> None:
    """What is under way side by side is of different operations."""
    await three_of_two(daemon)
    first = await daemon.deliveries()
    assert places(first) == [(op(1), 1), (op(2), 2)]
    assert await daemon.deliveries() == []
    await daemon.settle(first[:1], AttemptResult.DELIVERED)
    assert places(await daemon.deliveries()) == [(op(1), 3)]


@MODES
async def test_a_successor_waits_while_its_predecessor_is_leased(
    daemon: Daemon, *, in_order: bool
) -> None:
    """Also when the lease has run out: then the predecessor goes again, first."""
    await three_of_two(daemon)
    [first] = await daemon.deliveries(limit=1, in_order=in_order)
    rest = await daemon.deliveries(in_order=in_order)
    assert {claim.subject for claim in rest} == {op(2)}
    await daemon.expire_leases()
    again = await daemon.deliveries(limit=1, in_order=in_order)
    assert again == [first]


@SLOW_ON_POSTGRESQL
@MODES
async def test_a_successor_waits_while_its_predecessor_backs_off(
    daemon: Daemon, *, in_order: bool
) -> None:
    """Other operations go on; it goes with or after its predecessor's next attempt."""
    await three_of_two(daemon)
    [first] = await daemon.deliveries(limit=1, in_order=in_order)
    await daemon.settle([first], AttemptResult.FAILED)
    others = await daemon.drain(in_order=in_order)
    assert {claim.subject for claim in others} == {op(2)}
    daemon.clock.advance(2)
    gone = await daemon.drain(in_order=in_order)
    assert places(gone) == [(op(1), 1), (op(1), 3), (op(1), 5)]


@SLOW_ON_POSTGRESQL
@MODES
async def test_a_dead_predecessor_lets_it_pass(daemon: Daemon, *, in_order: bool) -> None:
    """Given up after three days; each successor gets an attempt of its own."""
    await three_of_two(daemon)
    daemon.clock.advance(days=3)
    [first] = await daemon.deliveries(limit=1, in_order=in_order)
    exchange = await daemon.settle([first], AttemptResult.FAILED, status=500, error="500 at night")
    assert exchange.finished[first.position].state is DeliveryState.DEAD
    gone = await daemon.drain(in_order=in_order)
    assert sorted(claim.position for claim in gone) == [2, 3, 4, 5, 6]
    assert [claim.position for claim in gone if claim.subject == op(1)] == [3, 5]


@MODES
async def test_sinks_do_not_wait_for_each_other(daemon: Daemon, *, in_order: bool) -> None:
    """Order is per sink: what one has not taken holds up no other."""
    await daemon.register(op(1))
    to = [APP, Subscription(sink="other")]
    await daemon.record((op(1), seen(op(1))), to=to)
    await daemon.record((op(1), seen(op(1), "COMPLETED")), to=to)
    assert len(await daemon.deliveries("app", in_order=in_order)) >= 1
    assert len(await daemon.drain("other", in_order=in_order)) == 2


@MODES
async def test_dispatchers_that_claim_at_once_keep_order(
    daemon: Daemon, another: Daemon, *, in_order: bool
) -> None:
    """Two daemons deliver to one sink: each event once, per operation one after the other."""
    numbers = range(12)
    await daemon.register(*(op(number) for number in numbers))
    for step in (1, 2, 3):
        answers = [(op(number), seen(op(number), stats={"sent": step})) for number in numbers]
        await daemon.record(*answers)
    gone: list[StoredEvent] = []

    async def deliver(who: Daemon) -> None:
        while len(gone) < 36:
            claimed = await who.deliveries(limit=5, in_order=in_order)
            gone.extend(claimed)
            await who.settle(claimed, AttemptResult.DELIVERED)

    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(deliver, daemon)
            tasks.start_soon(deliver, another)
    for number in numbers:
        own = [claim.position for claim in gone if claim.subject == op(number)]
        assert own == sorted(set(own))
    assert len(gone) == 36


async def test_the_longest_due_goes_first(daemon: Daemon) -> None:
    """Of those that were never tried; what has failed does not push ahead of them."""
    await daemon.register(op(1), op(2), op(3))
    for number in (1, 2):
        await daemon.observe(op(number), "PROCESSING")
    [first, _] = await daemon.deliveries()
    await daemon.settle([first], AttemptResult.REFUSED, status=400)
    daemon.clock.advance(LEASE + 5)
    await daemon.observe(op(3), "PROCESSING")
    await daemon.expire_leases()
    claimed = [(await daemon.deliveries(limit=1))[0].subject for _ in range(3)]
    assert claimed == [op(2), op(3), op(1)]


@SLOW_ON_POSTGRESQL
async def test_an_exchange_tells_what_became_of_each_attempt(daemon: Daemon) -> None:
    """Delivered, or when it goes again; and when to come back where nothing can go."""
    await daemon.register(op(1), op(2))
    await daemon.observe(op(1), "PROCESSING")
    await daemon.observe(op(2), "PROCESSING")
    [one, two] = await daemon.deliveries()
    exchange = await daemon.exchange(
        (one.position, attempt(AttemptResult.DELIVERED, daemon.clock(), status=204)),
        (two.position, attempt(AttemptResult.FAILED, daemon.clock(), status=503, error="503 busy")),
    )
    done, waits = exchange.finished[one.position], exchange.finished[two.position]
    assert (done.state, done.attempts, done.status) == (DeliveryState.DELIVERED, 1, 204)
    assert (waits.state, waits.attempts, waits.error) == (DeliveryState.WAITING, 1, "503 busy")
    assert exchange.claimed == []
    assert exchange.next_due == waits.due_at
    assert NOW < waits.due_at <= NOW + timedelta(seconds=1.2)


@SLOW_ON_POSTGRESQL
async def test_a_claim_says_whether_it_is_all(daemon: Daemon) -> None:
    """A dispatcher comes back at once only where there may be more."""
    await daemon.register(*(op(number) for number in range(3)))
    for number in range(3):
        await daemon.observe(op(number), "PROCESSING")
    assert not (await daemon.exchange(limit=2)).is_all
    rest = await daemon.exchange(limit=2)
    assert (len(rest.claimed), rest.is_all) == (1, True)
    # a failure makes the sink one that is tried with one event at a time
    failed = attempt(AttemptResult.FAILED, daemon.clock())
    await daemon.exchange((rest.claimed[0].position, failed), limit=0)
    await daemon.expire_leases()
    daemon.clock.advance(60)
    probe = await daemon.exchange(limit=2)
    assert (len(probe.claimed), probe.is_all) == (1, False)


@SLOW_ON_POSTGRESQL
async def test_a_late_result_changes_nothing(daemon: Daemon, another: Daemon) -> None:
    """The lease ran out, another delivered it: the failure of the first attempt is history."""
    await daemon.register(op(1))
    await daemon.observe(op(1), "PROCESSING")
    [slow] = await daemon.deliveries()
    await daemon.expire_leases()
    [again] = await another.deliveries()
    await another.settle([again], AttemptResult.DELIVERED)
    exchange = await daemon.settle([slow], AttemptResult.FAILED)
    assert exchange.finished == {}
    [row] = await daemon.rows(deliveries)
    assert (row["state"], row["attempts"]) == ("delivered", 1)


async def test_claims_that_were_not_tried_are_released(daemon: Daemon, another: Daemon) -> None:
    """They are as due as they were, and no attempt is counted."""
    await daemon.register(op(1))
    await daemon.observe(op(1), "PROCESSING")
    [claim] = await daemon.deliveries()
    await daemon.store.release_deliveries("app", [claim.position], daemon.owner)
    assert await another.deliveries() == [claim]


@SLOW_ON_POSTGRESQL
async def test_an_exchange_without_room_claims_nothing(daemon: Daemon) -> None:
    """A dispatcher that is busy only hands in."""
    await daemon.register(op(1))
    await daemon.observe(op(1), "PROCESSING")
    assert (await daemon.exchange(limit=0)).claimed == []
    assert len(await daemon.deliveries()) == 1


async def test_what_a_sink_holds_already_counts_as_delivered(daemon: Daemon) -> None:
    """A file was written before the crash: its tail answers for what waits."""
    ids = await daemon.run_through(op(1))
    assert await daemon.store.waiting_ids("app", 10) == ids
    assert await daemon.store.waiting_ids("app", 2) == ids[:2]
    assert await daemon.store.recall("app", {ids[0], ids[1], "somebody-elses"}) == 2
    assert await daemon.store.waiting_ids("app", 10) == ids[2:]
    assert [claim.id for claim in await daemon.deliveries()] == ids[2:]
    assert await daemon.store.recall("app", ids) == 1
    assert await daemon.store.recall("app", ids) == 0


@SLOW_ON_POSTGRESQL
async def test_what_is_forgotten_is_still_delivered(daemon: Daemon) -> None:
    """Events that are recorded belong to their sinks."""
    await daemon.register(op(1))
    await daemon.observe(op(1), "PROCESSING")
    await daemon.store.forget(op(1))
    assert len(await daemon.drain()) == 1


async def test_any_sentence_can_be_an_error(daemon: Daemon) -> None:
    """What a file system or a server says may hold bytes that are no text; it is kept legibly."""
    await daemon.register(op(1))
    await daemon.observe(op(1), "PROCESSING")
    [claim] = await daemon.deliveries()
    await daemon.settle([claim], AttemptResult.FAILED, error="no such file: \udcff\x00é")
    [row] = await daemon.rows(deliveries)
    assert row["error"].startswith("no such file: ")
    assert row["error"].endswith("é")
    [report] = await daemon.store.sinks()
    assert report.health.error == row["error"]
