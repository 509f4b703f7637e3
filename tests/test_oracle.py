"""The oracle finds what is wrong with a history: one that finds nothing would pass any test."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from tests.oracle import AlertRule, check_promises, judge

Event = dict[str, Any]


def event(number: int, kind: str, *, final: bool = False, **stats: int) -> Event:
    """Return an event whose snapshot has these counters; the deltas of `GOOD` add up to them."""
    return {
        "id": f"event-{number}",
        "subject": "op",
        "type": f"operation.{kind}",
        "sequence": str(number),
        "data": {
            "final": final,
            "delta": {"sent": 2} if number < 3 else {},
            "operation": {"status": kind.upper(), "stats": stats},
        },
    }


GOOD = [
    event(1, "processing", sent=2),
    event(2, "progress", sent=4, failed=0),
    event(3, "completed", sent=4, final=True),
]
ENDS = {"op": GOOD[2]["data"]["operation"]}
BREAKDOWN = event(4, "breakdown", sent=4)


def change(index: int, **data: object) -> Callable[[list[Event]], None]:
    """Change the data of one event."""
    return lambda events: events[index]["data"].update(data)


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda events: events.pop(1), "with a gap"),
        (lambda events: events.reverse(), "out of order"),
        (change(1, delta={"sent": 3}), "deltas up to 2 are"),
        (change(2, delta={"failed": 1}), "deltas up to 3 are"),
        (change(1, operation={}), "2 has a delta and no counters"),
        (change(2, final=False), "no final event"),
        (change(1, final=True), "2 final events"),
        (lambda events: events.append({**BREAKDOWN, "type": "operation.progress"}), "after its"),
        (lambda events: events.append({**events[0], "type": "other"}), "another content"),
    ],
)
def test_what_is_wrong_is_found(spoil: Callable[[list[Event]], None], problem: str) -> None:
    """Each promise by itself."""
    events = deepcopy(GOOD)
    spoil(events)
    assert problem in "\n".join(judge(events).problems)
    with pytest.raises(AssertionError):
        check_promises(events)


@pytest.mark.parametrize(
    ("ends", "problem"),
    [
        ({}, "op: nobody asked for it"),
        ({**ENDS, "other": ENDS["op"]}, "other: never heard of"),
        ({"op": {**ENDS["op"], "status": "CANCELED"}}, "not with operation.canceled"),
        ({"op": {**ENDS["op"], "stats": {"sent": 5}}}, "its end tells"),
    ],
)
def test_wrong_ends_are_found(ends: dict[str, Event], problem: str) -> None:
    """Held against the truth."""
    assert problem in "\n".join(judge(GOOD, ends=ends).problems)


def test_what_is_right_passes() -> None:
    """Repetitions are counted; a breakdown may follow the end; what goes on has no end yet."""
    check_promises([*GOOD, BREAKDOWN])
    again = judge([GOOD[0], *GOOD], ends=ENDS)
    assert (again.problems, again.duplicates, len(again.events)) == ([], 1, 3)
    with pytest.raises(AssertionError):
        check_promises([GOOD[0], *GOOD])
    assert judge(GOOD[:2], ended=False).problems == []


def group_event(number: int, kind: str, **data: object) -> Event:
    """Return an event of a group whose member is `op`."""
    return {
        "id": f"group-{number}",
        "subject": "autumn",
        "type": f"group.{kind}",
        "sequence": str(number),
        "time": f"10:0{number}",
        "data": {
            "group": "autumn",
            "final": kind == "completed",
            "stats": {"sent": 4},
            "delta": {"sent": 4} if number == 1 else {},
            "operations": {"total": 1, "watching": 0, "completed": 1, "canceled": 0, "lost": 0},
            "sealedAt": "10:01",
            **data,
        },
    }


WITH_GROUP = [
    *({**one, "time": "10:01"} for one in GOOD),
    group_event(1, "progress"),
    group_event(2, "completed"),
]


def test_a_good_group_is_good() -> None:
    """Its subject is no operation that nobody asked for."""
    assert not judge(WITH_GROUP, ends=ENDS, groups={"autumn": ["op"]}).problems


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda events: events.pop(), "0 times completed"),
        (lambda events: events.append(group_event(3, "completed")), "2 times completed"),
        (change(4, operations={"total": 2}), "says {'total': 2}"),
        (change(4, stats={"sent": 5}), "its sums are {'sent': 5}"),
        (lambda events: events[2].update(time="10:09"), "before its last member"),
        (change(4, sealedAt=None), "sealed at None"),
        (change(4, sealedAt="10:09"), "sealed at 10:09"),
    ],
)
def test_what_is_wrong_with_a_group_is_found(
    spoil: Callable[[list[Event]], None], problem: str
) -> None:
    """One end, after its seal and its members, with their sums."""
    events = deepcopy(WITH_GROUP)
    spoil(events)
    found = judge(events, groups={"autumn": ["op"]}).problems
    assert any(problem in one for one in found), found


def alert(number: int, name: str, *, delta: dict[str, int] | None = None, **stats: int) -> Event:
    """Return the event of an alert."""
    made = event(number, "alert", final=False, **stats)
    value = {"name": name, "value": 9, "threshold": 9}
    return {**made, "data": {**made["data"], "delta": delta or {}, "alert": value}}


RULES = [
    AlertRule(name="failures", counters=("failed",), ratio=0.5, at_least=10),
    AlertRule(name="many", counters=("failed",), count=8),
    AlertRule(name="slow", stalled=9),
    AlertRule(name="of_groups", of="group", counters=("failed",), count=1),
]
WITH_ALERTS = [
    event(1, "processing", failed=7, sent=9),
    alert(2, "slow", failed=7, sent=9),
    alert(3, "failures", failed=9, delivered=9),
    alert(4, "many", failed=9, delivered=9),
    event(5, "progress", failed=10, delivered=9),
]


def test_good_alerts_are_good() -> None:
    """Two rules may fire at one answer, and fire no more."""
    assert _faults_of_alerts(WITH_ALERTS) == []


def _faults_of_alerts(events: list[Event]) -> list[str]:
    found = judge(events, alerts=RULES, ended=False).problems
    return [problem for problem in found if "alert" in problem]


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda events: events.pop(2), "failures fired 0 times"),
        (lambda events: events.append(alert(6, "many", failed=10)), "many fired 2 times"),
        (lambda events: events.append({**events[1], "id": "x"}), "slow fired 2 times"),
        (change(1, delta={"sent": 1}), "slow fired although something moved"),
        (lambda events: events[1]["data"]["alert"].update(value=8), "although something moved"),
        (lambda events: events[2]["data"]["alert"].update(name="other"), "other is not one"),
        (
            lambda events: events[2]["data"]["alert"].update(name="of_groups"),
            "of_groups is not",
        ),
        (lambda events: events.append(events.pop(2)), "failures fired at another answer"),
        (
            lambda events: events[2]["data"]["operation"].update(stats={"failed": 5, "sent": 9}),
            "failures fired at another answer",
        ),
    ],
)
def test_wrong_alerts_are_found(spoil: Callable[[list[Event]], None], problem: str) -> None:
    """Too many, too few, too early, too late."""
    events = deepcopy(WITH_ALERTS)
    spoil(events)
    assert problem in "\n".join(_faults_of_alerts(events))
