"""The lifecycle as tables."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poller.tracking.breakdown.reading import begin_breakdown
from poller.tracking.lifecycle import (
    LIFECYCLES,
    PHASES,
    EventType,
    PhaseChange,
    change_phase,
    lifecycle_of,
)
from poller.tracking.watch import Outcome, Phase, ResourceType
from tests.tracking.story import at, new_watch

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
    assert own - named <= {EventType.OPERATION_BREAKDOWN, EventType.OPERATION_ALERT}
    assert named <= own


WATCHED = {Phase.ACTIVE, Phase.SETTLING, Phase.EXPLAINING}


@pytest.mark.parametrize("phase", Phase)
def test_phases_change_as_the_table_says(phase: Phase) -> None:
    """What is not in the table changes nothing; `ended_at` is set when watching stops."""
    before = new_watch().evolve(phase=phase, ended_at=None if phase in WATCHED else at(1))
    for change in PhaseChange:
        after = change_phase(before, change, now=at(2))
        expected = PHASES[phase].get(change)
        if expected is None:
            assert after == before
        else:
            assert after.phase is expected
            assert after.ended_at == (None if expected in WATCHED else at(2))


def test_the_state_of_a_breakdown_does_not_outlive_its_phase() -> None:
    """Neither at its end nor when the operation is forgotten."""
    read = begin_breakdown(new_watch(), now=at(1))
    assert (read.phase, read.breakdown is None) == (Phase.EXPLAINING, False)
    for change in (PhaseChange.END, PhaseChange.FORGET):
        ended = change_phase(read, change, now=at(2))
        assert (ended.phase, ended.breakdown) == (Phase.ENDED, None)
