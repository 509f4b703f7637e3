"""What the control API's documents say, in words for people."""

from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poller.cli.formatting import (
    breakdown_text,
    counters,
    done,
    failed,
    labels_text,
    message_text,
    progress,
    sentence,
    state_text,
    total,
    when,
    why,
)
from poller.server.documents import DeliveryDocument, OperationDocument, TimelineEventDocument
from poller.text import format_instant
from poller.tracking.privacy import Addresses, public_message
from tests.control.fake_daemon import A, document, message_document

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)


def shown(**members: Any) -> OperationDocument:  # noqa: ANN401 - as the fake takes it
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


def test_counts() -> None:
    """Finished recipients are those that nothing more happens to; zeros are left out."""
    stats = {"total": 10, "delivered": 4, "read": 1, "failed": 2, "unaddressable": 1, "queued": 2}
    operation = shown(stats=stats)
    assert counters(operation) == stats
    assert (done(operation), failed(operation), total(operation)) == (8, 3, 10)


def test_counts_of_what_was_not_seen_or_is_odd() -> None:
    """Nothing is made up, and nothing breaks."""
    unseen = shown(status=None)
    assert (counters(unseen), done(unseen), failed(unseen), total(unseen)) == ({}, 0, 0, None)
    odd = shown(counters={"delivered": 3, "failed": 0, "new": 1}, kind="new")
    assert (counters(odd), done(odd), total(odd)) == ({"delivered": 3, "new": 1}, 3, None)


FALLBACK = (
    {"from": {"channel": "RCS"}, "status": "FAILED", "error": {"code": 61337}},
    {"from": {"channel": "SMS"}, "status": "DELIVERED", "error": None},
)


def shown_message(status: str, *attempts: Any, **members: Any) -> OperationDocument:  # noqa: ANN401 - as the fake takes it
    """Make a message; `counters` are its attempts, or the receipts of a group."""
    made = message_document(status, *attempts, **{"counters": {"attempts": 1}, **members})
    return cast("OperationDocument", made)


