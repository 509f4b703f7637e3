"""`progress_interval` holds changes of counters back, loses none, and holds nothing else back."""

import pytest

from poller.tracking.pacing import Policy
from tests.tracking.story import Story, types_of

TEN = Policy(min_interval=1, max_interval=60, progress_interval=10, not_found_grace=0)


@pytest.fixture
def story() -> Story:
    """Make an operation whose progress was emitted at second 0."""
    story = Story(TEN)
    story.see(queued=9)
    story.see(queued=8)
    assert story.types == ["processing", "progress"]
    return story


def test_at_most_one_progress_in_the_interval(story: Story) -> None:
    """The second one is emitted when the interval ends, with everything since the first."""
    for second, queued in ((3, 7), (6, 6), (9.999, 5)):
        story.wait(second - (story.now.timestamp() - story.events[0].time.timestamp()))
        assert types_of(story.see(queued=queued)) == []
    story.wait(0.001)
    assert types_of(story.see(queued=5)) == ["progress"]
    assert story.last["delta"] == {"queued": -3}


def test_a_held_back_change_makes_a_look_due_when_the_interval_ends(story: Story) -> None:
    """Backoff does not delay it beyond that."""
    story.wait(2).see(queued=7)
    story.wait(1)
    for _ in range(3):
        story.see(queued=7)
    assert story.watch.next_poll.wait == 8
    assert story.due_in == 7


def test_without_a_held_back_change_the_interval_makes_nothing_due(story: Story) -> None:
    """It is no reason to look."""
    story.wait(1)
    for _ in range(5):
        story.see(queued=8)
    assert story.due_in == 32


def test_a_change_that_was_undone_meanwhile_is_no_change(story: Story) -> None:
    """Change is measured against what was emitted, not against what was seen."""
    story.wait(2).see(queued=7)
    story.wait(2).see(queued=8)
    assert types_of(story.wait(20).see(queued=8)) == []


@pytest.mark.parametrize(
    ("status", "event"),
    [("PAUSED", "changed"), ("COMPLETED", "completed"), ("CANCELED", "canceled")],
)
def test_a_change_of_status_is_never_held_back(story: Story, status: str, event: str) -> None:
    """It carries what was held back."""
    story.wait(1).see(queued=7)
    assert types_of(story.wait(1).see(status, queued=6)) == [event]
    assert story.last["delta"] == {"queued": -2}


def test_the_loss_carries_what_was_held_back(story: Story) -> None:
    """So that the deltas add up to the counters of the last event."""
    story.wait(1).see(queued=7)
    for _ in range(3):
        story.not_found()
    assert story.types[-1] == "lost"
    assert story.last["delta"] == {"queued": -1}
    assert story.last["operation"]["stats"] == {"queued": 7}


def test_the_end_of_settling_carries_what_was_held_back() -> None:
    """Even where the last look brings no answer."""
    story = Story(Policy(progress_interval=1000, settle=30))
    story.see("COMPLETED", sent=5)
    story.wait(5).see("COMPLETED", sent=4, delivered=1)
    story.wait(5).see("COMPLETED", sent=3, delivered=2)
    story.wait(30).fail()
    assert story.types == ["completed", "progress", "settled"]
    assert story.last["delta"] == {"sent": -1, "delivered": 1}


def test_other_events_do_not_start_the_interval() -> None:
    """Only progress counts: the first progress after a change of status comes at once."""
    story = Story(TEN)
    story.see("SCHEDULED", queued=2)
    story.wait(1).see("PROCESSING", queued=2)
    assert types_of(story.wait(1).see("PROCESSING", queued=1)) == ["progress"]


def test_a_clock_that_went_back_holds_nothing_up(story: Story) -> None:
    """The last progress lies in the future: nobody waits for it."""
    assert types_of(story.wait(-3600).see(queued=7)) == ["progress"]
    assert types_of(story.wait(5).see(queued=6)) == []


def test_an_interval_of_zero_emits_every_change() -> None:
    """Nothing is coalesced."""
    story = Story(Policy(progress_interval=0))
    for queued in (3, 2, 1):
        assert len(types_of(story.see(queued=queued))) == 1
