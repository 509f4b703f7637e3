"""Arithmetic on counters."""

from hypothesis import given
from hypothesis import strategies as st

from poller.tracking.counters import delta_between

COUNTERS = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 2**63 - 1))


@given(before=COUNTERS, after=COUNTERS)
def test_before_plus_delta_is_after(before: dict[str, int], after: dict[str, int]) -> None:
    """An absent counter is 0, and the delta holds no zero."""
    delta = delta_between(before, after)
    assert 0 not in delta.values()
    for name in "abcdef":
        assert before.get(name, 0) + delta.get(name, 0) == after.get(name, 0)
