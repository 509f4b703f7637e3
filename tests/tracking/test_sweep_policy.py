"""Whether to list: only where that is cheaper, by what the last list measured."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poller.tracking.sweep_policy import (
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
    experience = after_sweep(pages=40, tracked=30, shown=30, now=START)
    now = START + timedelta(seconds=age)
    assert is_worth_it(30, Reach(tracked=30), experience, now=now) is expected


@pytest.mark.parametrize(
    ("tracked", "shown", "share"),
    [(0, 0, 1), (9, 9, 1), (9, 4, 0.5), (9, 0, 0.1), (9, 20, 1), (999, 0, 0.001)],
)
def test_what_was_not_shown_is_learned(tracked: int, shown: int, share: float) -> None:
    """The share of the tracked that a sweep showed; pages that shift may show some twice."""
    assert after_sweep(pages=1, tracked=tracked, shown=shown, now=START).shown == share


def test_a_list_that_shows_nobody_is_not_read_again() -> None:
    """Where a sweep showed none of many, fetches are cheaper however many are due."""
    experience = after_sweep(pages=1, tracked=1000, shown=0, now=START)
    assert not is_worth_it(1000, Reach(tracked=1000), experience, now=at(30))


def test_two_that_no_list_shows_do_not_speak_for_a_thousand() -> None:
    """They are fetched; a thousand more that are registered then are listed."""
    experience = after_sweep(pages=1, tracked=2, shown=0, now=START)
    assert not is_worth_it(2, Reach(tracked=2), experience, now=at(30))
    assert is_worth_it(1002, Reach(tracked=1002), experience, now=at(30))


def test_after_a_failure_there_is_a_minute_of_fetches() -> None:
    """However many are due; what was measured before is kept."""
    measured = after_sweep(pages=3, tracked=10, shown=10, now=START)
    failed = after_failure(measured, now=START)
    assert not is_worth_it(9999, Reach(tracked=1), failed, now=at(59))
    assert is_worth_it(9999, Reach(tracked=1), failed, now=at(61))
    assert (failed.pages, failed.shown) == (3, 1.0)


def test_a_clock_that_went_back_does_not_forbid_lists_for_long() -> None:
    """A wait of a minute that lies further ahead than a minute is ignored."""
    failed = after_failure(NOTHING, now=at(3600))
    assert is_worth_it(9999, Reach(tracked=1), failed, now=START)
