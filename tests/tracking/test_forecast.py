"""Forecasts: pure, always a sane number, nearer where more is done, and waits where none is."""

from collections.abc import Sequence
from datetime import timedelta
from math import isfinite

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poller.comms.decoding import LARGEST_COUNTER
from poller.comms.kinds import DEFAULT_KIND
from poller.tracking.forecast import (
    KEPT,
    Look,
    after_answer,
    finished_per_second,
    predicted_wait,
)
from poller.tracking.pacing import Policy
from poller.tracking.progress import read_progress
from tests.tracking.story import START, Story, at, text_at


def look(seconds: float, passed: int, done: int = 0, *, total: int = 1000) -> Look:
    """Make a look this many seconds after the start."""
    return Look(at=at(seconds), passed=passed, done=done, total=total)


def steady(rate: float, moments: Sequence[float], *, total: int = 1000) -> list[Look]:
    """Make looks at a queue that empties at a rate a second."""
    return [look(moment, min(total, round(rate * moment)), total=total) for moment in moments]


counts = st.integers(0, LARGEST_COUNTER)
looks = st.lists(
    st.builds(
        Look,
        at=st.floats(-1e6, 1e9).map(lambda seconds: START + timedelta(seconds=seconds)),
        done=counts,
        passed=counts,
        total=counts,
    ),
    max_size=KEPT,
)


@given(looks=looks, began=st.none() | st.floats(-1e9, 1e9))
def test_any_looks_give_a_number_or_none(looks: list[Look], began: float | None) -> None:
    """Counters that fall, jump or disagree and clocks that go back: no error, never below 0."""
    started_at = None if began is None else at(began)
    wait = predicted_wait(looks, started_at=started_at)
    assert wait is None or (isfinite(wait) and wait >= 0)
    assert wait == predicted_wait(looks, started_at=started_at)


@given(
    rate=st.integers(1, 50),
    part=st.floats(0.1, 0.8),
    number=st.integers(2, KEPT),
    gap=st.integers(1, 100),
)
def test_a_steady_queue_is_met_before_it_is_empty(
    rate: int, part: float, number: int, gap: int
) -> None:
    """Three quarters of the remaining time are let go by, whatever the rate and the gaps."""
    moments = [gap * (step + 1) for step in range(number)]
    total = round(rate * moments[-1] / part)
    left = (total - rate * moments[-1]) / rate
    wait = predicted_wait(steady(rate, moments, total=total), started_at=at(0))
    assert wait == pytest.approx(0.75 * left, rel=0.01)


@given(st.data())
def test_the_more_has_passed_the_sooner_is_the_look(data: st.DataObject) -> None:
    """Of two operations that differ in what is left, the one with less is looked at first."""
    step = data.draw(st.integers(1, 100))
    fewer, more = sorted(data.draw(st.tuples(st.integers(1, 10**6), st.integers(1, 10**6))))
    waits = [
        predicted_wait(
            [
                look(5, 5 * step, total=10 * step + left),
                look(10, 10 * step, total=10 * step + left),
            ],
            started_at=at(0),
        )
        for left in (fewer, more)
    ]
    assert waits[0] is not None
    assert waits[1] is not None
    assert waits[0] <= waits[1]


def test_doubt_only_shortens() -> None:
    """An uneven rate is looked at sooner than an even one that is as high and has as much left."""
    even = predicted_wait([look(0, 0), look(10, 100), look(20, 200, total=1000)], started_at=None)
    uneven = predicted_wait([look(0, 0), look(10, 200), look(20, 250, total=1050)], started_at=None)
    assert even == pytest.approx(60)
    assert uneven is not None
    assert 20 < uneven < 45


def test_one_look_alone_is_not_trusted() -> None:
    """The rate since the beginning says half of what two looks would."""
    once = predicted_wait([look(10, 100)], started_at=at(0))
    twice = predicted_wait([look(5, 50), look(10, 100)], started_at=at(0))
    assert once is not None
    assert twice is not None
    assert once == pytest.approx(45)
    assert twice == pytest.approx(67.5)


def test_no_movement_promises_nothing() -> None:
    """Looks that all show the same leave the plain backoff."""
    still = [look(second, 10) for second in range(KEPT)]
    assert predicted_wait(still, started_at=at(-5)) is None


@pytest.mark.parametrize(
    ("looks", "started"),
    [([], 0), ([look(5, 0, total=0)], 0), ([look(5, 5)], None), ([look(5, 5)], 5)],
    ids=["no looks", "nothing to do", "one look and no beginning", "no time has passed"],
)
def test_too_little_promises_nothing(looks: list[Look], started: float | None) -> None:
    """Without counters, without two moments: no forecast."""
    began = None if started is None else at(started)
    assert predicted_wait(looks, started_at=began) is None


