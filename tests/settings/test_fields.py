"""Durations: what people write, and back."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from poller.settings import format_duration, parse_duration


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("500ms", 0.5),
        ("5s", 5.0),
        ("2m", 120.0),
        ("1h", 3600.0),
        ("7d", 604_800.0),
        ("1.5h", 5400.0),
        (" 5 s ", 5.0),
        ("0", 0.0),
        ("30", 30.0),
        (30, 30.0),
        (0.25, 0.25),
    ],
)
def test_reads_units_and_seconds(written: object, seconds: float) -> None:
    """Each unit and a bare number mean what they say."""
    assert parse_duration(written) == seconds


@pytest.mark.parametrize(
    "written",
    [
        *("", "5x", "-5s", "5 minutes", "1h30m", "٥s", "1e400"),
        *(True, None, [], -1, math.inf, math.nan, 10**400),
    ],
)
def test_refuses_everything_else(written: object) -> None:
    """What is no duration, negative or endless is refused with an example."""
    with pytest.raises(PydanticCustomError) as caught:
        parse_duration(written)
    assert '"500ms", "5s", "2m"' in (caught.value.context or {})["fix"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0s"), (0.5, "500ms"), (1.0, "1s"), (60.0, "60s"), (120.0, "2m"), (604_800.0, "7d")],
)
def test_writes_the_largest_fitting_unit(seconds: float, text: str) -> None:
    """Shown durations look like the ones in the documentation."""
    assert format_duration(seconds) == text


@given(st.integers(min_value=0, max_value=10**9))
def test_what_is_written_reads_back(milliseconds: int) -> None:
    """Reading what was shown gives the same seconds."""
    seconds = milliseconds / 1000
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, abs=1e-9)
