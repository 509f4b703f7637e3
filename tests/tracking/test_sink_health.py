"""When a sink is down, how it is probed, how it comes back."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poller.tracking.delivery import AttemptResult, DeliveryAttempt
from poller.tracking.sink_health import Health, SinkState, after_result, may_probe
from tests.tracking.story import START, at

OK = Health(state=SinkState.OK, since=START)


def _attempt(
    result: AttemptResult, begun_at: datetime = START, *, retry_after: float | None = None
) -> DeliveryAttempt:
    error = None if result is AttemptResult.DELIVERED else "it hurts"
    return DeliveryAttempt(
        result=result, begun_at=begun_at, status=503, error=error, retry_after=retry_after
    )


def _fail(health: Health, seconds: float, *, retry_after: float | None = None) -> Health:
    """Fail an attempt that took no time."""
    attempt = _attempt(AttemptResult.FAILED, at(seconds), retry_after=retry_after)
    return after_result(health, attempt, now=at(seconds), jitter=0)


def _down() -> Health:
    health = OK
    for seconds in (0, 5, 10):
        health = _fail(health, seconds)
    assert health.state is SinkState.DOWN
    return health


def test_one_failure_is_failing() -> None:
    """Since that failure; the error is kept for the operator."""
    health = _fail(OK, 3)
    assert health.state is SinkState.FAILING
    assert (health.since, health.failures) == (at(3), 1)
    assert (health.status, health.error) == (503, "it hurts")


def test_ten_seconds_of_nothing_but_failures_are_down() -> None:
    """Since the first failure; the first probe comes soon."""
    health = _fail(_fail(_fail(OK, 0), 5), 9.999)
    assert health.state is SinkState.FAILING
    health = _fail(health, 10)
    assert health.state is SinkState.DOWN
    assert health.since == START
    assert health.probe_at == at(12)


def test_two_failures_far_apart_are_not_down() -> None:
    """A quiet sink is not declared down by two slips: it takes three."""
    assert _fail(_fail(OK, 0), 3600).state is SinkState.FAILING


@pytest.mark.parametrize("result", [AttemptResult.DELIVERED, AttemptResult.REFUSED])
def test_any_answer_that_is_not_an_outage_recovers(result: AttemptResult) -> None:
    """From failing and from down, since now, with nothing left of the trouble."""
    for troubled in (_fail(OK, 0), _down()):
        health = after_result(troubled, _attempt(result, at(20)), now=at(20), jitter=0)
        assert health == Health(state=SinkState.OK, since=at(20))


def test_an_answer_to_a_sink_that_is_ok_changes_nothing() -> None:
    """`since` stays."""
    for result in (AttemptResult.DELIVERED, AttemptResult.REFUSED):
        assert after_result(OK, _attempt(result), now=at(5), jitter=0) is OK


def test_a_success_in_between_starts_the_count_anew() -> None:
    """Down is: all attempts have failed for a while."""
    health = _fail(_fail(OK, 0), 5)
    health = after_result(health, _attempt(AttemptResult.DELIVERED), now=at(6), jitter=0)
    health = _fail(_fail(health, 7), 11)
    assert health.state is SinkState.FAILING
    assert health.failures == 2


def test_probes_grow_apart_to_five_minutes() -> None:
    """Each failed probe doubles the distance."""
    health = _down()
    waits = []
    for _ in range(10):
        assert health.probe_at is not None
        now = (health.probe_at - START).total_seconds()
        health = _fail(health, now)
        assert health.probe_at is not None
        waits.append((health.probe_at - at(now)).total_seconds())
    assert waits == [4, 8, 16, 32, 64, 128, 256, 300, 300, 300]
    assert health.since == START


@pytest.mark.parametrize(("retry_after", "expected"), [(0.5, 4), (60.0, 60), (1e9, 300)])
def test_retry_after_lengthens_a_probe_to_five_minutes_at_most(
    retry_after: float, expected: float
) -> None:
    """However long the place asks for."""
    assert _fail(_down(), 12, retry_after=retry_after).probe_at == at(12 + expected)


def test_what_was_in_flight_does_not_lengthen_the_wait() -> None:
    """Attempts begun before the sink went down are no probes, however many of them fail."""
    down = _down()
    health = down
    for seconds in range(11, 60):
        late = _attempt(AttemptResult.FAILED, at(9))
        health = after_result(health, late, now=at(seconds), jitter=0)
    assert (health.probe_at, health.probes) == (down.probe_at, down.probes)
    assert health.state is SinkState.DOWN


def test_410_disables_until_somebody_enables() -> None:
    """From any state; nothing that was in flight brings it back."""
    for health in (OK, _fail(OK, 0), _down()):
        gone = after_result(health, _attempt(AttemptResult.GONE), now=at(20), jitter=0)
        assert gone.state is SinkState.DISABLED
        assert (gone.since, gone.error) == (at(20), "it hurts")
        for result in AttemptResult:
            assert after_result(gone, _attempt(result), now=at(30), jitter=0) is gone


def test_a_probe_is_due_at_its_moment() -> None:
    """Not before, and at once where none was ever set."""
    down = _down()
    assert not may_probe(down, at(11.999))
    assert may_probe(down, at(12))
    assert may_probe(OK, START)


def test_a_clock_that_went_back_makes_the_probe_due() -> None:
    """A wait that was set in the future is void."""
    assert may_probe(_down(), at(-3600))


def test_a_clock_that_went_back_does_not_keep_a_sink_from_being_down() -> None:
    """The trouble counts from the earlier of the two moments."""
    health = _fail(_fail(OK, 0), 5)
    health = _fail(health, -3600)
    assert health.since == at(-3600)
    assert _fail(health, -3590).state is SinkState.DOWN


@given(
    results=st.lists(
        st.tuples(
            st.sampled_from([AttemptResult.DELIVERED, AttemptResult.FAILED, AttemptResult.REFUSED]),
            st.floats(0, 1000),
            st.floats(0, 1, exclude_max=True),
        ),
        max_size=60,
    )
)
def test_a_sink_that_is_down_is_always_probed_within_five_minutes(
    results: list[tuple[AttemptResult, float, float]],
) -> None:
    """Whatever happens, nobody has to do anything for it to come back."""
    health, now = OK, START
    for result, wait, jitter in results:
        now += timedelta(seconds=wait)
        health = after_result(health, _attempt(result, now), now=now, jitter=jitter)
        assert health.since <= now
        if health.state is SinkState.DOWN:
            assert health.probe_at is not None
            assert health.probe_at - now <= timedelta(minutes=5)
            assert health.failures >= 3
        if health.state is SinkState.OK:
            assert health.failures == 0
