"""What is scheduled sleeps until its schedule in place of being polled towards it."""

import pytest

from poller.tracking.pacing import Policy
from poller.tracking.watch import NextRequest
from tests.tracking.story import Story, at, text_at

HOUR = 3600.0
QUARTER = Policy().schedule_checks


def _scheduled(*seconds: float, created: float = 0, policy: Policy | None = None) -> Story:
    story = Story(policy)
    story.see("SCHEDULED", created=text_at(0), total=5, scheduled=5)
    inquiries = [story.watch.next_request]
    assert story.due_in == story.policy.min_interval
    story.wait(1).schedule(*seconds, created=created)
    inquiries.append(story.watch.next_request)
    assert inquiries == [NextRequest.SCHEDULE, NextRequest.OPERATION]
    return story


def test_it_sleeps_until_its_schedule() -> None:
    """The next look is at that moment, without a request in between."""
    story = _scheduled(QUARTER - 60)
    assert story.watch.next_poll.due_at == at(QUARTER - 60)


def test_it_wakes_for_the_earliest_schedule() -> None:
    """Schedules are per recipient, and one that has passed is not slept for."""
    story = _scheduled(HOUR, -5, QUARTER / 2, 72 * HOUR)
    assert story.watch.next_poll.due_at == at(QUARTER / 2)


@pytest.mark.parametrize("most", [QUARTER, 2 * HOUR])
def test_it_is_looked_at_regularly(most: float) -> None:
    """Schedules are per recipient: the one that was read may be the last of all."""
    story = _scheduled(72 * HOUR, policy=Policy(schedule_checks=most))
    while story.now < at(72 * HOUR):
        assert story.due_in == most or story.watch.next_poll.due_at == at(72 * HOUR)
        story.wait(story.due_in).see("SCHEDULED", total=5, scheduled=5)


def test_a_first_send_before_the_known_schedule_is_found() -> None:
    """It is polled like any other from then on."""
    story = _scheduled(72 * HOUR)
    story.wait(story.due_in).see("PROCESSING", total=5, scheduled=4, queued=1)
    assert story.types == ["scheduled", "processing"]
    assert story.due_in == story.policy.min_interval


def test_once_awake_it_is_polled_from_the_shortest_wait_on() -> None:
    """The sleep does not count as backoff."""
    story = _scheduled(QUARTER / 2)
    story.wait(story.due_in).see("SCHEDULED", total=5, scheduled=5)
    assert story.due_in <= 2 * story.policy.min_interval
    story.wait(1).see("PROCESSING", total=5, queued=5)
    assert story.due_in == story.policy.min_interval


@pytest.mark.parametrize(
    ("seconds", "created"),
    [((), 0), ((HOUR / 2,), -HOUR), ((HOUR / 2,), HOUR), ((-5,), 0)],
    ids=["no message", "an older message", "a younger message", "in the past"],
)
def test_without_a_schedule_it_backs_off(seconds: tuple[float, ...], created: float) -> None:
    """What cannot be believed changes nothing; it is asked for once."""
    story = _scheduled(*seconds, created=created)
    assert story.due_in <= 2 * story.policy.min_interval
    story.wait(5).see("SCHEDULED", total=5, scheduled=5)
    assert story.watch.next_request is NextRequest.OPERATION


def test_a_failure_asks_again() -> None:
    """Only an answer settles the question."""
    story = Story()
    story.see("SCHEDULED", created=text_at(0))
    story.wait(1).fail()
    assert story.watch.next_request is NextRequest.SCHEDULE


def test_a_kind_without_messages_is_not_asked() -> None:
    """Sender pools list none."""
    story = Story(kind="sender-pools")
    story.see("SCHEDULED", created=text_at(0))
    assert story.watch.next_request is NextRequest.OPERATION
