"""What a daemon gets of an account that several use: a portion of the rate, some of the slots."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poller.comms.budget import HORIZON, Pace, portion_size, share_of


@pytest.mark.parametrize(("rate", "size"), [(0.2, 1), (2.5, 1), (5, 2), (100, 40)])
def test_a_portion_is_small(rate: float, size: int) -> None:
    """What is used in two fifths of a second, and one at least."""
    assert portion_size(rate) == size


def test_permits_of_a_portion_begin_one_after_the_other() -> None:
    """The next portion goes on where this one ends, no matter who takes it."""
    first, pace = Pace.of(5).portion(100.0, 2)
    second, _ = pace.portion(100.0, 2)
    assert [*first, *second] == pytest.approx([100.0, 100.1, 100.3, 100.5])


def test_no_permit_is_given_out_for_later_than_a_second() -> None:
    """Its owner may die, and others would wait for nothing."""
    starts, pace = Pace.of(5).portion(100.0, 50)
    assert max(starts) <= 100.0 + HORIZON
    assert pace.portion(100.0, 1)[0] == []
    assert pace.wait(100.0) > HORIZON


def test_a_clock_that_went_back_stops_nobody() -> None:
    """What was taken for later than any daemon takes is forgotten."""
    _, pace = Pace.of(5).portion(100_000.0, 2)
    starts, _ = pace.portion(100.0, 2)
    assert starts[0] == 100.0


@pytest.mark.parametrize(
    ("daemons", "others", "in_flight", "slots"),
    [
        pytest.param(1, 0, 0, 2, id="what it is about to start"),
        pytest.param(1, 0, 3, 4, id="no more than all"),
        pytest.param(2, 0, 2, 2, id="no more than its share"),
        pytest.param(2, 3, 0, 1, id="what others have left"),
        pytest.param(2, 4, 0, 0, id="nothing"),
        pytest.param(2, 0, 4, 4, id="what is under way goes on"),
        pytest.param(9, 0, 0, 1, id="more daemons than slots"),
    ],
)
def test_the_share_of_a_daemon(daemons: int, others: int, in_flight: int, slots: int) -> None:
    """Of four slots, where it wants to start two more requests."""
    share = share_of(4, daemons=daemons, others=others, in_flight=in_flight, wanted=2)
    assert share == slots


@given(
    total=st.integers(1, 8),
    steps=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 8), st.integers(1, 3))),
)
def test_all_slots_together_are_never_more_than_the_total(
    total: int, steps: list[tuple[int, int, int]]
) -> None:
    """In any order, each daemon has at most one request under way for each of its slots."""
    slots = [0] * 5
    for daemon, ended, wanted in steps:
        under_way = max(0, slots[daemon] - ended)
        others = sum(slots) - slots[daemon]
        slots[daemon] = share_of(
            total, daemons=5, others=others, in_flight=under_way, wanted=wanted
        )
        assert sum(slots) <= total
