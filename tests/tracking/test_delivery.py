"""One event on its way to one sink: waits, and when it is given up."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from poller.tracking.delivery import (
    GIVE_UP_AFTER,
    AttemptResult,
    Delivery,
    DeliveryAttempt,
    DeliveryState,
    after_attempt,
)
from tests.tracking.story import START

HOUR = timedelta(hours=1)
MIDDLE = 0.0  # the jitter that changes nothing


def _fresh() -> Delivery:
    return Delivery(state=DeliveryState.WAITING, fresh_at=START, due_at=START, set_at=START)


def _failed(
    result: AttemptResult = AttemptResult.FAILED, retry_after: float | None = None
) -> DeliveryAttempt:
    return DeliveryAttempt(
        result=result, begun_at=START, status=500, error="it hurts", retry_after=retry_after
    )


def _try(delivery: Delivery, attempt: DeliveryAttempt, *, jitter: float = MIDDLE) -> Delivery:
    """Attempt it when it is due."""
    return after_attempt(delivery, attempt, now=delivery.due_at, jitter=jitter)


def test_an_acknowledged_event_is_delivered() -> None:
    """The attempt is counted, and its end is the time."""
    now = START + timedelta(seconds=2)
    attempt = DeliveryAttempt(result=AttemptResult.DELIVERED, begun_at=START, status=204)
    done = after_attempt(_try(_fresh(), _failed()), attempt, now=now, jitter=MIDDLE)
    assert done.state is DeliveryState.DELIVERED
    assert (done.attempts, done.status, done.error, done.done_at) == (2, 204, None, now)


def test_waits_start_at_a_second_and_double_to_an_hour() -> None:
    """An app that restarts delays its events by seconds; a long outage costs an attempt an hour."""
    delivery = _fresh()
    waits = []
    for _ in range(15):
        before = delivery.due_at
        delivery = _try(delivery, _failed())
        waits.append((delivery.due_at - before).total_seconds())
    assert waits[:13] == [2.0**power for power in range(12)] + [3600.0]
    assert waits[-1] == 3600.0


@given(attempts=st.integers(0, 10**6), jitter=st.floats(0, 1, exclude_max=True))
def test_jitter_only_adds_to_a_wait(attempts: int, jitter: float) -> None:
    """A fifth at most, and never makes a wait longer than an hour."""
    before = Delivery(
        state=DeliveryState.WAITING, fresh_at=START, due_at=START, set_at=START, attempts=attempts
    )
    after = _try(before, _failed(), jitter=jitter)
    wait = (after.due_at - START).total_seconds()
    shortest = min(2.0 ** min(attempts, 12), 3600)
    assert shortest <= wait <= min(1.21 * shortest, 3600)
    assert after.set_at == START


def test_a_failed_attempt_keeps_its_last_error() -> None:
    """For the list of deliveries and dead letters."""
    after = _try(_fresh(), _failed())
    assert after.state is DeliveryState.WAITING
    assert (after.attempts, after.status, after.error) == (1, 500, "it hurts")
    assert after.done_at is None


def test_an_event_is_given_up_three_days_after_recording_by_a_failed_attempt() -> None:
    """Not before the three days, and never without an attempt that failed."""
    last = START + GIVE_UP_AFTER
    almost = after_attempt(_fresh(), _failed(), now=last - timedelta(seconds=1), jitter=MIDDLE)
    assert almost.state is DeliveryState.WAITING
    dead = after_attempt(almost, _failed(), now=last, jitter=MIDDLE)
    assert dead.state is DeliveryState.DEAD
    assert (dead.attempts, dead.error, dead.done_at) == (2, "it hurts", last)


def test_an_old_event_gets_its_attempt() -> None:
    """One that waited behind another for a week is delivered if its first attempt succeeds."""
    attempt = DeliveryAttempt(result=AttemptResult.DELIVERED, begun_at=START)
    late = START + timedelta(days=7)
    assert after_attempt(_fresh(), attempt, now=late, jitter=0).state is DeliveryState.DELIVERED


def test_a_refused_event_is_given_up_after_an_hour() -> None:
    """400, 413, 415 and 422 are answers: the hour counts from the first of them."""
    delivery = _fresh()
    while delivery.state is DeliveryState.WAITING:
        now = delivery.due_at
        assert now <= START + HOUR
        delivery = _try(delivery, _failed(AttemptResult.REFUSED))
    assert delivery.done_at == START + HOUR
    assert delivery.refused_at == START


def test_an_outage_before_the_refusal_does_not_count() -> None:
    """Two days of failures, then a refusal: it has its hour."""
    later = START + timedelta(days=2)
    refused = after_attempt(_fresh(), _failed(AttemptResult.REFUSED), now=later, jitter=MIDDLE)
    assert refused.state is DeliveryState.WAITING
    assert refused.refused_at == later


def test_a_clock_that_went_back_restarts_the_hour() -> None:
    """A first refusal in the future would otherwise hold the event for longer than an hour."""
    refused = _try(_fresh(), _failed(AttemptResult.REFUSED))
    earlier = START - timedelta(days=1)
    again = after_attempt(refused, _failed(AttemptResult.REFUSED), now=earlier, jitter=MIDDLE)
    assert again.refused_at == earlier
    assert again.due_at <= earlier + HOUR


def test_gone_is_a_failure_to_the_delivery() -> None:
    """410 disables the sink; the event waits."""
    after = _try(_fresh(), _failed(AttemptResult.GONE))
    assert after.state is DeliveryState.WAITING
    assert after.refused_at is None


@given(
    outcomes=st.lists(
        st.tuples(st.sampled_from(AttemptResult), st.floats(0, 86400), st.floats(0, 1e7)),
        max_size=40,
    )
)
def test_a_waiting_delivery_has_a_next_attempt(
    outcomes: list[tuple[AttemptResult, float, float]],
) -> None:
    """Whatever happens it is due within an hour and a bit, or done; attempts are counted."""
    delivery, now = _fresh(), START
    for number, (result, late, retry_after) in enumerate(outcomes, start=1):
        if delivery.state is not DeliveryState.WAITING:
            break
        now += timedelta(seconds=late)
        delivery = after_attempt(
            delivery, _failed(result, retry_after=retry_after), now=now, jitter=0.99
        )
        assert delivery.attempts == number
        assert (delivery.done_at is None) is (delivery.state is DeliveryState.WAITING)
        if delivery.state is DeliveryState.WAITING:
            assert now <= delivery.due_at <= now + HOUR
