"""Sinks as the store knows them: their health, and how they come and go."""

from datetime import timedelta

import pytest

from poller.store import sinks, time_slice
from poller.store.schema import deliveries
from poller.tracking.delivery import AttemptResult, DeliveryAttempt, Subscription
from poller.tracking.sink_health import SinkState
from tests.store.conftest import SLOW_ON_POSTGRESQL, OpenDaemon
from tests.store.scenes import LEASE, NOW, Daemon, attempt, declare, op, seen

pytestmark = pytest.mark.anyio


async def fill(daemon: Daemon, numbers: range, sink: str = "app") -> None:
    """Record one event of each of these operations."""
    await daemon.register(*(op(number) for number in numbers))
    await daemon.record(
        *((op(number), seen(op(number))) for number in numbers), to=[Subscription(sink=sink)]
    )


async def bring_down(daemon: Daemon) -> None:
    """Fail until the sink is down: all attempts, for long enough."""
    for _ in range(20):
        claimed = await daemon.deliveries()
        daemon.clock.advance(0.1)
        exchange = await daemon.settle(claimed, AttemptResult.FAILED, error="connection refused")
        if exchange.health.state is SinkState.DOWN:
            return
        daemon.clock.advance(4)
    pytest.fail("it is still up")


async def state_of(daemon: Daemon, sink: str = "app") -> SinkState:
    """Return the state of a sink that is reported."""
    [report] = [report for report in await daemon.store.sinks() if report.name == sink]
    return report.health.state


@SLOW_ON_POSTGRESQL
async def test_a_sink_that_is_down_is_probed_by_one(daemon: Daemon, another: Daemon) -> None:
    """What is due, no matter who asks; not before its time, not beside what is in flight."""
    await fill(daemon, range(5))
    await bring_down(daemon)
    assert (await daemon.exchange()).claimed == []
    daemon.clock.advance(3)
    assert (await daemon.exchange(in_flight=1)).claimed == []
    assert len((await daemon.exchange()).claimed) == 1
    assert (await daemon.exchange()).claimed == []
    assert (await another.exchange()).claimed == []


async def test_a_probe_that_vanished_is_followed_by_another(
    daemon: Daemon, another: Daemon
) -> None:
    """Its daemon was killed: after its lease the next may probe."""
    await fill(daemon, range(3))
    await bring_down(daemon)
    daemon.clock.advance(3)
    assert len(await daemon.deliveries()) == 1
    daemon.clock.advance(LEASE + 1)
    assert len(await another.deliveries()) == 1


@SLOW_ON_POSTGRESQL
async def test_probes_grow_apart_to_five_minutes(daemon: Daemon) -> None:
    """And stay there."""
    await fill(daemon, range(3))
    await bring_down(daemon)
    waits = []
    for _ in range(12):
        exchange = await daemon.exchange(limit=0)
        assert exchange.health.next_at is not None
        waits.append((exchange.health.next_at - daemon.clock()).total_seconds())
        daemon.clock.time = exchange.health.next_at
        [probe] = await daemon.deliveries()
        await daemon.settle([probe], AttemptResult.FAILED)
    assert waits[-3:] == pytest.approx([300, 300, 300], rel=0.2)
    assert waits[0] <= 2.4
    assert max(waits) <= 300


@SLOW_ON_POSTGRESQL
async def test_recovery_makes_everything_due_in_order(daemon: Daemon) -> None:
    """Long waits from the time of trouble are over with the first success."""
    await fill(daemon, range(6))
    await daemon.observe(op(0), "COMPLETED")
    await bring_down(daemon)
    daemon.clock.advance(hours=2)
    for _ in range(3):
        [probe] = await daemon.deliveries()
        await daemon.settle([probe], AttemptResult.FAILED)
        daemon.clock.advance(300)
    [probe] = await daemon.deliveries()
    exchange = await daemon.exchange(
        (probe.position, attempt(AttemptResult.DELIVERED, daemon.clock()))
    )
    assert (exchange.before.state, exchange.health.state) == (SinkState.DOWN, SinkState.REJECTING)
    first = [probe, *exchange.claimed]
    rest = await daemon.settle(exchange.claimed, AttemptResult.DELIVERED)
    assert rest.health.state is SinkState.OK
    gone = [*first, *await daemon.drain()]
    assert len(gone) == 7
    assert [claim.position for claim in gone if claim.subject == op(0)] == [1, 7]


