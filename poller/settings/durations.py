"""Durations as people write them, kept as seconds."""

import math
import re
from collections.abc import Callable
from typing import Annotated, Final

from pydantic import BeforeValidator, WithJsonSchema

from poller.settings.errors import fault

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_WRITTEN: Final = re.compile(r"(\d{1,18}(?:\.\d{1,9})?) ?(ms|s|m|h|d)?", re.ASCII)
_EXAMPLES: Final = 'write a number and a unit, such as "500ms", "5s", "2m", "1h", "7d", or seconds'


def parse_duration(value: object) -> float:
    """Return the seconds in `"500ms"`, `"5s"`, `"2m"`, `"1h"`, `"7d"`, or in a number of seconds.

    :raises PydanticCustomError: if it is anything else, negative or not finite.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = _as_float(value)
    elif isinstance(value, str) and (written := _WRITTEN.fullmatch(value.strip())):
        seconds = float(written[1]) * _UNITS[written[2] or "s"]
    else:
        raise fault("not a duration", _EXAMPLES)
    if not math.isfinite(seconds) or seconds < 0:
        raise fault("a duration is finite and not negative", _EXAMPLES)
    return seconds


def format_duration(seconds: float) -> str:
    """Write seconds the way a person would: `90.0` → `"90s"`, `120.0` → `"2m"`, `0.5` → `"500ms"`.

    It uses the largest unit that gives a whole number, two or more. Reading it gives the same back.
    """
    for unit in ("d", "h", "m"):
        if seconds >= 2 * _UNITS[unit] and seconds % _UNITS[unit] == 0:
            return f"{seconds / _UNITS[unit]:.0f}{unit}"
    milliseconds = round(seconds * 1000)
    if 0 < seconds < 1 and milliseconds * 0.001 == seconds:
        return f"{milliseconds}ms"
    return f"{seconds:.0f}s" if seconds.is_integer() else f"{seconds!r}s"


def between(least: str, most: str) -> Callable[[float], float]:
    """Return a validator that keeps a duration within these bounds, both included."""
    low, high = parse_duration(least), parse_duration(most)

    def check(seconds: float) -> float:
        if not low <= seconds <= high:
            raise fault(f"outside {least} to {most}", f"write a duration from {least} to {most}")
        return seconds

    return check


def _as_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": r"^\s*\d{1,18}(\.\d{1,9})? ?(ms|s|m|h|d)?\s*$"},
                {"type": "number", "minimum": 0},
            ]
        }
    ),
]
"""A length of time: float seconds, finite, not negative."""
