"""The lifecycle as tables."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poller.tracking.lifecycle import TERMINAL, EventType, event_type, follows

KNOWN = ("SCHEDULED", "PROCESSING", "COMPLETED", "CANCELED")


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
    assert tuple(status for status in KNOWN if follows(last, status)) == allowed


@given(status=st.text().filter(lambda text: text not in KNOWN))
def test_an_unknown_status_may_come_any_time_but_after_an_end(status: str) -> None:
    """It makes `operation.changed` and ends nothing."""
    assert event_type(status) is EventType.CHANGED
    assert status not in TERMINAL
    for last in (None, "SCHEDULED", "PROCESSING", "PAUSED", status):
        assert follows(last, status)
    for last in TERMINAL:
        assert not follows(last, status)
