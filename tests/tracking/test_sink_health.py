"""What attempts make of a sink's health, and what may then be sent to it."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poller.tracking.delivery import AttemptResult, DeliveryAttempt
from poller.tracking.sink_health import (
    Admission,
    SinkHealth,
    SinkState,
    admission,
    after_result,
    next_attempt,
)
from tests.tracking.story import START, at

OK = SinkHealth(state=SinkState.OK, since=START)
DELIVERED, FAILED = AttemptResult.DELIVERED, AttemptResult.FAILED
REFUSED, GONE = AttemptResult.REFUSED, AttemptResult.GONE


def _after(
    health: SinkHealth,
    result: AttemptResult,
    seconds: float,
    *,
    status: int | None = None,
    begun_at: datetime | None = None,
    retry_after: float | None = None,
    refused_wait: bool = True,
    jitter: float = 0,
) -> SinkHealth:
    """End an attempt that took no time."""
    attempt = DeliveryAttempt(
        result=result,
        begun_at=begun_at or at(seconds),
        status=status,
        error=None if result is DELIVERED else "it hurts",
        retry_after=retry_after,
    )
    return after_result(health, attempt, now=at(seconds), jitter=jitter, refused_wait=refused_wait)


def _in(state: SinkState) -> SinkHealth:
    """Bring a sink into a state."""
    match state:
        case SinkState.OK:
            return OK
        case SinkState.REJECTING:
            return _after(OK, REFUSED, 0, status=400)
        case SinkState.FAILING:
            return _after(OK, FAILED, 0, status=500)
        case SinkState.DISABLED:
            return _after(OK, GONE, 0, status=410)
    health = OK
    for seconds in (0, 5, 10):
        health = _after(health, FAILED, seconds)
    return health


@pytest.mark.parametrize(
    ("before", "delivered", "refused", "error", "silence"),
    [
        ("ok", "ok", "rejecting", "failing", "failing"),
        ("rejecting", "rejecting", "rejecting", "rejecting", "rejecting"),
        ("failing", "rejecting", "rejecting", "failing", "failing"),
        ("down", "rejecting", "rejecting", "failing", "down"),
        ("disabled", "disabled", "disabled", "disabled", "disabled"),
    ],
)
def test_the_table_of_states(
    before: str, delivered: str, refused: str, error: str, silence: str
) -> None:
    """Each state, each kind of attempt, with the last error in every state but ok."""
    health = _in(SinkState(before))
    assert health.state == before
    found = {
        delivered: _after(health, DELIVERED, 20, status=204),
    }
    assert found[delivered].state == delivered
    assert _after(health, REFUSED, 20, status=422).state == refused
    assert _after(health, FAILED, 20, status=500).state == error
    assert _after(health, FAILED, 20).state == silence
    gone = _after(health, GONE, 20, status=410)
    assert (gone.state, gone.error) == (SinkState.DISABLED, "it hurts")
    for ended in (found[delivered], gone):
        assert (ended.error is None) is (ended.state is SinkState.OK)


@pytest.mark.parametrize("state", [SinkState.REJECTING, SinkState.FAILING, SinkState.DOWN])
def test_a_sink_is_ok_once_all_that_was_tried_is_delivered(state: SinkState) -> None:
    """With nothing left of the trouble."""
    health = _after(_in(state), DELIVERED, 20, refused_wait=False)
    assert health == SinkHealth(state=SinkState.OK, since=at(20))


def test_a_rejecting_sink_counts_what_it_takes() -> None:
    """So that an operator sees how many of how many."""
    health = _in(SinkState.REJECTING)
    for seconds in range(3):
        health = _after(health, DELIVERED, seconds)
    assert (health.state, health.delivered) == (SinkState.REJECTING, 3)


def test_five_failures_in_a_row_make_a_rejecting_sink_failing() -> None:
    """A success in between starts the count again."""
    health = _in(SinkState.REJECTING)
    for _ in range(4):
        health = _after(health, FAILED, 1, status=500)
    health = _after(health, DELIVERED, 2)
    for _ in range(4):
        health = _after(health, FAILED, 3, status=500)
    assert health.state is SinkState.REJECTING
    assert _after(health, FAILED, 4, status=500).state is SinkState.FAILING


def test_only_silence_brings_a_sink_down() -> None:
    """500 for hours is an answer; one answer among timeouts starts the count again."""
    health = OK
    for seconds in range(0, 7200, 60):
        health = _after(health, FAILED, seconds, status=500)
        assert health.state is SinkState.FAILING
    for moment in (7200.0, 7205.0, 7209.9):
        health = _after(health, FAILED, moment)
        assert health.state is SinkState.FAILING
    health = _after(health, FAILED, 7209.95, status=503)
    for seconds in (7210, 7215):
        health = _after(health, FAILED, seconds)
    assert health.state is SinkState.FAILING
    health = _after(health, FAILED, 7220)
    assert (health.state, health.since) == (SinkState.DOWN, at(7210))


def test_two_timeouts_far_apart_are_not_down() -> None:
    """It takes three."""
    assert _after(_after(OK, FAILED, 0), FAILED, 3600).state is SinkState.FAILING


def test_an_attempt_from_before_a_recovery_does_not_undo_it() -> None:
    """It hung since the outage; the sink goes on at its concurrency."""
    health = _after(_in(SinkState.DOWN), DELIVERED, 20, refused_wait=False)
    health = _after(health, FAILED, 21, begun_at=at(9))
    assert health.state is SinkState.REJECTING
    assert admission(health, now=at(21), in_flight=3) is Admission.ALL


def test_probes_grow_apart_to_five_minutes() -> None:
    """Jitter only adds, and not beyond."""
    for jitter in (0.0, 0.99):
        health, waits = _in(SinkState.DOWN), []
        for _ in range(10):
            assert health.next_at is not None
            now = (health.next_at - START).total_seconds()
            health = _after(health, FAILED, now, jitter=jitter)
            assert health.next_at is not None
            waits.append((health.next_at - at(now)).total_seconds())
        shortest = [4, 8, 16, 32, 64, 128, 256, 300, 300, 300]
        assert all(a <= b <= min(1.2 * a, 300) for a, b in zip(shortest, waits, strict=True))


def test_attempts_of_a_failing_sink_grow_apart_to_five_seconds() -> None:
    """One at a time; what was in flight when it began to fail does not lengthen the wait."""
    health, waits = _in(SinkState.FAILING), []
    for _ in range(15):
        health = _after(health, FAILED, 0.1, status=500, begun_at=at(-1))
    assert health.next_at == at(0)
    now = 1.0
    for _ in range(6):
        health = _after(health, FAILED, now, status=500)
        assert health.next_at is not None
        waits.append((health.next_at - at(now)).total_seconds())
        now += 100
    assert waits == [1, 2, 4, 5, 5, 5]


@pytest.mark.parametrize(
    ("state", "seconds", "in_flight", "expected"),
    [
        (SinkState.OK, 0, 5, Admission.ALL),
        (SinkState.REJECTING, 0, 5, Admission.ALL),
        (SinkState.FAILING, 0, 0, Admission.ONE),
        (SinkState.FAILING, 0, 1, Admission.NEWCOMER),
        (SinkState.FAILING, 0, 2, Admission.NOTHING),
        (SinkState.DOWN, 11.9, 0, Admission.NOTHING),
        (SinkState.DOWN, 12, 1, Admission.NOTHING),
        (SinkState.DOWN, 12, 0, Admission.PROBE),
        (SinkState.DISABLED, 9999, 0, Admission.NOTHING),
        # the clock went back: a wait set in the future is void
        (SinkState.DOWN, -3600, 0, Admission.PROBE),
    ],
)
def test_what_may_be_sent(
    state: SinkState, seconds: float, in_flight: int, expected: Admission
) -> None:
    """By state, time and what is under way."""
    assert admission(_in(state), now=at(seconds), in_flight=in_flight) is expected


def test_a_new_event_may_probe_ten_seconds_after_the_last_attempt() -> None:
    """The trouble may belong to the events that were tried."""
    health = _in(SinkState.DOWN)
    for seconds in (12, 20):
        health = _after(health, FAILED, seconds)
    assert admission(health, now=at(27.9), in_flight=0) is Admission.NOTHING
    health = _after(health, FAILED, 28)
    assert admission(health, now=at(37.9), in_flight=0) is Admission.NOTHING
    assert admission(health, now=at(38), in_flight=0) is Admission.NEWCOMER


@pytest.mark.parametrize(("asked", "waits"), [(20.0, 20), (1e9, 3600)])
def test_retry_after_pauses_in_every_state_and_is_never_shortened(
    asked: float, waits: float
) -> None:
    """Not by jitter, a shorter one, a success of what was in flight; an hour at most."""
    for state in (SinkState.OK, SinkState.REJECTING, SinkState.FAILING, SinkState.DOWN):
        health = _after(_in(state), FAILED, 20, status=429, retry_after=asked, jitter=0.99)
        health = _after(health, FAILED, 20, status=503, retry_after=1.0)
        for delivered in (health, _after(health, DELIVERED, 20, refused_wait=False)):
            nearly = at(20 + waits - 0.001)
            assert admission(delivered, now=nearly, in_flight=0) is Admission.NOTHING
            assert admission(delivered, now=at(20 + waits), in_flight=0) is not Admission.NOTHING
            assert next_attempt(delivered, START) == at(20 + waits)
        # the clock went back
        assert admission(health, now=at(19), in_flight=0) is not Admission.NOTHING


def test_the_next_attempt_of_a_delivery_is_that_of_its_sink() -> None:
    """Where the sink is tried later, or nothing at all is."""
    assert next_attempt(OK, at(7)) == at(7)
    assert next_attempt(_in(SinkState.DOWN), at(3600)) == at(12)
    assert next_attempt(_in(SinkState.DISABLED), at(7)) is None
    assert next_attempt(OK, None) is None


@given(
    results=st.lists(
        st.tuples(
            st.sampled_from([DELIVERED, FAILED, REFUSED]),
            st.sampled_from([None, 500]),
            st.floats(0, 1000),
            st.floats(0, 1, exclude_max=True),
        ),
        max_size=60,
    )
)
def test_a_sink_is_always_tried_again_within_five_minutes(
    results: list[tuple[AttemptResult, int | None, float, float]],
) -> None:
    """Whatever happens, nobody has to do anything for it to come back."""
    health, now = OK, START
    for result, status, wait, jitter in results:
        now += timedelta(seconds=wait)
        seconds = (now - START).total_seconds()
        health = _after(health, result, seconds, status=status, jitter=jitter)
        assert health.since <= now
        later = now + timedelta(minutes=5)
        assert admission(health, now=later, in_flight=0) is not Admission.NOTHING
        if health.state is SinkState.DOWN:
            assert health.unanswered >= 3
        if health.state is SinkState.OK:
            assert (health.failures, health.error) == (0, None)
        else:
            assert health.error is not None