@pytest.mark.parametrize(
    ("message", "words", "counts"),
    [
        (shown_message("SENT"), "sent", (0, 1, 0)),
        (shown_message("DELIVERED", phase="settling", outcome="completed"), "delivered", (1, 1, 0)),
        (shown_message("READ", phase="ended", outcome="completed"), "read", (1, 1, 0)),
        (shown_message("UNDELIVERED", phase="ended", outcome="failed"), "undelivered", (1, 1, 1)),
        (shown_message("SENT", phase="ended", outcome="lost"), "lost", (0, 1, 0)),
        (shown_message("SENT", phase="forgotten"), "forgotten", (0, 1, 0)),
        (
            shown_message(
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
    assert state_text(message) == words
    assert (done(message), total(message), failed(message)) == counts


def test_how_far_it_is() -> None:
    """An operation by its counters, a message by its attempts, a group by its receipts."""
    operation = shown(stats={"total": 100, "sent": 40, "delivered": 60})
    assert progress(operation) == "60 of 100 done: 40 sent, 60 delivered"
    fallback = shown_message("DELIVERED", *FALLBACK, counters={"attempts": 2, "failed": 1})
    assert progress(fallback) == "RCS failed 61337 → SMS delivered"
    receipts = {"recipients": 2, "delivered": 1, "sent": 1}
    assert progress(shown_message("GROUP", counters=receipts)) == (
        "2 recipients: 1 delivered, 1 sent"
    )
    assert progress(shown_message("QUEUED")) == progress(shown(status=None)) == ""


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
    assert state_text(shown(**members)) == words


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
            "this sink is not configured; configure it again within three days",
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


def attempt(channel: str | None, status: str | None, code: object = None) -> dict[str, Any]:
    """Make an attempt as an event shows it."""
    return {
        "from": {} if channel is None else {"channel": channel},
        "status": status,
        "error": None if code is None else {"code": code, "message": "No route.", "infoUrl": None},
    }


RCS_FAILED = attempt("RCS", "FAILED", 61337)


@pytest.mark.parametrize(
    ("message", "counters", "text"),
    [
        ({"attempts": [RCS_FAILED, attempt("SMS", "DELIVERED")]}, {"failed": 1},
         "RCS failed 61337 → SMS delivered"),
        ({"attempts": [RCS_FAILED]}, {}, "RCS failed 61337 No route"),
        ({"attempts": [attempt("SMS", "SENT")]}, {"attempts": 1, "sent": 1}, "SMS sent"),
        ({"attempts": [attempt(None, "SENT")]}, {}, "sent"),
        ({"attempts": [attempt(None, None)]}, {}, "?"),
        ({"attempts": [RCS_FAILED] * 5 + [attempt("SMS", "SENT")]}, {},
         "2 more → RCS failed 61337 → RCS failed 61337 → RCS failed 61337 → SMS sent"),
        ({"attempts": [], "status": "QUEUED"}, {}, ""),
        ({"status": "SCHEDULED", "scheduledFor": "2026-11-22T10:30:00Z"}, {},
         "due 2026-11-22T10:30:00Z"),
        ({"status": "SENT", "scheduledFor": "2026-11-22T10:30:00Z"}, {}, ""),
        ({"status": "GROUP", "attempts": [attempt("SMS", "SENT")]},
         {"recipients": 3, "delivered": 2, "failed": 1, "sent": 0},
         "3 recipients: 2 delivered, 1 failed"),
        ({"status": "GROUP"}, {"recipients": 1, "sent": 1}, "1 recipient: 1 sent"),
        ({"status": "GROUP", "attempts": [attempt("SMS", "SENT")]}, {}, "SMS sent"),
        ({"id": "comms_message_1"}, {}, ""),
    ],
    ids="fallback failed sent channelless nothing many queued scheduled sent-late group alone "
    "no-receipts unseen".split(),
)  # fmt: skip
def test_a_message_tells_how_it_fared(
    message: dict[str, Any], counters: dict[str, int], text: str
) -> None:
    """Its attempts in their order, the codes of those that failed; a group its receipts."""
    assert message_text(message, counters) == text


def cause(code: object, count: int, message: str | None) -> dict[str, Any]:
    """Make an error of a breakdown."""
    return {"code": code, "count": count, "message": message, "infoUrl": None, "samples": []}


def breakdown(*errors: dict[str, Any], complete: bool = True) -> dict[str, Any]:
    """Make a breakdown."""
    messages = [{"status": "FAILED", "channel": "SMS", "count": 7}]
    missing = [] if complete else ["errors"]
    return {"errors": errors, "messages": messages, "complete": complete, "missing": missing}


def test_a_breakdown_names_the_most_frequent_codes() -> None:
    """With the vendor's words; what does not fit in is counted."""
    errors = (
        cause(30003, 1200, "Unreachable destination handset."),
        cause("blocked", 40, None),
        cause(None, 2, "Odd\x1b[2J"),
        cause(30005, 1, "Unknown"),
        cause(30006, 1, "Landline"),
    )
    assert breakdown_text(breakdown(*errors)) == (
        "1,244 failed: 30003 Unreachable destination handset ×1,200, blocked ×40, "
        "no code Odd?[2J ×2, 2 more codes"
    )
    assert breakdown_text(breakdown(*errors[:4])).endswith(", 1 more code")


def test_a_breakdown_may_know_little() -> None:
    """Without errors the messages are counted; what could not be read is not passed over."""
    assert breakdown_text(breakdown()) == "7 failed: the API gives no reasons"
    partly = breakdown(cause(30003, 1, None), complete=False)
    assert breakdown_text(partly) == "1 failed: 30003 ×1 (not all of it could be read)"


_JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from("attempts status from channel error code message scheduledFor".split()),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(["attempts", "status", "scheduledFor"]), _JSON))
def test_whatever_is_stored_can_be_shown(raw: dict[str, Any]) -> None:
    """Every message in its public form makes one printable line."""
    assert message_text(public_message(raw, Addresses.HIDDEN), {}).isprintable()
