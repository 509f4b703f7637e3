"""What an answer changes and which events it makes."""

from typing import Any

import pytest

from poller.comms.decoding import Nonsensical
from poller.tracking.answer import Verdict
from poller.tracking.pacing import Policy
from poller.tracking.watch import NotFoundStreak, Outcome, Phase
from tests.tracking.story import ID, START, Story, is_silent, types_of

AT_ONCE = Policy(progress_interval=0)


@pytest.mark.parametrize(
    ("status", "event"),
    [
        ("SCHEDULED", "scheduled"),
        ("PROCESSING", "processing"),
        ("COMPLETED", "completed"),
        ("CANCELED", "canceled"),
        ("PAUSED", "changed"),
        ("completed", "changed"),
        ("FAILED", "changed"),
    ],
)
def test_a_new_status_makes_the_event_named_after_it(status: str, event: str) -> None:
    """A status outside the table makes `operation.changed` and is never terminal."""
    story = Story()
    assert types_of(story.see(status, queued=1)) == [event]
    ends = event in {"completed", "canceled"}
    assert story.watch.is_watched is not ends
    assert story.last["final"] is ends
    assert story.last["operation"]["status"] == status


def test_same_status_and_other_counters_make_progress() -> None:
    """The delta is signed and holds what changed only."""
    story = Story(AT_ONCE)
    story.see(total=5, queued=5)
    story.see(total=5, queued=3, delivered=2)
    assert story.types == ["processing", "progress"]
    assert story.last["delta"] == {"queued": -2, "delivered": 2}
    assert story.last["previousStatus"] == "PROCESSING"


def test_nothing_changed_makes_no_event() -> None:
    """Other members may move as they like: they are carried by the next event."""
    story = Story(AT_ONCE)
    story.see(queued=1, updated="2026-11-22T10:00:00Z")
    unchanged = story.see(queued=1, updated="2026-11-22T10:00:01Z", note="x")
    assert is_silent(unchanged, Verdict.UNCHANGED)
    assert story.watch.snapshot is not None
    assert story.watch.snapshot["stats"]["note"] == "x"


def test_before_the_first_event_all_counters_are_zero() -> None:
    """The first event's delta is the counters themselves; no status was before."""
    story = Story()
    story.see("COMPLETED", total=2, delivered=2, failed=0)
    assert story.last["delta"] == {"total": 2, "delivered": 2}
    assert story.last["previousStatus"] is None
    assert story.events[0].sequence == 1


def test_a_status_between_two_looks_is_not_made_up() -> None:
    """Skipped statuses are not emitted; previousStatus says where the jump began."""
    story = Story()
    story.see("SCHEDULED", scheduled=2)
    story.see("COMPLETED", delivered=2)
    assert story.types == ["scheduled", "completed"]
    assert story.last["previousStatus"] == "SCHEDULED"
    assert story.last["delta"] == {"scheduled": -2, "delivered": 2}


def test_a_falling_counter_is_reported_as_it_is() -> None:
    """A negative delta is never masked."""
    story = Story(AT_ONCE)
    story.see(delivered=5)
    story.see(delivered=3)
    assert story.last["delta"] == {"delivered": -2}


@pytest.mark.parametrize("gone", [{}, {"queued": None}], ids=["absent", "null"])
def test_an_absent_or_null_counter_counts_as_zero(gone: dict[str, Any]) -> None:
    """A counter that disappears falls to zero."""
    story = Story(AT_ONCE)
    story.see(queued=5)
    story.see(**gone)
    assert story.last["delta"] == {"queued": -5}


def test_unknown_counters_count_and_other_members_are_carried() -> None:
    """Integers ≥ 0 under stats are counters whatever their name; the rest is not counted."""
    story = Story(AT_ONCE)
    story.see(clicked=3, rate=0.5, note="x", flag=True, debt=-4)
    assert story.last["delta"] == {"clicked": 3}
    assert story.last["operation"]["stats"] == {
        "clicked": 3, "rate": 0.5, "note": "x", "flag": True, "debt": -4,
    }  # fmt: skip


@pytest.mark.parametrize("wrong", [True, -1, 1.5, "1", []])
def test_a_known_counter_that_is_none_is_nonsense(wrong: object) -> None:
    """Such an answer never comes here as an operation."""
    with pytest.raises(Nonsensical):
        Story().see(queued=wrong)


NONE = NotFoundStreak()


def test_a_nonsensical_answer_changes_nothing_but_the_next_look() -> None:
    """It is logged as such and dropped."""
    story = Story()
    story.see(queued=1)
    before = story.watch
    assert is_silent(story.wait(1).nonsense(), Verdict.NONSENSE)
    assert story.watch.evolve(next_poll=before.next_poll, not_found_streak=NONE) == before


def test_a_failure_changes_nothing_but_the_next_look() -> None:
    """Nothing is ever dropped because of it."""
    story = Story()
    story.see(queued=1)
    before = story.watch
    assert is_silent(story.wait(1).fail(), Verdict.FAILED)
    assert story.watch.evolve(next_poll=before.next_poll, not_found_streak=NONE) == before


@pytest.mark.parametrize(
    ("status", "outcome"),
    [("COMPLETED", Outcome.COMPLETED), ("CANCELED", Outcome.CANCELED)],
)
def test_a_terminal_status_ends_the_watch(status: str, outcome: Outcome) -> None:
    """Exactly one terminal event, final, and the watch is over."""
    story = Story()
    story.see(queued=2)
    story.wait(7).see(status, delivered=2)
    assert story.watch.phase is Phase.ENDED
    assert story.watch.outcome is outcome
    assert story.watch.ended_at == story.now
    assert [event.final for event in story.events] == [False, True]


@pytest.mark.parametrize("how", ["see", "fail", "not_found", "rejected", "nonsense"])
@pytest.mark.parametrize("over", ["ended", "forgotten"])
def test_late_answers_are_dropped(how: str, over: str) -> None:
    """When the watch is over nothing changes any more, not even the next look."""
    story = Story()
    story.see("COMPLETED" if over == "ended" else "PROCESSING")
    story.forget()
    before = story.watch
    assert is_silent(getattr(story.wait(1), how)(), Verdict.LATE)
    assert story.watch == before


def test_a_change_is_reported_in_the_verdict() -> None:
    """A change that is held back is a change all the same: the pacing lives on it."""
    story = Story(Policy(progress_interval=100))
    assert story.see(queued=3).verdict is Verdict.CHANGED
    assert story.see(queued=2).verdict is Verdict.CHANGED
    assert is_silent(story.see(queued=1), Verdict.CHANGED)
    assert is_silent(story.see(queued=1), Verdict.UNCHANGED)


def test_an_event_says_when_its_answer_arrived() -> None:
    """`time` is the recording, `observedAt` the answer; no answer ever is null."""
    story = Story(Policy(not_found_grace=0))
    for _ in range(3):
        story.not_found()
    assert story.last["observedAt"] is None
    assert story.last["operation"] == {"id": ID}
    story.register()
    story.see(queued=1)
    assert story.last["observedAt"] == "2026-11-22T10:00:00.000Z"
    assert story.events[-1].time == START


def test_a_look_that_starts_with_nothing_seen_backs_off_alone() -> None:
    """Trouble before the first answer leaves an operation with no status and no event."""
    story = Story()
    for how in (story.fail, story.nonsense, story.not_found):
        how()
    assert story.watch.status is None
    assert story.events == []
