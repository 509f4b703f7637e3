"""How far an operation is: both ways of counting, and columns that are not there."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poller.comms.decoding import LARGEST_COUNTER
from poller.comms.kinds import DEFAULT_KIND, KINDS, KindSpec
from poller.tracking.pacing import Policy
from poller.tracking.progress import Progress, delta_between, read_progress, read_receipts
from poller.tracking.watch import Phase
from tests.tracking.story import Story, types_of

Stats = dict[str, Any]

SETTLE = Policy(settle=600, progress_interval=0)

# The vendor's own samples: kind, stats, and what they mean as (total, done, open).
SAMPLES: Mapping[str, tuple[str, Mapping[str, int], tuple[int | None, int, int]]] = {
    "emails, guide": ("emails", {"total": 2, "sent": 0, "delivered": 2, "opened": 0}, (2, 2, 0)),
    "emails, reference": (
        "emails",
        {"total": 5, "sent": 5, "delivered": 5, "opened": 3},
        (5, 5, 0),
    ),
    "push, reference": (
        "push-notifications",
        {"total": 300, "sent": 295, "failed": 5},
        (300, 300, 0),
    ),
    "push, guide": (
        "push-notifications",
        {"total": 9, "sent": 2, "delivered": 6, "undelivered": 1},
        (9, 7, 2),
    ),
    "cumulative, under way": (
        "emails",
        {"total": 100, "queued": 60, "sent": 40, "delivered": 20, "opened": 5},
        (100, 20, 80),
    ),
    "the queue is cumulative too": (
        "emails",
        {"total": 100, "queued": 100, "sent": 40, "delivered": 20},
        (100, 20, 80),
    ),
    "delivered ones leave sent, opened ones stay delivered": (
        "emails",
        {"total": 5, "sent": 1, "delivered": 4, "opened": 3},
        (5, 4, 1),
    ),
    "sender pools": (
        "sender-pools",
        {"total": 5, "queued": 2, "created": 2, "failed": 1},
        (5, 3, 2),
    ),
    "sender pools, cumulative": (
        "sender-pools",
        {"total": 5, "queued": 5, "created": 5},
        (5, 5, 0),
    ),
    "no total": ("messages", {"recipients": 4, "sent": 1, "delivered": 3}, (4, 3, 1)),
    "a total of nothing": ("messages", {"total": 0, "sent": 1, "delivered": 3}, (None, 3, 1)),
    "no counters": ("messages", {}, (None, 0, 0)),
    "unaddressable, part of the total": (
        "messages",
        {"total": 5, "recipients": 5, "sent": 4, "delivered": 3, "unaddressable": 1},
        (5, 4, 1),
    ),
    "unaddressable, beside the total": (
        "messages",
        {"total": 5, "recipients": 6, "sent": 1, "delivered": 4, "unaddressable": 1},
        (6, 5, 1),
    ),
    "messages to groups": (
        "messages",
        {"total": 2, "recipients": 10, "sent": 1, "delivered": 1},
        (2, 1, 1),
    ),
    "receipts may come though only failures have come so far": (
        "messages",
        {"total": 3, "sent": 2, "undelivered": 1},
        (3, 1, 2),
    ),
}


@pytest.mark.parametrize(("kind", "stats", "expected"), SAMPLES.values(), ids=SAMPLES)
def test_a_snapshot_says_how_many_are_done_and_open(
    kind: str, stats: Mapping[str, int], expected: tuple[int | None, int, int]
) -> None:
    """Whichever way its counters are counted."""
    progress = read_progress(KINDS[kind], stats)
    assert (progress.total, progress.done, progress.open) == expected


def test_each_message_stands_in_one_stage() -> None:
    """For a stacked bar: five messages, not thirteen."""
    progress = read_progress(
        KINDS["emails"], {"total": 5, "sent": 5, "delivered": 5, "opened": 3, "failed": 0}
    )
    assert progress.is_cumulative
    assert {name: count for name, count in progress.stages.items() if count} == {
        "delivered": 2,
        "opened": 3,
    }
    assert (progress.reached, progress.failed, progress.waiting) == (5, 0, 0)


def test_a_group_waits_for_receipts_of_which_there_is_no_column_yet() -> None:
    """The counters of a group are ours: an absent one is a 0."""
    progress = read_receipts({"recipients": 3, "sent": 2, "failed": 1})
    assert (progress.total, progress.done, progress.open) == (3, 1, 2)


counts = st.integers(0, 50)
anything = st.integers(0, LARGEST_COUNTER)


@given(
    kind=st.sampled_from(list(KINDS.values())),
    stats=st.dictionaries(
        st.sampled_from(sorted(DEFAULT_KIND.counters | {"opened", "created", "new"})),
        counts | anything,
    ),
)
def test_any_counters_add_up(kind: KindSpec, stats: Mapping[str, int]) -> None:
    """No message is counted twice, none below zero, and never more than there are."""
    progress = read_progress(kind, stats)
    assert min(progress.stages.values()) >= 0
    assert progress.done + progress.open == sum(progress.stages.values())
    assert progress.done >= progress.failed
    assert progress.open >= progress.waiting
    if progress.total is not None:
        assert progress.done + progress.open <= progress.total
    if not progress.is_cumulative:
        assert all(stats.get(name, 0) == count for name, count in progress.stages.items())


STATES = (*DEFAULT_KIND.stages, *DEFAULT_KIND.stopped)
truths = st.fixed_dictionaries(dict.fromkeys(STATES, counts))


def _open(truth: Mapping[str, int]) -> int:
    return truth["scheduled"] + truth["queued"] + truth["sent"]


def _read(stats: Mapping[str, int]) -> Progress:
    return read_progress(DEFAULT_KIND, stats)


@given(truth=truths, includes=st.booleans())
def test_exclusive_counters_mean_what_they_say(truth: Mapping[str, int], includes: bool) -> None:  # noqa: FBT001 - drawn
    """Whether or not the total includes those who cannot be addressed."""
    recipients = sum(truth.values())
    total = recipients - (0 if includes else truth["unaddressable"])
    progress = _read({**truth, "total": total, "recipients": recipients})
    assert not progress.is_cumulative
    assert progress.stages == truth
    assert progress.open == _open(truth)
    assert progress.done == recipients - _open(truth)
    assert progress.total == (recipients if total else None)


@given(truth=truths, includes=st.booleans(), proven=st.booleans(), data=st.data())
def test_cumulative_counters_never_end_a_wait_too_early(
    truth: Mapping[str, int],
    includes: bool,  # noqa: FBT001 - drawn
    proven: bool,  # noqa: FBT001 - drawn
    data: st.DataObject,
) -> None:
    """What is open counts as open, however the vendor counts what failed or waits on the way.

    And once nothing is open the wait ends.
    """
    recipients = sum(truth.values())
    total = recipients - (0 if includes else truth["unaddressable"])
    reached = truth["delivered"] + truth["read"]
    failed_late = data.draw(st.integers(0, truth["failed"])) + truth["undelivered"]
    sent = truth["sent"] + reached + data.draw(st.sampled_from([0, failed_late]))
    queued = truth["queued"] + data.draw(st.sampled_from([0, sent]))
    stats = {**truth, "queued": queued, "sent": sent, "delivered": reached, "total": total}
    if proven:
        stats["recipients"] = recipients
    progress = _read(stats)
    assert progress.open >= _open(truth)
    if total and reached and not _open(truth) and (proven or not includes):
        assert progress.is_cumulative
        assert progress.open == 0
        assert progress.done == progress.total


def test_cumulative_counters_settle_at_once() -> None:
    """Five of five are delivered: nothing is waited for, and the event says what came."""
    story = Story(SETTLE, kind="emails")
    stats: Stats = {"total": 5, "sent": 5, "delivered": 5, "opened": 3}
    assert types_of(story.see("COMPLETED", **stats)) == ["completed", "settled"]
    assert story.last["operation"]["stats"] == stats
    assert story.events[0].data["delta"] == stats


def test_cumulative_counters_wait_for_their_receipts() -> None:
    """One receipt is out until it is in."""
    story = Story(SETTLE, kind="emails")
    assert types_of(story.see("COMPLETED", total=5, sent=5, delivered=4, opened=3)) == ["completed"]
    assert story.watch.phase is Phase.SETTLING
    last = story.wait(75).see("COMPLETED", total=5, sent=5, delivered=4, undelivered=1, opened=4)
    assert types_of(last) == ["settled"]


def test_an_incomplete_snapshot_says_nothing_about_columns() -> None:
    """Without a total its other counters may be missing, too: what is sent is waited for."""
    story = Story(SETTLE)
    assert types_of(story.see("COMPLETED", sent=3)) == ["completed"]


def test_what_has_no_delivered_column_ends_at_sent() -> None:
    """There is no receipt to wait for; a column that is null is there, and waited for."""
    story = Story(SETTLE, kind="push-notifications")
    assert types_of(story.see("COMPLETED", total=300, sent=295, failed=5)) == [
        "completed",
        "settled",
    ]
    story = Story(SETTLE, kind="push-notifications")
    assert types_of(story.see("COMPLETED", total=300, sent=295, failed=5, delivered=None)) == [
        "completed"
    ]
    assert story.watch.phase is Phase.SETTLING


def test_unaddressable_recipients_are_not_taken_for_cumulative_counters() -> None:
    """They may be counted beside the total: the last receipt still ends the wait."""
    story = Story(SETTLE)
    stats: Stats = {"total": 5, "unaddressable": 1, "delivered": 3, "read": 1}
    story.see("COMPLETED", **stats, sent=1)
    assert types_of(story.wait(75).see("COMPLETED", **{**stats, "read": 2}, sent=0)) == ["settled"]


def test_a_forecast_knows_when_cumulative_counters_are_done() -> None:
    """8 of 5 are not done: the fast looks of an end begin when the last message is."""
    story = Story(kind="emails")
    story.see(
        created="2026-11-22T09:59:00Z", total=100, queued=0, sent=100, delivered=60, opened=50
    )
    look = story.watch.looks[-1]
    assert (look.done, look.passed, look.total) == (60, 100, 100)


COUNTERS = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, LARGEST_COUNTER))


@given(before=COUNTERS, after=COUNTERS)
def test_before_plus_delta_is_after(before: dict[str, int], after: dict[str, int]) -> None:
    """An absent counter is 0, and the delta holds no zero."""
    delta = delta_between(before, after)
    assert 0 not in delta.values()
    for name in "abcdef":
        assert before.get(name, 0) + delta.get(name, 0) == after.get(name, 0)
