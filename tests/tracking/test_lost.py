"""The three ways in which a watch ends without a terminal status, and cases that do not end it."""

from datetime import timedelta

import pytest

from poller.tracking.answer import Verdict
from poller.tracking.pacing import RETENTION, Policy
from poller.tracking.watch import Outcome, Phase
from tests.tracking.story import ID, Story, at, is_silent, text_at, types_of

MINUTE = Policy(not_found_grace=60, max_interval=1000)
WEEK = RETENTION.total_seconds()


def _assert_lost(story: Story, reason: str) -> None:
    assert story.types[-1] == "lost"
    assert story.last["reason"] == reason
    assert story.last["final"] is True
    assert story.watch.phase is Phase.ENDED
    assert story.watch.outcome is Outcome.LOST
    assert story.watch.ended_at == story.now


def test_not_found_thrice_over_the_grace_is_lost() -> None:
    """Counted from the first of them."""
    story = Story(MINUTE)
    for _ in range(3):
        assert is_silent(story.not_found(), Verdict.ABSENT)
        story.wait(20)
    story.not_found()
    _assert_lost(story, "not_found")
    assert story.last["operation"] == {"id": ID}
    assert story.last["delta"] == {}


def test_twice_is_not_enough_however_long_it_takes() -> None:
    """At least three."""
    story = Story(MINUTE)
    story.not_found()
    story.wait(3600)
    assert is_silent(story.not_found(), Verdict.ABSENT)
    story.wait(1).not_found()
    _assert_lost(story, "not_found")


def test_many_within_the_grace_are_not_enough() -> None:
    """An operation may take its time to be found after the send."""
    story = Story(MINUTE)
    for _ in range(59):
        assert is_silent(story.not_found(), Verdict.ABSENT)
        story.wait(1)
    story.see(queued=1)
    assert story.types == ["processing"]


@pytest.mark.parametrize("between", ["see", "fail", "nonsense", "rejected"])
def test_any_other_outcome_breaks_the_row(between: str) -> None:
    """Three in a row, and the grace counts from the first of that row."""
    story = Story(MINUTE)
    for _ in range(2):
        story.not_found()
        story.wait(100)
    getattr(story, between)()
    assert story.watch.not_found_streak.not_found == 0
    for _ in range(3):
        assert is_silent(story.not_found(), Verdict.ABSENT)
        story.wait(20)
    story.not_found()
    _assert_lost(story, "not_found")


def test_a_stale_answer_breaks_the_row_too() -> None:
    """However old, it shows that there is such an operation."""
    story = Story(MINUTE)
    story.see(queued=1, updated=text_at(0))
    for _ in range(2):
        story.wait(100).not_found()
    story.see(queued=1, updated=text_at(-100))
    assert is_silent(story.not_found(), Verdict.ABSENT)


def test_a_clock_that_went_back_cannot_stretch_or_cut_the_grace() -> None:
    """A first 404 in the future counts as one of now."""
    story = Story(MINUTE)
    story.not_found()
    story.wait(-3600)
    for _ in range(3):
        assert is_silent(story.not_found(), Verdict.ABSENT)
    story.wait(60).not_found()
    _assert_lost(story, "not_found")


def test_rejected_needs_a_second_fetch() -> None:
    """One 400 may be a slip of the API."""
    story = Story()
    assert is_silent(story.rejected(), Verdict.ABSENT)
    story.rejected()
    _assert_lost(story, "rejected")


@pytest.mark.parametrize("between", ["see", "fail", "nonsense", "not_found"])
def test_rejected_twice_but_not_in_a_row_is_not_confirmed(between: str) -> None:
    """Any other outcome between the two breaks it."""
    story = Story(MINUTE)
    story.rejected()
    getattr(story, between)()
    assert is_silent(story.rejected(), Verdict.ABSENT)


@pytest.mark.parametrize("how", ["fail", "nonsense"])
def test_no_number_of_failures_loses_an_operation(how: str) -> None:
    """Nothing is ever dropped because of them."""
    story = Story(Policy(not_found_grace=0))
    for _ in range(200):
        assert types_of(getattr(story.wait(60), how)()) == []
    assert story.watch.is_watched


def test_an_operation_expires_seven_days_after_its_creation() -> None:
    """When a fetch begun after that moment still shows no end."""
    story = Story()
    story.see(queued=1, created=text_at(-100))
    story.wait(WEEK - 100)
    assert types_of(story.see(queued=1)) == []
    story.wait(0.001).see(queued=1)
    _assert_lost(story, "expired")


