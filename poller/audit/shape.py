"""Checks of the members of an event, and the text of their faults. Pure."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from poller.text import parse_instant

Check = tuple[Callable[[Any], bool], str]
"""The check of a member, and a description of what it should be."""

_LONGEST_NAME: Final = 200
_SHOWN: Final = 60
_LARGEST_COUNTER: Final = 10**12


def is_name(value: object) -> bool:
    """Return whether it is short, printable text."""
    return isinstance(value, str) and 0 < len(value) <= _LONGEST_NAME and value.isprintable()


def show(value: object) -> str:
    """Write a value for people, without control characters."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    text = json.dumps(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def faults(members: Mapping[str, Any], checks: Mapping[str, Check]) -> Iterator[str]:
    """Yield the faults of the members that `checks` names."""
    for name, (is_right, wanted) in checks.items():
        if name not in members or not is_right(members[name]):
            yield f"{name} is {found(members, name)}, not {wanted}"


def found(members: Mapping[str, Any], name: str) -> str:
    """Write the value of a member, or that it is missing."""
    return show(members[name]) if name in members else "missing"


def counters_of(stats: Mapping[str, object]) -> dict[str, int]:
    """Return the counters among the members of `stats` of a snapshot, those above 0."""
    # by type: True is an int in Python, but not in JSON
    return {
        name: value
        for name, value in stats.items()
        if type(value) is int and 0 < value <= _LARGEST_COUNTER
    }


def is_counter(value: object) -> bool:
    """Return whether it is an integer of 0 or more."""
    return type(value) is int and value >= 0


def is_delta(value: object) -> bool:
    """Return whether it is an object of integers other than 0."""
    return isinstance(value, dict) and all(type(one) is int and one for one in value.values())


def is_object_of_texts(value: object) -> bool:
    """Return whether it is an object of texts."""
    return isinstance(value, dict) and all(isinstance(one, str) for one in value.values())


def is_instant(value: object) -> bool:
    """Return whether it is an RFC 3339 instant."""
    return parse_instant(value) is not None


def is_object(value: object) -> bool:
    """Return whether it is an object."""
    return isinstance(value, dict)


def or_null(check: Callable[[object], bool]) -> Callable[[object], bool]:
    """Return a check that also accepts null."""
    return lambda value: value is None or check(value)
