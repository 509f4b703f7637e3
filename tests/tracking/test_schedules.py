"""What is scheduled sleeps until its schedule in place of being polled towards it."""

import pytest

from poller.tracking.watch import NextRequest
from tests.tracking.story import Story, at, text_at

HOUR = 3600.0


def _scheduled(seconds: float | None, *, created: float = 0) -> Story:
    story = Story()
    story.see("SCHEDULED", created=text_at(0), total=5, scheduled=5)
    inquiries = [story.watch.next_request]
    assert story.due_in == story.policy.min_interval
    story.wait(1).schedule(seconds, created=created)
    inquiries.append(story.watch.next_request)
    assert inquiries == [NextRequest.SCHEDULE, NextRequest.OPERATION]
    return story


def test_it_sleeps_until_its_schedule() -> None:
    """The next look is at that moment, without a request in between."""
    story = _scheduled(HOUR / 2)
    assert story.watch.next_poll.due_at == at(HOUR / 2)


def test_far_away_it_sleeps_half_of_the_time() -> None:
    """A cancellation days before is not found days late, and costs a few looks."""
    story = _scheduled(72 * HOUR)
    looks = 0
    while story.now < at(72 * HOUR):
        assert story.due_in >= HOUR or story.watch.next_poll.due_at == at(72 * HOUR)
        story.wait(story.due_in)
        story.see("SCHEDULED", total=5, scheduled=5)
        looks += 1
    assert looks <= 9


def test_once_awake_it_is_polled_from_the_shortest_wait_on() -> None:
    """The sleep does not count as backoff."""
    story = _scheduled(HOUR / 2)
    story.wait(story.due_in).see("SCHEDULED", total=5, scheduled=5)
    assert story.due_in <= 2 * story.policy.min_interval
    story.wait(1).see("PROCESSING", total=5, queued=5)
    assert story.due_in == story.policy.min_interval


@pytest.mark.parametrize(
    ("seconds", "created"),
    [(None, 0), (HOUR / 2, -HOUR), (HOUR / 2, HOUR), (-5, 0)],
    ids=["no message", "an older message", "a younger message", "in the past"],
)
def test_without_a_schedule_it_backs_off(seconds: float | None, created: float) -> None:
    """What cannot be believed changes nothing; it is asked for once."""
    story = _scheduled(seconds, created=created)
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
