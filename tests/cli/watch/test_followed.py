"""One operation as a daemon shows it: documents and events in any order mean the same."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from poller.cli.watch.followed import Followed
from poller.server.documents import OperationDocument
from poller.text import parse_instant
from poller.tracking.event import EmittedEvent, emit, read_emitted
from poller.tracking.forecast import finished_per_second
from poller.tracking.lifecycle import EventType
from poller.tracking.registration import Registration, register
from poller.tracking.watch import AccountScope, NextRequest, Outcome, Phase
from tests.control.fake_daemon import (
    A,
    M,
    document,
    event,
    message_document,
    message_event,
)

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
HOME = AccountScope(account="default", base_url="https://comms.twilio.com/v1")


FAILED = {"from": {"channel": "RCS"}, "status": "FAILED", "error": {"code": 61337}}
SENT = {"from": {"channel": "SMS"}, "status": "SENT", "error": None}


def fresh(name: str = A) -> Followed:
    """Know nothing of it but its id."""
    registration = Registration(id=name, kind="messages")
    return Followed(watch=register(None, registration, scope=HOME, now=NOW)[0])


def shown(*arguments: Any, **members: Any) -> OperationDocument:  # noqa: ANN401 - as the fake takes it
    """Make a document."""
    return cast("OperationDocument", document(*arguments, **members))


def relayed(*arguments: Any, **members: Any) -> EmittedEvent:  # noqa: ANN401 - as the fake takes it
    """Make an event that came down the stream."""
    return read_emitted(json.dumps(event(*arguments, **members)))


def test_an_event_is_passed_on_as_it_is() -> None:
    """Byte for byte, also a type that only a later daemon knows."""
    body = json.dumps(event(A, 3, "operation.later"), indent=1)
    assert read_emitted(body).body == body
    assert read_emitted(body).type is EventType.OPERATION_CHANGED
    later = json.dumps(message_event(3, "message.later", "SENT"))
    assert read_emitted(later).type is EventType.MESSAGE_CHANGED


@pytest.mark.parametrize("body", ["{}", "[]", '{"type": 1}', "x"])
def test_what_is_no_event(body: str) -> None:
    """It is refused as a value, not with a traceback of its members."""
    with pytest.raises(ValueError):  # noqa: PT011 - of JSON or of ours
        read_emitted(body)


def test_its_answers_have_a_rate() -> None:
    """As those of a watch that is polled here: from its documents and its events alike."""
    begun = fresh().after_document(shown(A, stats={"total": 10, "delivered": 1}))
    assert begun.after_document(shown(A, stats={"total": 10, "delivered": 1})) == begun
    after, _ = begun.after(relayed(A, 1, total=10, delivered=5))
    assert finished_per_second(after.watch.looks) == 4.0
    ended = after.after_document(
        shown(A, "COMPLETED", sequence=2, observedAt="2026-11-22T10:00:09Z")
    )
    assert len(ended.watch.looks) == 1


def test_history_changes_nothing() -> None:
    """Events from before the document are shown, and what is known stays."""
    now = fresh().after_document(shown(A, sequence=2, stats={"delivered": 5}))
    after, update = now.after(relayed(A, 1, "operation.lost", final=True, delivered=1))
    assert update is not None
    assert update.events[0].id == "aab-1"
    assert after.watch.counters["delivered"] == 5
    assert after.watch.is_watched
    assert not after.has_ended


def test_an_event_is_reported_once() -> None:
    """One that comes again, as after a new connection, makes no news."""
    once, update = fresh().after(relayed(A, 1))
    assert update is not None
    assert once.after(relayed(A, 1)) == (once, None)


def test_an_end_has_come_with_its_event() -> None:
    """A document may say it first; the event that tells it is waited for."""
    ended = shown(A, "COMPLETED", sequence=1, phase="ended", outcome="completed")
    known = fresh().after_document(ended)
    assert not known.watch.is_watched
    assert not known.has_ended
    after, _ = known.after(relayed(A, 1, "operation.completed", status="COMPLETED", final=True))
    assert after.has_ended


@pytest.mark.parametrize(
    ("event_type", "final", "phase", "outcome"),
    [
        ("operation.progress", False, Phase.ACTIVE, None),
        ("operation.completed", False, Phase.SETTLING, Outcome.COMPLETED),
        ("operation.completed", True, Phase.ENDED, Outcome.COMPLETED),
        ("operation.settled", True, Phase.ENDED, Outcome.COMPLETED),
        ("operation.canceled", True, Phase.ENDED, Outcome.CANCELED),
        ("operation.lost", True, Phase.ENDED, Outcome.LOST),
    ],
)
def test_what_an_event_says(
    event_type: str, *, final: bool, phase: Phase, outcome: Outcome | None
) -> None:
    """An event newer than the document moves phase, outcome and counters."""
    after, _ = fresh().after(relayed(A, 1, event_type, final=final, delivered=7))
    assert (after.watch.phase, after.watch.outcome) == (phase, outcome)
    assert after.watch.counters["delivered"] == 7
    assert after.has_ended is final


def test_progress_while_settling() -> None:
    """It goes on settling."""
    settling, _ = fresh().after(relayed(A, 1, "operation.completed"))
    after, _ = settling.after(relayed(A, 2))
    assert (after.watch.phase, after.watch.outcome) == (Phase.SETTLING, Outcome.COMPLETED)


def test_a_document_names_the_group() -> None:
    """And when the daemon polls next; one of an earlier version knows no groups."""
    document = shown(A, sequence=1)
    assert fresh().after_document(document).watch.group is None
    document["group"] = "autumn"
    document["nextLookAt"] = "2026-11-22T10:00:09Z"
    after = fresh().after_document(document)
    assert after.watch.group == "autumn"
    assert after.watch.next_poll.due_at == parse_instant("2026-11-22T10:00:09Z")


def test_a_document_that_is_late() -> None:
    """One from before an event that is known changes nothing."""
    after, _ = fresh().after(relayed(A, 2, delivered=9))
    assert after.after_document(shown(A, sequence=1)) == after


def test_handing_over_keeps_what_was_reported() -> None:
    """The daemon that takes over counts on from there, and polls at once."""
    after, _ = fresh().after(relayed(A, 4, delivered=9))
    after = after.after_document(shown(A, sequence=4, stats={"delivered": 11}))
    home = AccountScope(account="AC1", base_url="http://127.0.0.1/v1")
    watch = after.handed_over(home, now=NOW, settle=60)
    assert (watch.emitted.sequence, watch.unemitted) == (4, {"delivered": 2})
    assert (watch.scope, watch.next_poll.due_at, watch.settle_until) == (home, NOW, None)


def test_handing_over_while_settling() -> None:
    """It gets the time that the settings give it."""
    after, _ = fresh().after(relayed(A, 1, "operation.completed", status="COMPLETED"))
    watch = after.handed_over(HOME, now=NOW, settle=60)
    assert watch.phase is Phase.SETTLING
    assert watch.settle_until == NOW + timedelta(seconds=60)


def ended_with_failures() -> Followed:
    """Know an operation whose final event has come, with failures."""
    ended = relayed(A, 1, "operation.completed", status="COMPLETED", final=True, failed=2)
    return fresh().after(ended)[0]


def test_an_end_with_failures_may_be_explained() -> None:
    """The event cannot tell: it has ended when a document says so, or after its breakdown."""
    after = ended_with_failures()
    assert (after.watch.phase, after.watch.outcome) == (Phase.EXPLAINING, Outcome.COMPLETED)
    ended = shown(A, "COMPLETED", sequence=1, phase="ended", outcome="completed")
    assert after.after_document(ended).has_ended
    explaining = shown(A, "COMPLETED", sequence=1, phase="explaining", outcome="completed")
    assert not after.after_document(explaining).has_ended
    explained, update = after.after_document(explaining).after(
        relayed(A, 2, "operation.breakdown", status="COMPLETED", failed=2)
    )
    assert update is not None
    assert explained.has_ended
    assert explained.watch.outcome is Outcome.COMPLETED


def test_a_document_may_know_of_the_breakdown_first() -> None:
    """Then the event is waited for, and shown."""
    ended = shown(A, "COMPLETED", sequence=2, phase="ended", outcome="completed")
    after = ended_with_failures().after_document(ended)
    assert not after.has_ended
    explained, update = after.after(relayed(A, 2, "operation.breakdown", status="COMPLETED"))
    assert update is not None
    assert explained.has_ended


def test_handing_over_while_explaining() -> None:
    """The daemon that takes over reads what failed from the beginning, and keeps its end."""
    watch = ended_with_failures().handed_over(HOME, now=NOW, settle=60)
    assert (watch.phase, watch.outcome) == (Phase.EXPLAINING, Outcome.COMPLETED)
    assert watch.next_request is NextRequest.BREAKDOWN
    assert watch.breakdown is not None
    assert watch.breakdown.sources[0] == "errors"


def test_a_message_counts_as_its_document_says() -> None:
    """Its snapshot has no counters of its own."""
    counters = {"attempts": 2, "failed": 1, "sent": 1}
    shown = message_document("SENT", FAILED, SENT, counters=counters, sequence=1)
    known = fresh(M).after_document(cast("OperationDocument", shown))
    assert (known.watch.status, known.watch.counters) == ("SENT", counters)


@pytest.mark.parametrize(
    ("event_type", "status", "final", "phase", "outcome"),
    [
        ("message.sent", "SENT", False, Phase.ACTIVE, None),
        ("message.delivered", "DELIVERED", False, Phase.SETTLING, Outcome.COMPLETED),
        ("message.delivered", "DELIVERED", True, Phase.ENDED, Outcome.COMPLETED),
        ("message.settled", "DELIVERED", True, Phase.ENDED, Outcome.COMPLETED),
        ("message.read", "READ", True, Phase.ENDED, Outcome.COMPLETED),
        ("message.inbound", "INBOUND", True, Phase.ENDED, Outcome.COMPLETED),
        ("message.undelivered", "UNDELIVERED", True, Phase.ENDED, Outcome.FAILED),
        ("message.failed", "FAILED", True, Phase.ENDED, Outcome.FAILED),
        ("message.canceled", "CANCELED", True, Phase.ENDED, Outcome.CANCELED),
        ("message.lost", "SENT", True, Phase.ENDED, Outcome.LOST),
    ],
)
def test_what_an_event_of_a_message_says(
    event_type: str, status: str, *, final: bool, phase: Phase, outcome: Outcome | None
) -> None:
    """A failed attempt is not explained: the message itself says why it failed."""
    event = message_event(1, event_type, status, FAILED, final=final, attempts=1, failed=1)
    after, _ = fresh(M).after(read_emitted(json.dumps(event)))
    assert (after.watch.phase, after.watch.outcome) == (phase, outcome)
    assert (after.watch.status, after.has_ended) == (status, final)
    assert after.watch.counters == {"attempts": 1, "failed": 1}


@pytest.mark.parametrize(
    ("receipts", "outcome"),
    [
        ({"recipients": 2, "delivered": 1, "failed": 1}, Outcome.COMPLETED),
        ({"recipients": 2, "undelivered": 1, "failed": 1}, Outcome.FAILED),
        ({"recipients": 1, "canceled": 1}, Outcome.CANCELED),
    ],
)
def test_how_a_group_ended(receipts: dict[str, int], outcome: Outcome) -> None:
    """Its receipts say it; the event has but one name for all of them."""
    event = message_event(1, "message.settled", "GROUP", final=True, **receipts)
    after, _ = fresh(M).after(read_emitted(json.dumps(event)))
    assert (after.watch.phase, after.watch.outcome) == (Phase.ENDED, outcome)


def test_attempts_that_were_shown_are_not_shown_again() -> None:
    """The daemon that takes over shows only those that have changed since."""
    after, _ = fresh(M).after(
        read_emitted(json.dumps(message_event(1, "message.sent", "SENT", SENT)))
    )
    watch = after.handed_over(HOME, now=NOW, settle=0)
    assert watch.emitted.attempts == ("SENT",)
    delivered = {**SENT, "status": "DELIVERED"}
    later = watch.evolve(snapshot={"id": M, "status": "SENT", "attempts": [FAILED, delivered]})
    _, next_event = emit(later, EventType.MESSAGE_PROGRESS, now=NOW)
    assert [one["attempt"] for one in next_event.data["changes"]] == [1, 2]
