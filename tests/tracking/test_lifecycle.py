"""The lifecycle as tables."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poller.tracking.lifecycle import LIFECYCLES, EventType, lifecycle_of
from poller.tracking.watch import Outcome, ResourceType

KNOWN = ("SCHEDULED", "PROCESSING", "COMPLETED", "CANCELED")
OPERATION = lifecycle_of(ResourceType.OPERATION)
MESSAGE = lifecycle_of(ResourceType.MESSAGE)


@pytest.mark.parametrize(
    ("last", "allowed"),
    [
        (None, KNOWN),
        ("SCHEDULED", KNOWN),
        ("PROCESSING", ("PROCESSING", "COMPLETED", "CANCELED")),
        ("COMPLETED", ("COMPLETED",)),
        ("CANCELED", ("CANCELED",)),
        ("PAUSED", KNOWN),
    ],
)
def test_what_may_follow(last: str | None, allowed: tuple[str, ...]) -> None:
    """The whole table of known statuses."""
    assert tuple(status for status in KNOWN if OPERATION.follows(last, status)) == allowed


@given(status=st.text().filter(lambda text: text not in KNOWN))
def test_an_unknown_status_may_come_any_time_but_after_an_end(status: str) -> None:
    """It makes `operation.changed` and ends nothing."""
    assert OPERATION.event_type(status) is EventType.OPERATION_CHANGED
    assert status not in OPERATION.terminal
    for last in (None, "SCHEDULED", "PROCESSING", "PAUSED", status):
        assert OPERATION.follows(last, status)
    for last in OPERATION.terminal:
        assert not OPERATION.follows(last, status)


@pytest.mark.parametrize(
    ("last", "refused"),
    [
        ("QUEUED", {"SCHEDULED"}),
        ("SENT", {"SCHEDULED"}),
        ("DELIVERED", set(MESSAGE.events) - {"DELIVERED", "READ"}),
        ("READ", set(MESSAGE.events) - {"READ"}),
        ("FAILED", set(MESSAGE.events) - {"FAILED"}),
        ("INBOUND", set(MESSAGE.events) - {"INBOUND"}),
    ],
)
def test_what_may_not_follow_in_a_message(last: str, refused: set[str]) -> None:
    """A delivered message can still be read; a fallback may queue it once more."""
    assert {status for status in MESSAGE.events if not MESSAGE.follows(last, status)} == refused


def test_how_messages_end() -> None:
    """Every final status of the reference has an outcome; a group ends through its receipts."""
    outcomes = set(MESSAGE.terminal.values())
    assert outcomes == {Outcome.COMPLETED, Outcome.FAILED, Outcome.CANCELED}
    assert "GROUP" not in MESSAGE.terminal


@pytest.mark.parametrize("thing", ResourceType)
def test_the_tables_name_each_event_of_their_thing(thing: ResourceType) -> None:
    """No type is left over, and none is of the other thing."""
    row = LIFECYCLES[thing]
    named = {*row.events.values(), row.progress, row.changed, row.settled, row.lost}
    own = {one for one in EventType if one.resource_type is thing}
    assert own - named <= {EventType.OPERATION_BREAKDOWN}
    assert named <= own
