"""Which answers are old and change nothing."""

from typing import Any

import pytest

from poller.tracking.answer import Verdict
from poller.tracking.pacing import Policy
from tests.tracking.story import Story, is_silent, text_at

AT_ONCE = Policy(progress_interval=0)


@pytest.fixture
def story() -> Story:
    """Make an operation that was processed and updated at the second 100."""
    story = Story(AT_ONCE)
    story.wait(200).see("PROCESSING", queued=5, updated=text_at(100))
    return story


def test_an_older_updated_at_is_stale(story: Story) -> None:
    """It changes nothing and makes no event."""
    before = story.watch
    assert is_silent(story.see(queued=6, updated=text_at(99.999)), Verdict.STALE)
    assert story.watch.evolve(next_poll=before.next_poll) == before


def test_instants_are_compared_not_texts(story: Story) -> None:
    """Offsets and fractions are read: what looks later may be older."""
    older = "2026-11-22T12:01:39.5+02:00"
    newer = "2026-11-22T08:01:40.5-02:00"
    assert story.see(queued=4, updated=older).verdict is Verdict.STALE
    assert story.see(queued=4, updated=newer).verdict is Verdict.CHANGED


@pytest.mark.parametrize(
    "updated",
    [
        text_at(100),
        None,
        "",
        "yesterday",
        "2026-11-22",
        "2026-11-22T09:00:00",
        "2020-13-45T00:00:00Z",
        1,
        {},
        text_at(200 + 301),
    ],
    ids=str,
)
def test_equal_absent_or_unreadable_is_not_stale(story: Story, updated: object) -> None:
    """Unreadable, without an offset or over 5 minutes ahead of our clock is as if absent."""
    assert story.see(queued=4, updated=updated).verdict is Verdict.CHANGED


def test_an_absent_updated_at_does_not_forget_the_last_one(story: Story) -> None:
    """After it an older answer is still stale."""
    story.see(queued=4)
    assert story.see(queued=6, updated=text_at(50)).verdict is Verdict.STALE


def test_a_far_future_updated_at_does_not_make_all_others_stale(story: Story) -> None:
    """It is not remembered; up to 5 minutes ahead is."""
    story.see(queued=4, updated="9999-01-01T00:00:00Z")
    assert story.see(queued=3, updated=text_at(101)).verdict is Verdict.CHANGED
    story.see(queued=2, updated=text_at(200 + 299))
    assert story.see(queued=1, updated=text_at(200 + 298)).verdict is Verdict.STALE


@pytest.mark.parametrize(
    ("status", "event"), [("COMPLETED", "completed"), ("CANCELED", "canceled")]
)
def test_the_first_terminal_status_is_believed_whatever_its_clock_says(
    story: Story, status: str, event: str
) -> None:
    """An end is never lost to a clock that went back."""
    story.see(status, delivered=5, updated=text_at(1))
    assert story.types == ["processing", event]


def test_only_the_first_terminal_status_is_believed() -> None:
    """While it settles, an older answer with the same status is stale like any other."""
    story = Story(Policy(settle=600, progress_interval=0))
    story.see("COMPLETED", sent=3, updated=text_at(10))
    assert is_silent(story.see("COMPLETED", sent=5, updated=text_at(9)), Verdict.STALE)


@pytest.mark.parametrize("status", ["PROCESSING", "SCHEDULED", "CANCELED", "PAUSED"])
def test_any_other_status_after_a_terminal_one_is_stale(status: str) -> None:
    """An operation that reopens is an old answer, however new it claims to be."""
    story = Story(Policy(settle=600, progress_interval=0))
    story.see("COMPLETED", sent=3, updated=text_at(1))
    assert is_silent(story.see(status, sent=4, updated=text_at(60)), Verdict.STALE)
    assert story.watch.counters == {"sent": 3}


def test_scheduled_after_processing_is_stale(story: Story) -> None:
    """A send that began does not go back to waiting."""
    assert is_silent(story.see("SCHEDULED", queued=9, updated=text_at(150)), Verdict.STALE)


@pytest.mark.parametrize(
    "statuses", [("PAUSED", "PROCESSING"), ("PAUSED", "SCHEDULED", "PAUSED", "COMPLETED")]
)
def test_unknown_statuses_come_and_go(statuses: tuple[str, ...]) -> None:
    """The table forbids nothing about them."""
    story = Story()
    for status in statuses:
        assert story.see(status).verdict is Verdict.CHANGED


@pytest.mark.parametrize(
    "answer",
    [{"status": "SCHEDULED"}, {"status": "PROCESSING", "updated": text_at(1)}],
    ids=["order", "clock"],
)
def test_a_stale_answer_does_not_reset_the_wait(story: Story, answer: dict[str, Any]) -> None:
    """It shows nothing new, so the wait doubles."""
    waits = []
    for _ in range(4):
        story.see(**answer)
        waits.append(story.due_in)
    assert waits == [2, 4, 8, 16]
