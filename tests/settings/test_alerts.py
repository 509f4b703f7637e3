"""The settings of alerts: what is given, what is taken where it is left out, what is refused."""

from typing import Any

import pytest
from pydantic import ValidationError

from poller.settings import AlertSettings


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ({"ratio": 0.05}, (("failed", "undelivered"), 0.05, None, 50, None)),
        ({"count": 100}, (("failed", "undelivered"), None, 100, 0, None)),
        (
            {"counters": ["failed"], "ratio": 0.05, "count": 9, "at_least": 2},
            (("failed",), 0.05, 9, 2, None),
        ),
    ],
    ids=str,
)
def test_a_threshold_is_enough(given: dict[str, Any], taken: tuple[object, ...]) -> None:
    """Failures are counted by default, and a ratio needs fifty finished ones."""
    rule = AlertSettings.model_validate(given)
    assert (rule.counters, rule.ratio, rule.count, rule.smallest, rule.stalled) == taken


def test_a_standstill_needs_no_counters() -> None:
    """It has neither a threshold of counters nor a smallest number."""
    rule = AlertSettings.model_validate({"stalled": "15m", "of": "group"})
    assert (rule.of, rule.stalled, rule.ratio, rule.count) == ("group", 900, None, None)


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({}, "has no condition"),
        ({"counters": ["failed"]}, "has no condition"),
        ({"counters": [], "count": 1}, "an empty list"),
        ({"counters": ["failed", "failed"], "count": 1}, "failed twice"),
        ({"counters": ["faild"], "count": 1}, "not a counter"),
        ({"stalled": "15m", "counters": ["failed"]}, "either counters or stalled"),
        ({"stalled": "15m", "at_least": 0}, "either counters or stalled"),
        ({"ratio": 1.5}, "less than or equal to 1"),
        ({"of": "team", "count": 1}, "'operation' or 'group'"),
    ],
    ids=str,
)
def test_a_rule_that_could_never_fire_is_refused(given: dict[str, Any], fault: str) -> None:
    """As is one of both kinds."""
    with pytest.raises(ValidationError, match=fault):
        AlertSettings.model_validate(given)
