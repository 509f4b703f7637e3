"""The clock of a store that daemons share: the database's, whatever this machine's clock does."""

from datetime import UTC, datetime, timedelta

import pytest

from poller.store.clock import DatabaseClock
from poller.store.store import Store
from tests.store.cluster import Cluster
from tests.store.scenes import HOME, declare, op, registration

AT = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)


class Ticks:
    """A monotonic clock that is set by hand."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def __call__(self) -> float:
        """Return the seconds."""
        return self.seconds


def off(clock: DatabaseClock, by: float) -> float:
    """Return by how many seconds a clock is wrong, `by` seconds after AT."""
    return (clock() - AT).total_seconds() - by


def test_it_cannot_be_read_before_it_was_measured() -> None:
    """There is no time that would do instead."""
    with pytest.raises(RuntimeError, match="not measured"):
        DatabaseClock(Ticks())()


def test_it_goes_on_by_the_monotonic_clock() -> None:
    """Half of the round trip counts as the way back."""
    ticks = Ticks()
    clock = DatabaseClock(ticks)
    clock.measured(AT, begun=1_000.0, ended=1_000.2)
    assert off(clock, -0.1) == pytest.approx(0)
    ticks.seconds += 3_600
    assert off(clock, 3_599.9) == pytest.approx(0)


def test_a_slow_answer_moves_nothing() -> None:
    """It says no more than that the time lay somewhere in its round trip."""
    ticks = Ticks()
    clock = DatabaseClock(ticks)
    clock.measured(AT, begun=1_000.0, ended=1_000.01)
    before = off(clock, 0)
    ticks.seconds += 10
    clock.measured(AT + timedelta(seconds=7), begun=1_002.0, ended=1_010.0)
    assert off(clock, 10) == pytest.approx(before)


def test_a_measurement_that_excludes_the_clock_corrects_it() -> None:
    """As little as it must: the machine was suspended, or the clocks drift apart."""
    ticks = Ticks()
    clock = DatabaseClock(ticks)
    clock.measured(AT, begun=1_000.0, ended=1_000.0)
    ticks.seconds += 10
    clock.measured(AT + timedelta(seconds=70), begun=1_009.0, ended=1_010.0)
    assert off(clock, 70) == pytest.approx(0)
    clock.measured(AT, begun=1_010.0, ended=1_010.0)
    assert off(clock, 0) == pytest.approx(0)


@pytest.mark.anyio
async def test_a_store_measures_it_at_its_start_and_with_each_beat(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine whose wall clock is a day ahead agrees with the others all the same."""
    monkeypatch.setattr(
        "poller.store.clock.wall_clock", lambda: datetime.now(UTC) + timedelta(days=1)
    )
    name = cluster.create()
    store = await Store.open(cluster.url(name), HOME)
    await store.register([registration(op(1))])
    assert abs((store.now() - datetime.now(UTC)).total_seconds()) < 60
    clock = store.now
    assert isinstance(clock, DatabaseClock)
    await store.configure_sinks(declare("app", owner=store.owner))
    clock.measured(AT, begun=0, ended=0)
    await store.shared.beat(store.owner, slots=0)
    assert abs((store.now() - datetime.now(UTC)).total_seconds()) < 60
    # a starter whose machine is a day behind takes nobody's wait for one set in the future
    monkeypatch.setattr(
        "poller.store.clock.wall_clock", lambda: datetime.now(UTC) - timedelta(days=1)
    )
    behind = await Store.open(cluster.url(name), HOME)
    assert await behind.void_future_waits() == 0
    await behind.aclose()
    await store.aclose()
    cluster.drop(name)
