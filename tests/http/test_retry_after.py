"""`Retry-After` in all its spellings."""

from datetime import timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poller.http.failures import read_retry_after
from tests.comms.scripted import NOW


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("3", 3.0),
        (" 120 ", 120.0),
        ("31536000", 31536000.0),
        ("1.5", 1.5),
        ("-1", None),
        ("", None),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("1e3", None),
        ("٣", None),
        ("9" * 400, None),
        (None, None),
    ],
)
def test_seconds(value: str | None, seconds: float | None) -> None:
    """A number of seconds is taken as it is, unbounded; anything else is unreadable."""
    assert read_retry_after(value, date=None, now=NOW) == seconds


@pytest.mark.parametrize(
    "value",
    [
        "Sun, 22 Nov 2026 10:00:30 GMT",
        "Sunday, 22-Nov-26 10:00:30 GMT",
        "Sun Nov 22 10:00:30 2026",
    ],
)
def test_a_date_is_measured_from_the_answers_own(value: str) -> None:
    """All three forms of RFC 9110 are read, and our clock does not matter."""
    date = "Sun, 22 Nov 2026 10:00:10 GMT"
    assert read_retry_after(value, date=date, now=NOW + timedelta(hours=5)) == 20


@pytest.mark.parametrize("date", [None, "", "now", "x" * 100])
def test_a_date_without_a_date_is_measured_from_now(date: str | None) -> None:
    """Our clock is the second best."""
    value = "Sun, 22 Nov 2026 10:00:30 GMT"
    now = NOW.astimezone(timezone(timedelta(hours=9)))
    assert read_retry_after(value, date=date, now=now) == 30


def test_a_date_in_the_past_asks_for_nothing() -> None:
    """It is as good as none, so that the wait grows by itself."""
    assert read_retry_after("Sun, 22 Nov 2026 09:59:59 GMT", date=None, now=NOW) is None


@pytest.mark.parametrize(
    "value",
    [
        "Sun, 99 Nov 2026 10:00:30 GMT",
        "Sun, 22 Nov 99999 10:00:30 GMT",
        "Mon, 01 Jan 0001 00:00:00 +2359",
        "Fri, 31 Dec 9999 23:59:59 -2359",
        "2026-11-22T10:00:30Z",
    ],
)
def test_impossible_dates_are_unreadable(value: str) -> None:
    """None of them raises."""
    assert read_retry_after(value, date=None, now=NOW) is None


@given(st.text(max_size=80), st.none() | st.text(max_size=80))
def test_anything_is_seconds_or_nothing(value: str, date: str | None) -> None:
    """Whatever a server sends, the outcome is a number ≥ 0 or None."""
    seconds = read_retry_after(value, date=date, now=NOW)
    assert seconds is None or seconds >= 0


@given(value=st.text(max_size=80), date=st.text(max_size=80))
def test_any_text_is_survived(value: str, date: str) -> None:
    """No `Retry-After` or `Date`, however odd, raises."""
    found = read_retry_after(value, date=date, now=NOW)
    assert found is None or found >= 0