def test_the_last_word_is_reported_before_the_loss() -> None:
    """A change that the same answer brings is an event of its own."""
    story = Story(Policy(progress_interval=0))
    story.see(queued=3, created=text_at(0))
    story.wait(WEEK + 1).see(queued=2)
    assert story.types == ["processing", "progress", "lost"]
    assert story.last["delta"] == {}
    assert story.last["reason"] == "expired"


@pytest.mark.parametrize("how", ["not_found", "rejected", "nonsense"])
def test_whatever_the_api_answers_then_shows_no_end(how: str) -> None:
    """Older records “may return incomplete results”, or none."""
    story = Story()
    story.see(queued=1, created=text_at(0))
    getattr(story.wait(WEEK + 1), how)()
    _assert_lost(story, "expired")


def test_an_outage_expires_nothing() -> None:
    """No answer is no fetch that shows anything."""
    story = Story()
    story.see(queued=1, created=text_at(0))
    assert types_of(story.wait(2 * WEEK).fail()) == []
    assert story.watch.is_watched


def test_a_list_expires_nothing() -> None:
    """Only a fetch of that operation counts."""
    story = Story()
    story.see(queued=1, created=text_at(0))
    assert types_of(story.wait(2 * WEEK).see(queued=1, fetched=False)) == []


def test_a_fetch_begun_before_the_moment_expires_nothing() -> None:
    """It may have been answered before it."""
    story = Story()
    story.see(queued=1, created=text_at(0))
    story.wait(WEEK + 5)
    assert types_of(story.see(queued=1, begun_at=at(WEEK))) == []
    assert story.watch.is_watched


def test_an_end_at_the_last_moment_is_an_end() -> None:
    """A terminal status beats the seven days."""
    story = Story()
    story.see(queued=1, created=text_at(0))
    story.wait(2 * WEEK).see("COMPLETED", delivered=1)
    assert story.types == ["processing", "completed"]


def test_what_was_never_seen_expires_after_its_registration() -> None:
    """There is no createdAt to count from."""
    story = Story(Policy(not_found_grace=10 * WEEK))
    assert types_of(story.wait(WEEK).not_found()) == []
    story.wait(1).not_found()
    _assert_lost(story, "expired")


def test_scheduled_never_expires() -> None:
    """However long it waits for its time."""
    story = Story()
    story.see("SCHEDULED", scheduled=1, created=text_at(-WEEK))
    for _ in range(30):
        assert types_of(story.wait(86400).see("SCHEDULED", scheduled=1)) == []


def test_the_days_of_a_scheduled_one_count_from_when_it_left() -> None:
    """Not from its creation."""
    story = Story()
    story.see("SCHEDULED", scheduled=1, created=text_at(-WEEK))
    story.wait(86400).see("PROCESSING", queued=1)
    assert story.watch.left_scheduled_at == story.now
    assert types_of(story.wait(WEEK).see("PROCESSING", queued=1)) == []
    story.wait(1).see("PROCESSING", queued=1)
    _assert_lost(story, "expired")


def test_a_creation_in_the_far_future_is_not_believed() -> None:
    """It counts as absent, so the registration counts."""
    story = Story()
    story.see(queued=1, created="2999-01-01T00:00:00Z")
    assert story.watch.created_at is None
    story.wait(WEEK + 1).see(queued=1)
    _assert_lost(story, "expired")


def test_an_operation_that_completed_cannot_get_lost() -> None:
    """While it settles its record may go: it had its end."""
    story = Story(Policy(settle=600, not_found_grace=0))
    story.see("COMPLETED", sent=1)
    for _ in range(10):
        assert types_of(story.wait(1).not_found()) == []
    assert story.watch.settle_until == story.now + timedelta(seconds=590)


def test_a_status_that_is_not_documented_ends_nothing_and_expires() -> None:
    """Some clients expect FAILED of sender pools: it is emitted, and does not block for ever."""
    story = Story(kind="sender-pools")
    assert types_of(story.see("FAILED", created=text_at(0), total=2, failed=2)) == ["changed"]
    assert story.watch.is_watched
    assert types_of(story.wait(8 * 86400).see("FAILED", total=2, failed=2)) == ["lost"]
    assert story.last["reason"] == "expired"
