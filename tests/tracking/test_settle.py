"""A completed operation whose receipts are still on their way."""

from typing import Any

from poller.tracking.pacing import Policy
from poller.tracking.watch import Outcome, Phase
from tests.tracking.story import Story, types_of

SETTLE = Policy(settle=600, progress_interval=10, not_found_grace=0)


def _finals(story: Story) -> list[str]:
    return [name for name, event in zip(story.types, story.events, strict=True) if event.final]


def test_with_open_counters_it_is_watched_on() -> None:
    """The terminal event is out and not final; the outcome is known."""
    story = Story(SETTLE)
    assert types_of(story.see("COMPLETED", sent=2)) == ["completed"]
    assert story.watch.phase is Phase.SETTLING
    assert story.watch.outcome is Outcome.COMPLETED
    assert story.watch.ended_at is None
    assert _finals(story) == []


def test_with_nothing_open_it_settles_at_once() -> None:
    """One look makes both events, in order; only the second is final."""
    story = Story(SETTLE)
    assert types_of(story.see("COMPLETED", queued=0, delivered=2)) == ["completed", "settled"]
    assert story.last["delta"] == {}
    assert _finals(story) == ["settled"]
    assert story.watch.phase is Phase.ENDED


def test_progress_while_settling_then_exactly_one_settled() -> None:
    """`queued` + `scheduled` + `sent` = 0 ends it."""
    story = Story(SETTLE)
    story.see("COMPLETED", sent=3)
    story.wait(75).see("COMPLETED", sent=1, delivered=2)
    story.wait(75).see("COMPLETED", delivered=3)
    assert story.types == ["completed", "progress", "settled"]
    assert story.last["delta"] == {"sent": -1, "delivered": 1}
    assert story.last["previousStatus"] == "COMPLETED"
    assert _finals(story) == ["settled"]


def test_the_last_receipts_are_not_held_back() -> None:
    """Settling ends at once even where progress was just emitted."""
    story = Story(SETTLE)
    story.see("COMPLETED", sent=3)
    story.wait(75).see("COMPLETED", sent=1)
    assert types_of(story.wait(1).see("COMPLETED", sent=0)) == ["settled"]


def test_each_open_counter_keeps_it_open() -> None:
    """Any of the three, and for sender pools `queued` alone."""
    for name in ("queued", "scheduled", "sent"):
        story = Story(SETTLE)
        stats: dict[str, Any] = {name: 1}
        story.see("COMPLETED", **stats)
        assert story.watch.is_watched
    story = Story(SETTLE, kind="sender-pools")
    story.see("COMPLETED", queued=0, created=3, sent=1)
    assert story.types == ["completed", "settled"]


def test_the_deadline_ends_it() -> None:
    """`settle` after the terminal event, whatever is still open."""
    story = Story(SETTLE)
    story.see("COMPLETED", sent=3)
    assert types_of(story.wait(599).see("COMPLETED", sent=3)) == []
    assert types_of(story.wait(1).see("COMPLETED", sent=3)) == ["settled"]
    assert story.last["operation"]["stats"] == {"sent": 3}


def test_the_deadline_ends_it_without_an_answer() -> None:
    """The API being away, or the record gone, does not keep it open; it is not lost."""
    for how in ("fail", "not_found", "rejected", "nonsense"):
        story = Story(SETTLE)
        story.see("COMPLETED", sent=3)
        for _ in range(5):
            assert types_of(getattr(story.wait(10), how)()) == []
        assert types_of(getattr(story.wait(600), how)()) == ["settled"]
        assert story.watch.outcome is Outcome.COMPLETED


def test_the_deadline_is_stored() -> None:
    """Settings that change meanwhile do not move it."""
    story = Story(SETTLE)
    story.see("COMPLETED", sent=3)
    story.policy = Policy(settle=0)
    assert types_of(story.wait(300).see("COMPLETED", sent=3)) == []
    assert types_of(story.wait(300).see("COMPLETED", sent=3)) == ["settled"]


def test_a_canceled_operation_does_not_settle() -> None:
    """Only COMPLETED does."""
    story = Story(SETTLE)
    story.see("CANCELED", sent=3)
    assert story.types == ["canceled"]
    assert _finals(story) == ["canceled"]


def test_without_settle_completed_is_the_final_event() -> None:
    """The default: what is still open is not waited for."""
    story = Story()
    story.see("COMPLETED", sent=3)
    assert story.types == ["completed"]
    assert _finals(story) == ["completed"]


def test_settling_does_not_expire() -> None:
    """The seven days end watches without an end; this one has its end."""
    story = Story(Policy(settle=30 * 86400, max_interval=86400))
    story.see("COMPLETED", sent=1, created="2026-11-01T00:00:00Z")
    assert types_of(story.wait(10 * 86400).see("COMPLETED", sent=1)) == []