def test_a_stall_is_believed_slowly() -> None:
    """Each look without movement about halves the rate: waits grow until nothing is promised."""
    seen = steady(10, [10, 20, 30])
    waits = []
    for step in range(KEPT):
        waits.append(predicted_wait(seen[-KEPT:], started_at=at(0)))
        seen.append(look(40 + 10 * step, 300))
    known = [wait for wait in waits if wait is not None]
    assert known == sorted(known)
    assert predicted_wait(seen[-KEPT:], started_at=at(0)) is None


def test_after_the_queue_has_emptied_waits_double() -> None:
    """As long again as has passed since then, be there receipts to come or not."""
    seen = [look(0, 900), look(10, 1000)]
    waits = []
    for second in (11, 12, 14, 18):
        waits.append(predicted_wait(seen, started_at=None))
        seen.append(look(second, 1000))
    assert waits == [0, 1, 2, 4]


def test_receipts_that_trickle_are_met() -> None:
    """Half of what is left at their rate, where that is sooner than as long again."""
    wait = predicted_wait(
        [look(0, 1000, 800), look(100, 1000, 880), look(200, 1000, 960)], started_at=None
    )
    assert wait == pytest.approx(0.5 * 40 / 0.8)


def test_the_last_receipt_begins_anew() -> None:
    """Whatever time has passed since the queue emptied: all done is an end that is near."""
    seen = [look(0, 1000, 800), look(100, 1000, 990), look(130, 1000, 1000)]
    assert predicted_wait(seen, started_at=None) == 0
    assert predicted_wait([*seen, look(133, 1000, 1000)], started_at=None) == 3


def test_what_is_queued_alone_decides_while_it_is() -> None:
    """Receipts cannot be in before the messages are out: a burst of them is no end."""
    quiet = predicted_wait([look(0, 0, 0), look(10, 100, 0)], started_at=None)
    burst = predicted_wait([look(0, 0, 0), look(10, 100, 99)], started_at=None)
    assert quiet == burst


def test_a_watch_is_paced_by_its_forecast() -> None:
    """Few looks on the way, and close ones at the end, within the settings' bounds."""
    story = Story(Policy(min_interval=1, max_interval=60))
    waits = []
    for _ in range(30):
        passed = min(1000, int((story.now - START).total_seconds() * 2))
        story.see(total=1000, queued=1000 - passed, created=text_at(0))
        waits.append(story.due_in)
        story.wait(story.due_in)
        if passed == 1000:
            break
    assert story.now < at(503)
    assert len(waits) < 18
    assert max(waits) == 60
    assert waits[-1] == 1


def test_a_failure_does_not_double_a_forecast() -> None:
    """It backs off from min_interval: what was foreseen for an answer says nothing of trouble."""
    story = Story(Policy(min_interval=1, max_interval=60))
    for passed in (0, 10, 20):
        story.see(total=1000, queued=1000 - passed, created=text_at(0))
        story.wait(10)
    waits = []
    for _ in range(7):
        story.fail()
        waits.append(story.due_in)
        story.wait(story.due_in)
    assert waits == [2, 4, 8, 16, 32, 60, 60]


def test_without_forecasts_there_is_plain_backoff() -> None:
    """A movement sets the wait back to min_interval, whatever it promises."""
    story = Story(Policy(min_interval=1, max_interval=60, forecast=False))
    for passed in (0, 10, 20):
        story.see(total=1000, queued=1000 - passed, created=text_at(0))
        assert story.due_in == 1
        story.wait(10)


def test_what_is_scheduled_is_not_forecast() -> None:
    """Nothing moves before the schedule, and a look at it is no beginning of a rate."""
    story = Story(Policy(min_interval=1, max_interval=60))
    for expected in (1, 2, 4):
        story.see("SCHEDULED", total=10, scheduled=10, created=text_at(-50))
        assert story.due_in == expected
        story.wait(story.due_in)


def test_counters_that_fall_have_no_rate() -> None:
    """The API may take back what it counted: a negative rate would predict a negative time."""
    assert finished_per_second([look(0, 0, done=9), look(4, 0, done=5)]) is None
    assert finished_per_second([look(0, 0, done=5), look(4, 0, done=9)]) == 1.0


def test_after_a_clock_that_went_back_looks_begin_again() -> None:
    """No rate is made of a span that never was."""
    progress = read_progress(DEFAULT_KIND, {"total": 9, "delivered": 2})
    (only,) = after_answer([look(10, 0, done=1)], progress, at=at(5))
    assert (only.done, only.total) == (2, 9)
