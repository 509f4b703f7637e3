"""Which events a sink wants."""

from collections.abc import Mapping

import pytest

from poller.tracking.delivery import FINAL, Subscription
from poller.tracking.pacing import Policy
from tests.tracking.story import Story


def _wanted(*patterns: str, labels: Mapping[str, str] | None = None) -> list[str]:
    story = Story(Policy(progress_interval=0, settle=60))
    story.register(campaign="autumn", team="a")
    story.see("SCHEDULED", scheduled=2)
    story.see("PROCESSING", sent=2)
    story.see("PROCESSING", sent=1)
    story.see("COMPLETED", sent=1)
    story.see("COMPLETED", sent=0)
    subscription = Subscription(sink="app", events=patterns or ("*",), labels=labels or {})
    return [
        name
        for name, event in zip(story.types, story.events, strict=True)
        if subscription.wants(event)
    ]


ALL = ["scheduled", "processing", "progress", "completed", "settled"]


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        ((), ALL),
        (("*",), ALL),
        (("operation.*",), ALL),
        (("message.*",), []),
        (("operation.completed",), ["completed"]),
        (("*.completed", "*.alert"), ["completed"]),
        (("operation.progress", "operation.settled"), ["progress", "settled"]),
        ((FINAL,), ["settled"]),
        ((FINAL, "operation.scheduled"), ["scheduled", "settled"]),
        (("operation.complete",), []),
    ],
)
def test_patterns_choose_types(patterns: tuple[str, ...], expected: list[str]) -> None:
    """`final` is the one event that ends a watch, whatever its type."""
    assert _wanted(*patterns) == expected


@pytest.mark.parametrize(
    ("labels", "wanted"),
    [
        ({}, True),
        ({"campaign": "autumn"}, True),
        ({"campaign": "autumn", "team": "a"}, True),
        ({"campaign": "spring"}, False),
        ({"campaign": "autumn", "team": "b"}, False),
        ({"missing": "x"}, False),
    ],
)
def test_labels_choose_operations(labels: dict[str, str], *, wanted: bool) -> None:
    """Every label of the subscription must be carried, with that value."""
    assert _wanted(labels=labels) == (ALL if wanted else [])
