"""The request rate, counted the way a server would."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poller.comms.pace import Pace


@given(
    st.integers(min_value=1, max_value=50),
    st.lists(st.floats(min_value=0, max_value=0.5), min_size=1, max_size=150),
)
def test_no_second_holds_more_than_one_request_too_many(rate: int, delays: list[float]) -> None:
    """However late each request is sent after it might be, counted over any second."""
    pace, now, sent = Pace.of(rate), 0.0, list[float]()
    for delay in delays:
        now += pace.wait(now) + delay
        pace = pace.taken(now)
        sent.append(now)
    for first in sent:
        assert sum(first <= moment <= first + 0.999 for moment in sent) <= rate + 1


@given(st.floats(min_value=0.01, max_value=1000))
def test_the_rate_is_reached(rate: float) -> None:
    """Who sends as soon as allowed sends at the rate."""
    pace, now = Pace.of(rate), 0.0
    for _ in range(100):
        now += pace.wait(now)
        pace = pace.taken(now)
    assert now == pytest.approx(98.5 / rate)


def test_the_first_request_waits_for_nothing() -> None:
    """Even on a machine that has just started its clock."""
    assert Pace.of(5).wait(0.0) == 0


@pytest.mark.parametrize("rate", [0, -1, float("nan")])
def test_a_rate_is_above_zero(rate: float) -> None:
    """The message names the setting."""
    with pytest.raises(ValueError, match="requests_per_second"):
        Pace.of(rate)
