"""Scenarios: their bounds, and their form in JSON."""

from typing import Any

import pytest

from poller.simulator import SCENARIOS, Scenario
from poller.simulator.scenarios import parse_scenario


def test_a_scenario_is_given_by_name_or_by_its_members() -> None:
    """What is not named has its default."""
    assert parse_scenario("troubled") is SCENARIOS["troubled"]
    assert parse_scenario({}) == Scenario()
    document = {"failed": 0.1, "codes": {"30003": 0.2, "30005": 0.05}, "seconds": 5}
    assert parse_scenario(document) == Scenario(
        failed=0.1, codes=((30003, 0.2), (30005, 0.05)), seconds=5
    )


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("doom", "unknown fate 'doom'; one of: ordinary"),
        (None, "unknown fate"),
        ({"doom": 1}, "fate.doom is unknown; one of: canceled_at, codes"),
        ({"failed": "1"}, "fate.failed is '1', not a number"),
        ({"failed": True}, "fate.failed is True"),
        ({"failed": float("nan")}, "fate.failed is nan"),
        ({"failed": 2}, "shares"),
        ({"seconds": None}, "fate.seconds is None"),
        ({"codes": 5}, "fate.codes must be an object"),
        ({"codes": {"x": 0.1}}, "fate.codes must be an object"),
        ({"codes": {"30003": None}}, "fate.codes.30003 is None"),
        ({"codes": {"30003": -0.1}}, "shares"),
        ({"codes": {"0": 0.1}}, "codes of a fate"),
        ({"codes": {"1000000": 0.1}}, "codes of a fate"),
        ({"codes": {"30003": 0.1, "030003": 0.1}}, "codes of a fate"),
        ({"failed": 0.5, "codes": {"30003": 0.6}}, "shares"),
    ],
)
def test_what_is_no_fate_is_refused(wrong: Any, says: str) -> None:  # noqa: ANN401 - any JSON
    """The message names the member."""
    with pytest.raises(ValueError, match=says):
        parse_scenario(wrong)
