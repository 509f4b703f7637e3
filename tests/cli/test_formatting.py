"""What the control API's documents say, in words for people."""

from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from poller.cli.formatting import (
    counters,
    done,
    failed,
    labels_text,
    progress,
    sentence,
    standing,
    total,
    when,
    why,
)
from poller.server.documents import DeliveryDocument, OperationDocument, TimelineEventDocument
from poller.text import format_instant
from tests.control.fake_daemon import A, document, message_document

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)


def told(**members: Any) -> OperationDocument:  # noqa: ANN401 - as the fake takes it
    """Make an operation."""
    return cast("OperationDocument", document(A, **members))


def delivery(state: str, **members: object) -> DeliveryDocument:
    """Make a delivery."""
    made = {
        "sink": "app",
        "state": state,
        "blockedBy": None,
        "sinkState": "ok",
        "sinkError": None,
        "attempts": 0,
        "lastStatus": None,
        "lastError": None,
        "nextAttemptAt": None,
        "doneAt": None,
        **members,
    }
    return cast("DeliveryDocument", made)


def timeline(number: int) -> TimelineEventDocument:
    """Make an event of the time line."""
    return cast("TimelineEventDocument", {"id": f"event-{number}", "sequence": number})


def test_cumulative_counters_count_each_message_once() -> None:
    """The vendor counts an opened email as sent, delivered and opened; it is one email."""
    stats = {"total": 5, "sent": 5, "delivered": 5, "opened": 3}
    operation = cast("OperationDocument", document(A, kind="emails", stats=stats))
    assert (done(operation), failed(operation), total(operation)) == (5, 0, 5)
    assert progress(operation) == "5 of 5 done: 2 delivered, 3 opened"


def test_what_ends_at_sent_is_done() -> None:
    """There is no column for deliveries, so nobody waits for them."""
    stats = {"total": 300, "sent": 295, "failed": 5}
    operation = cast("OperationDocument", document(A, kind="push-notifications", counters=stats))
    assert progress(operation) == "300 of 300 done: 295 sent, 5 failed"


def test_counts() -> None:
    """Finished recipients are those that nothing more happens to; zeros are left out."""
    stats = {"total": 10, "delivered": 4, "read": 1, "failed": 2, "unaddressable": 1, "queued": 2}
    operation = told(stats=stats)
    assert counters(operation) == stats
    assert (done(operation), failed(operation), total(operation)) == (8, 3, 10)


def test_counts_of_what_was_not_seen_or_is_odd() -> None:
    """Nothing is made up, and nothing breaks."""
    unseen = told(status=None)
    assert (counters(unseen), done(unseen), failed(unseen), total(unseen)) == ({}, 0, 0, None)
    odd = told(counters={"delivered": 3, "failed": 0, "new": 1}, kind="new")
    assert (counters(odd), done(odd), total(odd)) == ({"delivered": 3, "new": 1}, 3, None)


FALLBACK = (
    {"from": {"channel": "RCS"}, "status": "FAILED", "error": {"code": 61337}},
    {"from": {"channel": "SMS"}, "status": "DELIVERED", "error": None},
)


def told_message(status: str, *attempts: Any, **members: Any) -> OperationDocument:  # noqa: ANN401 - as the fake takes it
    """Make a message; `counters` are its attempts, or the receipts of a group."""
    made = message_document(status, *attempts, **{"counters": {"attempts": 1}, **members})
    return cast("OperationDocument", made)


@pytest.mark.parametrize(
    ("message", "words", "counts"),
    [
        (told_message("SENT"), "sent", (0, 1, 0)),
        (told_message("DELIVERED", phase="settling", outcome="completed"), "delivered", (1, 1, 0)),
        (told_message("READ", phase="ended", outcome="completed"), "read", (1, 1, 0)),
        (told_message("UNDELIVERED", phase="ended", outcome="failed"), "undelivered", (1, 1, 1)),
        (told_message("SENT", phase="ended", outcome="lost"), "lost", (0, 1, 0)),
        (told_message("SENT", phase="forgotten"), "forgotten", (0, 1, 0)),
        (
            told_message(
                "GROUP",
                phase="ended",
                outcome="completed",
                counters={"recipients": 3, "delivered": 2, "failed": 1},
            ),
            "completed",
            (3, 3, 1),
        ),
    ],
    ids="sent settling read undelivered lost forgotten group".split(),
)
def test_a_message_is_one_recipient(
    message: OperationDocument, words: str, counts: tuple[int, int, int]
) -> None:
    """Whatever it took to reach it; a group has several. Its own status says best how it is."""
    assert standing(message) == words
    assert (done(message), total(message), failed(message)) == counts