async def test_recovery_counts_beside_a_straggler(daemon: Daemon) -> None:
    """A failure from before, handed in with the first success, ends all waits, its own too."""
    await fill(daemon, range(6))
    [straggler] = await daemon.deliveries(limit=1)
    await bring_down(daemon)
    daemon.clock.advance(3)
    [probe] = await daemon.deliveries()
    exchange = await daemon.exchange(
        (probe.position, attempt(AttemptResult.DELIVERED, daemon.clock())),
        (straggler.position, attempt(AttemptResult.FAILED, NOW)),
    )
    assert exchange.health.state is SinkState.REJECTING
    others = {op(number) for number in range(6)} - {probe.subject}
    assert {claim.subject for claim in exchange.claimed} == others
    assert straggler.subject in others


async def test_refusals_are_answers_not_outages(daemon: Daemon) -> None:
    """The place is up, whatever it thinks of the event."""
    await fill(daemon, range(3))
    for _ in range(6):
        await daemon.settle(
            await daemon.deliveries(), AttemptResult.REFUSED, status=422, error="422 no"
        )
        daemon.clock.advance(30)
    [report] = await daemon.store.sinks()
    assert report.health.state is SinkState.REJECTING
    assert (report.refused, report.answered, report.health.error) == (3, 3, "422 no")
    assert report.next_attempt is not None


@SLOW_ON_POSTGRESQL
async def test_a_first_attempt_goes_before_any_repeated_one(daemon: Daemon) -> None:
    """However long the repeated ones have been due."""
    await fill(daemon, range(3))
    await daemon.settle(await daemon.deliveries(), AttemptResult.REFUSED, status=400)
    daemon.clock.advance(60)
    await fill(daemon, range(3, 5))
    claimed = [(await daemon.deliveries(limit=1))[0].subject for _ in range(5)]
    assert claimed[:2] == [op(3), op(4)]
    assert sorted(claimed[2:]) == [op(0), op(1), op(2)]


async def test_a_pause_outlives_the_process(daemon: Daemon, open_daemon: OpenDaemon) -> None:
    """`Retry-After` is kept by the store, and neither a start nor SIGHUP shortens it."""
    await fill(daemon, range(3))
    [one, *rest] = await daemon.deliveries()
    busy = DeliveryAttempt(
        result=AttemptResult.FAILED, begun_at=NOW, status=429, error="429", retry_after=60
    )
    await daemon.exchange((one.position, busy), limit=0)
    await daemon.store.release_deliveries("app", [claim.position for claim in rest], daemon.owner)
    [report] = await daemon.store.sinks()
    assert report.next_attempt == NOW + timedelta(seconds=60)
    await daemon.store.aclose()
    again = await open_daemon("again")
    await again.store.configure_sinks(declare("app"))
    again.clock.time = NOW + timedelta(seconds=59.9)
    assert await again.deliveries() == []
    again.clock.time = NOW + timedelta(seconds=60)
    assert len(await again.deliveries()) == 1


async def test_a_refused_event_is_given_up_after_an_hour(daemon: Daemon) -> None:
    """Its successor then gets its turn."""
    await fill(daemon, range(1))
    await daemon.observe(op(0), "COMPLETED")
    tried: list[int] = []
    while 2 not in tried:
        claimed = await daemon.deliveries()
        await daemon.settle(claimed, AttemptResult.REFUSED, status=422, error="422 no")
        tried += [claim.position for claim in claimed]
        daemon.clock.advance(60)
    assert daemon.clock() - NOW <= timedelta(minutes=63)
    assert tried.count(1) >= 5
    [dead, _] = await daemon.rows(deliveries)
    assert (dead["state"], dead["status"], dead["error"]) == ("dead", 422, "422 no")


@SLOW_ON_POSTGRESQL
async def test_410_disables_the_sink(daemon: Daemon, open_daemon: OpenDaemon) -> None:
    """Nothing is tried any more, in this process or the next; a start enables it."""
    await fill(daemon, range(3))
    [one, *_] = await daemon.deliveries(limit=1)
    await daemon.settle([one], AttemptResult.GONE, status=410, error="410 Gone")
    assert await state_of(daemon) is SinkState.DISABLED
    daemon.clock.advance(days=1)
    assert await daemon.deliveries() == []
    assert (await daemon.store.summary(since=NOW)).stuck == 3
    await daemon.store.aclose()
    again = await open_daemon("again")
    assert await again.deliveries() == []
    await again.store.configure_sinks(declare("app"))
    assert await state_of(again) is SinkState.OK
    assert len(await again.drain()) == 3


async def test_replay_enables_a_disabled_sink(daemon: Daemon) -> None:
    """A replay asks for delivery."""
    ids = await daemon.run_through(op(1))
    await daemon.settle(await daemon.deliveries(), AttemptResult.GONE, status=410)
    await daemon.store.replay_event(ids[0], None)
    assert await state_of(daemon) is SinkState.OK
    assert [claim.id for claim in await daemon.drain()] == ids


