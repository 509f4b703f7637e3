"""What the control API's documents say, in words for people."""

from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from poller.cli.control.words import (
    counters,
    done,
    failed,
    labels_text,
    sentence,
    total,
    when,
    why,
)
from poller.server import schemas
from poller.tracking.events import format_instant
from tests.cli.control.fake_daemon import A, document

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)


def told(**members: Any) -> schemas.Operation:  # noqa: ANN401 - as the fake takes it
    """Make an operation."""
    return cast("schemas.Operation", document(A, **members))


def delivery(state: str, **members: object) -> schemas.Delivery:
    """Make a delivery."""
    made = {
        "sink": "app",
        "state": state,
        "blockedBy": None,
        "sinkState": "ok",
        "attempts": 0,
        "lastStatus": None,
        "lastError": None,
        "nextAttemptAt": None,
        "doneAt": None,
        **members,
    }
    return cast("schemas.Delivery", made)


def timeline(number: int) -> schemas.TimelineEvent:
    """Make an event of the time line."""
    return cast("schemas.TimelineEvent", {"id": f"event-{number}", "sequence": number})


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
    odd = told(snapshot={"stats": {"delivered": "3", "failed": True, "queued": -1}}, kind="new")
    assert (counters(odd), done(odd), total(odd)) == ({}, 0, None)


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
            delivery("waiting", sinkState="down", lastError="refused"),
            "the sink is down: refused; one event is tried now and then",
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
        (delivery("dead", attempts=83), "given up after 83 attempts: no answer"),
    ],
)
def test_why(one: schemas.Delivery, text: str) -> None:
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