def test_how_far_it_is() -> None:
    """An operation by its counters, a message by its attempts, a group by its receipts."""
    operation = told(stats={"total": 100, "sent": 40, "delivered": 60})
    assert progress(operation) == "60 of 100 done: 40 sent, 60 delivered"
    fallback = told_message("DELIVERED", *FALLBACK, counters={"attempts": 2, "failed": 1})
    assert progress(fallback) == "RCS failed 61337 → SMS delivered"
    receipts = {"recipients": 2, "delivered": 1, "sent": 1}
    assert progress(told_message("GROUP", counters=receipts)) == (
        "2 recipients: 1 delivered, 1 sent"
    )
    assert progress(told_message("QUEUED")) == progress(told(status=None)) == ""


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"status": None}, "waiting"),
        ({}, "processing"),
        ({"phase": "settling", "outcome": "completed"}, "settling"),
        ({"phase": "explaining", "outcome": "completed"}, "explaining"),
        ({"phase": "ended", "outcome": "canceled"}, "canceled"),
        ({"phase": "forgotten"}, "forgotten"),
    ],
)
def test_how_an_operation_is(members: dict[str, Any], words: str) -> None:
    """Its status while it is looked at, its outcome once it has ended."""
    assert standing(told(**members)) == words


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(9, "in 9s"), (-200, "3m 20s ago"), (0.4, "now"), (-0.4, "now"), (90_000, "in 1d 01h")],
)
def test_when(seconds: float, text: str) -> None:
    """A span from now, forwards or back."""
    assert when(format_instant(NOW + timedelta(seconds=seconds)), NOW) == text


@pytest.mark.parametrize("text", [None, "soon"])
def test_when_never(text: str | None) -> None:
    """A dash, for none and for nonsense."""
    assert when(text, NOW) == "–"


def test_labels() -> None:
    """As they are given on the command line."""
    assert labels_text({"campaign": "autumn", "team": "a"}) == "campaign=autumn team=a"


@pytest.mark.parametrize(
    ("one", "text"),
    [
        (delivery("delivered"), ""),
        (delivery("waiting"), "is sent next"),
        (
            delivery(
                "waiting",
                attempts=2,
                lastError="answered 503",
                nextAttemptAt="2026-11-22T10:00:04Z",
            ),
            "answered 503; attempt 3 in 4s",
        ),
        (
            delivery(
                "waiting",
                sinkState="down",
                sinkError="refused",
                nextAttemptAt="2026-11-22T10:00:40Z",
            ),
            "the sink is down: refused; next attempt in 40s",
        ),
        (
            delivery("waiting", sinkState="failing", nextAttemptAt="2026-11-22T10:00:04Z"),
            "is sent next, in 4s",
        ),
        (
            delivery("waiting", sinkState="disabled", sinkError="answered 410"),
            "the sink is disabled: answered 410",
        ),
        (delivery("waiting", sinkState="disabled", lastError="410"), "the sink is disabled: 410"),
        (
            delivery("waiting", sinkState=None),
            "no settings name this sink; configure it again within three days",
        ),
        (delivery("blocked", blockedBy="event-1"), "behind #1"),
        (delivery("blocked", blockedBy="event-0"), "behind event-0"),
        (
            delivery("dead", attempts=1, lastError="answered 422"),
            "given up after 1 attempt: answered 422",
        ),
        (delivery("dead", attempts=83), "given up after 83 attempts: no reason is known"),
    ],
)
def test_why(one: DeliveryDocument, text: str) -> None:
    """Each state has its reason; one that is fine needs none."""
    assert why(one, {"event-1": 1}, NOW) == text


def test_a_sink_in_a_sentence() -> None:
    """Counts by state, the first that waits with its reason, and what to replay."""
    said, dead = sentence(
        "app",
        [
            (timeline(1), delivery("dead", attempts=2, lastError="answered 422")),
            (timeline(2), delivery("delivered")),
            (timeline(3), delivery("waiting")),
            (timeline(4), delivery("blocked", blockedBy="event-3")),
        ],
        NOW,
    )
    assert said == (
        "app: 1 delivered, 1 waiting, 1 blocked, 1 dead; #3 is sent next; "
        "#1 given up after 2 attempts: answered 422"
    )
    assert dead == "event-1"


def test_a_sink_that_is_fine() -> None:
    """Nothing to replay, nothing to explain."""
    assert sentence("app", [(timeline(1), delivery("delivered"))], NOW) == (
        "app: 1 delivered",
        None,
    )
