"""Rows of the live view: values from watches and looks, with the clock as an argument."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poller.cli.watch.news import Update
from poller.cli.watch.rows import Totals, Track, all_is_well, busiest, short_names
from poller.tracking.event import EmittedEvent, make_event
from poller.tracking.forecast import after_answer
from poller.tracking.lifecycle import EventType
from poller.tracking.registration import Registration, register
from poller.tracking.watch import AccountScope, NotFoundStreak, Outcome, Phase, ResourceType, Watch
from tests.fakes.api import operation_id

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
HOME = AccountScope(account="AC1", base_url="https://comms.example/v1")


def unseen(number: int = 1, kind: str = "messages") -> Watch:
    """Begin to watch."""
    registration = Registration(id=operation_id(number), kind=kind)
    return register(None, registration, scope=HOME, now=NOW)[0]


def seen(status: str = "PROCESSING", *, at: float = 0.0, number: int = 1, **counters: int) -> Watch:
    """Return a watch as a look `at` seconds after `NOW` leaves it."""
    watch = unseen(number).evolve(
        snapshot={"status": status}, counters=counters, observed_at=NOW + timedelta(seconds=at)
    )
    outcomes = {"COMPLETED": Outcome.COMPLETED, "CANCELED": Outcome.CANCELED}
    return (
        watch.evolve(phase=Phase.ENDED, outcome=outcomes[status]) if status in outcomes else watch
    )


FAILED_THEN_DELIVERED = {"attempts": 2, "failed": 1, "delivered": 1}
REACHED: Final = {
    "DELIVERED": Outcome.COMPLETED,
    "READ": Outcome.COMPLETED,
    "INBOUND": Outcome.COMPLETED,
    "UNDELIVERED": Outcome.FAILED,
    "FAILED": Outcome.FAILED,
    "CANCELED": Outcome.CANCELED,
}


def message(status: str | None, *, number: int = 1, **counters: int) -> Watch:
    """Return a watched message with these attempts; it has ended where its status ends."""
    registration = Registration(id=message_id(number), kind="messages")
    watch, _ = register(None, registration, scope=HOME, now=NOW)
    if status is None:
        return watch
    snapshot = {"id": watch.id, "status": status, "attempts": []}
    seen = watch.evolve(snapshot=snapshot, counters=counters, observed_at=NOW)
    outcome = REACHED.get(status)
    return seen if outcome is None else seen.evolve(phase=Phase.ENDED, outcome=outcome)


def group(outcome: Outcome | None = None, **receipts: int) -> Watch:
    """Return a watched group message with these receipts."""
    watch = message("GROUP", recipients=3, **receipts)
    return watch if outcome is None else watch.evolve(phase=Phase.ENDED, outcome=outcome)


def message_id(number: int) -> str:
    """Make the id of a message."""
    return operation_id(number).replace("_operation_", "_message_")


def track(*watches: Watch) -> Track:
    """Follow answers one after the other; each watch has the looks of those before it."""
    followed = Track(watch=unseen())
    for watch in watches:
        looks = followed.watch.looks
        if watch.observed_at is not None:
            looks = after_answer(looks, watch.progress, at=watch.observed_at)
        followed = followed.after(Update(watch=watch.evolve(looks=looks)))
    return followed


def at(seconds: float) -> datetime:
    """Return the instant so long after `NOW`."""
    return NOW + timedelta(seconds=seconds)


def test_before_the_first_answer_nothing_is_claimed() -> None:
    """No total, no rate, no time left; the status says that we wait."""
    row = track().row(NOW)
    assert (row.status, row.done, row.total, row.rate, row.left) == ("waiting", 0, None, None, None)
    assert row.share == 0.0


def test_done_is_what_the_table_of_kinds_counts() -> None:
    """Delivered and read were reached; failures and cancellations are done, too."""
    watch = seen(
        total=100, queued=40, sent=10, delivered=20, read=10, failed=5, undelivered=4,
        unaddressable=3, canceled=8,
    )  # fmt: skip
    row = track(watch).row(NOW)
    assert (row.done, row.total, row.share) == (50, 100, 0.5)
    assert row.counts == {
        "delivered": 30, "failed": 5, "undelivered": 4, "unaddressable": 3, "canceled": 8,
    }  # fmt: skip


def test_counters_of_another_kind_do_not_count() -> None:
    """A sender pool has created senders, and only its own counters are done."""
    watch = unseen(kind="sender-pools").evolve(
        snapshot={"status": "PROCESSING"}, counters={"total": 4, "created": 2, "failed": 1}
    )
    row = track(watch).row(NOW)
    assert (row.done, row.total, row.counts["delivered"], row.counts["failed"]) == (3, 4, 2, 1)


def test_cumulative_counters_count_each_message_once() -> None:
    """An email that was opened was also sent and delivered: five of five, and no more."""
    watch = unseen(kind="emails").evolve(
        snapshot={"status": "COMPLETED"},
        counters={"total": 5, "sent": 5, "delivered": 5, "opened": 3},
    )
    row = track(watch).row(NOW)
    assert (row.done, row.total, row.counts["delivered"]) == (5, 5, 5)


def test_what_ends_at_sent_is_shown_as_sent() -> None:
    """Nobody knows whether it was delivered."""
    watch = unseen(kind="push-notifications").evolve(
        snapshot={"status": "COMPLETED"}, counters={"total": 300, "sent": 295, "failed": 5}
    )
    row = track(watch).row(NOW)
    assert (row.done, row.total, row.counts["delivered"], row.counts["sent"]) == (300, 300, 0, 295)


def test_done_over_total_fills_the_bar_and_no_more() -> None:
    """Unaddressable recipients may come on top of the total."""
    assert track(seen(total=10, delivered=10, unaddressable=5)).row(NOW).share == 1.0


def test_the_rate_lies_between_looks() -> None:
    """One look has no rate; from the second on it is what was finished over the time it took."""
    first = seen(at=0, total=100, delivered=10)
    assert track(first).row(NOW).rate is None
    row = track(first, seen(at=4, total=100, delivered=50)).row(at(4))
    assert (row.rate, row.left) == (10.0, 5.0)


def test_the_time_left_runs_between_looks() -> None:
    """It counts from the last answer, and never falls below zero."""
    followed = track(seen(at=0, total=100), seen(at=5, total=100, delivered=50))
    assert followed.row(at(5)).left == 5.0
    assert followed.row(at(8)).left == 2.0
    assert followed.row(at(60)).left == 0.0


def test_a_standstill_has_no_time_left() -> None:
    """Where nothing moves there is no rate, and nothing is known about the end."""
    row = track(seen(at=0, total=9), seen(at=5, total=9)).row(at(5))
    assert (row.rate, row.left) == (None, None)


@given(
    st.lists(
        st.tuples(
            st.integers(-100, 100), st.integers(0, 50), st.integers(0, 100), st.integers(0, 90)
        ),
        max_size=20,
    ),
    st.integers(-1000, 1000),
)
def test_whatever_is_looked_at_rows_make_sense(
    looks: list[tuple[int, int, int, int]], seconds: int
) -> None:
    """No history of looks makes a negative time, a negative rate or a bar that overflows."""
    followed = track(
        *(
            seen(at=instant, delivered=delivered, failed=failed, total=total)
            for instant, delivered, failed, total in looks
        )
    )
    row = followed.row(at(seconds))
    assert 0.0 <= row.share <= 1.0
    assert row.rate is None or row.rate >= 0.0
    assert row.left is None or row.left >= 0.0


def test_what_has_ended_has_neither_rate_nor_time() -> None:
    """The last row shows what became of it."""
    followed = track(seen(at=0, total=9), seen("COMPLETED", at=1, total=9, delivered=9))
    row = followed.row(at(2))
    assert (row.status, row.ended, row.rate, row.left) == ("completed", True, None, None)


@pytest.mark.parametrize(
    ("watch", "status"),
    [
        (seen("SCHEDULED"), "scheduled"),
        (seen("CANCELED"), "canceled"),
        (seen("PAUSED_BY_VENDOR"), "paused_by_vendor"),
        (seen("\x1b[2J" + "X" * 100), "?[2j" + "x" * 19 + "…"),
        (unseen().evolve(not_found_streak=NotFoundStreak(not_found=1)), "not found"),
        (seen("COMPLETED").evolve(phase=Phase.SETTLING), "settling"),
        (seen("COMPLETED").evolve(phase=Phase.EXPLAINING), "explaining"),
        (unseen().evolve(phase=Phase.ENDED, outcome=Outcome.LOST), "lost"),
        (message(None), "waiting"),
        (message("SENT"), "sent"),
        (message("DELIVERED"), "delivered"),
        (message("DELIVERED").evolve(phase=Phase.SETTLING), "delivered"),
        (message("UNDELIVERED"), "undelivered"),
        (message("SENT").evolve(phase=Phase.ENDED, outcome=Outcome.LOST), "lost"),
        (group(), "group"),
        (group(Outcome.COMPLETED), "completed"),
        (group(Outcome.FAILED), "failed"),
    ],
    ids="scheduled canceled unknown hostile absent settling explaining lost message-unseen "
    "message-sent message-delivered message-settling message-undelivered message-lost group "
    "group-completed group-failed".split(),
)
def test_the_status_is_said_in_words(watch: Watch, status: str) -> None:
    """What the API said in lower case, bounded and printable; what we know better in our words."""
    assert track(watch).row(NOW).status == status


def test_the_reason_of_a_loss_is_kept() -> None:
    """It is only in the event, and the row still shows it later."""
    lost = unseen().evolve(phase=Phase.ENDED, outcome=Outcome.LOST)
    event = make_event(unseen(), EventType.OPERATION_LOST, now=NOW, final=True, reason="not_found")
    followed = Track(watch=unseen()).after(
        Update(watch=lost, events=(EmittedEvent.of(event, event_id="1", body=""),))
    )
    assert followed.row(NOW).reason == "not_found"


@pytest.mark.parametrize(
    ("watch", "well"),
    [
        (seen("COMPLETED", total=2, delivered=1, read=1), True),
        (seen("COMPLETED", total=2, delivered=1, canceled=1), True),
        (seen("COMPLETED", total=2, sent=2), True),
        (seen("COMPLETED", total=2, delivered=1, failed=1), False),
        (seen("COMPLETED", total=2, delivered=1, undelivered=1), False),
        (seen("COMPLETED", total=2, delivered=2, unaddressable=1), False),
        (seen("CANCELED", total=2, canceled=2), False),
        (seen(total=2, delivered=2), False),
        (seen("COMPLETED").evolve(phase=Phase.SETTLING), False),
        (seen("COMPLETED").evolve(phase=Phase.EXPLAINING), False),
        (message("DELIVERED", **FAILED_THEN_DELIVERED), True),
        (message("READ", attempts=1, read=1), True),
        (message("INBOUND"), True),
        (message("FAILED", attempts=1, failed=1), False),
        (message("UNDELIVERED", attempts=1, undelivered=1), False),
        (message("CANCELED"), False),
        (message("SENT", attempts=1, sent=1), False),
        (group(Outcome.COMPLETED, delivered=2, read=1), True),
        (group(Outcome.COMPLETED, delivered=2, failed=1), False),
        (group(Outcome.COMPLETED, delivered=2, undelivered=1), False),
        (group(Outcome.FAILED, failed=3), False),
    ],
    ids="reached canceled sent failed undelivered unaddressable stopped running settling "
    "explaining fallback read inbound message-failed message-undelivered message-canceled "
    "message-sent group group-failed-one group-undelivered-one group-failed".split(),
)
def test_all_is_well_where_all_completed_and_nobody_was_missed(watch: Watch, well: bool) -> None:  # noqa: FBT001 - a parameter
    """The rule of exit code 0."""
    assert all_is_well([watch]) is well
    assert all_is_well([watch, seen("COMPLETED")]) is well


def test_a_message_has_no_part_that_is_done() -> None:
    """Its attempts are no recipients: no total, no counts, but what became of it."""
    attempts = [
        {"from": {"channel": "RCS"}, "status": "FAILED", "error": {"code": 61337}},
        {"from": {"channel": "SMS"}, "status": "DELIVERED", "error": None},
    ]
    watch = message("DELIVERED", **FAILED_THEN_DELIVERED)
    watch = watch.evolve(snapshot={**(watch.snapshot or {}), "attempts": attempts})
    row = Track(watch=message(None)).after(Update(watch=watch)).row(NOW)
    assert (row.resource_type, row.attempts) == (
        ResourceType.MESSAGE,
        "RCS failed 61337 → SMS delivered",
    )
    assert (row.done, row.total, set(row.counts.values())) == (0, None, {0})


def test_a_group_counts_its_recipients() -> None:
    """By its receipts."""
    row = Track(watch=group(delivered=1, failed=1, sent=1)).row(NOW)
    assert row.attempts == "3 recipients: 1 delivered, 1 failed, 1 sent"
    assert (row.done, row.total, row.counts["delivered"], row.counts["failed"]) == (2, 3, 1, 1)


def test_a_breakdown_is_kept() -> None:
    """It is only in the event, and the row still shows it later."""
    ended = seen("COMPLETED", total=2, failed=2)
    cause: dict[str, Any] = {
        "code": 30003,
        "count": 2,
        "message": None,
        "infoUrl": None,
        "samples": [],
    }
    more = {"breakdown": {"errors": [cause], "messages": [], "complete": True, "missing": []}}
    event = make_event(ended, EventType.OPERATION_BREAKDOWN, now=NOW, final=False, more=more)
    followed = Track(watch=ended).after(
        Update(watch=ended, events=(EmittedEvent.of(event, event_id="1", body=""),))
    )
    assert followed.after(Update(watch=ended)).row(NOW).breakdown == "2 failed: 30003 ×2"


def test_messages_are_counted_apart() -> None:
    """A sum of recipients holds those of operations and groups, never attempts."""
    watches = [
        seen("COMPLETED", total=3, delivered=3),
        message("DELIVERED", **FAILED_THEN_DELIVERED),
        message("SENT", attempts=1, sent=1),
        group(Outcome.COMPLETED, delivered=2, failed=1),
    ]
    totals = Totals.of(watches)
    assert (totals.operations, totals.messages, totals.watches, totals.ended) == (1, 3, 4, 3)
    assert totals.statuses == Counter(completed=1)
    assert totals.message_statuses == Counter(delivered=1, sent=1, completed=1)
    assert +totals.counts == Counter(delivered=5, failed=1)


def numbers(tracks: Sequence[Track]) -> list[str]:
    """Return which operations were chosen."""
    return [one.watch.id for one in tracks]


def test_the_busiest_are_shown_where_there_is_no_room_for_all() -> None:
    """What moves first, what has ended last, failures before successes, in the order given."""

    def moving(number: int, rate: int) -> Track:
        return track(*(seen(at=at, number=number, delivered=rate * at) for at in (0, 1)))

    tracks = [
        Track(watch=seen("COMPLETED", number=1)),
        Track(watch=unseen(2)),
        Track(watch=seen("COMPLETED", number=3, failed=1)),
        moving(4, rate=1),
        Track(watch=seen("SCHEDULED", number=5)),
        moving(6, rate=5),
        Track(watch=seen(number=7)),
    ]
    order = [6, 4, 7, 5, 2, 3, 1]
    for most in range(1, 8):
        expected = [operation_id(number) for number in sorted(order[:most])]
        assert numbers(busiest(tracks, most)) == expected


def test_short_names_are_the_ends_that_tell_apart() -> None:
    """Six characters where they do, more where they must, the whole where nothing less would."""
    assert short_names(["comms_operation_0abcdefgh"]) == {"comms_operation_0abcdefgh": "…cdefgh"}
    twins = ["comms_operation_01xxxxxx", "comms_operation_02xxxxxx"]
    assert list(short_names(twins).values()) == ["…1xxxxxx", "…2xxxxxx"]
    assert short_names(["b", "ab"]) == {"b": "b", "ab": "ab"}
    assert short_names([]) == {}


@given(st.lists(st.integers(0, 10**9), unique=True, max_size=50))
def test_short_names_are_unique(chosen: list[int]) -> None:
    """Two operations never look the same."""
    ids = [operation_id(number) for number in chosen]
    names = short_names(ids)
    assert list(names) == ids
    assert len(set(names.values())) == len(ids)


_WATCHES: Any = st.builds(
    seen,
    st.sampled_from(["SCHEDULED", "PROCESSING", "COMPLETED", "CANCELED"]),
    delivered=st.integers(0, 9),
    failed=st.integers(0, 9),
)


@given(st.lists(st.tuples(_WATCHES, _WATCHES), max_size=10))
def test_totals_follow_every_change(pairs: list[tuple[Watch, Watch]]) -> None:
    """Keeping the sum up to date is the same as summing up again."""
    totals = Totals.of(before for before, _ in pairs)
    for before, after in pairs:
        totals = totals.changed(before, after)
    again = Totals.of(after for _, after in pairs)
    assert (totals.operations, totals.ended) == (again.operations, again.ended)
    assert totals.statuses == again.statuses
    assert +totals.counts == +again.counts
    assert Counter(totals.statuses).total() == len(pairs)