async def test_a_restart_probes_a_sink_that_was_down_at_once(daemon: Daemon) -> None:
    """The operator has repaired it and does not want to wait."""
    await fill(daemon, range(3))
    await bring_down(daemon)
    assert await daemon.deliveries() == []
    await daemon.store.configure_sinks(declare("app"))
    assert await state_of(daemon) is SinkState.DOWN
    assert len(await daemon.deliveries()) == 1


@SLOW_ON_POSTGRESQL
async def test_an_absent_sink_waits_and_is_reported(daemon: Daemon) -> None:
    """It holds up nothing, and goes on when its name returns."""
    await daemon.store.configure_sinks(declare("app", "old"))
    await fill(daemon, range(3), "old")
    [app, old] = await daemon.store.configure_sinks(declare("app"))
    assert (old.name, old.is_configured, old.waiting, old.oldest) == ("old", False, 3, NOW)
    assert (app.name, app.is_configured, app.waiting) == ("app", True, 0)
    standing = await daemon.store.summary(since=NOW)
    assert (standing.stuck, standing.waiting) == (3, 0)
    daemon.clock.advance(days=2)
    await daemon.store.configure_sinks(declare("app"))
    await daemon.store.retention.prune(retention_seconds=1)
    assert await daemon.store.waiting_ids("old", 10) != []
    daemon.clock.advance(days=0.9)
    await daemon.store.retention.prune(retention_seconds=1)
    await daemon.store.configure_sinks(declare("app", "old"))
    assert len(await daemon.drain("old")) == 3


@SLOW_ON_POSTGRESQL
async def test_an_absent_sink_is_buried_after_three_days(daemon: Daemon) -> None:
    """What waited becomes dead letters that say why, and a replay after its return sends them."""
    await daemon.store.configure_sinks(declare("app", "old"))
    await fill(daemon, range(3), "old")
    await daemon.store.configure_sinks(declare("app"))
    daemon.clock.advance(days=3)
    await daemon.store.retention.prune(retention_seconds=1)
    [_, old] = await daemon.store.sinks()
    assert (old.waiting, old.dead) == (0, 3)
    assert {row["state"] for row in await daemon.rows(deliveries)} == {"dead"}
    assert all("three days" in row["error"] for row in await daemon.rows(deliveries))


async def test_many_deliveries_are_buried_in_several_steps(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest first: all writers wait for a step, and a server ends one that is long."""
    monkeypatch.setattr(sinks, "_CHUNK", 2)
    monkeypatch.setattr(time_slice, "_SECONDS", 0.0)
    await daemon.store.configure_sinks(declare("app", "old"))
    await fill(daemon, range(5), "old")
    await daemon.store.configure_sinks(declare("app"))
    daemon.clock.advance(days=3)
    for left in (3, 1, 0):
        pruned = await daemon.store.retention.prune(retention_seconds=1)
        states = [row["state"] for row in await daemon.rows(deliveries)]
        assert states == ["dead"] * (5 - left) + ["waiting"] * left
        assert pruned.more is (left > 0)


@SLOW_ON_POSTGRESQL
async def test_a_sink_that_is_gone_and_owes_nothing_is_not_reported(daemon: Daemon) -> None:
    """There is nothing to do about it."""
    await daemon.store.configure_sinks(declare("app", "old"))
    reports = await daemon.store.configure_sinks(declare("app"))
    assert [report.name for report in reports] == ["app"]


@SLOW_ON_POSTGRESQL
async def test_an_added_sink_gets_what_is_recorded_from_then_on(daemon: Daemon) -> None:
    """Deliveries are fixed when the event is recorded."""
    await fill(daemon, range(2))
    await daemon.store.configure_sinks(declare("app", "new"))
    await daemon.record(
        (op(0), seen(op(0), "COMPLETED")),
        to=[Subscription(sink="app"), Subscription(sink="new")],
    )
    assert [claim.position for claim in await daemon.drain("new")] == [3]


@SLOW_ON_POSTGRESQL
async def test_standing_counts_what_can_go_on(daemon: Daemon) -> None:
    """Idle is when nothing more happens by itself; clean, when all was delivered besides."""
    await daemon.store.configure_sinks(declare("app", "other"))
    await fill(daemon, range(1))
    at_work = await daemon.store.summary(since=NOW)
    assert (at_work.watched, at_work.waiting, at_work.is_idle) == (1, 1, False)
    await daemon.observe(op(0), "COMPLETED")
    closed = await daemon.store.summary(since=NOW, closed=["app"])
    assert (closed.watched, closed.waiting, closed.stuck) == (0, 0, 2)
    assert (closed.is_idle, closed.is_clean) == (True, False)
    await daemon.drain()
    done = await daemon.store.summary(since=NOW)
    assert (done.is_idle, done.is_clean) == (True, True)
