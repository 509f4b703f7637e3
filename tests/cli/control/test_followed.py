"""One operation as a daemon tells of it: documents and events in any order mean the same."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from poller.cli.control.followed import Followed, Relayed
from poller.server import schemas
from poller.tracking.registration import Registration, register
from poller.tracking.watch import Home, Outcome, Phase
from tests.cli.control.fake_daemon import A, document, event

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
HOME = Home(account="default", base_url="https://comms.twilio.com/v1")


def fresh() -> Followed:
    """Know nothing of an operation but its id."""
    wish = Registration(id=A, kind="messages")
    return Followed(watch=register(None, wish, home=HOME, now=NOW)[0])


def told(*arguments: Any, **members: Any) -> schemas.Operation:  # noqa: ANN401 - as the fake takes it
    """Make a document."""
    return cast("schemas.Operation", document(*arguments, **members))


def relayed(*arguments: Any, **members: Any) -> Relayed:  # noqa: ANN401 - as the fake takes it
    """Make an event that came down the stream."""
    return Relayed.of(json.dumps(event(*arguments, **members)))


def test_an_event_is_passed_on_as_it_is() -> None:
    """Byte for byte, also a type that only a later daemon knows."""
    body = json.dumps(event(A, 3, "operation.breakdown"), indent=1)
    assert Relayed.of(body).render() == body


@pytest.mark.parametrize("body", ["{}", "[]", '{"type": 1}', "x"])
def test_what_is_no_event(body: str) -> None:
    """It is refused as a value, not with a traceback of its members."""
    with pytest.raises(ValueError):  # noqa: PT011 - of JSON or of ours
        Relayed.of(body)


def test_history_changes_nothing() -> None:
    """Events from before the document are told, and what is known stays."""
    now = fresh().as_told(told(A, sequence=2, stats={"delivered": 5}))
    after, update = now.after(relayed(A, 1, "operation.lost", final=True, delivered=1))
    assert update is not None
    assert update.events[0].id == "aab-1"
    assert after.watch.counters["delivered"] == 5
    assert after.watch.is_watched
    assert not after.has_ended


def test_an_event_is_told_once() -> None:
    """One that comes again, as after a new connection, makes no news."""
    once, update = fresh().after(relayed(A, 1))
    assert update is not None
    assert once.after(relayed(A, 1)) == (once, None)


def test_an_end_has_come_with_its_event() -> None:
    """A document may say it first; the event that tells it is waited for."""
    ended = told(A, "COMPLETED", sequence=1, phase="ended", outcome="completed")
    known = fresh().as_told(ended)
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


def test_a_document_that_is_late() -> None:
    """One from before an event that is known changes nothing."""
    after, _ = fresh().after(relayed(A, 2, delivered=9))
    assert after.as_told(told(A, sequence=1)) == after


def test_handing_over_keeps_what_was_told() -> None:
    """Whoever goes on numbers and counts from there, and looks at once."""
    after, _ = fresh().after(relayed(A, 4, delivered=9))
    after = after.as_told(told(A, sequence=4, stats={"delivered": 11}))
    home = Home(account="AC1", base_url="http://127.0.0.1/v1")
    watch = after.handed_over(home, now=NOW, settle=60)
    assert (watch.emitted.sequence, watch.unemitted) == (4, {"delivered": 2})
    assert (watch.home, watch.schedule.due_at, watch.settle_until) == (home, NOW, None)


def test_handing_over_while_settling() -> None:
    """It gets the time that the settings give it."""
    after, _ = fresh().after(relayed(A, 1, "operation.completed", status="COMPLETED"))
    watch = after.handed_over(HOME, now=NOW, settle=60)
    assert watch.phase is Phase.SETTLING
    assert watch.settle_until == NOW + timedelta(seconds=60)
