"""Whether to list: only where that is cheaper, by what the last list measured."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poller.tracking.sweeping import (
    PAGE,
    Experience,
    Reach,
    after_failure,
    after_sweep,
    is_worth_it,
)
from tests.tracking.story import START, at

MINUTE = 60.0
NOTHING = Experience()


@given(due=st.integers(0, 10**6), tracked=st.integers(0, 10**6))
def test_a_list_is_read_only_where_it_costs_fewer_requests(due: int, tracked: int) -> None:
    """Without experience: fewer full pages than operations that are due."""
    worth = is_worth_it(due, Reach(tracked=tracked), NOTHING, now=START)
    assert worth == (due > max(1, -(-tracked // PAGE)))


@given(
    due=st.integers(0, 10**5),
    tracked=st.integers(0, 10**5),
    pages=st.integers(1, 1000),
    shown=st.floats(0, 1),
)
def test_experience_only_discourages(due: int, tracked: int, pages: int, shown: float) -> None:
    """Many pages, or few of the due on them: what was measured is never thought better of."""
    experience = Experience(measured_at=START, pages=pages, shown=shown)
    if is_worth_it(due, Reach(tracked=tracked), experience, now=START):
        assert is_worth_it(due, Reach(tracked=tracked), NOTHING, now=START)
        assert due * shown > pages


@pytest.mark.parametrize(
    ("age", "expected"), [(0, False), (9 * MINUTE, False), (11 * MINUTE, True), (-1, True)]
)
def test_experience_ages(age: float, expected: bool) -> None:  # noqa: FBT001 - a table of cases
    """After ten minutes, or after the clock went back, a list is given another chance."""
    experience = after_sweep(pages=40, due=30, still_due=0, now=START)
    now = START + timedelta(seconds=age)
    assert is_worth_it(30, Reach(tracked=30), experience, now=now) is expected


@pytest.mark.parametrize(
    ("due", "still_due", "shown"), [(0, 0, 1.0), (10, 0, 1.0), (10, 4, 0.6), (10, 10, 0), (5, 9, 0)]
)
def test_what_was_not_shown_is_learned(due: int, still_due: int, shown: float) -> None:
    """The share of the due that a sweep showed; more left than there were counts as nothing."""
    assert after_sweep(pages=1, due=due, still_due=still_due, now=START).shown == shown


def test_a_list_that_shows_nobody_is_not_read_again() -> None:
    """Where a sweep showed none of the due, fetches are cheaper however many there are."""
    experience = after_sweep(pages=1, due=1000, still_due=1000, now=START)
    assert not is_worth_it(10_000, Reach(tracked=10_000), experience, now=at(30))


def test_after_a_failure_there_is_a_minute_of_fetches() -> None:
    """However many are due; what was measured before is kept."""
    measured = after_sweep(pages=3, due=10, still_due=0, now=START)
    failed = after_failure(measured, now=START)
    assert not is_worth_it(9999, Reach(tracked=1), failed, now=at(59))
    assert is_worth_it(9999, Reach(tracked=1), failed, now=at(61))
    assert (failed.pages, failed.shown) == (3, 1.0)


def test_a_clock_that_went_back_does_not_forbid_lists_for_long() -> None:
    """A minute that lies further ahead than a minute is none."""
    failed = after_failure(NOTHING, now=at(3600))
    assert is_worth_it(9999, Reach(tracked=1), failed, now=START)
