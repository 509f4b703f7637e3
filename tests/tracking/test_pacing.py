"""When to look again: bounded, doubling, reset by a change; few things bring a look forward."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poller.tracking.pacing import RETENTION, Policy, expires_at, next_poll
from tests.tracking.story import START, Story, at, new_watch, text_at

WEEK = RETENTION.total_seconds()


def test_nothing_new_doubles_the_wait_up_to_the_longest() -> None:
    """From min_interval on the wait doubles until it is max_interval."""
    story = Story(Policy(min_interval=1, max_interval=10))
    waits = []
    for _ in range(6):
        story.see(queued=5)
        waits.append(story.due_in)
        story.wait(story.due_in)
    assert waits == [1, 2, 4, 8, 10, 10]


def test_a_change_resets_the_wait() -> None:
    """What moves is looked at again after min_interval."""
    story = Story(Policy(min_interval=1, max_interval=60))
    for _ in range(5):
        story.see(queued=5)
        story.wait(story.due_in)
    assert story.watch.next_poll.wait == 16
    story.see(queued=4)
    assert story.due_in == 1


@pytest.mark.parametrize("how", ["fail", "not_found", "nonsense"])
def test_trouble_backs_off(how: str) -> None:
    """A failure of any sort doubles the wait: nobody hammers what is broken."""
    story = Story(Policy(min_interval=1, max_interval=10, not_found_grace=1000))
    waits = []
    for _ in range(5):
        getattr(story, how)()
        waits.append(story.due_in)
        story.wait(story.due_in)
    assert waits == [1, 2, 4, 8, 10]


def test_a_held_back_change_does_not_keep_a_failing_operation_from_backing_off() -> None:
    """The end of progress_interval is due once; if that look fails, waits double from there."""
    story = Story(Policy(min_interval=1, max_interval=60, progress_interval=5))
    story.see(queued=5)
    story.see(queued=4)
    story.wait(1).see(queued=3)
    waits = []
    for _ in range(8):
        story.wait(story.due_in).fail()
        waits.append(story.due_in)
    assert waits == [2, 1, 8, 16, 32, 60, 60, 60]


def test_an_expired_operation_backs_off_while_the_api_is_away() -> None:
    """After the seven days an outage is still an outage: waits double."""
    story = Story(Policy(min_interval=1, max_interval=60))
    story.see(queued=1, created=text_at(0))
    story.wait(WEEK + 1)
    waits = []
    for _ in range(8):
        story.fail()
        waits.append(story.due_in)
        story.wait(story.due_in)
    assert waits[-3:] == [60, 60, 60]


def test_looks_gather_before_the_vendor_drops_the_record() -> None:
    """What is left of the seven days is halved: looks fall close before the end and after it."""
    story = Story(Policy(min_interval=1, max_interval=86400))
    story.see(queued=1, created=text_at(0))
    left = WEEK
    looks = 0
    while story.watch.is_watched:
        story.wait(story.due_in)
        before, left = left, WEEK - (story.now - START).total_seconds()
        assert left >= 0 or before <= 2
        story.see(queued=1)
        looks += 1
        assert looks < 60
    assert -2 < left < 0


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, at(WEEK)),
        ({"created_at": at(-60)}, at(WEEK - 60)),
        ({"created_at": at(-60), "left_scheduled_at": at(900)}, at(WEEK + 900)),
    ],
    ids=["never seen", "seen", "left SCHEDULED"],
)
def test_the_seven_days_count_from_what_is_known(
    changes: dict[str, object], expected: object
) -> None:
    """From createdAt, from the registration where nothing was seen, from leaving SCHEDULED."""
    assert expires_at(new_watch().evolve(**changes)) == expected


def test_what_is_scheduled_does_not_expire() -> None:
    """A send may be scheduled for later than seven days from now."""
    story = Story()
    story.see("SCHEDULED", scheduled=1, created=text_at(0))
    assert expires_at(story.watch) is None


@given(
    lowest=st.floats(0.1, 60),
    span=st.floats(1, 100),
    wait=st.floats(0, 1e6),
    jitter=st.floats(0, 1, exclude_max=True),
    moved=st.booleans(),
    age=st.floats(0, 2 * WEEK),
)
def test_the_bounds_hold(
    lowest: float, span: float, wait: float, jitter: float, *, moved: bool, age: float
) -> None:
    """Never sooner than min_interval, never later than max_interval, whatever was before."""
    policy = Policy(min_interval=lowest, max_interval=lowest * span)
    now = START + timedelta(seconds=age)
    watch = new_watch()
    watch = watch.evolve(next_poll=type(watch.next_poll)(wait=wait, due_at=now, set_at=now))
    schedule = next_poll(watch, moved=moved, policy=policy, now=now, jitter=jitter)
    delay = (schedule.due_at - now).total_seconds()
    assert schedule.set_at == now
    assert policy.min_interval - 1e-5 <= delay <= policy.max_interval + 1e-5


def test_jitter_only_shortens() -> None:
    """Operations that were registered together drift apart, and max_interval is kept."""
    policy = Policy(min_interval=1, max_interval=60)
    watch = new_watch()
    watch = watch.evolve(next_poll=type(watch.next_poll)(wait=60, due_at=START, set_at=START))
    delays = [
        (
            next_poll(watch, moved=False, policy=policy, now=START, jitter=jitter).due_at - START
        ).total_seconds()
        for jitter in (0.0, 0.5, 0.99)
    ]
    assert delays == sorted(delays, reverse=True)
    assert delays[0] == 60
    assert delays[-1] > 45


def test_settling_is_slow() -> None:
    """A completed operation is looked at some eight times while it settles."""
    story = Story(Policy(min_interval=1, max_interval=600, settle=80))
    story.see("COMPLETED", sent=2)
    assert story.due_in == 10
    story.wait(10).see("COMPLETED", sent=1)
    assert story.due_in == 10


def test_the_end_of_settling_is_met() -> None:
    """No look is later than the stored deadline, be it sooner than min_interval."""
    story = Story(Policy(min_interval=60, max_interval=60, settle=90))
    story.see("COMPLETED", sent=2)
    story.wait(story.due_in).see("COMPLETED", sent=2)
    assert story.due_in == 30
